#include "twofour/backend/reference/reference_kernels.h"

#include <algorithm>
#include <cstring>

#include "twofour/base/dtype.h"
#include "twofour/sparse/sparse24.h"

namespace twofour {
namespace {

// One panel is one output row.
PackedWeights pack_rows(const MatmulDesc& desc, const WeightSource& source) {
  PackedWeights packed;
  packed.n = desc.n;
  packed.k = packed.k_padded = desc.k;
  packed.panels.resize(desc.n);
  packed.bias = AlignedBuffer(desc.n * sizeof(float));
  float* bias = packed.bias.as<float>();
  for (int64_t row = 0; row < desc.n; ++row)
    bias[row] = source.bias.empty() ? 0.0f : source.bias[row];
  packed.scales = AlignedBuffer(source.scales.size_bytes());
  std::copy(source.scales.begin(), source.scales.end(), packed.scales.as<float>());
  return packed;
}

AlignedBuffer copy_bytes(const TensorView& view) {
  AlignedBuffer copy(view.bytes());
  if (copy.size() != 0) std::memcpy(copy.data(), view.data, copy.size());
  return copy;
}

// Calls cell(x row, output row) for each element of a tile and stores what it returns.
template <class X, class Cell>
void for_each_cell(const PackedWeights& w, const MatmulArgs& args, Cell cell) {
  const X* x = static_cast<const X*>(args.x);
  for (int64_t i = 0; i < args.m; ++i) {
    for (int64_t row = args.panel_begin; row < args.panel_end; ++row) {
      args.y[i * w.n + row] = cell(x + i * w.k, row);
    }
  }
}

float finish(const PackedWeights& w, const MatmulArgs& args, int32_t sum, int64_t row) {
  return dequantize_sum(sum, args.input_scale, w.scales.as<float>()[row], w.bias.as<float>()[row]);
}

class ReferenceKernel : public Kernel {
 public:
  PackedWeights pack(const MatmulDesc& desc, const WeightSource& source) const override {
    PackedWeights packed = pack_rows(desc, source);
    packed.weights = copy_bytes(source.weight);
    return packed;
  }
  size_t scratch_bytes(const PackedWeights&, int64_t) const override { return 0; }
};

class MatmulF32 : public ReferenceKernel {
 public:
  std::string_view name() const override { return "matmul_f32_reference"; }
  MatmulType type() const override { return MatmulType::kF32; }
  void run(const PackedWeights& w, const MatmulArgs& args) const override {
    for_each_cell<float>(w, args, [&](const float* x, int64_t row) {
      const float* weight = w.weights.as<float>() + row * w.k;
      double sum = 0;
      for (int64_t j = 0; j < w.k; ++j) sum += static_cast<double>(x[j]) * weight[j];
      return static_cast<float>(sum + w.bias.as<float>()[row]);
    });
  }
};

class MatmulBf16 : public ReferenceKernel {
 public:
  std::string_view name() const override { return "matmul_bf16_reference"; }
  MatmulType type() const override { return MatmulType::kBf16; }
  void run(const PackedWeights& w, const MatmulArgs& args) const override {
    const auto rounded = [](float value) { return bf16_to_f32(f32_to_bf16(value)); };
    for_each_cell<float>(w, args, [&](const float* x, int64_t row) {
      const float* weight = w.weights.as<float>() + row * w.k;
      double sum = 0;
      for (int64_t j = 0; j < w.k; ++j)
        sum += static_cast<double>(rounded(x[j])) * rounded(weight[j]);
      return static_cast<float>(sum + w.bias.as<float>()[row]);
    });
  }
};

class MatmulS8 : public ReferenceKernel {
 public:
  std::string_view name() const override { return "matmul_s8_reference"; }
  MatmulType type() const override { return MatmulType::kS8; }
  void run(const PackedWeights& w, const MatmulArgs& args) const override {
    for_each_cell<int8_t>(w, args, [&](const int8_t* x, int64_t row) {
      const int8_t* weight = w.weights.as<int8_t>() + row * w.k;
      int32_t sum = 0;
      for (int64_t j = 0; j < w.k; ++j) sum += x[j] * weight[j];
      return finish(w, args, sum, row);
    });
  }
};

class Spmm24S8 : public ReferenceKernel {
 public:
  std::string_view name() const override { return "spmm24_s8_reference"; }
  MatmulType type() const override { return MatmulType::kS8; }
  bool sparse() const override { return true; }

  PackedWeights pack(const MatmulDesc& desc, const WeightSource& source) const override {
    PackedWeights packed = pack_rows(desc, source);
    const Sparse24Matrix matrix = compress(name(), source.weight);
    packed.weights = copy_bytes(matrix.values);
    packed.metadata = copy_bytes(matrix.metadata);
    return packed;
  }

  void run(const PackedWeights& w, const MatmulArgs& args) const override {
    for_each_cell<int8_t>(w, args, [&](const int8_t* x, int64_t row) {
      const int8_t* values = w.weights.as<int8_t>() + row * (w.k / 2);
      const uint8_t* metadata = w.metadata.as<uint8_t>() + row * (w.k / 8);
      int32_t sum = 0;
      for (int64_t j = 0; j < w.k / 2; ++j) {
        const int index = (metadata[j / 4] >> (2 * (j % 4))) & 3;
        sum += x[j / 2 * 4 + index] * values[j];
      }
      return finish(w, args, sum, row);
    });
  }
};

}  // namespace

std::vector<const Kernel*> reference_kernels() {
  static const MatmulF32 matmul_f32;
  static const MatmulBf16 matmul_bf16;
  static const MatmulS8 matmul_s8;
  static const Spmm24S8 spmm24_s8;
  return {&spmm24_s8, &matmul_s8, &matmul_bf16, &matmul_f32};
}

}  // namespace twofour
