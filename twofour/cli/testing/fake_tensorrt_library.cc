// An engine builder without TensorRT: answers what tests need to see printed.
#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/tensorrt/api.h"

namespace twofour {
namespace {

using tensorrt::EngineLayer;

class FakeBuildEngineApi final : public BuildEngineApi {
 public:
  BuildEngineResult build(const BuildEngineRequest& request, const Callbacks& callbacks) override {
    if (read_file(request.onnx) == "refused") throw Error("cuda", "there is no GPU");
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

}  // namespace
}  // namespace twofour

extern "C" __attribute__((visibility("default"))) twofour::BuildEngineApi*
twofour_build_engine_api_v1() {
  static twofour::FakeBuildEngineApi api;
  return &api;
}
