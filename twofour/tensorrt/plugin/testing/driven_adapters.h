// The adapters as lifecycle.h drives a plug-in: through TensorRT's interfaces, with expressions of
// dimensions as its builder makes them.
#pragma once

#include <NvInferRuntime.h>

#include <list>

#include "twofour/tensorrt/lifecycle.h"
#include "twofour/tensorrt/plugin/plugin_v2.h"
#include "twofour/tensorrt/plugin/translation.h"
#if NV_TENSORRT_MAJOR >= 10
#include "twofour/tensorrt/plugin/plugin_v3.h"
#endif

namespace twofour::tensorrt {

class Expression final : public nvinfer1::IDimensionExpr, nvinfer1::apiv::VDimensionExpr {
 public:
  explicit Expression(int64_t value) : value_(value) { mImpl = this; }
  bool isConstant() const override { return value_ >= 0; }
#if NV_TENSORRT_MAJOR >= 10
  int64_t getConstantValue() const override { return value_; }
  bool isSizeTensor() const override { return false; }
#else
  int32_t getConstantValue() const override { return static_cast<int32_t>(value_); }
#endif

 private:
  int64_t value_;
};

class ExpressionBuilder final : public nvinfer1::IExprBuilder, nvinfer1::apiv::VExprBuilder {
 public:
  ExpressionBuilder() { mImpl = this; }
#if NV_TENSORRT_MAJOR >= 10
  const nvinfer1::IDimensionExpr* constant(int64_t value) override { return make(value); }
  const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                    const nvinfer1::IDimensionExpr&) override {
    return nullptr;
  }
#else
  const nvinfer1::IDimensionExpr* constant(int32_t value) override { return make(value); }
#endif
  const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation,
                                            const nvinfer1::IDimensionExpr&,
                                            const nvinfer1::IDimensionExpr&) override {
    return nullptr;
  }

  const nvinfer1::IDimensionExpr* make(int64_t value) { return &made_.emplace_back(value); }
  nvinfer1::DimsExprs shape(const Dimensions& dims) {
    nvinfer1::DimsExprs out{};
    out.nbDims = static_cast<int32_t>(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) out.d[i] = make(dims[i]);
    return out;
  }

 private:
  std::list<Expression> made_;
};

inline nvinfer1::Dims to_dims(const Dimensions& dims) {
  nvinfer1::Dims out{};
  out.nbDims = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i)
    out.d[i] = static_cast<std::remove_reference_t<decltype(out.d[0])>>(dims[i]);
  return out;
}

inline nvinfer1::DataType to_data_type(DType type) {
  if (type == DType::kI8) return nvinfer1::DataType::kINT8;
  return type == DType::kF16 ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
}

inline nvinfer1::PluginTensorDesc to_desc(const Dimensions& dims, TensorFormat format) {
  nvinfer1::PluginTensorDesc desc{};
  desc.dims = to_dims(dims);
  desc.type = to_data_type(format.type);
  desc.format = format.linear ? nvinfer1::TensorFormat::kLINEAR : nvinfer1::TensorFormat::kCHW32;
  desc.scale = -1;
  return desc;
}

inline nvinfer1::DynamicPluginTensorDesc to_dynamic(const Dimensions& least, const Dimensions& most,
                                                    TensorFormat format) {
  nvinfer1::DynamicPluginTensorDesc desc{};
  Dimensions open = most;
  for (size_t i = 0; i < most.size(); ++i) open[i] = least[i] == most[i] ? most[i] : -1;
  desc.desc = to_desc(open, format);
  desc.min = to_dims(least);
  desc.max = to_dims(most);
#if NV_TENSORRT_MAJOR >= 10
  desc.opt = to_dims(most);
#endif
  return desc;
}

inline Dimensions from_exprs(const nvinfer1::DimsExprs& shape) {
  return shape.nbDims < 0 ? Dimensions{} : dimensions_of(shape);
}

// A collection over fields, alive as long as this is.
class Collection {
 public:
  explicit Collection(const std::vector<PluginField>& fields) {
    for (const PluginField& field : fields) {
      names_.emplace_back(field.name);
      list_.emplace_back(names_.back().c_str(), field.data,
                         static_cast<nvinfer1::PluginFieldType>(field.type),
                         static_cast<int32_t>(field.length));
    }
    collection_ = {static_cast<int32_t>(list_.size()), list_.data()};
  }
  const nvinfer1::PluginFieldCollection* get() const { return &collection_; }

 private:
  std::list<std::string> names_;
  std::vector<nvinfer1::PluginField> list_;
  nvinfer1::PluginFieldCollection collection_{};
};

template <class Creator>
std::string key_of(const Creator& creator) {
  return std::string(creator.getPluginName()) + "/" + creator.getPluginVersion() + "/" +
         creator.getPluginNamespace();
}

