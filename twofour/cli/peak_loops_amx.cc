#include "twofour/backend/cpu/amx.h"
#include "twofour/cli/peak_loops.h"

namespace twofour::cli {
namespace {

// `product<C, A, B>()` into each of the four sums that the kernels keep.
template <class Product>
double peak_loop_tiles(int64_t rounds, int64_t inputs, Product product) {
  const TilesInUse tiles(kTileRows);
  for (int64_t i = 0; i < rounds; ++i) {
    product.template operator()<kC, kA, kB>();
    product.template operator()<kC + 1, kA, kB + 1>();
    product.template operator()<kC + 2, kA + 1, kB>();
    product.template operator()<kC + 3, kA + 1, kB + 1>();
  }
  return static_cast<double>(rounds * 4 * 2 * kTileRows * kTileRows * inputs);
}

}  // namespace

double peak_loop_s8_amx(int64_t rounds) {
  return peak_loop_tiles(rounds, kTileRowBytes,
                         []<int C, int A, int B>() { dot_tiles_s8<C, A, B>(); });
}

double peak_loop_bf16_amx(int64_t rounds) {
  return peak_loop_tiles(rounds, kTileRowBytes / 2,
                         []<int C, int A, int B>() { dot_tiles_bf16<C, A, B>(); });
}

}  // namespace twofour::cli
