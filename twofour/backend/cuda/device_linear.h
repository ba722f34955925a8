// A linear layer on the device: its weights, the product that computes it and what is left for the
// kernel behind it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/device.h"
#include "twofour/backend/cuda/spmm24.h"
#include "twofour/base/tensor.h"

namespace twofour::cuda {

struct DeviceLinearSpec {
  std::string name;  // for errors
  int64_t n = 0, k = 0;
  DType weights = DType::kF16;  // of the product: kI8, kF8E4M3, kF16, kBF16, kF32
  DType results = DType::kF16;  // float type of what comes after an int8 or E4M3 product
  // kI8, 2:4: where cuSPARSELt has it, the product applies the scales and the bias, and stores
  // `results`, rather than int32 sums.
  bool scale_in_product = false;
  bool is_2_4 = false;           // so are the weights
  bool force_dense = false;      // whatever they are
  bool bias_in_product = false;  // where the library has it; else the bias is left for later
  bool relu_in_product = false;
  float input_scale = 1;  // kI8, kF8E4M3
};

// Rows of weights, scales (of int8 ones) and bias as they stand in a model.
struct DeviceLinearSource {
  TensorView weight;  // I8, or F32 for all float types
  std::span<const float> scales, bias;
};

// Of the products on one stream.
struct LinearScratch {
  SpmmScratch sparse;
  DenseScratch dense;
  DeviceBuffer sums;  // of dense int8 products
};

// Plans of one number of rows. While they are held, multiply() makes none.
struct PreparedLinear {
  std::vector<std::shared_ptr<const MatmulPlan>> sparse;
  std::shared_ptr<const DensePlan> dense;
};

// Immutable and thread-safe.
class DeviceLinear {
 public:
  // Throws Error naming the layer: memory, a library that is not there or fails, a shape that
  // neither library takes.
  DeviceLinear(Device& device, const DeviceLinearSpec& spec, const DeviceLinearSource& source,
               StreamHandle stream);

  const DeviceLinearSpec& spec() const { return spec_; }
  bool sparse() const { return sparse_.has_value(); }
  // "spmm24_s8_cusparselt", "matmul_f16_cublaslt"; where plans say so, some numbers of rows run by
  // another one.
  std::string kernel() const;
  // Why weights that are 2:4 run dense; else empty.
  const std::string& why_dense() const { return why_dense_; }
  size_t bytes() const;

  // Of y: kI32 for int8 products but for those that scale, else that of the weights, or `results`.
  DType product_type() const { return product_.output; }

  // Makes the calling thread's plans and the scratch memory for multiply() of so many rows, which a
  // stream that captures must find.
  PreparedLinear prepare(int64_t rows, int64_t room, LinearScratch& scratch) const;

  // Enqueues y = x W^T and what else the product does. Where `room` is less than the bucket of
  // `rows`, rows are copied; see spmm24().
  void multiply(const void* x, void* y, int64_t rows, int64_t room, StreamHandle stream,
                LinearScratch& scratch) const;

  // Whether the plans choose one of our own 2:4 kernels for so many rows, which compute the whole
  // layer.
  bool runs_own(int64_t rows) const;
  // Whether it stores results of that type.
  bool own_stores(DType output, int64_t rows) const;
  // Enqueues y [rows, y_stride] of `output` (kI8 by output_scale, kF16, kBF16) = activation(x W^T
  // and scales + bias), for rows that runs_own() and a type that own_stores().
  struct OwnArgs {
    const void* x = nullptr;
    void* y = nullptr;
    int64_t y_stride = 0;
    DType output = DType::kF16;
    std::optional<ActivationKind> activation;
    bool with_bias = true;
    float output_scale = 1;
  };
  void run_own(const OwnArgs& args, int64_t rows, StreamHandle stream) const;

  // What is left: value = y * input_scale * weight_scales + bias. Null: 1 and 0.
  bool finished() const { return weight_scales() == nullptr && bias() == nullptr; }
  float input_scale() const { return scales_.size() > 0 ? spec_.input_scale : 1; }
  const float* weight_scales() const;
  const float* bias() const;

 private:
  bool scale_in_product(const DeviceLinearSource& source, StreamHandle stream);
  void place_weights(const DeviceLinearSource& source, StreamHandle stream);
  std::vector<std::byte> rounded(std::span<const float> weights);
  void place_dense(const void* weight, StreamHandle stream);
  void place_own(const void* weight, StreamHandle stream);
  void place_cutlass(CutlassForm form, const void* weight, StreamHandle stream);
  void place_own_vectors(const DeviceLinearSource& source, StreamHandle stream);
  void run_cutlass(int variant, const OwnArgs& args, int64_t rows, StreamHandle stream) const;
  void place_bias(std::span<const float> bias, StreamHandle stream);
  void multiply_dense(const void* x, void* y, int64_t rows, StreamHandle stream,
                      LinearScratch& scratch) const;
  // Of the whole product: E4M3's scales, else 1.
  float product_scale() const {
    return spec_.weights == DType::kF8E4M3 ? weight_scale_ * spec_.input_scale : 1;
  }
  // Grows the memory for what multiply_dense() leaves to the epilogue kernel.
  void reserve_sums(int64_t rows, LinearScratch& scratch) const;
  // What plans choose for 2:4 weights and so many rows, else cuSPARSELt's.
  PlanChoice planned(int64_t rows) const;
  bool placed(const PlanChoice& choice) const;

  Device& device_;
  DeviceLinearSpec spec_;
  ProductDesc product_;  // plans name it by its sizes and types
  std::optional<CompressedWeight> sparse_;
  std::string why_dense_;
  DeviceBuffer dense_, scales_, bias_;  // scales and bias: left for later
  DeviceBuffer alpha_, product_bias_;   // in the product
  float weight_scale_ = 1;  // kF8E4M3: of the largest weight to the largest number of the type
  struct Packed {
    DeviceBuffer values, metadata;
    size_t bytes() const { return values.size() + metadata.size(); }
  };
  Packed own_, cutlass_[2];             // cutlass_: by form
  DeviceBuffer own_scales_, own_bias_;  // for either
};

}  // namespace twofour::cuda
