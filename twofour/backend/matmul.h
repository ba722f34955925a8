// y = x W^T + bias: descriptions, packed weights and the interface of a kernel.
//
//   x     [m, k]  f32 or s8, row-major
//   W     [n, k]  f32, or s8 with one scale for each row; dense or 2:4-sparse along k. For bf16
//   both
//                 come in f32 and are rounded to bf16; sums are f32
//   bias  [n]     f32
//   y     [m, n]  f32, row-major
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/aligned_buffer.h"
#include "twofour/base/tensor.h"
#include "twofour/graph/network.h"

namespace twofour {

enum class MatmulType { kF32, kBf16, kS8 };

std::string_view matmul_type_name(MatmulType type);  // "f32", "bf16", "int8"
int64_t element_bytes(MatmulType type);              // of a weight
int64_t input_bytes(MatmulType type);                // of an element of x

struct MatmulDesc {
  int64_t n = 0, k = 0;
  MatmulType type = MatmulType::kF32;
  bool sparse = false;  // W is 2:4 along k
};

// The one definition of an int8 result. Every kernel computes exactly this, in this order and
// without fused multiply-add, so that all of them give the same bits.
inline float dequantize_sum(int32_t sum, float input_scale, float weight_scale, float bias) {
  const float scaled = static_cast<float>(sum) * (input_scale * weight_scale);
  return scaled + bias;
}

// Weights in a kernel's own order. A panel is the unit of work along n; what it holds is the
// kernel's business.
struct PackedWeights {
  int64_t n = 0, k = 0;
  int64_t k_padded = 0;
  // Fewest rows that a panel of a sparse kernel multiplies with one selection of activations: every
  // selection serves at least so many. 1 for dense kernels.
  int share_rows = 1;

  struct Panel {
    int64_t weights = 0;  // offsets in elements of the buffers below
    int64_t metadata = 0;
    int64_t rows = 0;  // into row_map, scales, bias and row_sums
    int blocks = 0;    // vectors of output rows
    int shared = 1;    // blocks that share one pattern
    // Rows [first_row, first_row + row_count) in some order; row_count 0: scattered.
    int32_t first_row = 0, row_count = 0;
    bool in_order = false;  // not scattered, and rows stand in their own order
  };
  std::vector<Panel> panels;

  AlignedBuffer weights;
  AlignedBuffer metadata;
  std::vector<int32_t> row_map;  // packed position -> output row, -1 for padding
  AlignedBuffer scales, bias;    // f32, by packed position
  AlignedBuffer row_sums;        // s32, by packed position
  // s32; in panels that are not scattered: output row - first_row -> position in panel.
  AlignedBuffer store_map;

  uint64_t bytes() const;
};

struct WeightSource {
  TensorView weight;              // I8 for int8, else F32 [n, k], zeros in place; aligned
  std::span<const float> scales;  // [n] for int8, else empty
  std::span<const float> bias;    // [n] or empty
};

// What becomes of the results before they are stored.
struct Epilogue {
  std::optional<ActivationKind> activation;
  // [m, n], quantize() of the activated results plus output_offset, with output_scale.
  int8_t* quantized = nullptr;
  float output_scale = 1;
  float output_offset = 0;  // zero point times scale
};

// One tile: all m rows by the panels [panel_begin, panel_end).
struct MatmulArgs {
  int64_t m = 0;
  const void* x = nullptr;  // f32, or s8 for int8, [m, k] without gaps between rows
  float input_scale = 1;    // s8 only
  float* y = nullptr;       // [m, n]; may be null where the epilogue quantizes
  Epilogue epilogue;        // for kernels that fuse it
  int64_t panel_begin = 0, panel_end = 0;
  std::byte* scratch = nullptr;  // scratch_bytes(weights, m), 64-byte aligned
};

// Stateless and thread-safe.
class Kernel {
 public:
  virtual ~Kernel() = default;

  virtual std::string_view name() const = 0;
  virtual MatmulType type() const = 0;
  virtual bool sparse() const { return false; }  // made for 2:4 weights, as opposed to running any
  virtual bool fuses_epilogue() const { return false; }

  // Why this machine cannot execute it; nothing if it can.
  virtual std::optional<std::string> unavailable() const { return std::nullopt; }

  // Why it cannot compute `desc`, whatever the machine; nothing if it can.
  std::optional<std::string> rejects(const MatmulDesc& desc) const;

  virtual PackedWeights pack(const MatmulDesc& desc, const WeightSource& source) const = 0;
  virtual size_t scratch_bytes(const PackedWeights& weights, int64_t m) const = 0;
  virtual void run(const PackedWeights& weights, const MatmulArgs& args) const = 0;

  // Rejections of machine and description together.
  std::optional<std::string> supports(const MatmulDesc& desc) const;
};

}  // namespace twofour
