#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/error.h"
#include "twofour/runtime/engine_state.h"
#include "twofour/runtime/worker.h"

namespace twofour {
namespace {

// Tokens whose activations of one layer stay in a second-level cache of 1 MB, and which suffice to
// amortize what a kernel prepares for each panel of weights.
constexpr int64_t kChunkTokens = 128;
constexpr int64_t kLeastChunkTokens = 32;
// With fewer sequences for a thread than this, chunks may be too uneven.
constexpr int64_t kFewSequences = 4;
// What uneven chunks may cost against perfectly divided work, before the threads share the work of
// every step instead.
constexpr double kMostUneven = 1.15;

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

}  // namespace

// A batch is cut into chunks of whole sequences, which threads take through the whole network: what
// a layer hands to the next stays in the thread's cache, and no thread waits for another. Where
// there are too few sequences for that, all threads work on every step.
struct Session::State {
  State(std::shared_ptr<const Engine> shared, int threads)
      : engine(std::move(shared)),
        network(engine->state().network),
        pool(threads),
        together(network, engine->state().plan, pool) {
    workers.reserve(threads);
    for (int i = 0; i < threads; ++i) workers.emplace_back(network, engine->state().plan, serial);
  }

  // For any batch that is not larger in any of the three, whichever way it is run.
  void reserve(const Extent& batch) {
    const int64_t few = kFewSequences * pool.threads();
    const int64_t largest_chunk = std::max(kChunkTokens, batch.longest);
    for (Worker& worker : workers) {
      worker.reserve({std::min(batch.tokens, largest_chunk),
                      std::min(batch.sequences, kChunkTokens), batch.longest});
    }
    chunks.reserve(batch.sequences);
    busy.reserve(workers.size());
    if (tap) {
      together.reserve(batch);
    } else if (pool.threads() > 1) {
      together.reserve({std::min(batch.tokens, few * batch.longest), std::min(batch.sequences, few),
                        batch.longest});
    }
  }

  // Whole sequences; smaller towards the end, so that threads finish together.
  void cut(const TokenBatch& batch) {
    chunks.clear();
    const auto sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
    const int64_t threads = pool.threads();
    for (int64_t i = 0; i < sequences;) {
      const int64_t left = batch.offsets[sequences] - batch.offsets[i];
      const int64_t target =
          threads == 1 ? kChunkTokens
                       : std::clamp(left / (2 * threads), kLeastChunkTokens, kChunkTokens);
      Chunk chunk{i, 1};
      while (i + chunk.count < sequences && chunk.count < kChunkTokens &&
             batch.offsets[i + chunk.count + 1] - batch.offsets[i] <= target)
        ++chunk.count;
      chunks.push_back(chunk);
      i += chunk.count;
    }
  }

  // Tokens of the thread that finishes last, when each takes the next chunk as soon as it is free,
  // over an equal share.
  double unevenness(const TokenBatch& batch) {
    busy.assign(workers.size(), 0);
    for (const Chunk& chunk : chunks) {
      *std::min_element(busy.begin(), busy.end()) +=
          batch.offsets[chunk.first + chunk.count] - batch.offsets[chunk.first];
    }
    const int64_t most = *std::max_element(busy.begin(), busy.end());
    return static_cast<double>(most * pool.threads()) / static_cast<double>(batch.ids.size());
  }

  void run(const TokenBatch& batch, std::span<float> output) {
    const auto sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
    if (tap) return together.run(batch, {0, sequences}, tap, output);
    cut(batch);
    if (sequences <= kFewSequences * pool.threads() && unevenness(batch) > kMostUneven) {
      return together.run(batch, {0, sequences}, {}, output);
    }
    pool.parallel_for(static_cast<int64_t>(chunks.size()), [&](int64_t i, int thread) {
      workers[thread].run(batch, chunks[i], {}, output);
    });
  }

  std::shared_ptr<const Engine> engine;
  const Network& network;
  ThreadPool pool;
  ThreadPool serial{1};
  Worker together;
  std::vector<Worker> workers;  // by thread
  std::vector<Chunk> chunks;
  std::vector<int64_t> busy;
  Tap tap;
};

Session::Session(std::shared_ptr<const Engine> engine, const SessionOptions& options)
    : state_(std::make_unique<State>(std::move(engine), options.threads)) {}
Session::~Session() = default;

void Session::set_tap(Tap tap) { state_->tap = std::move(tap); }

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
  Extent extent{static_cast<int64_t>(batch.ids.size()), sequences, 0};
  for (int64_t i = 0; i < sequences; ++i) {
    extent.longest = std::max<int64_t>(extent.longest, batch.offsets[i + 1] - batch.offsets[i]);
  }
  s.reserve(extent);
  s.run(batch, output);
}

}  // namespace twofour
