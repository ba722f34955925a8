// TensorRT's types as the core's, and its rule that no exception leaves a plug-in.
#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <exception>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/tensorrt/plugin/nvinfer_process.h"
#include "twofour/tensorrt/spmm_definition.h"
#include "twofour/tensorrt/spmm_plugin_core.h"

namespace twofour::tensorrt {

// Where a workspace cannot be computed: no device has as much, so the build fails.
inline constexpr size_t kImpossibleWorkspace = size_t{1} << 48;

// A DType that no plug-in takes stands for TensorRT types that it does not know.
DType dtype_of(nvinfer1::DataType type);
// Throws Error for BF16 where TensorRT has none (8.6).
nvinfer1::DataType data_type_of(DType type);
TensorFormat format_of(const nvinfer1::PluginTensorDesc& tensor);
std::vector<int64_t> dimensions_of(const nvinfer1::Dims& dims);
// -1 where an expression is no constant.
std::vector<int64_t> dimensions_of(const nvinfer1::DimsExprs& dims);
std::vector<PluginField> fields_of(const nvinfer1::PluginFieldCollection& collection);

// The plug-in's fields with their types, for a creator.
const nvinfer1::PluginFieldCollection* field_name_collection();

// The result of `action`; where it throws, the logger gets the message and `otherwise` is returned.
template <class Result, class Action>
Result guarded(Result otherwise, Action&& action) noexcept {
  try {
    return action();
  } catch (const std::exception& error) {
    log_error(error.what());
  }
  return otherwise;
}

// TensorRT's statuses: 0 is success.
template <class Action>
int32_t status_of(Action&& action) noexcept {
  return guarded(int32_t{1}, [&] {
    action();
    return int32_t{0};
  });
}

}  // namespace twofour::tensorrt
