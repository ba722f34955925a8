// Loops of nothing but one instruction's independent products, each in a file of its own that is
// compiled for its instruction set: only for machines that have it.
#pragma once

#include <cstdint>

namespace twofour::cli {

// Run so many rounds; the number of operations in them, a multiplication and an addition being two.
double peak_loop_f32_avx2(int64_t rounds);
double peak_loop_s8_avx2(int64_t rounds);
double peak_loop_f32_avx512(int64_t rounds);
double peak_loop_bf16_avx512bf16(int64_t rounds);
double peak_loop_s8_avx512vnni(int64_t rounds);
double peak_loop_s8_amx(int64_t rounds);
double peak_loop_bf16_amx(int64_t rounds);

}  // namespace twofour::cli
