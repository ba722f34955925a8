// What the metrics of a report are, for those who read its page.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace twofour::cli {

// {name: what it is} of the metrics that the runs of a report have, of those that a name does not
// explain, and of "score", by which documents are ranked; empty without metrics.
nlohmann::ordered_json metric_notes(const nlohmann::ordered_json& report);

}  // namespace twofour::cli
