#include "apps/recall/vectors.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace twofour::recall {

void normalize(Vectors& vectors) {
  for (int64_t i = 0; i < vectors.rows(); ++i) {
    const std::span row(vectors.values.data() + i * vectors.width,
                        static_cast<size_t>(vectors.width));
    double squares = 0;
    for (const float x : row) squares += static_cast<double>(x) * x;
    if (squares == 0) continue;
    const double scale = 1 / std::sqrt(squares);
    for (float& x : row) x = static_cast<float>(x * scale);
  }
}

float product(std::span<const float> a, std::span<const float> b) {
  constexpr size_t kLanes = 8;
  std::array<float, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= a.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (size_t lane = 0; i < a.size(); ++i, ++lane) sums[lane] += a[i] * b[i];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

std::vector<Hit> nearest(const Vectors& documents, std::span<const float> query, int64_t k) {
  std::vector<Hit> hits(static_cast<size_t>(documents.rows()));
  for (int32_t i = 0; i < std::ssize(hits); ++i) hits[i] = {i, product(documents.row(i), query)};
  const auto better = [](const Hit& a, const Hit& b) {
    return a.score != b.score ? a.score > b.score : a.document < b.document;
  };
  const auto count = std::min<int64_t>(k, std::ssize(hits));
  std::partial_sort(hits.begin(), hits.begin() + count, hits.end(), better);
  hits.resize(static_cast<size_t>(count));
  return hits;
}

}  // namespace twofour::recall
