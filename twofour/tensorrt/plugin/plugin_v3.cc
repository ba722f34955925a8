#include "twofour/tensorrt/plugin/plugin_v3.h"

#include <algorithm>

#include "twofour/graph/spmm_node.h"
#include "twofour/tensorrt/plugin/translation.h"

namespace twofour::tensorrt {
namespace {

// The one field of a plug-in in an engine.
constexpr const char* kState = "state";

std::string_view stored_state(const nvinfer1::PluginFieldCollection& collection) {
  for (const PluginField& field : fields_of(collection)) {
    if (field.name != kState) continue;
    return {static_cast<const char*>(field.data), static_cast<size_t>(field.length)};
  }
  throw Error(spmm_node::kType, "the engine has no field 'state' of this plug-in",
              "Build the engine again from its ONNX file");
}

}  // namespace

nvinfer1::IPluginCapability* SpmmPluginV3::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* SpmmPluginV3::clone() noexcept {
  return guarded<nvinfer1::IPluginV3*>(nullptr, [&] { return new SpmmPluginV3(core_); });
}

const char* SpmmPluginV3::getPluginName() const noexcept { return spmm_node::kType; }
const char* SpmmPluginV3::getPluginVersion() const noexcept { return spmm_node::kVersion; }
const char* SpmmPluginV3::getPluginNamespace() const noexcept { return spmm_node::kNamespace; }

int32_t SpmmPluginV3::configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t,
                                      const nvinfer1::DynamicPluginTensorDesc*, int32_t) noexcept {
  return status_of([&] { core_.rows(dimensions_of(in[0].max)); });
}

int32_t SpmmPluginV3::getOutputDataTypes(nvinfer1::DataType* output_types, int32_t,
                                         const nvinfer1::DataType* input_types,
                                         int32_t) const noexcept {
  return status_of(
      [&] { output_types[0] = data_type_of(core_.output_type(dtype_of(input_types[0]))); });
}

int32_t SpmmPluginV3::getOutputShapes(const nvinfer1::DimsExprs* in, int32_t,
                                      const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* out,
                                      int32_t, nvinfer1::IExprBuilder& builder) noexcept {
  return status_of([&] {
    const std::vector<int64_t> shape = core_.output_shape(dimensions_of(in[0]));
    out[0] = in[0];
    out[0].d[out[0].nbDims - 1] = builder.constant(shape.back());
  });
}

bool SpmmPluginV3::supportsFormatCombination(int32_t position,
                                             const nvinfer1::DynamicPluginTensorDesc* tensors,
                                             int32_t, int32_t) noexcept {
  return core_.supports(position, format_of(tensors[position].desc));
}

size_t SpmmPluginV3::getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* in, int32_t,
                                      const nvinfer1::DynamicPluginTensorDesc*,
                                      int32_t) const noexcept {
  return guarded(kImpossibleWorkspace,
                 [&] { return core_.workspace_bytes(core_.rows(dimensions_of(in[0].max))); });
}

int32_t SpmmPluginV3::onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t,
                                    const nvinfer1::PluginTensorDesc*, int32_t) noexcept {
  return status_of([&] { core_.set_rows(core_.rows(dimensions_of(in[0].dims))); });
}

int32_t SpmmPluginV3::enqueue(const nvinfer1::PluginTensorDesc* in,
                              const nvinfer1::PluginTensorDesc*, const void* const* x,
                              void* const* y, void* workspace, cudaStream_t stream) noexcept {
  return status_of(
      [&] { core_.enqueue(core_.rows(dimensions_of(in[0].dims)), x[0], y[0], workspace, stream); });
}

nvinfer1::IPluginV3* SpmmPluginV3::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return guarded<nvinfer1::IPluginV3*>(nullptr, [&] {
    core_.attach();
    return new SpmmPluginV3(core_);
  });
}

const nvinfer1::PluginFieldCollection* SpmmPluginV3::getFieldsToSerialize() noexcept {
  return guarded<const nvinfer1::PluginFieldCollection*>(nullptr, [&] {
    state_ = core_.serialize();
    field_ = nvinfer1::PluginField(kState, state_.data(), nvinfer1::PluginFieldType::kUNKNOWN,
                                   static_cast<int32_t>(state_.size()));
    collection_ = {1, &field_};
    return &collection_;
  });
}

const char* SpmmPluginCreatorV3::getPluginName() const noexcept { return spmm_node::kType; }
const char* SpmmPluginCreatorV3::getPluginVersion() const noexcept { return spmm_node::kVersion; }
const char* SpmmPluginCreatorV3::getPluginNamespace() const noexcept {
  return spmm_node::kNamespace;
}

const nvinfer1::PluginFieldCollection* SpmmPluginCreatorV3::getFieldNames() noexcept {
  return guarded<const nvinfer1::PluginFieldCollection*>(nullptr, field_name_collection);
}

nvinfer1::IPluginV3* SpmmPluginCreatorV3::createPlugin(
    const char* name, const nvinfer1::PluginFieldCollection* fields,
    nvinfer1::TensorRTPhase phase) noexcept {
  return guarded<nvinfer1::IPluginV3*>(nullptr, [&] {
    if (phase == nvinfer1::TensorRTPhase::kRUNTIME)
      return new SpmmPluginV3(SpmmPluginCore::deserialize(stored_state(*fields), resources_));
    return new SpmmPluginV3({parse_fields(name, fields_of(*fields)), resources_});
  });
}

}  // namespace twofour::tensorrt
