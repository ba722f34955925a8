#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/error.h"
#include "twofour/runtime/cpu_session.h"
#include "twofour/runtime/device_session.h"
#include "twofour/runtime/engine_state.h"
#include "twofour/runtime/tensorrt_session.h"

namespace twofour {
namespace {

[[noreturn]] void fail(const std::string& message, std::string_view remedy = {}) {
  throw Error("Session::run", message, remedy);
}

void check_ids(std::span<const int32_t> ids, int64_t limit, std::string_view what) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    fail(fmt::format("{} {} of token {} is outside [0, {})", what, ids[i], i, limit));
  }
}

void check_offsets(const TokenBatch& batch, int64_t max_positions) {
  if (batch.offsets[0] != 0)
    fail(fmt::format("offsets start at {}: must start at 0", batch.offsets[0]));
  for (size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
    const int64_t length = int64_t{batch.offsets[i + 1]} - batch.offsets[i];
    if (length == 0) fail(fmt::format("sequence {} is empty", i));
    if (length < 0)
      fail(fmt::format("offsets descend from {} to {}", batch.offsets[i], batch.offsets[i + 1]));
    if (length > max_positions) {
      fail(fmt::format("sequence {} has {} tokens, the model has {} positions", i, length,
                       max_positions),
           "Cut it to the model's length");
    }
  }
  if (static_cast<size_t>(batch.offsets.back()) != batch.ids.size()) {
    fail(fmt::format("offsets end at {} but there are {} ids", batch.offsets.back(),
                     batch.ids.size()));
  }
}

void check_batch(const TokenBatch& batch, const Network& network) {
  check_offsets(batch, network.max_positions);
  if (batch.type_ids.size() != batch.ids.size()) {
    fail(fmt::format("there are {} ids but {} type ids", batch.ids.size(), batch.type_ids.size()));
  }
  check_ids(batch.ids, network.vocab_size, "id");
  check_ids(batch.type_ids, network.type_vocab_size, "type id");
}

void check_device_batch(const DeviceBatch& batch, const Network& network) {
  const auto between = [](std::string_view what, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return;
    fail(fmt::format("{} is {}: must be in [{}, {}]", what, value, low, high));
  };
  between("tokens", batch.tokens, 1, INT32_MAX);
  between("sequences", batch.sequences, 1, batch.tokens);
  between("longest", batch.longest, 1, network.max_positions);
  for (const void* array : {batch.ids, batch.type_ids, batch.offsets}) {
    if (array == nullptr) fail("an array of the batch is null");
  }
}

}  // namespace

struct Session::State {
  State(std::shared_ptr<const Engine> shared, const SessionOptions& options)
      : engine(std::move(shared)), network(engine->state().network) {
    const Engine::State& s = engine->state();
    if (s.tensorrt != nullptr)
      tensorrt = std::make_unique<TensorRtSession>(network, *s.tensorrt, options.stream);
    else if (s.device_plan != nullptr)
      device = std::make_unique<DeviceSession>(network, *s.device_plan, options);
    else
      cpu = std::make_unique<CpuSession>(network, s.plan, options.threads);
  }

  std::shared_ptr<const Engine> engine;
  const Network& network;
  std::unique_ptr<CpuSession> cpu;  // one of the three
  std::unique_ptr<DeviceSession> device;
  std::unique_ptr<TensorRtSession> tensorrt;
  Tap tap;
};

Session::Session(std::shared_ptr<const Engine> engine, const SessionOptions& options)
    : state_(std::make_unique<State>(std::move(engine), options)) {}
Session::~Session() = default;

void Session::set_tap(Tap tap) { state_->tap = std::move(tap); }

Session::GraphUse Session::graph_use() const {
  return state_->device ? state_->device->graph_use() : GraphUse{};
}

void Session::run(const TokenBatch& batch, std::span<float> output) {
  State& s = *state_;
  const int64_t sequences = std::max<int64_t>(0, static_cast<int64_t>(batch.offsets.size()) - 1);
  const Value& result = s.network.values[s.network.output];
  const int64_t rows =
      result.rows == Rows::kTokens ? static_cast<int64_t>(batch.ids.size()) : sequences;
  if (static_cast<int64_t>(output.size()) != rows * result.width) {
    fail(fmt::format("output has {} floats: expected [{}, {}]", output.size(), rows, result.width));
  }
  if (sequences == 0) {
    if (!batch.ids.empty()) fail(fmt::format("there are {} ids but no sequence", batch.ids.size()));
    return;
  }
  check_batch(batch, s.network);
  if (s.tensorrt) return s.tensorrt->run(batch, output);
  s.device ? s.device->run(batch, s.tap, output) : s.cpu->run(batch, s.tap, output);
}

void Session::run(const DeviceBatch& batch, float* output, void* stream) {
  State& s = *state_;
  if (s.tensorrt != nullptr)
    fail("the engine is TensorRT's, but the batch lies in a GPU's memory",
         "Give the batch in the host's memory, or load the engine with the backend twofour");
  if (s.device == nullptr)
    fail("the engine runs on the CPU, but the batch lies in a GPU's memory",
         "Load the engine with the device cuda:0");
  check_device_batch(batch, s.network);
  if (output == nullptr) fail("output is null");
  s.device->run(batch, output, stream);
}

// On a GPU the second batch of a size is captured.
void Session::warm_up(int64_t sequences, int64_t tokens) {
  const State& s = *state_;
  if (sequences < 1 || tokens < 1 || sequences > INT32_MAX / tokens)
    fail(fmt::format("{} times {} tokens are no batch", sequences, tokens));
  const std::vector<int32_t> ids(sequences * tokens);
  std::vector<int32_t> offsets(sequences + 1);
  for (int64_t i = 0; i <= sequences; ++i) offsets[i] = static_cast<int32_t>(i * tokens);
  const Value& result = s.network.values[s.network.output];
  std::vector<float> output((result.rows == Rows::kTokens ? sequences * tokens : sequences) *
                            result.width);
  for (int i = 0; i < 2; ++i) run({ids, ids, offsets}, output);
}

}  // namespace twofour
