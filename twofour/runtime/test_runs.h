// Batches, runs and comparisons that the tests of engines share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "twofour/base/testing.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/test_models.h"

namespace twofour {

using Taps = std::map<std::string, std::vector<int8_t>>;

inline std::vector<float> run(const std::shared_ptr<const Engine>& engine, const TokenBatch& batch,
                              int threads = 1, Taps* taps = nullptr) {
  Session session(engine, {threads});
  if (taps != nullptr) {
    session.set_tap([taps](std::string_view point, std::span<const int8_t> values) {
      (*taps)[std::string(point)].assign(values.begin(), values.end());
    });
  }
  const Network& network = engine->network();
  const bool by_token = network.values[network.output].rows == Rows::kTokens;
  const size_t rows = by_token ? batch.ids.size() : batch.offsets.size() - 1;
  std::vector<float> output(rows * engine->output_width());
  session.run(batch, output);
  return output;
}

// Relative to the largest magnitude: single values may be near 0.
inline void expect_close(std::span<const float> found, std::span<const float> want,
                         double relative) {
  ASSERT_EQ(found.size(), want.size());
  double largest = 0;
  for (float x : want) largest = std::max<double>(largest, std::fabs(x));
  for (size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], want[i], relative * largest) << "at " << i;
}

inline PackedTokens random_tokens(const Network& network, int sequences, uint64_t seed,
                                  int longest) {
  std::mt19937_64 random(seed);
  PackedTokens tokens;
  for (int i = 0; i < sequences; ++i) {
    std::vector<int32_t> ids(1 + random() % longest), types(ids.size());
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % network.vocab_size);
    for (size_t t = ids.size() / 2; t < ids.size(); ++t)
      types[t] = static_cast<int32_t>(network.type_vocab_size - 1);
    tokens.append(ids, types);
  }
  return tokens;
}

}  // namespace twofour