inline std::vector<std::string> names_of(const nvinfer1::PluginFieldCollection& collection) {
  std::vector<std::string> names;
  for (int32_t i = 0; i < collection.nbFields; ++i) names.emplace_back(collection.fields[i].name);
  return names;
}

class DrivenV2 final : public DrivenPlugin {
 public:
  explicit DrivenV2(nvinfer1::IPluginV2DynamicExt* plugin) : plugin_(plugin) {}
  ~DrivenV2() override { plugin_->destroy(); }
  DrivenV2(const DrivenV2&) = delete;
  DrivenV2& operator=(const DrivenV2&) = delete;

  static std::unique_ptr<DrivenPlugin> own(nvinfer1::IPluginV2* plugin) {
    if (plugin == nullptr) return nullptr;
    return std::make_unique<DrivenV2>(static_cast<nvinfer1::IPluginV2DynamicExt*>(plugin));
  }

  std::unique_ptr<DrivenPlugin> clone() override { return own(plugin_->clone()); }
  // An engine initializes the plug-in, then clones it for each context.
  std::unique_ptr<DrivenPlugin> attach() override {
    if (plugin_->initialize() != 0) return nullptr;
    nvinfer1::IPluginV2DynamicExt* copy = plugin_->clone();
    if (copy != nullptr) copy->attachToContext(nullptr, nullptr, nullptr);
    return own(copy);
  }
  Dimensions output_shape(const Dimensions& x) override {
    ExpressionBuilder builder;
    const nvinfer1::DimsExprs in = builder.shape(x);
    return from_exprs(plugin_->getOutputDimensions(0, &in, 1, builder));
  }
  bool supports(int position, TensorFormat x, TensorFormat y) override {
    const nvinfer1::PluginTensorDesc tensors[] = {to_desc({1, 1, 1}, x), to_desc({1, 1, 1}, y)};
    return plugin_->supportsFormatCombination(position, tensors, 1, 1);
  }
  std::optional<DType> output_type(DType x) override {
    const nvinfer1::DataType in = to_data_type(x);
    const DType type = dtype_of(plugin_->getOutputDataType(0, &in, 1));
    if (type == DType::kF32) return std::nullopt;
    return type;
  }
  bool configure(const Dimensions& least, const Dimensions& most) override {
    const auto in = to_dynamic(least, most, {DType::kI8}), out = to_dynamic(least, most, {});
    plugin_->configurePlugin(&in, 1, &out, 1);
    return true;
  }
  size_t workspace_bytes(const Dimensions& most) override {
    const auto in = to_desc(most, {DType::kI8}), out = to_desc(most, {});
    return plugin_->getWorkspaceSize(&in, 1, &out, 1);
  }
  bool set_shape(const Dimensions& x) override { return !output_shape(x).empty(); }
  bool prepares_plans() const override { return false; }
  bool enqueue(const Dimensions& shape, const void* x, void* y, void* workspace,
               cuda::StreamHandle stream) override {
    const auto in = to_desc(shape, {DType::kI8}), out = to_desc(shape, {});
    return plugin_->enqueue(&in, &out, &x, &y, workspace, static_cast<cudaStream_t>(stream)) == 0;
  }
  std::string serialize() override {
    std::string bytes(plugin_->getSerializationSize(), '\0');
    plugin_->serialize(bytes.data());
    return bytes;
  }

 private:
  nvinfer1::IPluginV2DynamicExt* plugin_;
};

class DrivenCreatorV2 final : public DrivenCreator {
 public:
  explicit DrivenCreatorV2(ResourcesSource source) : creator_(std::move(source)) {
    creator_.setPluginNamespace(spmm_node::kNamespace);  // as the registry does
  }
  std::string key() const override { return key_of(creator_); }
  std::vector<std::string> field_names() const override {
    return names_of(*field_name_collection());
  }
  std::unique_ptr<DrivenPlugin> create(const char* layer,
                                       const std::vector<PluginField>& fields) override {
    return DrivenV2::own(creator_.createPlugin(layer, Collection(fields).get()));
  }
  std::unique_ptr<DrivenPlugin> deserialize(const std::string& bytes) override {
    return DrivenV2::own(creator_.deserializePlugin("", bytes.data(), bytes.size()));
  }

 private:
  SpmmPluginCreatorV2 creator_;
};

