// Tensors of ONNX files that others wrote, in whatever form they hold their values.
#pragma once

#include <onnx/onnx.pb.h>

#include <filesystem>
#include <optional>

#include "twofour/base/tensor.h"

namespace twofour {

// Of the values; nothing for a type that is not read here.
std::optional<DType> tensor_type(const onnx::TensorProto& tensor);

// The values as f32, which holds all types but F64 exactly. They may be in a file beside `model`.
// Throws Error: a type that is not read, another number of values than the shape says, a file that
// is absent or too short.
Tensor tensor_values(const onnx::TensorProto& tensor, const std::filesystem::path& model);

// Into the tensor itself what it has in a file beside `model`; of any type. Throws Error for a file
// that is absent or too short.
void take_in(onnx::TensorProto& tensor, const std::filesystem::path& model);

}  // namespace twofour
