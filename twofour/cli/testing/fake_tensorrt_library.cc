// libtwofour_tensorrt.so without TensorRT: builds answer what tests need to see printed, engines
// give as many quarters as they are asked for.
#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/tensorrt/api.h"
#include "twofour/tensorrt/run_api.h"

namespace twofour {
namespace {

using tensorrt::EngineLayer;

class FakeBuildEngineApi final : public BuildEngineApi {
 public:
  BuildEngineResult build(const BuildEngineRequest& request, const Callbacks& callbacks) override {
    if (read_file(request.onnx).find("refused") != std::string::npos)
      throw Error("cuda", "there is no GPU");
    BuildEngineResult result;
    result.up_to_date = std::filesystem::exists(request.out) && !request.force;
    if (result.up_to_date) return result;
    callbacks.warn("TensorRT: a warning");
    result.gpu = "Fake H100";
    result.tensorrt = "10.3.0";
    result.bytes = 1000;
    result.layers = {{"reformat", "Reformat", "", {}, false, false},
                     {"a/Conv", "CaskConvolution", "sm80_sparse_conv", {"a/Conv"}, true, false},
                     {"b/Conv", "CaskConvolution", "sm80_implicit_gemm", {"b/Conv"}, false, false},
                     {"c/Spmm", "PluginV3", "", {"c/Spmm"}, true, true}};
    if (request.compare_dense) {
      result.ms = 2;
      result.dense_ms = 3;
    }
    write_file_atomically(
        request.out, fmt::format("{}|{}|{}|{}|{}|{}", to_string(request.batch),
                                 to_string(request.length), request.sparse, request.compare_dense,
                                 request.timing_cache.string(), request.workspace_mb));
    return result;
  }
};

class FakeEngine final : public TensorRtEngine {
 public:
  tensorrt::DimensionRange batch() const override { return {1, 2, 4}; }
  tensorrt::DimensionRange length() const override { return {8, 16, 32}; }
  uint64_t file_bytes() const override { return 4321; }
  std::unique_ptr<TensorRtContext> make_context(void*) override {
    return std::make_unique<Context>();
  }

 private:
  class Context final : public TensorRtContext {
    void run(const PaddedBatch&, std::span<float> output) override {
      std::fill(output.begin(), output.end(), 0.25f);
    }
  };
};

class FakeRunEngineApi final : public RunEngineApi {
 public:
  std::unique_ptr<TensorRtEngine> open(const std::filesystem::path& plan, const std::string&,
                                       int) override {
    if (!std::filesystem::exists(plan)) throw Error(plan.string(), "cannot run here: not there");
    return std::make_unique<FakeEngine>();
  }
};

}  // namespace
}  // namespace twofour

extern "C" __attribute__((visibility("default"))) twofour::BuildEngineApi*
twofour_build_engine_api_v1() {
  static twofour::FakeBuildEngineApi api;
  return &api;
}

extern "C" __attribute__((visibility("default"))) twofour::RunEngineApi*
twofour_run_engine_api_v1() {
  static twofour::FakeRunEngineApi api;
  return &api;
}
