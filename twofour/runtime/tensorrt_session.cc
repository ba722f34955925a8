#include "twofour/runtime/tensorrt_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/error.h"

namespace twofour {
namespace {

int64_t length_of(const TokenBatch& batch, int64_t sequence) {
  return batch.offsets[sequence + 1] - batch.offsets[sequence];
}

}  // namespace

TensorRtSession::TensorRtSession(const Network& network, TensorRtEngine& engine, void* stream)
    : network_(network),
      sequences_(engine.batch()),
      tokens_(engine.length()),
      context_(engine.make_context(stream)) {}

void TensorRtSession::run(const TokenBatch& batch, std::span<float> output) {
  const auto sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  for (int64_t i = 0; i < sequences; ++i) {
    if (length_of(batch, i) <= tokens_.max) continue;
    throw Error("Session::run",
                fmt::format("sequence {} has {} tokens, the TensorRT engine takes {} at most", i,
                            length_of(batch, i), tokens_.max),
                "Cut it to that length, or build the engine with a larger --length");
  }
  for (int64_t first = 0; first < sequences; first += sequences_.max)
    run_part(batch, first, std::min(sequences_.max, sequences - first), output);
}

void TensorRtSession::run_part(const TokenBatch& batch, int64_t first, int64_t count,
                               std::span<float> output) {
  const Value& value = network_.values[network_.output];
  const bool by_token = value.rows == Rows::kTokens;
  pad(batch, first, count);
  results_.resize(padded_.sequences * (by_token ? padded_.length : 1) * value.width);
  context_->run(padded_, results_);
  if (!by_token) {
    std::copy_n(results_.begin(), count * value.width, output.begin() + first * value.width);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(results_.begin() + i * padded_.length * value.width,
                length_of(batch, first + i) * value.width,
                output.begin() + batch.offsets[first + i] * value.width);
  }
}

// Sequences that fill up the least batch have one token: attention must see some.
void TensorRtSession::pad(const TokenBatch& batch, int64_t first, int64_t count) {
  int64_t length = tokens_.min;
  for (int64_t i = first; i < first + count; ++i) length = std::max(length, length_of(batch, i));
  const int64_t sequences = std::max(count, sequences_.min);
  for (auto* numbers : {&ids_, &mask_, &type_ids_}) numbers->assign(sequences * length, 0);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = batch.offsets[first + i], tokens = length_of(batch, first + i);
    std::copy_n(batch.ids.begin() + begin, tokens, ids_.begin() + i * length);
    std::copy_n(batch.type_ids.begin() + begin, tokens, type_ids_.begin() + i * length);
    std::fill_n(mask_.begin() + i * length, tokens, 1);
  }
  for (int64_t i = count; i < sequences; ++i) mask_[i * length] = 1;
  padded_ = {sequences, length, ids_, mask_, type_ids_};
}

}  // namespace twofour
