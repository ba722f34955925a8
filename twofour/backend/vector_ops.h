// What runs between the matrix products, one table of functions for each instruction set.
//
// Elementwise functions and LayerNorm give the same bits in every table: 16 lanes whatever the
// register width, no fused multiply-add. Attention in f32 and bf16 may fuse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "twofour/graph/network.h"

namespace twofour {

// One head of one sequence: out = softmax(q k^T / sqrt(head_dim)) v.
struct AttentionArgs {
  // Each [length, head_dim], rows `stride` floats apart.
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t length = 0, head_dim = 0, stride = 0;
  // Each [length, head_dim], rows `out_stride` elements apart; one of the two may be null.
  float* out = nullptr;
  int8_t* quantized = nullptr;  // as quantize() of `out` with output_scale
  float output_scale = 1;
  int64_t out_stride = 0;
  float* scratch = nullptr;  // attention_scratch_bytes, 64-byte aligned
};
// Enough for any attention.
size_t attention_scratch_bytes(int64_t length, int64_t head_dim);

// out = (x - mean) / sqrt(variance + epsilon) * gamma + beta of each row, where x = a + b.
struct LayerNormRows {
  int64_t rows = 0, width = 0;
  const float* a = nullptr;
  const float* b = nullptr;  // may be null
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float epsilon = 0;
  float* out = nullptr;         // may be a or b
  int8_t* quantized = nullptr;  // as quantize() of `out` with output_scale, unless null
  float output_scale = 1;
};

struct VectorOps {
  std::string_view name;

  // In place. GELU within 1e-6 of the exact function.
  void (*activate)(ActivationKind kind, float* x, int64_t count);

  // round_half_even((x + offset) / scale), clamped to [-127, 127]: quantize() of quant/quantize.h.
  void (*quantize)(const float* x, int64_t count, float scale, float offset, int8_t* out);

  // quantize() of a row to its own range: returns the scale, scale_from_amax() of its largest
  // magnitude.
  float (*quantize_row)(const float* x, int64_t count, int8_t* out);

  // x = x * scale + bias in place; bias may be null.
  void (*scale_row)(float* x, float scale, const float* bias, int64_t count);

  void (*layer_norm)(const LayerNormRows& args);

  void (*add)(const float* a, const float* b, int64_t count, float* out);

  void (*attention)(const AttentionArgs& args);
};

// This machine's best.
const VectorOps& vector_ops();

struct Attention {
  std::string_view name;
  void (*run)(const AttentionArgs& args) = nullptr;
};

// "f32"; "bf16": products in bf16, sums and softmax in f32; or "int8": products in int8, softmax in
// f32. The value of TWOFOUR_ATTENTION when `name` is empty, "f32" when that is too. Throws Error
// for another name, or where this machine has no instructions for it.
Attention select_attention(std::string_view name);

// All that this machine can run, best first; the last is the portable one.
std::vector<const VectorOps*> vector_ops_list();

}  // namespace twofour
