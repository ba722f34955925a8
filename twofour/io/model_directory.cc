#include "twofour/io/model_directory.h"

#include <fmt/format.h>

#include <cmath>

#include "twofour/base/error.h"
#include "twofour/io/json.h"
#include "twofour/io/model_files.h"
#include "twofour/io/weight_masks.h"

namespace twofour {
namespace {

constexpr std::string_view kHeadPrefix = "bert.";
constexpr std::string_view kWeightScale = ".weight_scale";
constexpr std::string_view kInputScale = ".input_scale";
constexpr std::string_view kOneModel = "Take config.json and weights of one model";
constexpr std::string_view kQuantizeAgain =
    "The file is damaged or incomplete: fetch it again, or quantize the float model anew";

void replace_suffix(std::string& name, std::string_view old_suffix, std::string_view suffix) {
  if (!name.ends_with(old_suffix)) return;
  name.replace(name.size() - old_suffix.size(), old_suffix.size(), suffix);
}

// Empty for tensors that no network here reads.
std::string canonical_name(std::string name) {
  if (name.starts_with(kHeadPrefix)) name.erase(0, kHeadPrefix.size());
  if (name.starts_with("cls.") || name == "embeddings.position_ids") return {};
  if (is_left_by_pruning(name)) return {};
  replace_suffix(name, "LayerNorm.gamma", "LayerNorm.weight");
  replace_suffix(name, "LayerNorm.beta", "LayerNorm.bias");
  return name;
}

using Scales = std::map<std::string, Tensor, std::less<>>;

void check_scale_values(const Tensor& scale, const std::string& where) {
  const auto values = scale.as<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(std::isfinite(values[i]) && values[i] > 0)) {
      throw Error(where, fmt::format("scale {} is {}, expected a positive number", i, values[i]),
                  kQuantizeAgain);
    }
  }
}

// llm-compressor writes scales in the type that the float model had.
bool is_scale_type(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// [n] for [n, 1], a number alone for [1].
Shape without_last_dimension(const Shape& shape) {
  return Shape(std::vector<int64_t>(shape.dims().begin(), shape.dims().end() - 1));
}

void read_scale(const ModelDirectory& model, const std::string& name, const Shape& shape,
                Scales& scales) {
  const std::string where = model.where(name);
  if (!model.contains(name)) {
    throw Error(where, "the int8 weight's companion is missing", kQuantizeAgain);
  }
  const TensorView stored = model.tensor(name);
  const bool shaped = stored.shape == shape || stored.shape == without_last_dimension(shape);
  if (!is_scale_type(stored.dtype) || !shaped) {
    throw Error(where,
                fmt::format("is {} {}, expected F32, F16 or BF16 {}", dtype_name(stored.dtype),
                            stored.shape.to_string(), shape.to_string()),
                kQuantizeAgain);
  }
  Tensor scale = to_f32({stored.dtype, shape, stored.data}, name);
  check_scale_values(scale, where);
  scales.emplace(name, std::move(scale));
}

void read_scales_of(const ModelDirectory& model, const std::string& layer, Scales& scales) {
  const TensorView weight = model.tensor(layer + ".weight");
  if (weight.shape.rank() != 2) {
    throw Error(model.where(layer + ".weight"),
                fmt::format("int8 weight is {}, expected two dimensions", weight.shape.to_string()),
                kQuantizeAgain);
  }
  read_scale(model, layer + std::string(kWeightScale), Shape{weight.shape[0], 1}, scales);
  const std::string input_scale = layer + std::string(kInputScale);
  if (!model.config().dynamic_activations) return read_scale(model, input_scale, Shape{1}, scales);
  if (model.contains(input_scale)) {
    throw Error(model.where(input_scale),
                "is a static scale, but config.json says that activations are dynamic", kOneModel);
  }
}

// Of all int8 layers. config.json and the tensors must agree on what is int8.
Scales read_scales(const ModelDirectory& model) {
  Scales scales;
  int64_t layers = 0;
  for (const std::string& name : model.tensor_names()) {
    if (!name.ends_with(".weight") || model.tensor(name).dtype != DType::kI8) continue;
    if (!model.config().int8) {
      throw Error(model.where(name), "is int8, but config.json has no quantization_config",
                  kOneModel);
    }
    read_scales_of(model, name.substr(0, name.rfind('.')), scales);
    ++layers;
  }
  if (model.config().int8 && layers == 0) {
    throw Error(model.origin(), "config.json has a quantization_config, but no weight is int8",
                kOneModel);
  }
  return scales;
}

}  // namespace

