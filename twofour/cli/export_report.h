// What sparse kernels of other engines can take of an exported file, as JSON: `export --report`.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "twofour/export/api.h"

namespace twofour::cli {

nlohmann::ordered_json export_report(const ExportRequest& request, const ExportSummary& summary);

// How many layers `engine` can run as 2:4.
int64_t count_eligible(const ExportSummary& summary, std::string_view engine);

}  // namespace twofour::cli
