#include "twofour/runtime/pooling.h"

#include <algorithm>
#include <cmath>

namespace twofour {

void pool_rows(Pooling pooling, const float* rows, int64_t count, int64_t width, float* out) {
  std::copy_n(rows, width, out);
  if (pooling == Pooling::kCls) return;
  for (int64_t i = 1; i < count; ++i) {
    const float* row = rows + i * width;
    for (int64_t j = 0; j < width; ++j) {
      out[j] = pooling == Pooling::kMax ? std::max(out[j], row[j]) : out[j] + row[j];
    }
  }
  if (pooling != Pooling::kMean) return;
  for (int64_t j = 0; j < width; ++j) out[j] /= static_cast<float>(count);
}

void normalize_row(const float* x, int64_t width, float* out) {
  double squares = 0;
  for (int64_t j = 0; j < width; ++j) squares += static_cast<double>(x[j]) * x[j];
  const auto norm = static_cast<float>(std::max(std::sqrt(squares), 1e-12));
  for (int64_t j = 0; j < width; ++j) out[j] = x[j] / norm;
}

}  // namespace twofour
