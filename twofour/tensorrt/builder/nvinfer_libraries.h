// libnvinfer and libnvonnxparser, opened at run time: nothing here is linked to them.
#pragma once

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <memory>

namespace twofour::tensorrt {

// Objects of TensorRT are deleted by their virtual destructors.
template <class Object>
using Nv = std::unique_ptr<Object>;

// Each throws Error with the remedy where the library cannot be opened, is of another major version
// than the headers, or makes no object. The folder that TWOFOUR_TENSORRT_LIBS names comes before
// the dynamic linker's own search.
Nv<nvinfer1::IBuilder> make_builder(nvinfer1::ILogger& logger);
Nv<nvinfer1::IRuntime> make_runtime(nvinfer1::ILogger& logger);
Nv<nvonnxparser::IParser> make_parser(nvinfer1::INetworkDefinition& network,
                                      nvinfer1::ILogger& logger);
nvinfer1::IPluginRegistry& plugin_registry();

// As the library says: 100300 for 10.3.0, 8601 for 8.6.1.
int nvinfer_version();

}  // namespace twofour::tensorrt
