#include "twofour/graph/head.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "twofour/base/error.h"

namespace twofour {
namespace {

double expected_label(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0, weighted = 0;
  for (size_t label = 0; label < logits.size(); ++label) {
    const double p = std::exp(logits[label] - top);
    total += p;
    weighted += static_cast<double>(label) * p;
  }
  return weighted / total;
}

}  // namespace

Score score_from_output(std::span<const float> row, const ModelConfig& config) {
  if (config.head != HeadKind::kClassification) {
    throw Error("score",
                "the model has no classification head, so a row of its output has no score",
                "Compare embeddings of query and document instead");
  }
  if (row.empty() || static_cast<int64_t>(row.size()) != config.num_labels) {
    throw Error("score", fmt::format("expected a row of {} labels, found {} values",
                                     config.num_labels, row.size()));
  }
  if (row.size() == 1) return {row[0], -1};
  const auto best = std::max_element(row.begin(), row.end());
  return {static_cast<float>(expected_label(row)), static_cast<int32_t>(best - row.begin())};
}

float score_from_embeddings(std::span<const float> a, std::span<const float> b) {
  const double product = std::inner_product(
      a.begin(), a.end(), b.begin(), 0.0, std::plus{},
      [](float x, float y) { return static_cast<double>(x) * static_cast<double>(y); });
  return static_cast<float>(product);
}

}  // namespace twofour
