// Layers, a stand-in GPU and the part of TensorRT for the tests of tensorrt/.
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "twofour/backend/cuda/host_kernels.h"
#include "twofour/backend/cuda/testing.h"
#include "twofour/base/error.h"
#include "twofour/graph/spmm_node.h"
#include "twofour/tensorrt/spmm_definition.h"
#include "twofour/tensorrt/spmm_plugin_core.h"
#include "twofour/tensorrt/spmm_resources.h"

namespace twofour::tensorrt {

// What the parser makes of a node's attributes. The data must stay while fields() is in use.
class TestLayer {
 public:
  explicit TestLayer(DType type = DType::kI8, int64_t n = 32, int64_t k = 64,
                     const char* epilogue = spmm_node::kBiasOnly, uint32_t seed = 1)
      : n(static_cast<int32_t>(n)), k(static_cast<int32_t>(k)), type(type), epilogue(epilogue) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    dense.resize(n * k);
    for (size_t i = 0; i < dense.size(); ++i) {
      const float value = i % 4 < 2 ? uniform(random) : 0;
      dense[i] = type == DType::kI8 ? std::nearbyint(127 * value) : f16_to_f32(f32_to_f16(value));
    }
    for (int64_t i = 0; i < n; ++i) bias.push_back(f16_to_f32(f32_to_f16(uniform(random))));
    if (type == DType::kI8) {
      for (int64_t i = 0; i < n; ++i) weight_scale.push_back(0.01f + 0.001f * i);
    }
    if (type == DType::kI8)
      type_name = spmm_node::kInt8;
    else
      type_name = type == DType::kBF16 ? spmm_node::kBf16 : spmm_node::kFp16;
    store_weight();
  }

  // After a change of `dense`.
  void store_weight() {
    weight.assign(dense.size() * dtype_bytes(type), std::byte{});
    for (size_t i = 0; i < dense.size(); ++i) {
      if (type == DType::kI8) {
        weight[i] = static_cast<std::byte>(static_cast<int8_t>(dense[i]));
      } else {
        const uint16_t half = type == DType::kBF16 ? f32_to_bf16(dense[i]) : f32_to_f16(dense[i]);
        std::memcpy(&weight[2 * i], &half, sizeof half);
      }
    }
  }

  std::vector<PluginField> fields() const {
    const auto text = [](const char* name, const std::string& value) {
      return PluginField{name, FieldType::kChar, value.c_str(),
                         static_cast<int64_t>(value.size() + 1)};
    };
    const auto floats = [](const char* name, const std::vector<float>& values) {
      return PluginField{name, FieldType::kFloat32, values.data(),
                         static_cast<int64_t>(values.size())};
    };
    std::vector<PluginField> fields{
        {spmm_node::kN, FieldType::kInt32, &n, 1},
        {spmm_node::kK, FieldType::kInt32, &k, 1},
        text(spmm_node::kDtype, type_name),
        text(spmm_node::kEpilogue, epilogue),
        {spmm_node::kMaxM, FieldType::kInt32, &max_m, 1},
        {spmm_node::kBucketStep, FieldType::kInt32, &step, 1},
        {spmm_node::kWeight, weight_type(), weight.data(), static_cast<int64_t>(dense.size())}};
    if (epilogue != spmm_node::kNone) fields.push_back(floats(spmm_node::kBias, bias));
    if (type == DType::kI8) {
      fields.push_back(floats(spmm_node::kWeightScale, weight_scale));
      fields.push_back(floats(spmm_node::kInputScale, input_scale));
    }
    return fields;
  }

  // x [m, k] as the device holds it.
  std::vector<std::byte> input(int64_t m, uint32_t seed) const {
    std::mt19937 random(seed);
    TestLayer rows(type, m, k, spmm_node::kNone, seed);
    for (float& value : rows.dense) {
      if (value == 0) value = type == DType::kI8 ? static_cast<float>(random() % 255) - 127 : 0.5f;
    }
    rows.store_weight();
    return rows.weight;
  }

