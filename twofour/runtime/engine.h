// Loads a model directory and runs it on this machine's best kernels. No LibTorch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/export.h"
#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/io/tokenizer.h"

namespace twofour {

struct EngineOptions {
  // Name of a kernel to use wherever it can run; empty: the best. TWOFOUR_FORCE_KERNEL has the same
  // meaning and is read when this is empty. Throws Error when the name is unknown or the machine
  // lacks the instructions.
  std::string force_kernel = {};
  // Precision of attention's own products: "f32", the default, "bf16" where the machine has
  // AVX-512 BF16, or "int8" where it has AVX-512 VNNI or AVX-VNNI. On a GPU it is that of the other
  // floats. TWOFOUR_ATTENTION has the same meaning and is read when this is empty.
  std::string attention = {};
  // Precision of the products of layers whose weights are float: "f32", the default, or "bf16"
  // where the machine has AVX-512 BF16: weights and activations are rounded to bf16, sums are f32.
  // Of int8 models it is for the layers that stayed float, such as pooler and head; where there are
  // none, Engine::warnings() say so. On a GPU "f32", "fp16" or "bf16", and that of all values
  // between the layers too, or "fp8": products in E4M3, the rest in fp16, from compute capability
  // 8.9 on; the default there is "fp16" for int8 models. TWOFOUR_PRECISION has the same meaning and
  // is read when this is empty.
  std::string precision = {};
  // Scales of the activations of int8 layers: "static", the default: those of the file;
  // "asymmetric": the same, but what GELU and ReLU leave, which is never far below 0, gets a zero
  // point and with it twice the steps; or "per_token": the largest magnitude of each token's row,
  // found as the row is computed. On a CPU. TWOFOUR_ACTIVATION_SCALES has the same meaning and is
  // read when this is empty. A model whose activations are dynamic has no scales in its file: it is
  // always run "per_token".
  std::string activation_scales = {};
  // "cpu", the default, or an NVIDIA GPU: "cuda:0". TWOFOUR_DEVICE has the same meaning and is read
  // when this is empty. Throws Error where there is no such device, and for a GPU in a build
  // without CUDA.
  std::string device = {};
  // On a GPU: a file of `twofour plan`, which names kernels and algorithms for each product. One
  // that was made on another GPU or with other libraries is not used: Engine::warnings() say so.
  // TWOFOUR_PLANS has the same meaning and is read when this is empty.
  std::string plans = {};
  // What runs the network: "twofour", the default: kernels of this library; or "tensorrt", on a
  // GPU: TensorRT, from the file that `engine` names. TWOFOUR_BACKEND has the same meaning and is
  // read when this is empty and `device` is not "cpu".
  std::string backend = {};
  // With the backend tensorrt: a file that `twofour build-engine` made of an export of this model,
  // on this GPU. Kernels and precisions are those that it was built with, so that the options of
  // them must be empty, and batches must fit its lengths. TWOFOUR_ENGINE has the same meaning and
  // is read when this is empty.
  std::string engine = {};
};

struct LayerInfo {
  std::string name;
  int64_t n = 0, k = 0;
  std::string type;  // "f32", "fp16", "bf16", "fp8", "int8"
  bool sparse = false;
  int share_rows = 1;
  std::string kernel;  // "spmm24_s8_avx512vnni"
  uint64_t packed_bytes = 0;
  std::string why_dense = {};  // on a GPU: why 2:4 weights run dense; else empty
};

namespace cuda {
class Device;
struct DeviceLibraries;
}  // namespace cuda
class RunEngineApi;

// Immutable after load: all of it is thread-safe, and any number of sessions share one.
class TWOFOUR_API Engine {
 public:
  // Reads and packs the weights, from a folder or a model at hand, which is not needed afterwards.
  // Throws Error: no model, a damaged file, weights that are missing or of another shape, an option
  // that cannot be had (EngineOptions), on a GPU one of CUDA's failures, with TensorRT that it or
  // libtwofour_tensorrt.so is absent, or an engine of another GPU, TensorRT or model.
  static std::shared_ptr<const Engine> load(const std::filesystem::path& model_directory,
                                            const EngineOptions& options = {});
  static std::shared_ptr<const Engine> load(const ModelDirectory& model,
                                            const EngineOptions& options = {});
  ~Engine();

  // References stay valid as long as the engine.
  const ModelConfig& config() const;
  const Network& network() const;
  // Throws Error where the model has none: neither vocab.txt nor tokenizer.json.
  const Tokenizer& tokenizer() const;
  // Floats of a row of the output: labels of a classifier, width of an embedding.
  int64_t output_width() const;
  // As they took effect: without empty strings, but for force_kernel.
  const EngineOptions& options() const;
  // The linear layers in the order of the network; query, key and value that run as one are one.
  // None with TensorRT, which fuses them: `twofour build-engine` tells what became of them.
  std::vector<LayerInfo> layers() const;
  // Of these layers' weights; on a GPU of the embeddings and norms too; with TensorRT of the file.
  uint64_t packed_bytes() const;
  // What the caller should know and is no error: why a plan file is not used, rows of the embedding
  // that the vocabulary has no token for, layers that config.json does not know, a precision
  // that no layer has.
  const std::vector<std::string>& warnings() const;

