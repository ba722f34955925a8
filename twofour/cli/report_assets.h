// Files that every report page carries inside. Their bytes are generated at build time.
#pragma once

#include <string_view>

namespace twofour::cli {

std::string_view chart_js();  // Chart.js, MIT
std::string_view report_css();
std::string_view report_js();

}  // namespace twofour::cli
