#include "twofour/tensorrt/plugin/plugin_v2.h"

#include <cstring>

#include "twofour/graph/spmm_node.h"
#include "twofour/tensorrt/plugin/translation.h"

namespace twofour::tensorrt {

const char* SpmmPluginV2::getPluginType() const noexcept { return spmm_node::kType; }
const char* SpmmPluginV2::getPluginVersion() const noexcept { return spmm_node::kVersion; }

void SpmmPluginV2::setPluginNamespace(const char* space) noexcept {
  status_of([&] { namespace_ = space; });
}

int32_t SpmmPluginV2::initialize() noexcept {
  return status_of([&] { core_.attach(); });
}

nvinfer1::IPluginV2DynamicExt* SpmmPluginV2::clone() const noexcept {
  return guarded<nvinfer1::IPluginV2DynamicExt*>(nullptr, [&] {
    auto copy = std::make_unique<SpmmPluginV2>(core_);
    copy->namespace_ = namespace_;
    return copy.release();
  });
}

// There is no way to refuse here; FLOAT is a type that supportsFormatCombination() then refuses.
nvinfer1::DataType SpmmPluginV2::getOutputDataType(int32_t, const nvinfer1::DataType* input_types,
                                                   int32_t) const noexcept {
  return guarded(nvinfer1::DataType::kFLOAT,
                 [&] { return data_type_of(core_.output_type(dtype_of(input_types[0]))); });
}

nvinfer1::DimsExprs SpmmPluginV2::getOutputDimensions(int32_t, const nvinfer1::DimsExprs* in,
                                                      int32_t,
                                                      nvinfer1::IExprBuilder& builder) noexcept {
  nvinfer1::DimsExprs refused{};
  refused.nbDims = -1;
  return guarded(refused, [&] {
    const std::vector<int64_t> shape = core_.output_shape(dimensions_of(in[0]));
    nvinfer1::DimsExprs out = in[0];
    out.d[out.nbDims - 1] = builder.constant(static_cast<int32_t>(shape.back()));
    return out;
  });
}

bool SpmmPluginV2::supportsFormatCombination(int32_t position,
                                             const nvinfer1::PluginTensorDesc* tensors, int32_t,
                                             int32_t) noexcept {
  return core_.supports(position, format_of(tensors[position]));
}

void SpmmPluginV2::configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t,
                                   const nvinfer1::DynamicPluginTensorDesc*, int32_t) noexcept {
  status_of([&] { core_.rows(dimensions_of(in[0].max)); });
}

size_t SpmmPluginV2::getWorkspaceSize(const nvinfer1::PluginTensorDesc* in, int32_t,
                                      const nvinfer1::PluginTensorDesc*, int32_t) const noexcept {
  return guarded(kImpossibleWorkspace,
                 [&] { return core_.workspace_bytes(core_.rows(dimensions_of(in[0].dims))); });
}

int32_t SpmmPluginV2::enqueue(const nvinfer1::PluginTensorDesc* in,
                              const nvinfer1::PluginTensorDesc*, const void* const* x,
                              void* const* y, void* workspace, cudaStream_t stream) noexcept {
  return status_of(
      [&] { core_.enqueue(core_.rows(dimensions_of(in[0].dims)), x[0], y[0], workspace, stream); });
}

const std::string& SpmmPluginV2::state() const {
  std::call_once(serialized_, [&] { state_ = core_.serialize(); });
  return state_;
}

size_t SpmmPluginV2::getSerializationSize() const noexcept {
  return guarded(size_t{0}, [&] { return state().size(); });
}

void SpmmPluginV2::serialize(void* buffer) const noexcept {
  status_of([&] { std::memcpy(buffer, state().data(), state().size()); });
}

const char* SpmmPluginCreatorV2::getPluginName() const noexcept { return spmm_node::kType; }
const char* SpmmPluginCreatorV2::getPluginVersion() const noexcept { return spmm_node::kVersion; }

void SpmmPluginCreatorV2::setPluginNamespace(const char* space) noexcept {
  status_of([&] { namespace_ = space; });
}

const nvinfer1::PluginFieldCollection* SpmmPluginCreatorV2::getFieldNames() noexcept {
  return guarded<const nvinfer1::PluginFieldCollection*>(nullptr, field_name_collection);
}

nvinfer1::IPluginV2* SpmmPluginCreatorV2::createPlugin(
    const char* name, const nvinfer1::PluginFieldCollection* fields) noexcept {
  return guarded<nvinfer1::IPluginV2*>(nullptr, [&] {
    auto plugin = std::make_unique<SpmmPluginV2>(
        SpmmPluginCore(parse_fields(name, fields_of(*fields)), resources_));
    plugin->setPluginNamespace(namespace_.c_str());
    return plugin.release();
  });
}

nvinfer1::IPluginV2* SpmmPluginCreatorV2::deserializePlugin(const char*, const void* data,
                                                            size_t bytes) noexcept {
  return guarded<nvinfer1::IPluginV2*>(nullptr, [&] {
    auto plugin = std::make_unique<SpmmPluginV2>(
        SpmmPluginCore::deserialize({static_cast<const char*>(data), bytes}, resources_));
    plugin->setPluginNamespace(namespace_.c_str());
    return plugin.release();
  });
}

}  // namespace twofour::tensorrt