  // y [m, n] in double.
  std::vector<double> product(const std::vector<std::byte>& x, int64_t m) const {
    std::vector<double> y(m * n);
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t column = 0; column < n; ++column) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += element(x, row * k + i) * dense[column * k + i];
        if (type == DType::kI8) sum *= static_cast<double>(input_scale[0]) * weight_scale[column];
        y[row * n + column] = activated(sum, column);
      }
    }
    return y;
  }

  int32_t n, k;
  DType type;
  std::string type_name, epilogue;
  int32_t max_m = 128, step = 16;
  std::vector<float> dense;  // the weight, as values of `type`
  std::vector<float> bias, weight_scale;
  std::vector<float> input_scale{0.02f};
  std::vector<std::byte> weight;

 private:
  FieldType weight_type() const {
    if (type == DType::kI8) return FieldType::kInt8;
    return type == DType::kBF16 ? FieldType::kBf16 : FieldType::kFloat16;
  }
  double element(const std::vector<std::byte>& x, int64_t i) const {
    if (type == DType::kI8) return static_cast<int8_t>(x[i]);
    uint16_t half = 0;
    std::memcpy(&half, &x[2 * i], sizeof half);
    return f16_to_f32(half);
  }
  double activated(double sum, int64_t column) const {
    if (epilogue == spmm_node::kNone) return sum;
    sum += bias[column];
    if (epilogue == spmm_node::kBiasRelu) return std::max(sum, 0.0);
    return epilogue == spmm_node::kBiasGelu ? sum * (1 + std::erf(sum / std::sqrt(2.0))) / 2 : sum;
  }
};

// A GPU that records: memory is the host's. Every test that has one should end with expect_clean().
struct StandInGpu {
  cuda::FakeRuntime runtime;
  cuda::FakeCusparseLt cusparselt{runtime};
  cuda::HostKernels kernels{runtime};
  SpmmResources resources{cusparselt, runtime,
                          [this](auto&&... arguments) { kernels.epilogue(arguments...); }};
  std::atomic<int> asked = 0;  // how often resources were asked for

  ResourcesSource source() {
    return [this]() -> SpmmResources& {
      ++asked;
      return resources;
    };
  }
};

using Dimensions = std::vector<int64_t>;

// A plug-in as TensorRT sees it: the core itself, or one of the adapters over it. Functions that
// return bool say whether the call succeeded.
class DrivenPlugin {
 public:
  virtual ~DrivenPlugin() = default;
  virtual std::unique_ptr<DrivenPlugin> clone() = 0;
  virtual std::unique_ptr<DrivenPlugin> attach() = 0;        // a clone for an execution context
  virtual Dimensions output_shape(const Dimensions& x) = 0;  // empty: refused
  virtual bool supports(int position, TensorFormat x, TensorFormat y) = 0;
  virtual std::optional<DType> output_type(DType x) = 0;
  virtual bool configure(const Dimensions& least, const Dimensions& most) = 0;
  virtual size_t workspace_bytes(const Dimensions& most) = 0;
  virtual bool set_shape(const Dimensions& x) = 0;
  // Whether set_shape() makes the plans.
  virtual bool prepares_plans() const { return true; }
  virtual bool enqueue(const Dimensions& x_shape, const void* x, void* y, void* workspace,
                       cuda::StreamHandle stream) = 0;
  virtual std::string serialize() = 0;
};

class DrivenCreator {
 public:
  virtual ~DrivenCreator() = default;
  virtual std::string key() const = 0;  // name, version and namespace, by which a registry finds it
  virtual std::vector<std::string> field_names() const = 0;
  // Null where the plug-in refuses.
  virtual std::unique_ptr<DrivenPlugin> create(const char* layer,
                                               const std::vector<PluginField>& fields) = 0;
  virtual std::unique_ptr<DrivenPlugin> deserialize(const std::string& bytes) = 0;
};

}  // namespace twofour::tensorrt
