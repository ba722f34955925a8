// The tables of twofour report as text: quality with intervals on each set of data, and cost.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>

namespace twofour::cli {

// `report` is what collect_report returns.
void print_run_tables(const nlohmann::ordered_json& report, bool markdown, std::ostream& out);

}  // namespace twofour::cli
