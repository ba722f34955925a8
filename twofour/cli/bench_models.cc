#include "twofour/cli/bench_models.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "twofour/cli/format.h"
#include "twofour/cli/model_runner.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

double per_second(const ModelResult& result) {
  return static_cast<double>(result.shape.batch) * 1e3 / result.model.median_ms;
}

}  // namespace

ModelResult measure_models(const BenchCase& shape, int repeat,
                           const std::shared_ptr<const Engine>& model,
                           const std::shared_ptr<const Engine>& other) {
  ModelRunner runner(model, shape);
  std::optional<ModelRunner> against;
  if (other) against.emplace(other, shape);
  std::vector<double> ms, other_ms;
  for (int i = -kWarmUps; i < repeat; ++i) {
    const double a = runner.run_ms();
    const double b = against ? against->run_ms() : 0;
    if (i < 0) continue;
    ms.push_back(a);
    other_ms.push_back(b);
  }
  ModelResult result{shape, summarize(ms)};
  result.graphs = runner.graph_use();
  if (against) {
    result.other = summarize(other_ms);
    result.ratio = compare_times(ms, other_ms);
  }
  return result;
}

Json to_json(const std::vector<ModelResult>& results, bool compared) {
  Json rows = Json::array();
  for (const ModelResult& r : results) {
    Json row = {{"batch", r.shape.batch},
                {"tokens", r.shape.tokens},
                {"threads", r.shape.threads},
                {"median_ms", r.model.median_ms},
                {"p95_ms", r.model.p95_ms},
                {"spread", json_or_null(r.model.spread)},
                {"sequences_per_second", per_second(r)}};
    if (compared) {
      row["against"] = {{"median_ms", r.other.median_ms},
                        {"ratio", r.ratio.median},
                        {"ratio_low", r.ratio.low},
                        {"ratio_high", r.ratio.high}};
    }
    if (r.graphs.launched + r.graphs.plain > 0) {
      row["graphs"] = {{"launched", r.graphs.launched},
                       {"plain", r.graphs.plain},
                       {"failure", r.graphs.failure}};
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Table results_table(const std::vector<ModelResult>& results, bool compared) {
  std::vector<std::string> headers{"batch",  "tokens",   "threads",    "median ms",
                                   "p95 ms", "spread %", "sequences/s"};
  if (compared) headers.insert(headers.end(), {"other ms", "ratio", "<quartiles"});
  Table table(headers);
  for (const ModelResult& r : results) {
    std::vector<std::string> row{
        std::to_string(r.shape.batch),         std::to_string(r.shape.tokens),
        std::to_string(r.shape.threads),       fmt::format("{:.3f}", r.model.median_ms),
        fmt::format("{:.3f}", r.model.p95_ms), format_spread(r.model.spread),
        fmt::format("{:.1f}", per_second(r))};
    if (compared) {
      row.push_back(fmt::format("{:.3f}", r.other.median_ms));
      row.push_back(fmt::format("{:.2f}", r.ratio.median));
      row.push_back(format_quartiles(r.ratio));
    }
    table.add_row(std::move(row));
  }
  return table;
}

void print_results(const std::vector<ModelResult>& results, bool compared, std::ostream& out) {
  results_table(results, compared).print(out);
  for (const ModelResult& r : results) {
    if (r.graphs.failure.empty()) continue;
    out << fmt::format("{} x {} tokens ran {} without a graph: {}\n", r.shape.batch, r.shape.tokens,
                       counted(static_cast<int64_t>(r.graphs.plain), "time"), r.graphs.failure);
  }
}

}  // namespace twofour::cli
