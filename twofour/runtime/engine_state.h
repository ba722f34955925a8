// What Engine and Session share. Not for callers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "twofour/runtime/device_plan.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/plan.h"
#include "twofour/tensorrt/run_api.h"

namespace twofour {

struct Engine::State {
  std::string origin;
  ModelConfig config;
  Network network;
  Plan plan;                                 // empty on a device; with TensorRT its options alone
  std::unique_ptr<DevicePlan> device_plan;   // null on the CPU and with TensorRT
  std::unique_ptr<TensorRtEngine> tensorrt;  // null without it
  std::unique_ptr<Tokenizer> tokenizer;      // null where the model has none
  std::vector<std::string> warnings;
};

}  // namespace twofour
