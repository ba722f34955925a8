// Files that pages carry inside. Their bytes are generated at build time.
#pragma once

#include <string_view>

namespace twofour::cli {

std::string_view chart_js();  // Chart.js, MIT
std::string_view page_css();
std::string_view page_js();
std::string_view report_js();
std::string_view bench_js();

}  // namespace twofour::cli
