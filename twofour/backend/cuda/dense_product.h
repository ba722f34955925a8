// A dense product as cuBLASLt sees it: which products of product.h's description it computes.
#pragma once

#include <optional>
#include <string>

#include "twofour/backend/cuda/product.h"

namespace twofour::cuda {

// Why no device computes it; nothing where one may. Beside the types of 2:4 products there is F32
// to F32; int8 gives I32 or I8, without bias and activation, and no product scales by channel:
// epilogue.h does what is missing.
std::optional<std::string> dense_rejects(const ProductDesc& product);

// The same, with what this device lacks.
std::optional<std::string> dense_rejects(const ProductDesc& product,
                                         const DeviceProperties& device);

// What the library computes of `product`: of an int8 one with F16 or BF16 results the sums, to
// which epilogue.h applies the scales; else all of it.
ProductDesc dense_part(const ProductDesc& product);

// In the library's column order, as cublaslt.h says.
MatrixLayout dense_weight_layout(const ProductDesc& product);
MatrixLayout dense_input_layout(const ProductDesc& product, int64_t rows);
MatrixLayout dense_output_layout(const ProductDesc& product, int64_t rows);

// Of alpha and beta.
DType dense_scale_type(const ProductDesc& product);

}  // namespace twofour::cuda
