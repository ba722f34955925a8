// What sparse kernels of other engines can take of an exported file, as JSON: `export --report`.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "twofour/export/api.h"

namespace twofour::cli {

nlohmann::ordered_json export_report(const ExportRequest& request, const ExportSummary& summary);

// How many layers `engine` can run as 2:4.
int64_t count_eligible(const ExportSummary& summary, std::string_view engine);

// Why layers did not become nodes of the plug-in, with the number of them.
std::map<std::string, int64_t> reasons_against_plugin(const ExportSummary& summary);

}  // namespace twofour::cli
