#include "twofour/cli/as_if_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/pruning.h"
#include "twofour/graph/inspect.h"
#include "twofour/quant/quantize.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

// What LayerNorm and attention give stays below 4 as a rule, what GELU gives below 1.5.
constexpr float kHiddenAmax = 4, kActivationAmax = 1.5f;

std::vector<const Op*> encoder_layers(const Network& network) {
  std::vector<const Op*> layers;
  for (const Op& op : network.ops) {
    if (op.kind == OpKind::kLinear && op.prunable) layers.push_back(&op);
  }
  return layers;
}

void check_dense_float(const ModelDirectory& model, const Network& network) {
  constexpr const char* kRemedy = "--as-if takes a dense float model";
  if (model.config().int8) throw Error(model.origin(), "is int8 already", kRemedy);
  for (const Op* op : encoder_layers(network)) {
    const std::string& name = network.parameter(*op, 0).name;
    if (!why_not_prunable(network, *op).empty()) continue;
    if (!find_violation(to_f32(model.tensor(name), name)))
      throw Error(model.origin(), fmt::format("{} is 2:4 sparse already", op->name), kRemedy);
  }
}

// The tensors of an int8 model directory.
class Tensors {
 public:
  Tensors(const ModelDirectory& model, const Network& network, const AsIf& as_if)
      : model_(model), network_(network), as_if_(as_if) {
    for (const std::string& name : model.tensor_names()) views_[name] = model.tensor(name);
  }

  void quantize(const Op& op) {
    const std::string& name = network_.parameter(op, 0).name;
    QuantizedWeight quantized = quantize_weight(weight(op, name));
    put(name, std::move(quantized.values));
    put(name + "_scale", std::move(quantized.scales));
    Tensor input_scale(DType::kF32, {1});
    input_scale.as<float>()[0] = scale_from_amax(input_amax(op));
    put(op.name + ".input_scale", std::move(input_scale));
  }

  const std::map<std::string, TensorView>& views() const { return views_; }

 private:
  Tensor weight(const Op& op, const std::string& name) const {
    if (!as_if_.sparse || !why_not_prunable(network_, op).empty())
      return to_f32(model_.tensor(name), name);
    PruneOptions options;
    options.share_rows = as_if_.share_rows;
    options.pairing = "adjacent";  // stored in order: docs/kernels.md
    return prune_layer(options, model_, network_, op).values;
  }

  float input_amax(const Op& op) const {
    const bool activated = std::ranges::any_of(network_.ops, [&](const Op& other) {
      return other.kind == OpKind::kActivation && other.output == op.inputs[0];
    });
    return activated ? kActivationAmax : kHiddenAmax;
  }

  void put(const std::string& name, Tensor tensor) {
    views_[name] = owned_.emplace_back(std::move(tensor)).view();
  }

  const ModelDirectory& model_;
  const Network& network_;
  const AsIf as_if_;
  std::list<Tensor> owned_;
  std::map<std::string, TensorView> views_;
};

// A safetensors file: length of the header, header, data.
AlignedBuffer safetensors_file(const std::map<std::string, TensorView>& tensors) {
  Json header = Json::object();
  size_t end = 0;
  for (const auto& [name, view] : tensors) {
    header[name] = {{"dtype", dtype_name(view.dtype)},
                    {"shape", view.shape.dims()},
                    {"data_offsets", {end, end + view.bytes()}}};
    end += view.bytes();
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  AlignedBuffer file(sizeof length + text.size() + end);
  std::byte* to = file.data();
  const auto append = [&](const void* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    to += bytes;
  };
  append(&length, sizeof length);
  append(text.data(), text.size());
  for (const auto& [name, view] : tensors) append(view.data, view.bytes());
  return file;
}

std::string int8_config(const ModelDirectory& model) {
  Json config = Json::parse(model.config().json);
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", "int-quantized"},
                                   {"config_groups",
                                    {{"group_0",
                                      {{"weights", {{"strategy", "channel"}}},
                                       {"input_activations", {{"strategy", "tensor"}}}}}}}};
  return config.dump();
}

// The canonical names lie in the folders that save_model_directory gives them.
std::string canonical_modules(const std::string& modules) {
  Json list = Json::parse(modules);
  for (Json& module : list) {
    const bool pooling = module.at("type").get<std::string>().ends_with("Pooling");
    module["path"] = pooling ? "1_Pooling" : "";
  }
  return list.dump();
}

std::map<std::string, std::string> small_files(const ModelDirectory& model) {
  std::map<std::string, std::string> files{{"config.json", int8_config(model)}};
  for (const char* name :
       {"1_Pooling/config.json", "tokenizer_config.json", "sentence_bert_config.json"}) {
    if (const auto text = model.file(name)) files[name] = *text;
  }
  if (const auto text = model.file("modules.json"))
    files["modules.json"] = canonical_modules(*text);
  return files;
}

}  // namespace

std::shared_ptr<const Engine> load_as_if(const ModelDirectory& model, const AsIf& as_if,
                                         const EngineOptions& options, Console& console) {
  const Network network = build_network(model.config());
  check_parameters(network, model);
  check_dense_float(model, network);
  Tensors tensors(model, network, as_if);
  const auto layers = encoder_layers(network);
  for (size_t i = 0; i < layers.size(); ++i) {
    tensors.quantize(*layers[i]);
    console.progress("prepare", static_cast<int64_t>(i + 1), static_cast<int64_t>(layers.size()),
                     "layers", 0);
  }
  console.end_progress();
  const AlignedBuffer weights = safetensors_file(tensors.views());
  const auto texts = small_files(model);
  std::map<std::string, std::span<const std::byte>> files{
      {"model.safetensors", {weights.data(), weights.size()}}};
  for (const auto& [name, text] : texts) files[name] = std::as_bytes(std::span(text));
  return Engine::load(ModelDirectory::from_memory(files, model.origin()), options);
}

}  // namespace twofour::cli
