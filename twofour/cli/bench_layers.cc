#include "twofour/cli/bench_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "twofour/backend/backends.h"
#include "twofour/cli/random_product.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

std::vector<LayerResult> distinct_layers(const Engine& engine) {
  std::vector<LayerResult> found;
  for (const LayerInfo& layer : engine.layers()) {
    if (layer.type != matmul_type_name(MatmulType::kS8)) continue;
    const auto same = std::ranges::find_if(found, [&](const LayerResult& other) {
      return other.n == layer.n && other.k == layer.k && other.kernel == layer.kernel;
    });
    if (same != found.end()) {
      ++same->count;
      continue;
    }
    LayerResult result;
    result.n = layer.n;
    result.k = layer.k;
    result.count = 1;
    result.kernel = layer.kernel;
    found.push_back(std::move(result));
  }
  return found;
}

void measure(LayerResult& layer, int share_rows, bool scales_by_row, int repeat,
             const ModelResult& whole) {
  const int threads = whole.shape.threads;
  const Kernel& dense_kernel =
      select_kernel({layer.n, layer.k, MatmulType::kF32, false}, forced_kernel({}));
  RandomProduct as_if(*forced_kernel(layer.kernel), layer.n, layer.k, share_rows, scales_by_row);
  RandomProduct dense(dense_kernel, layer.n, layer.k, 1);
  for (RandomProduct* product : {&as_if, &dense})
    product->set_rows(whole.shape.batch * whole.shape.tokens, threads);
  ThreadPool pool(threads);
  const std::function<void()> runs[] = {[&] { as_if.run(pool); }, [&] { dense.run(pool); }};
  const auto ms = time_in_turns(runs, repeat);
  layer.dense_kernel = dense_kernel.name();
  layer.as_if = summarize(ms[0]);
  layer.dense = summarize(ms[1]);
  layer.ratio = compare_times(ms[0], ms[1]);
  layer.share = layer.dense.median_ms * layer.count / whole.other.median_ms;
}

}  // namespace

std::vector<LayerResult> measure_layers(const Engine& as_if, int share_rows, int repeat,
                                        const ModelResult& whole) {
  std::vector<LayerResult> layers = distinct_layers(as_if);
  // A zero point costs products nothing, scales by token a pass over their results.
  const bool scales_by_row = as_if.options().activation_scales == "per_token";
  for (LayerResult& layer : layers) measure(layer, share_rows, scales_by_row, repeat, whole);
  return layers;
}

Json to_json(const std::vector<LayerResult>& layers) {
  Json rows = Json::array();
  for (const LayerResult& l : layers) {
    rows.push_back({{"n", l.n},
                    {"k", l.k},
                    {"count", l.count},
                    {"kernel", l.kernel},
                    {"dense_kernel", l.dense_kernel},
                    {"dense_ms", l.dense.median_ms},
                    {"as_if_ms", l.as_if.median_ms},
                    {"ratio", l.ratio.median},
                    {"ratio_low", l.ratio.low},
                    {"ratio_high", l.ratio.high},
                    {"share", l.share}});
  }
  return rows;
}

Table layers_table(const std::vector<LayerResult>& layers) {
  Table table({"n", "k", "layers", "dense ms", "as-if ms", "ratio", "<quartiles", "share %"});
  for (const LayerResult& l : layers) {
    table.add_row({std::to_string(l.n), std::to_string(l.k), std::to_string(l.count),
                   fmt::format("{:.4f}", l.dense.median_ms),
                   fmt::format("{:.4f}", l.as_if.median_ms), fmt::format("{:.2f}", l.ratio.median),
                   format_quartiles(l.ratio), fmt::format("{:.1f}", l.share * 100)});
  }
  return table;
}

}  // namespace twofour::cli
