// SpmmPluginDynamic for TensorRT 8.6 and 9; later versions still take it, deprecated.
#pragma once

#include <NvInferRuntime.h>

#include <mutex>
#include <string>

#include "twofour/tensorrt/spmm_plugin_core.h"

namespace twofour::tensorrt {

class SpmmPluginV2 final : public nvinfer1::IPluginV2DynamicExt {
 public:
  explicit SpmmPluginV2(SpmmPluginCore core) : core_(std::move(core)) {}

  const char* getPluginType() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  void setPluginNamespace(const char* space) noexcept override;
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
  int32_t getNbOutputs() const noexcept override { return SpmmPluginCore::kOutputs; }

  int32_t initialize() noexcept override;
  void terminate() noexcept override {}
  void destroy() noexcept override { delete this; }
  nvinfer1::IPluginV2DynamicExt* clone() const noexcept override;

  nvinfer1::DataType getOutputDataType(int32_t index, const nvinfer1::DataType* input_types,
                                       int32_t inputs) const noexcept override;
  nvinfer1::DimsExprs getOutputDimensions(int32_t index, const nvinfer1::DimsExprs* in,
                                          int32_t inputs,
                                          nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::PluginTensorDesc* tensors,
                                 int32_t inputs, int32_t outputs) noexcept override;
  void configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                       const nvinfer1::DynamicPluginTensorDesc* out,
                       int32_t outputs) noexcept override;
  size_t getWorkspaceSize(const nvinfer1::PluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::PluginTensorDesc* out,
                          int32_t outputs) const noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* x, void* const* y, void* workspace,
                  cudaStream_t stream) noexcept override;

  size_t getSerializationSize() const noexcept override;
  void serialize(void* buffer) const noexcept override;

 private:
  const std::string& state() const;

  SpmmPluginCore core_;
  std::string namespace_;
  mutable std::once_flag serialized_;
  mutable std::string state_;
};

class SpmmPluginCreatorV2 final : public nvinfer1::IPluginCreator {
 public:
  explicit SpmmPluginCreatorV2(ResourcesSource resources) : resources_(std::move(resources)) {}

  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  void setPluginNamespace(const char* space) noexcept override;
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  nvinfer1::IPluginV2* createPlugin(
      const char* name, const nvinfer1::PluginFieldCollection* fields) noexcept override;
  nvinfer1::IPluginV2* deserializePlugin(const char* name, const void* data,
                                         size_t bytes) noexcept override;

 private:
  ResourcesSource resources_;
  std::string namespace_;
};

}  // namespace twofour::tensorrt
