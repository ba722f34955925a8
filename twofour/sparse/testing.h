// Helpers of this folder's tests.
#pragma once

#include <cstdint>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "twofour/sparse/mask.h"

namespace twofour {

inline std::vector<float> gaussian_energy(int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(size);
  for (float& value : out) {
    const float w = normal(random);
    value = w * w;
  }
  return out;
}

// Few distinct values, so that ties are frequent.
inline std::vector<float> small_integers(int64_t size, int below, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> out(size);
  for (float& value : out) value = static_cast<float>(random() % below);
  return out;
}

inline double lost(std::span<const float> saliency, const Mask& mask) {
  double sum = 0;
  for (size_t i = 0; i < saliency.size(); ++i) sum += mask.keep[i] ? 0.0 : saliency[i];
  return sum;
}

inline double lost_share(std::span<const float> saliency, const Mask& mask) {
  double total = 0;
  for (const float value : saliency) total += value;
  return lost(saliency, mask) / total;
}

// The query projection of BERT-tiny, 128 x 128.
inline std::vector<float> trained_matrix() {
  std::ifstream file(
      std::string(TWOFOUR_SOURCE_DIR) + "/tests/data/bert-tiny/layer0_attself_query_weight.f32",
      std::ios::binary);
  std::vector<float> out(128 * 128);
  file.read(reinterpret_cast<char*>(out.data()),
            static_cast<std::streamsize>(out.size() * sizeof(float)));
  if (!file) out.clear();
  return out;
}

}  // namespace twofour