#if NV_TENSORRT_MAJOR >= 10
class DrivenV3 final : public DrivenPlugin {
 public:
  explicit DrivenV3(nvinfer1::IPluginV3* plugin) : plugin_(plugin) {
    using Type = nvinfer1::PluginCapabilityType;
    build_ =
        static_cast<nvinfer1::IPluginV3OneBuild*>(plugin->getCapabilityInterface(Type::kBUILD));
    runtime_ =
        static_cast<nvinfer1::IPluginV3OneRuntime*>(plugin->getCapabilityInterface(Type::kRUNTIME));
    auto* core =
        static_cast<nvinfer1::IPluginV3OneCore*>(plugin->getCapabilityInterface(Type::kCORE));
    EXPECT_STREQ(core->getPluginName(), spmm_node::kType);
  }

  static std::unique_ptr<DrivenPlugin> own(nvinfer1::IPluginV3* plugin) {
    if (plugin == nullptr) return nullptr;
    return std::make_unique<DrivenV3>(plugin);
  }

  std::unique_ptr<DrivenPlugin> clone() override { return own(plugin_->clone()); }
  std::unique_ptr<DrivenPlugin> attach() override {
    return own(runtime_->attachToContext(nullptr));
  }
  Dimensions output_shape(const Dimensions& x) override {
    ExpressionBuilder builder;
    const nvinfer1::DimsExprs in = builder.shape(x);
    nvinfer1::DimsExprs out{};
    if (build_->getOutputShapes(&in, 1, nullptr, 0, &out, 1, builder) != 0) return {};
    return from_exprs(out);
  }
  bool supports(int position, TensorFormat x, TensorFormat y) override {
    const nvinfer1::DynamicPluginTensorDesc tensors[] = {to_dynamic({1, 1, 1}, {1, 1, 1}, x),
                                                         to_dynamic({1, 1, 1}, {1, 1, 1}, y)};
    return build_->supportsFormatCombination(position, tensors, 1, 1);
  }
  std::optional<DType> output_type(DType x) override {
    const nvinfer1::DataType in = to_data_type(x);
    nvinfer1::DataType out{};
    if (build_->getOutputDataTypes(&out, 1, &in, 1) != 0) return std::nullopt;
    return dtype_of(out);
  }
  bool configure(const Dimensions& least, const Dimensions& most) override {
    const auto in = to_dynamic(least, most, {DType::kI8}), out = to_dynamic(least, most, {});
    return build_->configurePlugin(&in, 1, &out, 1) == 0;
  }
  size_t workspace_bytes(const Dimensions& most) override {
    const auto in = to_dynamic(most, most, {DType::kI8}), out = to_dynamic(most, most, {});
    return build_->getWorkspaceSize(&in, 1, &out, 1);
  }
  bool set_shape(const Dimensions& x) override {
    const auto in = to_desc(x, {DType::kI8}), out = to_desc(x, {});
    return runtime_->onShapeChange(&in, 1, &out, 1) == 0;
  }
  bool enqueue(const Dimensions& shape, const void* x, void* y, void* workspace,
               cuda::StreamHandle stream) override {
    const auto in = to_desc(shape, {DType::kI8}), out = to_desc(shape, {});
    return runtime_->enqueue(&in, &out, &x, &y, workspace, static_cast<cudaStream_t>(stream)) == 0;
  }
  // TensorRT keeps fields by name; one string is enough for the driver.
  std::string serialize() override {
    const nvinfer1::PluginFieldCollection& fields = *runtime_->getFieldsToSerialize();
    EXPECT_EQ(fields.nbFields, 1);
    const nvinfer1::PluginField& field = fields.fields[0];
    EXPECT_STREQ(field.name, "state");
    return {static_cast<const char*>(field.data), static_cast<size_t>(field.length)};
  }

 private:
  std::unique_ptr<nvinfer1::IPluginV3> plugin_;
  nvinfer1::IPluginV3OneBuild* build_ = nullptr;
  nvinfer1::IPluginV3OneRuntime* runtime_ = nullptr;
};

class DrivenCreatorV3 final : public DrivenCreator {
 public:
  explicit DrivenCreatorV3(ResourcesSource source) : creator_(std::move(source)) {}
  std::string key() const override { return key_of(creator_); }
  std::vector<std::string> field_names() const override {
    return names_of(*field_name_collection());
  }
  std::unique_ptr<DrivenPlugin> create(const char* layer,
                                       const std::vector<PluginField>& fields) override {
    return DrivenV3::own(
        creator_.createPlugin(layer, Collection(fields).get(), nvinfer1::TensorRTPhase::kBUILD));
  }
  std::unique_ptr<DrivenPlugin> deserialize(const std::string& bytes) override {
    const Collection fields(
        {{"state", FieldType::kUnknown, bytes.data(), static_cast<int64_t>(bytes.size())}});
    return DrivenV3::own(
        creator_.createPlugin("", fields.get(), nvinfer1::TensorRTPhase::kRUNTIME));
  }

 private:
  SpmmPluginCreatorV3 creator_;
};
#endif

}  // namespace twofour::tensorrt
