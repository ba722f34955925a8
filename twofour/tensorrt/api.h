// What the command asks of the library that builds TensorRT engines, which it opens at run time. No
// TensorRT in this header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "twofour/base/progress.h"
#include "twofour/tensorrt/engine_layers.h"
#include "twofour/tensorrt/onnx_file.h"
#include "twofour/tensorrt/profile.h"

namespace twofour {

struct BuildEngineRequest {
  std::filesystem::path onnx;
  std::filesystem::path out;  // FILE.plan; FILE.plan.json says what it was built from and for
  tensorrt::DimensionRange batch{1, 8, 32}, length{16, 128, 512};
  bool sparse = true;                  // let TensorRT choose sparse kernels
  bool force = false;                  // build even where `out` is up to date
  bool compare_dense = false;          // build once more without sparse kernels, and time both
  std::filesystem::path timing_cache;  // read where it is there, written afterwards; empty: none
  int64_t workspace_mb = 1024;
};

struct BuildEngineResult {
  bool up_to_date = false;  // nothing was built
  std::string gpu, tensorrt;
  uint64_t bytes = 0;
  std::vector<tensorrt::EngineLayer> layers;
  // A batch of the profile's `opt`, median; with compare_dense.
  std::optional<double> ms, dense_ms;
};

class BuildEngineApi {
 public:
  virtual ~BuildEngineApi() = default;
  // `onnx` has passed check_onnx(). Throws Error: no GPU, no TensorRT or one of another version,
  // operations that TensorRT lacks (named), a build that fails. `out` is then as it was, or
  // lacks its key.
  virtual BuildEngineResult build(const BuildEngineRequest& request,
                                  const Callbacks& callbacks) = 0;
};

// Opens libtwofour_tensorrt.so beside the command, or in ../lib, or where TWOFOUR_TENSORRT_LIBRARY
// says. Throws Error with the remedy when it is absent. Thread-safe; the library stays open. (cli/
// implements this.)
BuildEngineApi& build_engine_api();

// The symbol that the library exports.
inline constexpr const char* kBuildEngineApiSymbol = "twofour_build_engine_api_v1";
using BuildEngineApiFunction = BuildEngineApi* (*)();

}  // namespace twofour
