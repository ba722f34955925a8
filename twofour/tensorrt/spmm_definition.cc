#include "twofour/tensorrt/spmm_definition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "twofour/backend/cuda/product.h"
#include "twofour/base/error.h"
#include "twofour/graph/spmm_node.h"

namespace twofour::tensorrt {
namespace {

namespace node = spmm_node;

constexpr int64_t kLargestDimension = 1 << 24;
constexpr int64_t kLargestMaxM = 1 << 20;

// Of kWeight the type depends on kDtype; the one named here is what a list of fields shows.
constexpr std::array kFields{
    FieldName{node::kN, FieldType::kInt32},
    FieldName{node::kK, FieldType::kInt32},
    FieldName{node::kDtype, FieldType::kChar},
    FieldName{node::kEpilogue, FieldType::kChar},
    FieldName{node::kMaxM, FieldType::kInt32},
    FieldName{node::kBucketStep, FieldType::kInt32},
    FieldName{node::kWeight, FieldType::kFloat16},
    FieldName{node::kBias, FieldType::kFloat32},
    FieldName{node::kWeightScale, FieldType::kFloat32},
    FieldName{node::kInputScale, FieldType::kFloat32},
};

constexpr const char* kRemedy = "Write the ONNX file with twofour export --plugin";

FieldType field_type(DType type) {
  if (type == DType::kI8) return FieldType::kInt8;
  return type == DType::kBF16 ? FieldType::kBf16 : FieldType::kFloat16;
}

// The fields of one node, by name.
class Fields {
 public:
  Fields(std::string_view layer, std::span<const PluginField> fields)
      : layer_(layer), fields_(fields) {
    for (size_t i = 0; i < fields.size(); ++i) {
      const auto same = [&](const auto& other) { return fields[i].name == other.name; };
      if (std::none_of(kFields.begin(), kFields.end(), same))
        fail(fmt::format("field '{}' is not known", fields[i].name));
      if (std::any_of(fields.begin(), fields.begin() + i, same))
        fail(fmt::format("field '{}' is there twice", fields[i].name));
    }
  }

  int64_t integer(const char* name, std::optional<int64_t> otherwise = std::nullopt) const {
    const PluginField* field = find(name);
    if (field == nullptr && otherwise) return *otherwise;
    int32_t value = 0;
    std::memcpy(&value, checked(name, field, FieldType::kInt32, 1).data, sizeof value);
    return value;
  }

  std::string text(const char* name) const {
    const PluginField& field = checked(name, find(name), FieldType::kChar, -1);
    const auto* data = static_cast<const char*>(field.data);
    return {data, strnlen(data, static_cast<size_t>(field.length))};
  }

  std::vector<float> floats(const char* name, int64_t length) const {
    const PluginField& field = checked(name, find(name), FieldType::kFloat32, length);
    std::vector<float> values(static_cast<size_t>(length));
    std::memcpy(values.data(), field.data, values.size() * sizeof(float));
    return values;
  }

  const std::byte* tensor(const char* name, DType type, int64_t length) const {
    return static_cast<const std::byte*>(checked(name, find(name), field_type(type), length).data);
  }

  void refuse(const char* name, std::string_view reason) const {
    if (find(name) != nullptr) fail(fmt::format("field '{}' {}", name, reason));
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(layer_, message, kRemedy);
  }

 private:
  const PluginField* find(std::string_view name) const {
    const auto found = std::find_if(fields_.begin(), fields_.end(),
                                    [&](const PluginField& field) { return field.name == name; });
    return found == fields_.end() ? nullptr : &*found;
  }

  const PluginField& checked(const char* name, const PluginField* field, FieldType type,
                             int64_t length) const {
    if (field == nullptr) fail(fmt::format("field '{}' is missing", name));
    if (field->type != type) {
      fail(fmt::format("field '{}' is {}, expected {}", name, field_type_name(field->type),
                       field_type_name(type)));
    }
    if (length >= 0 && field->length != length) {
      fail(fmt::format("field '{}' has {} values, expected {}", name, field->length, length));
    }
    if (field->length < 0 || (field->data == nullptr && field->length > 0))
      fail(fmt::format("field '{}' has no data", name));
    return *field;
  }

