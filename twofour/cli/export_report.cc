#include "twofour/cli/export_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string_view form_name(LayerForm form) {
  switch (form) {
    case LayerForm::kConvolution:
      return "convolution";
    case LayerForm::kPlugin:
      return "plugin";
    default:
      return "matmul";
  }
}

Json layer_json(const WrittenLayer& layer) {
  Json eligible = Json::object();
  for (const Eligibility& engine : layer.engines) {
    eligible[engine.engine] = engine.reason.empty() ? Json(true) : Json(engine.reason);
  }
  return {{"name", layer.name},
          {"n", layer.n},
          {"k", layer.k},
          {"type", dtype_name(layer.dtype)},
          {"form", form_name(layer.form)},
          {"zeros", layer.zeros},
          {"groups", layer.groups},
          {"groups_2_4", layer.groups_2_4},
          {"sparse", layer.sparse},
          {"eligible", std::move(eligible)}};
}

}  // namespace

int64_t count_eligible(const ExportSummary& summary, std::string_view engine) {
  return std::count_if(
      summary.layers.begin(), summary.layers.end(), [&](const WrittenLayer& layer) {
        return std::any_of(layer.engines.begin(), layer.engines.end(), [&](const Eligibility& e) {
          return e.engine == engine && e.reason.empty();
        });
      });
}

std::map<std::string, int64_t> reasons_against_plugin(const ExportSummary& summary) {
  std::map<std::string, int64_t> reasons;
  for (const WrittenLayer& layer : summary.layers) {
    if (layer.form == LayerForm::kPlugin) continue;
    for (const Eligibility& engine : layer.engines) {
      if (engine.engine == "cusparselt") ++reasons[engine.reason];
    }
  }
  return reasons;
}

Json export_report(const ExportRequest& request, const ExportSummary& summary) {
  Json layers = Json::array();
  for (const WrittenLayer& layer : summary.layers) layers.push_back(layer_json(layer));
  Json report = {{"model", request.model.string()},
                 {"file", request.out.string()},
                 {"target", request.target},
                 {"sparse_layers", summary.sparse_layers},
                 {"eligible_layers",
                  {{"cusparselt", count_eligible(summary, "cusparselt")},
                   {"tensorrt", count_eligible(summary, "tensorrt")}}}};
  if (request.plugin) report["plugin_layers"] = summary.plugin_layers;
  report["layers"] = std::move(layers);
  return report;
}

}  // namespace twofour::cli
