// How long an engine takes for the shapes that it was tuned for.
#pragma once

#include <NvInfer.h>

#include "twofour/backend/cuda/runtime.h"
#include "twofour/tensorrt/api.h"

namespace twofour::tensorrt {

// The median of runs of one batch of request.batch.opt sequences of request.length.opt tokens, in
// milliseconds, inputs zero, on the current device. Throws Error where the engine fails.
double time_engine(nvinfer1::ICudaEngine& engine, const BuildEngineRequest& request,
                   cuda::Runtime& runtime);

}  // namespace twofour::tensorrt
