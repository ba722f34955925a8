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
  // Precision of attention's own products: "f32", the default, or "bf16" where the machine has
  // AVX-512 BF16. TWOFOUR_ATTENTION has the same meaning and is read when this is empty.
  std::string attention = {};
  // Precision of the products of layers whose weights are float: "f32", the default, or "bf16"
  // where the machine has AVX-512 BF16: weights and activations are rounded to bf16, sums are f32.
  // TWOFOUR_PRECISION has the same meaning and is read when this is empty.
  std::string precision = {};
};

struct LayerInfo {
  std::string name;
  int64_t n = 0, k = 0;
  std::string type;  // "f32", "bf16", "int8"
  bool sparse = false;
  int share_rows = 1;
  std::string kernel;  // "spmm24_s8_avx512vnni"
  uint64_t packed_bytes = 0;
};

// Immutable after load; share it between threads.
class TWOFOUR_API Engine {
 public:
  static std::shared_ptr<const Engine> load(const std::filesystem::path& model_directory,
                                            const EngineOptions& options = {});
  static std::shared_ptr<const Engine> load(const ModelDirectory& model,
                                            const EngineOptions& options = {});
  ~Engine();

  const ModelConfig& config() const;
  const Network& network() const;
  const Tokenizer& tokenizer() const;
  int64_t output_width() const;
  // As they took effect: without empty strings, but for force_kernel.
  const EngineOptions& options() const;
  std::vector<LayerInfo> layers() const;
  uint64_t packed_bytes() const;

  struct __attribute__((visibility("hidden"))) State;
  const State& state() const { return *state_; }

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

struct SessionOptions {
  int threads = 1;
};

// Scratch and threads for one caller at a time. Allocates only when a batch is larger than any
// before.
class TWOFOUR_API Session {
 public:
  explicit Session(std::shared_ptr<const Engine> engine, const SessionOptions& options = {});
  ~Session();

  // output [batch, output_width] f32; [tokens, output_width] for a model without a head. Throws
  // Error: ids outside the vocabulary, an empty sequence, one longer than the positions, offsets
  // that do not ascend, an output of the wrong size.
  void run(const TokenBatch& batch, std::span<float> output);

  // Called for each quantization point of an int8 model with the int8 values [tokens, width]. For
  // parity tests.
  using Tap = std::function<void(std::string_view quant_point, std::span<const int8_t> values)>;
  void set_tap(Tap tap);

 private:
  struct __attribute__((visibility("hidden"))) State;
  std::unique_ptr<State> state_;
};

}  // namespace twofour
