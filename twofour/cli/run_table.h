// The tables of twofour report: quality with intervals on each set of data, and cost.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace twofour::cli {

// `report` is what collect_report returns.
void print_run_tables(const nlohmann::ordered_json& report, bool markdown, std::ostream& out);

// The same for the page, each below its heading.
std::string run_tables_html(const nlohmann::ordered_json& report);

}  // namespace twofour::cli
