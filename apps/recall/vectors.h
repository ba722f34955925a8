// Embeddings as rows of one length, and the work that exact search does on them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace twofour::recall {

struct Vectors {
  int64_t width = 0;
  std::vector<float> values;  // [rows, width]

  int64_t rows() const { return width == 0 ? 0 : std::ssize(values) / width; }
  std::span<const float> row(int64_t i) const {
    return std::span(values).subspan(static_cast<size_t>(i * width), static_cast<size_t>(width));
  }
};

// Scales every row to length 1, so that a product of two rows is their cosine. Rows of zeros stay.
void normalize(Vectors& vectors);

// The same sum on every machine: eight partial sums, added in a fixed order.
float product(std::span<const float> a, std::span<const float> b);

struct Hit {
  int32_t document = 0;
  float score = 0;  // cosine

  bool operator==(const Hit&) const = default;
};

// The k rows of `documents` with the highest product, best first, ties by position.
std::vector<Hit> nearest(const Vectors& documents, std::span<const float> query, int64_t k);

}  // namespace twofour::recall
