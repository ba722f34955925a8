// What the processor and the operating system let this process execute.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace twofour {

struct CpuFeatures {
  bool avx2 = false;  // with FMA and F16C
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, DQ, VL; implies avx2
  bool avx512_vnni = false;
  bool avx512_vbmi = false;  // with VNNI
  bool avx512_vbmi2 = false;
  bool avx512_bf16 = false;
  // Each with AVX-512 VBMI2 and BF16, which every processor with AMX has, and with the system's
  // permission, for which cpu_features() asks: from then on the system wants larger stacks for
  // signals (sigaltstack). TWOFOUR_MAX_ISA=avx512_bf16 keeps it from asking.
  bool amx_int8 = false;
  bool amx_bf16 = false;

  // Names of the features present, best last: {"avx2", "avx512", ...}.
  std::vector<std::string> names() const;
};

// Those of `features` up to a level: "portable", "avx2", "avx_vnni", "avx512", "avx512_vnni",
// "avx512_vbmi", "avx512_bf16" or "amx", each with the ones before it. Throws Error for another
// name.
CpuFeatures limit_features(const CpuFeatures& features, std::string_view level);

// Read once; thread-safe. No better than TWOFOUR_MAX_ISA, a level of limit_features, where that is
// set: to test what an older machine would run. Throws Error if it is no level.
const CpuFeatures& cpu_features();

// The processor's own name for itself, e.g. "AMD EPYC 9B14".
std::string cpu_name();

// Whole processors in a control group's "quota period", at least 1; 0 without a limit ("max ...",
// "-1 ...", nothing).
int cores_of_quota(std::string_view cpu_max);

// Processors that this process may run on: affinity and the quota of its control group.
int available_cores();

}  // namespace twofour
