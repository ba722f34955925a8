#include "twofour/backend/cpu/amx.h"
#include "twofour/cli/peak_loops.h"

namespace twofour::cli {
namespace {

constexpr int64_t kSums = 4;  // as many as the kernels keep

// `step()` multiplies into each of them.
template <class Step>
double peak_loop_tiles(int64_t rounds, int64_t inputs, Step step) {
  const TilesInUse tiles(kTileRows);
  for (int64_t i = 0; i < rounds; ++i) step();
  return static_cast<double>(rounds * kSums * 2 * kTileRows * kTileRows * inputs);
}

}  // namespace

double peak_loop_s8_amx(int64_t rounds) {
  return peak_loop_tiles(rounds, kTileRowBytes, [] {
    asm volatile(
        "tdpbssd %%tmm6, %%tmm4, %%tmm0\n\ttdpbssd %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbssd %%tmm6, %%tmm5, %%tmm2\n\ttdpbssd %%tmm7, %%tmm5, %%tmm3" ::);
  });
}

double peak_loop_bf16_amx(int64_t rounds) {
  return peak_loop_tiles(rounds, kTileRowBytes / 2, [] {
    asm volatile(
        "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3" ::);
  });
}

}  // namespace twofour::cli
