// The plug-in's creator in the form that the TensorRT of this build takes.
#pragma once

#include <NvInferVersion.h>

#if NV_TENSORRT_MAJOR >= 10
#include "twofour/tensorrt/plugin/plugin_v3.h"
#else
#include "twofour/tensorrt/plugin/plugin_v2.h"
#endif

namespace twofour::tensorrt {

#if NV_TENSORRT_MAJOR >= 10
using SpmmPluginCreator = SpmmPluginCreatorV3;
#else
using SpmmPluginCreator = SpmmPluginCreatorV2;
#endif

}  // namespace twofour::tensorrt