ModelDirectory ModelDirectory::open(const std::filesystem::path& path) {
  ModelDirectory model = load(ModelFolder(path));
  model.path_ = path;
  return model;
}

ModelDirectory ModelDirectory::from_memory(
    const std::map<std::string, std::span<const std::byte>>& files, const std::string& origin) {
  return load(ModelInMemory(files, origin));
}

ModelDirectory ModelDirectory::load(const ModelFiles& files) {
  const Modules modules = read_modules(files);
  ModelDirectory model;
  model.origin_ = files.origin();
  model.files_ = read_small_files(files, modules);
  model.config_ = parse_model_config(model.files_, modules, files.origin());
  model.twofour_json_ = model.file("twofour.json").value_or("");
  if (model.file("twofour.json")) {
    JsonObject::parse(model.twofour_json_, files.where("twofour.json"));
  }
  Safetensors tensors = open_weights(files, modules);
  check_weight_masks(tensors, files.origin());
  model.take_tensors(std::move(tensors));
  return model;
}

void ModelDirectory::take_tensors(Safetensors tensors) {
  tensors_ = std::move(tensors);
  file_names_.clear();
  for (const std::string& name : tensors_.names()) {
    const std::string canonical = canonical_name(name);
    if (canonical.empty()) continue;
    const auto [other, is_new] = file_names_.emplace(canonical, name);
    if (!is_new) {
      throw Error(tensors_.where(name),
                  fmt::format("{} is the same tensor under another name", other->second),
                  "Remove one of the two from the file");
    }
  }
  names_.clear();
  for (const auto& [canonical, name] : file_names_) names_.push_back(canonical);
  scales_ = nullptr;  // those before are of other tensors
  scales_ = std::make_shared<const Scales>(read_scales(*this));
}

std::optional<std::string> ModelDirectory::file(std::string_view name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? std::nullopt : std::optional(found->second);
}

bool ModelDirectory::contains(std::string_view name) const { return file_names_.contains(name); }

TensorView ModelDirectory::tensor(std::string_view name) const {
  const auto found = file_names_.find(name);
  if (found == file_names_.end()) {
    throw Error(where(name), "the model has no such tensor");
  }
  if (scales_ != nullptr) {
    const auto scale = scales_->find(name);
    if (scale != scales_->end()) return scale->second;
  }
  return tensors_.get(found->second);
}

std::string ModelDirectory::where(std::string_view name) const {
  const auto found = file_names_.find(name);
  return tensors_.where(found == file_names_.end() ? name : std::string_view(found->second));
}

uint64_t ModelDirectory::weight_file_bytes() const { return tensors_.file_bytes(); }

ModelDirectory ModelDirectory::with_head(HeadKind head, int64_t num_labels) const {
  if (classifies(head) && num_labels < 1) {
    throw Error(origin_, fmt::format("a classification head with {} labels", num_labels),
                "1 (regression) is the least");
  }
  ModelDirectory copy = *this;
  copy.config_.head = head;
  copy.config_.num_labels = classifies(head) ? num_labels : 0;
  return copy;
}

ModelDirectory ModelDirectory::with_tensors(const ModelConfig& config,
                                            const std::vector<NamedTensor>& tensors) const {
  ModelDirectory copy = *this;
  copy.config_ = config;
  copy.take_tensors(Safetensors::of(tensors, origin_));
  return copy;
}

}  // namespace twofour
