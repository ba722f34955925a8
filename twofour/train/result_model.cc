#include "twofour/train/result_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/io/json.h"
#include "twofour/quant/quantize.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/train/torch_tensors.h"

namespace twofour {
namespace {

// What a result consists of, and the memory that its tensors lie in.
class Result {
 public:
  // `origin` names it in errors.
  Result(const ResultModel& model, std::string origin)
      : model_(model), origin_(std::move(origin)), config_(model.source.config()) {
    config_.int8 = !model_.scales.empty();
    config_.dynamic_activations = false;  // the scales are new, whatever the source had
    for (const Op& op : model_.network.ops) add(op);
    if (!config_.int8) keep_pooler();
  }

  const ModelConfig& config() const { return config_; }
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

 private:
  void add(const Op& op) {
    const Network& network = model_.network;
    const bool linear = op.kind == OpKind::kLinear && op.prunable;
    const int32_t point = linear ? network.values[op.inputs[0]].quant_point : -1;
    for (size_t i = 0; i < op.parameters.size(); ++i) {
      const std::string& name = network.parameter(op, i).name;
      if (i == 0 && point >= 0 && !model_.scales.empty()) {
        add_int8(op, name, model_.scales[point]);
      } else {
        add_f32(name);
      }
    }
  }

  // A float encoder may get a classifier later, which wants the pooler that embeddings do not use.
  void keep_pooler() {
    for (const std::string name : {"pooler.dense.weight", "pooler.dense.bias"}) {
      if (model_.source.contains(name) && !model_.parameters.contains(name)) {
        tensors_.push_back({name, model_.source.tensor(name)});
      }
    }
  }

  void add_f32(const std::string& name) {
    const TensorView view = view_of(weights_.emplace_back(weight(name)));
    check_pattern(name, view);
    tensors_.push_back({name, view});
  }

  void add_int8(const Op& op, const std::string& name, float input_scale) {
    const at::Tensor dense = weight(name);
    QuantizedWeight quantized = quantize_weight(view_of(dense), model_.weight_bits);
    Tensor scale(DType::kF32, {1});
    scale.as<float>()[0] = input_scale;
    add_owned(name, std::move(quantized.values));
    check_pattern(name, tensors_.back().view);
    add_owned(name + "_scale", std::move(quantized.scales));
    add_owned(op.name + ".input_scale", std::move(scale));
  }

  void add_owned(const std::string& name, Tensor tensor) {
    owned_.push_back(std::move(tensor));
    tensors_.push_back({name, owned_.back().view()});
  }

  at::Tensor weight(const std::string& name) const {
    return model_.parameters.at(name).detach().cpu().contiguous();
  }

  void check_pattern(const std::string& name, const TensorView& view) const {
    if (std::ranges::find(model_.sparse_weights, name) == model_.sparse_weights.end()) return;
    if (const auto violation = find_violation(view)) {
      throw Error(origin_,
                  fmt::format("tensor '{}' is not 2:4: row {}, column {} begins a group with {} "
                              "non-zero values",
                              name, violation->row, violation->col, violation->nonzero));
    }
  }

  const ResultModel& model_;
  const std::string origin_;
  ModelConfig config_;
  std::vector<NamedTensor> tensors_;
  std::list<Tensor> owned_;        // what the views point into
  std::list<at::Tensor> weights_;  // the same
};

}  // namespace

void write_result_model(const std::filesystem::path& path, const ResultModel& model) {
  const Result result(model, path.string());
  save_model_directory(
      path, {model.source.path(), result.config(), result.tensors(), model.twofour_json});
}

std::shared_ptr<const Engine> load_result_model(const ResultModel& model) {
  const Result result(model, model.source.origin());
  return Engine::load(model.source.with_tensors(result.config(), result.tensors()),
                      {.attention = "f32",
                       .precision = "f32",
                       .activation_scales = "static",
                       .device = "cpu",
                       .backend = "twofour"});
}

std::string describe_result(const ResultDescription& result, const std::string& before) {
  using Json = nlohmann::ordered_json;
  Json json = Json::parse(before, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) json = Json::object();
  json["version"] = TWOFOUR_VERSION;
  if (!result.recipe.empty()) {
    json["recipe"] = {{"name", result.recipe}, {"yaml", result.recipe_yaml}};
    json["steps"] = result.steps;
    json["dev"] = result.dev;
  }
  if (result.sparsity > 0) {
    json["pruning"] = {{"pattern", result.sparsity >= 0.5 ? "2:4" : "part of 2:4"},
                       {"sparsity", result.sparsity},
                       {"share_rows", result.share_rows}};
  } else if (!result.recipe.empty()) {
    json.erase("pruning");
  }
  json["scheme"] = {{"weights", "f32"}, {"activations", "f32"}};
  if (result.int8) {
    QuantScheme weights, activations;
    weights.bits = result.weight_bits;
    weights.granularity = QuantScheme::Granularity::kPerChannel;
    json["scheme"] = {{"weights", weights.to_string()},
                      {"activations", activations.to_string()},
                      {"calibration", result.calibration}};
  }
  return json_text(json, 2) + "\n";
}

}  // namespace twofour
