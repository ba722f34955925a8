// What the run half asks of the library that runs TensorRT engines, which it opens at run time. No
// TensorRT in this header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "twofour/base/optional_library.h"
#include "twofour/tensorrt/profile.h"

namespace twofour {

// Sequences of one length: token t of sequence i is at i * length + t.
struct PaddedBatch {
  int64_t sequences = 0, length = 0;
  std::span<const int32_t> ids, mask, type_ids;  // the mask is 1 for a token, 0 for padding
};

// An engine's memory and stream, for one batch at a time.
class TensorRtContext {
 public:
  virtual ~TensorRtContext() = default;
  // `batch` is within the engine's bounds. `output` is [sequences, width], or [sequences, length,
  // width] of a model that has a row for each token. Waits for the results. Throws Error: device
  // memory, what TensorRT says of a failure, an output of another size.
  virtual void run(const PaddedBatch& batch, std::span<float> output) = 0;
};

class TensorRtEngine {
 public:
  virtual ~TensorRtEngine() = default;
  // What a batch must be within.
  virtual tensorrt::DimensionRange batch() const = 0;
  virtual tensorrt::DimensionRange length() const = 0;
  virtual uint64_t file_bytes() const = 0;
  // Works on `stream` (a cudaStream_t of the engine's device); null: on one of its own. The engine
  // outlives the context. Thread-safe.
  virtual std::unique_ptr<TensorRtContext> make_context(void* stream) = 0;
};

class RunEngineApi {
 public:
  virtual ~RunEngineApi() = default;
  // `model` is its hash (io/content_hash.h), `device` the number of a GPU. Throws Error with the
  // remedy: no file of twofour build-engine, one for another GPU, TensorRT or model, no driver, no
  // TensorRT.
  virtual std::unique_ptr<TensorRtEngine> open(const std::filesystem::path& plan,
                                               const std::string& model, int device) = 0;
};

// Opens libtwofour_tensorrt.so as open_library() does. Thread-safe; the library stays open.
// (runtime/ implements this.)
RunEngineApi& run_engine_api();

// The symbol that the library exports.
inline constexpr const char* kRunEngineApiSymbol = "twofour_run_engine_api_v1";
using RunEngineApiFunction = RunEngineApi* (*)();

// The library, for one of its symbols.
constexpr OptionalLibrary tensorrt_library(const char* symbol) {
  return {"libtwofour_tensorrt.so",
          "TWOFOUR_TENSORRT_LIBRARY",
          "TensorRT library",
          symbol,
          "Build the preset cuda with TENSORRT_ROOT set, as docs/tensorrt.md says",
          "Build it again with the TensorRT that is installed"};
}

}  // namespace twofour
