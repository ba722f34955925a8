// What one plug-in computes: its fields, checked, with the weight as canonical 2:4.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/dtype.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::tensorrt {

// By TensorRT's own numbers (PluginFieldType); others may come.
enum class FieldType : int32_t {
  kFloat16 = 0,
  kFloat32 = 1,
  kFloat64 = 2,
  kInt8 = 3,
  kInt16 = 4,
  kInt32 = 5,
  kChar = 6,
  kDims = 7,
  kUnknown = 8,
  kBf16 = 9,
};
std::string_view field_type_name(FieldType type);

// An attribute of the ONNX node as TensorRT hands it over: `length` elements of `type`. A string is
// kChar, with its closing zero or without.
struct PluginField {
  std::string_view name;
  FieldType type = FieldType::kUnknown;
  const void* data = nullptr;
  int64_t length = 0;
};

// A field that the plug-in knows.
struct FieldName {
  const char* name;
  FieldType type;
};
std::span<const FieldName> field_names();

enum class Epilogue : uint32_t { kNone, kBias, kBiasRelu, kBiasGelu };

struct SpmmDefinition {
  std::string name;  // of the layer, for messages
  int64_t n = 0, k = 0;
  DType type = DType::kF16;  // of x and the weight: kF16, kBF16 or kI8
  Epilogue epilogue = Epilogue::kNone;
  int64_t max_m = 0;        // largest m that has a plan of its own; more run in pieces
  int64_t bucket_step = 0;  // plans for this m, twice, ...: a multiple of 16

  Sparse24Matrix weight;
  std::vector<float> bias;          // [n]; empty with kNone
  std::vector<float> weight_scale;  // [n] of int8, else empty
  float input_scale = 1;

  DType output_type() const { return type == DType::kI8 ? DType::kF16 : type; }
};

// Throws Error with the layer and the field: one that is missing, twice there, unknown, of another
// type or length than expected, out of range; a weight that is not 2:4 (with the first group); n
// and k that cuSPARSELt cannot take.
SpmmDefinition parse_fields(std::string_view layer, std::span<const PluginField> fields);

// The checks of values that parse_fields() shares with the reader of stored plug-ins.
void check_definition(const SpmmDefinition& definition);

}  // namespace twofour::tensorrt
