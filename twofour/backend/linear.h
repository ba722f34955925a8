// A linear layer packed for one kernel: how its rows and panels are dealt to threads, and what is
// fused behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "twofour/backend/matmul.h"
#include "twofour/base/thread_pool.h"
#include "twofour/graph/network.h"

namespace twofour {

struct LinearArgs {
  int64_t m = 0;
  const void* x = nullptr;  // [m, k] f32 or s8
  float input_scale = 1;
  const float* input_scales = nullptr;  // [m], instead, of a layer with scales by row
  // Where results go; one of the two may be null.
  float* y = nullptr;  // [m, n]
  int8_t* quantized = nullptr;
  float output_scale = 1;
  float output_offset = 0;         // as in Epilogue
  float* output_scales = nullptr;  // [m]: gets each row's own scale, where it is used instead
  std::byte* scratch = nullptr;    // scratch_bytes(m or more, threads), 64-byte aligned
};

// Immutable and thread-safe.
class PackedLinear {
 public:
  // `scales_by_row`: int8 inputs, and outputs where they are quantized, have a scale for each row
  // (token), found when the row is. What is fused behind a kernel knows one scale, so these layers
  // are finished behind it, where rows are whole.
  PackedLinear(const Kernel& kernel, const MatmulDesc& desc, const WeightSource& source,
               std::optional<ActivationKind> activation, bool scales_by_row = false);

  const MatmulDesc& desc() const { return desc_; }
  const Kernel& kernel() const { return kernel_; }
  const PackedWeights& weights() const { return weights_; }

  // Enough for any m up to `max_m`.
  size_t scratch_bytes(int64_t max_m, int threads) const;
  void run(ThreadPool& pool, const LinearArgs& args) const;

 private:
  void run_by_rows(ThreadPool& pool, const LinearArgs& args) const;
  void run_by_panels(ThreadPool& pool, const LinearArgs& args) const;
  bool scales_input_rows() const { return scales_by_row_ && desc_.type == MatmulType::kS8; }
  bool fused() const { return kernel_.fuses_epilogue() && !scales_by_row_; }
  Epilogue epilogue(const LinearArgs& args, int64_t first) const;
  // Rows [first, first + rows) of `args`, whose products are at `y`.
  void finish_rows(const LinearArgs& args, int64_t first, float* y, int64_t rows) const;
  size_t thread_scratch_bytes(int64_t m, int threads) const;

  const Kernel& kernel_;
  MatmulDesc desc_;
  std::optional<ActivationKind> activation_;
  bool scales_by_row_;
  std::vector<float> bias_;  // where input rows have scales and the kernel cannot add it
  PackedWeights weights_;
};

}  // namespace twofour
