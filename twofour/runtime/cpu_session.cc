#include "twofour/runtime/cpu_session.h"

#include <algorithm>

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

}  // namespace

CpuSession::CpuSession(const Network& network, const Plan& plan, int threads)
    : pool_(threads), together_(network, plan, pool_) {
  workers_.reserve(threads);
  for (int i = 0; i < threads; ++i) workers_.emplace_back(network, plan, serial_);
}

// For any batch that is not larger in any of the three, whichever way it is run.
void CpuSession::reserve(const Extent& batch, bool tapped) {
  const int64_t few = kFewSequences * pool_.threads();
  const int64_t largest_chunk = std::max(kChunkTokens, batch.longest);
  for (Worker& worker : workers_) {
    worker.reserve({std::min(batch.tokens, largest_chunk), std::min(batch.sequences, kChunkTokens),
                    batch.longest});
  }
  chunks_.reserve(batch.sequences);
  busy_.reserve(workers_.size());
  if (tapped) {
    together_.reserve(batch);
  } else if (pool_.threads() > 1) {
    together_.reserve({std::min(batch.tokens, few * batch.longest), std::min(batch.sequences, few),
                       batch.longest});
  }
}

// Whole sequences; smaller towards the end, so that threads finish together.
void CpuSession::cut(const TokenBatch& batch) {
  chunks_.clear();
  const auto sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  const int64_t threads = pool_.threads();
  for (int64_t i = 0; i < sequences;) {
    const int64_t left = batch.offsets[sequences] - batch.offsets[i];
    const int64_t target = threads == 1
                               ? kChunkTokens
                               : std::clamp(left / (2 * threads), kLeastChunkTokens, kChunkTokens);
    Chunk chunk{i, 1};
    while (i + chunk.count < sequences && chunk.count < kChunkTokens &&
           batch.offsets[i + chunk.count + 1] - batch.offsets[i] <= target)
      ++chunk.count;
    chunks_.push_back(chunk);
    i += chunk.count;
  }
}

// Tokens of the thread that finishes last, when each takes the next chunk as soon as it is free,
// over an equal share.
double CpuSession::unevenness(const TokenBatch& batch) {
  busy_.assign(workers_.size(), 0);
  for (const Chunk& chunk : chunks_) {
    *std::min_element(busy_.begin(), busy_.end()) +=
        batch.offsets[chunk.first + chunk.count] - batch.offsets[chunk.first];
  }
  const int64_t most = *std::max_element(busy_.begin(), busy_.end());
  return static_cast<double>(most * pool_.threads()) / static_cast<double>(batch.ids.size());
}

void CpuSession::run(const TokenBatch& batch, const Session::Tap& tap, std::span<float> output) {
  const auto sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  Extent extent{static_cast<int64_t>(batch.ids.size()), sequences, 0};
  for (int64_t i = 0; i < sequences; ++i)
    extent.longest = std::max<int64_t>(extent.longest, batch.offsets[i + 1] - batch.offsets[i]);
  reserve(extent, static_cast<bool>(tap));
  if (tap) return together_.run(batch, {0, sequences}, tap, output);
  cut(batch);
  if (sequences <= kFewSequences * pool_.threads() && unevenness(batch) > kMostUneven) {
    return together_.run(batch, {0, sequences}, {}, output);
  }
  pool_.parallel_for(static_cast<int64_t>(chunks_.size()), [&](int64_t i, int thread) {
    workers_[thread].run(batch, chunks_[i], {}, output);
  });
}

}  // namespace twofour
