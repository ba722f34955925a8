// The most operations a second that one core does with the instruction of a kernel.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "twofour/backend/matmul.h"

namespace twofour::cli {

struct InstructionPeak {
  std::string isa;  // as kernels' names end: "avx512vnni"
  MatmulType type = MatmulType::kF32;
  std::string instruction;
  double gops = 0;
};

// The best of several runs; nothing where no loop is written for the instruction set or this
// machine lacks it.
std::optional<InstructionPeak> measure_peak(std::string_view isa, MatmulType type);

}  // namespace twofour::cli
