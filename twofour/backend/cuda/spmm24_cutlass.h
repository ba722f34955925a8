// 2:4 products of any number of rows on CUTLASS's main loops, with all that follows in the same
// kernel: y = out(activation(scale * x W^T + bias) + residual). Two forms: mma.sp for compute
// capability 8.0 and later, wgmma.sp for 9.0 alone; each in tiles of several sizes.
//
//   x             [m, k]  f16, bf16 or s8, rows x_stride elements apart
//   W             [n, k]  Spmm24CutlassWeight
//   weight_scales [n]     f32, or null for 1; multiplied by input_scale and token_scales
//   token_scales  [m]     f32, or null for 1
//   bias          [n]     f32, or null for 0
//   residual      [m, n]  of y's type, f16 or bf16, rows residual_stride elements apart; or null
//   y             [m, n]  s8, f16 or bf16, rows y_stride elements apart
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "twofour/backend/cuda/epilogue.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/base/dtype.h"

namespace twofour::cuda {

enum class CutlassForm { kSm80, kSm90 };

struct Spmm24CutlassVariant {
  std::string_view name;  // in plan files
  CutlassForm form = CutlassForm::kSm80;
  int rows = 0, tokens = 0;  // of a block: of W and of x
};

// By form, the smallest tiles first.
inline constexpr Spmm24CutlassVariant kSpmm24CutlassVariants[] = {
    {"sm80-64x64", CutlassForm::kSm80, 64, 64},     {"sm80-128x64", CutlassForm::kSm80, 128, 64},
    {"sm80-128x128", CutlassForm::kSm80, 128, 128}, {"sm90-128x64", CutlassForm::kSm90, 128, 64},
    {"sm90-128x128", CutlassForm::kSm90, 128, 128},
};
inline constexpr int kSpmm24CutlassVariantCount =
    sizeof kSpmm24CutlassVariants / sizeof kSpmm24CutlassVariants[0];

struct Spmm24CutlassArgs {
  const void* x = nullptr;         // aligned to 16 bytes, as every row of it
  const void* values = nullptr;    // Spmm24CutlassWeight::values and metadata on the device
  const void* metadata = nullptr;  // aligned to 16 bytes
  int64_t m = 0, n = 0, k = 0;
  int64_t x_stride = 0, y_stride = 0, residual_stride = 0;  // in elements
  void* y = nullptr;  // aligned to 16 bytes, as every row of it; the same of residual
  float input_scale = 1;
  const float* weight_scales = nullptr;
  const float* token_scales = nullptr;
  const float* bias = nullptr;
  const void* residual = nullptr;
  float output_scale = 1;  // of int8 results
};

// Why this form cannot compute layers of the shape and types on the device; nothing where it can.
std::optional<std::string> spmm24_cutlass_rejects(CutlassForm form, const DeviceProperties& device,
                                                  DType input, DType output, int64_t n, int64_t k);

// The largest tile that still gives every multiprocessor a block, else the smallest; a guess that
// plans replace.
int default_spmm24_cutlass(CutlassForm form, const DeviceProperties& device, int64_t m, int64_t n);

// The number of the variant of that name, if there is one.
std::optional<int> find_spmm24_cutlass(std::string_view name);

// Throws Error unless types, shape, strides and addresses are as said above and of what
// spmm24_cutlass_rejects() takes on some device.
void check_spmm24_cutlass(int variant, DType type, DType output, const Spmm24CutlassArgs& args);

// One result before it is stored.
TWOFOUR_HOST_DEVICE float spmm24_cutlass_value(EpilogueActivation activation, float sum,
                                               float input_scale, float token_scale,
                                               float weight_scale, float bias) {
  const float scale = input_scale * token_scale * weight_scale;
  return activate(activation, multiply_then_add(sum, scale, bias));
}

}  // namespace twofour::cuda
