#include "twofour/cli/instruction_peak.h"

#include <algorithm>
#include <array>

#include "twofour/base/cpu_features.h"
#include "twofour/cli/peak_loops.h"
#include "twofour/cli/stopwatch.h"

namespace twofour::cli {
namespace {

struct PeakLoop {
  std::string_view isa;
  MatmulType type;
  std::string_view instruction;
  bool CpuFeatures::*feature;
  double (*run)(int64_t rounds);
};

#if defined(__x86_64__)
constexpr PeakLoop kLoops[] = {
    {"amx", MatmulType::kS8, "tdpbssd", &CpuFeatures::amx_int8, peak_loop_s8_amx},
    {"amx", MatmulType::kBf16, "tdpbf16ps", &CpuFeatures::amx_bf16, peak_loop_bf16_amx},
    {"avx512vnni", MatmulType::kS8, "vpdpbusd zmm", &CpuFeatures::avx512_vnni,
     peak_loop_s8_avx512vnni},
    {"avx512vbmi", MatmulType::kS8, "vpdpbusd zmm", &CpuFeatures::avx512_vbmi,
     peak_loop_s8_avx512vnni},
    {"avx512bf16", MatmulType::kBf16, "vdpbf16ps zmm", &CpuFeatures::avx512_bf16,
     peak_loop_bf16_avx512bf16},
    {"avx512", MatmulType::kF32, "vfmadd231ps zmm", &CpuFeatures::avx512, peak_loop_f32_avx512},
    {"avx2", MatmulType::kS8, "vpmaddwd + vpaddd ymm", &CpuFeatures::avx2, peak_loop_s8_avx2},
    {"avx2", MatmulType::kF32, "vfmadd231ps ymm", &CpuFeatures::avx2, peak_loop_f32_avx2},
};
#else
constexpr std::array<PeakLoop, 0> kLoops = {};
#endif

constexpr int64_t kRounds = 50000;  // a millisecond or less: some run between two interrupts
constexpr int kRuns = 50;

}  // namespace

std::optional<InstructionPeak> measure_peak(std::string_view isa, MatmulType type) {
  for (const PeakLoop& loop : kLoops) {
    if (loop.isa != isa || loop.type != type || !(cpu_features().*loop.feature)) continue;
    double gops = 0;
    for (int i = 0; i < kRuns; ++i) {
      const Stopwatch watch;
      const double operations = loop.run(kRounds);
      gops = std::max(gops, operations * 1e-9 / watch.seconds());
    }
    return InstructionPeak{std::string(isa), type, std::string(loop.instruction), gops};
  }
  return std::nullopt;
}

}  // namespace twofour::cli
