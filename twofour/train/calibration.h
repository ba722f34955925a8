// Scales of activations from batches of data.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/quant/calibrator.h"
#include "twofour/train/api.h"
#include "twofour/train/batcher.h"
#include "twofour/train/masking.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

// Scales by quantization point, in f32 without dropout. `masker` may be null: nothing is masked.
// `stop`, which may be empty, is asked before each batch: none if it says so.
std::vector<float> calibrate_scales(const Network& network, const ParameterMap& parameters,
                                    const TokenStore& tokens, std::span<const Batch> batches,
                                    const CalibrationMethod& method, const TokenMasker* masker,
                                    const std::function<bool()>& stop = {});

// Post-training quantization of a whole model directory: see TrainApi::calibrate.
void run_calibration(const CalibrateRequest& request, const Callbacks& callbacks);

}  // namespace twofour
