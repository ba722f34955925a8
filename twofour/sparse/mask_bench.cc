#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "twofour/sparse/mask.h"

namespace twofour {
namespace {

std::vector<float> gaussian_energy(int64_t size) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> saliency(size);
  for (float& value : saliency) {
    const float w = normal(random);
    value = w * w;
  }
  return saliency;
}

// Arguments: rows, cols, share_rows, pairing, per cent of zeros.
void compute(benchmark::State& state) {
  const int64_t rows = state.range(0), cols = state.range(1);
  const std::vector<float> saliency = gaussian_energy(rows * cols);
  MaskOptions options;
  options.share_rows = static_cast<int>(state.range(2));
  options.pairing = static_cast<RowPairing>(state.range(3));
  options.sparsity = static_cast<double>(state.range(4)) / 100;
  MaskResult result;
  for (auto _ : state) {
    result = compute_mask("bench", saliency, rows, cols, options);
    benchmark::DoNotOptimize(result.mask.keep.data());
  }
  double total = 0, lost = 0;
  for (size_t i = 0; i < saliency.size(); ++i) {
    total += saliency[i];
    if (result.mask.keep[i] == 0) lost += saliency[i];
  }
  state.counters["lost_percent"] = 100 * lost / total;
}

constexpr auto kAdjacent = static_cast<int64_t>(RowPairing::kAdjacent);
constexpr auto kLeastEnergy = static_cast<int64_t>(RowPairing::kLeastEnergy);
BENCHMARK(compute)
    ->ArgNames({"rows", "cols", "share", "pairing", "zeros"})
    ->Args({3072, 768, 1, kAdjacent, 50})
    ->Args({3072, 768, 1, kAdjacent, 40})
    ->Args({3072, 768, 2, kAdjacent, 50})
    ->Args({1536, 384, 2, kLeastEnergy, 50})
    ->Args({3072, 768, 2, kLeastEnergy, 50})
    ->Args({3072, 768, 4, kLeastEnergy, 50})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace twofour
