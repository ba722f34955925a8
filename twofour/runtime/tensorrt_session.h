// A session on TensorRT: a batch runs in parts within the engine's bounds, each padded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/runtime/engine.h"
#include "twofour/tensorrt/run_api.h"

namespace twofour {

class TensorRtSession {
 public:
  // `network` and `engine` must outlive it. `stream` as SessionOptions has it.
  TensorRtSession(const Network& network, TensorRtEngine& engine, void* stream);

  // `batch` is valid, as Session::run() checks it. Throws Error: a sequence longer than the engine
  // takes, and what TensorRtContext::run() throws.
  void run(const TokenBatch& batch, std::span<float> output);

 private:
  void run_part(const TokenBatch& batch, int64_t first, int64_t count, std::span<float> output);
  void pad(const TokenBatch& batch, int64_t first, int64_t count);

  const Network& network_;
  tensorrt::DimensionRange sequences_, tokens_;  // that the engine takes
  std::unique_ptr<TensorRtContext> context_;
  PaddedBatch padded_;
  std::vector<int32_t> ids_, mask_, type_ids_;
  std::vector<float> results_;
};

}  // namespace twofour