  std::string layer_;
  std::span<const PluginField> fields_;
};

template <class Value, size_t kCount>
Value choice(const Fields& fields, const char* name,
             const std::array<std::pair<const char*, Value>, kCount>& known) {
  const std::string text = fields.text(name);
  std::vector<std::string> names;
  for (const auto& [spelling, value] : known) {
    if (text == spelling) return value;
    names.emplace_back(spelling);
  }
  fields.fail(
      fmt::format("field '{}' is '{}', expected one of: {}", name, text, fmt::join(names, ", ")));
}

constexpr std::array<std::pair<const char*, DType>, 3> kTypes{
    {{node::kFp16, DType::kF16}, {node::kBf16, DType::kBF16}, {node::kInt8, DType::kI8}}};
constexpr std::array<std::pair<const char*, Epilogue>, 4> kEpilogues{
    {{node::kNone, Epilogue::kNone},
     {node::kBiasOnly, Epilogue::kBias},
     {node::kBiasRelu, Epilogue::kBiasRelu},
     {node::kBiasGelu, Epilogue::kBiasGelu}}};

void check_range(const SpmmDefinition& d, const char* name, int64_t value, int64_t most) {
  if (value >= 1 && value <= most) return;
  throw Error(d.name, fmt::format("field '{}' is {}, expected 1 to {}", name, value, most),
              kRemedy);
}

void check_values(const SpmmDefinition& d, const char* name, const std::vector<float>& values,
                  bool positive) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && (!positive || values[i] > 0)) continue;
    throw Error(d.name,
                fmt::format("field '{}' holds {} at {}, expected a finite value{}", name, values[i],
                            i, positive ? " > 0" : ""),
                kRemedy);
  }
}

void check_numbers(const SpmmDefinition& d) {
  check_range(d, node::kN, d.n, kLargestDimension);
  check_range(d, node::kK, d.k, kLargestDimension);
  check_range(d, node::kMaxM, d.max_m, kLargestMaxM);
  check_range(d, node::kBucketStep, d.bucket_step, kLargestMaxM);
  if (d.bucket_step % cuda::kRowMultiple != 0) {
    throw Error(d.name,
                fmt::format("field '{}' is {}, expected a multiple of {}", node::kBucketStep,
                            d.bucket_step, cuda::kRowMultiple),
                kRemedy);
  }
  const cuda::ProductDesc product{d.n, d.k, d.type, d.output_type(), std::nullopt, nullptr, false};
  if (const auto reason = cuda::rejects(product)) throw Error(d.name, *reason, kRemedy);
}

}  // namespace

std::string_view field_type_name(FieldType type) {
  constexpr std::array<std::string_view, 10> kNames{
      "FLOAT16", "FLOAT32", "FLOAT64", "INT8", "INT16", "INT32", "CHAR", "DIMS", "UNKNOWN", "BF16"};
  const auto index = static_cast<size_t>(type);
  return index < kNames.size() ? kNames[index] : "of a type that this plug-in does not know";
}

std::span<const FieldName> field_names() { return kFields; }

SpmmDefinition parse_fields(std::string_view layer, std::span<const PluginField> list) {
  const Fields fields(layer, list);
  SpmmDefinition d;
  d.name = layer;
  d.n = fields.integer(node::kN);
  d.k = fields.integer(node::kK);
  d.type = choice(fields, node::kDtype, kTypes);
  d.epilogue = choice(fields, node::kEpilogue, kEpilogues);
  d.max_m = fields.integer(node::kMaxM, node::kDefaultMaxM);
  d.bucket_step = fields.integer(node::kBucketStep, node::kDefaultBucketStep);
  check_numbers(d);
  const TensorView weight{d.type, {d.n, d.k}, fields.tensor(node::kWeight, d.type, d.n * d.k)};
  d.weight = compress(fmt::format("{}.{}", layer, node::kWeight), weight);
  if (d.epilogue == Epilogue::kNone)
    fields.refuse(node::kBias, "goes with another epilogue than none");
  else
    d.bias = fields.floats(node::kBias, d.n);
  if (d.type == DType::kI8) {
    d.weight_scale = fields.floats(node::kWeightScale, d.n);
    d.input_scale = fields.floats(node::kInputScale, 1)[0];
  } else {
    for (const char* name : {node::kWeightScale, node::kInputScale})
      fields.refuse(name, "goes with type int8");
  }
  check_definition(d);
  return d;
}

void check_definition(const SpmmDefinition& d) {
  check_numbers(d);
  check_values(d, node::kBias, d.bias, false);
  check_values(d, node::kWeightScale, d.weight_scale, true);
  check_values(d, node::kInputScale, {d.input_scale}, true);
}

}  // namespace twofour::tensorrt