  struct __attribute__((visibility("hidden"))) State;
  const State& state() const { return *state_; }
  // On a device that is at hand already; options.device and plans are not read. Not for callers.
  __attribute__((visibility("hidden"))) static std::shared_ptr<const Engine> load_on(
      const ModelDirectory& model, const EngineOptions& options,
      std::shared_ptr<cuda::Device> device);
  // With these libraries; options.device is not read. Not for callers.
  __attribute__((visibility("hidden"))) static std::shared_ptr<const Engine> load_on(
      const ModelDirectory& model, const EngineOptions& options,
      const cuda::DeviceLibraries& libraries, int ordinal);
  // With TensorRT, by this library of it; options.backend is not read. Not for callers.
  __attribute__((visibility("hidden"))) static std::shared_ptr<const Engine> load_on(
      const ModelDirectory& model, const EngineOptions& options, RunEngineApi& library);

 private:
  Engine();
  std::unique_ptr<State> state_;
};

// Sequences one after the other, without padding: tokens of sequence i are [offsets[i], offsets[i +
// 1]).
struct TokenBatch {
  std::span<const int32_t> ids;
  std::span<const int32_t> type_ids;
  std::span<const int32_t> offsets;  // batch + 1 entries, offsets[0] == 0
};

// The same in memory of the engine's GPU, where the values cannot be checked: ids that the
// vocabulary lacks are taken for its first or last, offsets must be right.
struct DeviceBatch {
  const int32_t* ids = nullptr;       // [tokens]
  const int32_t* type_ids = nullptr;  // [tokens]
  const int32_t* offsets = nullptr;   // [sequences + 1]
  int64_t tokens = 0, sequences = 0;
  int64_t longest = 0;  // tokens of the longest sequence, or more
};

struct SessionOptions {
  int threads = 1;  // on a CPU
  // On a GPU: the stream to work on (a cudaStream_t of that device); null: one of the session's
  // own.
  void* stream = nullptr;
  // On a GPU: what a batch enqueues becomes a CUDA graph when a batch of about its size comes
  // again. Not with TensorRT.
  bool graphs = true;
  // On a GPU: bytes that the session's buffers may take, without the workspace of NVIDIA's
  // libraries; 0: what there is. A batch that needs more throws Error. Not with TensorRT, whose
  // engine says what it needs.
  uint64_t device_memory_limit = 0;
};

// Scratch and threads, or memory and stream of a GPU. Not thread-safe: one call at a time; sessions
// of one engine run beside each other. Allocates only when a batch is larger than any before, on a
// GPU also when its size is new. After an Error about a batch it can be used on, after
// a fault of a GPU not.
class TWOFOUR_API Session {
 public:
  // `engine` is not null; the session keeps it. Throws Error: on a CPU threads below 1 or that the
  // system does not start, on a GPU one of CUDA's failures.
  explicit Session(std::shared_ptr<const Engine> engine, const SessionOptions& options = {});
  ~Session();

  // output [batch, output_width] f32; [tokens, output_width] for a model without a head, and for
  // one that classifies tokens. Throws Error: ids outside the vocabulary, an empty sequence, one
  // longer than the positions, offsets that do not ascend, an output of the wrong size; on a GPU
  // also a batch above the memory limit and CUDA's failures; with TensorRT a sequence longer than
  // the engine takes. An empty batch does nothing.
  void run(const TokenBatch& batch, std::span<float> output);

  // On a GPU: enqueues on `stream` (a cudaStream_t) and returns. `output` lies in the GPU's memory,
  // of the same shape. Everything must stay where it is until the stream has come so far. Throws
  // Error: an engine on a CPU or of TensorRT, numbers that cannot be, null pointers, too little
  // memory.
  void run(const DeviceBatch& batch, float* output, void* stream);

  // Runs a batch of `sequences` times `tokens` tokens, so that later ones of that size find memory,
  // plans and graphs ready. Throws Error as run() does.
  void warm_up(int64_t sequences, int64_t tokens);

  // How batches have run on a GPU, counted in parts of at most 16384 tokens.
  struct GraphUse {
    uint64_t launched = 0;  // as a CUDA graph
    uint64_t plain = 0;     // step by step
    std::string failure;    // of the last batch that could not become a graph; else empty
  };
  // All 0 on a CPU and with TensorRT.
  GraphUse graph_use() const;

  // Called in run() for each quantization point of an int8 model with the int8 values [tokens,
  // width]; batches in a GPU's memory and TensorRT do not call it. An empty one ends it. For parity
  // tests.
  using Tap = std::function<void(std::string_view quant_point, std::span<const int8_t> values)>;
  void set_tap(Tap tap);

 private:
  struct __attribute__((visibility("hidden"))) State;
  std::unique_ptr<State> state_;
};

}  // namespace twofour
