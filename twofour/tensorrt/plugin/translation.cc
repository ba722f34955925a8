#include "twofour/tensorrt/plugin/translation.h"

namespace twofour::tensorrt {

DType dtype_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return DType::kF32;
    case nvinfer1::DataType::kHALF:
      return DType::kF16;
    case nvinfer1::DataType::kINT8:
      return DType::kI8;
    case nvinfer1::DataType::kINT32:
      return DType::kI32;
#if NV_TENSORRT_MAJOR >= 9
    case nvinfer1::DataType::kBF16:
      return DType::kBF16;
#endif
    default:
      return DType::kBool;
  }
}

nvinfer1::DataType data_type_of(DType type) {
  if (type == DType::kF16) return nvinfer1::DataType::kHALF;
#if NV_TENSORRT_MAJOR >= 9
  if (type == DType::kBF16) return nvinfer1::DataType::kBF16;
#endif
  throw Error("SpmmPluginDynamic", "this TensorRT has no " + std::string(dtype_name(type)),
              "Use type fp16 or int8");
}

TensorFormat format_of(const nvinfer1::PluginTensorDesc& tensor) {
  return {dtype_of(tensor.type), tensor.format == nvinfer1::TensorFormat::kLINEAR};
}

std::vector<int64_t> dimensions_of(const nvinfer1::Dims& dims) {
  return {dims.d, dims.d + std::max<int32_t>(dims.nbDims, 0)};
}

std::vector<int64_t> dimensions_of(const nvinfer1::DimsExprs& dims) {
  std::vector<int64_t> out;
  for (int32_t i = 0; i < dims.nbDims; ++i)
    out.push_back(dims.d[i]->isConstant() ? dims.d[i]->getConstantValue() : -1);
  return out;
}

std::vector<PluginField> fields_of(const nvinfer1::PluginFieldCollection& collection) {
  std::vector<PluginField> fields;
  for (int32_t i = 0; i < collection.nbFields; ++i) {
    const nvinfer1::PluginField& field = collection.fields[i];
    fields.push_back({field.name, static_cast<FieldType>(field.type), field.data, field.length});
  }
  return fields;
}

const nvinfer1::PluginFieldCollection* field_name_collection() {
  static const std::vector<nvinfer1::PluginField> fields = [] {
    std::vector<nvinfer1::PluginField> list;
    for (const FieldName& field : field_names())
      list.emplace_back(field.name, nullptr, static_cast<nvinfer1::PluginFieldType>(field.type));
    return list;
  }();
  static const nvinfer1::PluginFieldCollection collection{static_cast<int32_t>(fields.size()),
                                                          fields.data()};
  return &collection;
}

}  // namespace twofour::tensorrt
