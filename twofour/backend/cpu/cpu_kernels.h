// The CPU kernels. Each file holds one operation for one instruction set and exports nothing but
// the functions below: what it shares with others is defined elsewhere, so that no inline function
// is compiled for more than the machine has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "twofour/backend/matmul.h"

namespace twofour {

std::vector<const Kernel*> cpu_kernels();  // best first

void spmm24_s8_amx(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_s8_amx_scratch(const PackedWeights& w, int64_t m);
void spmm24_bf16_amx(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_bf16_amx_scratch(const PackedWeights& w, int64_t m);
void matmul_s8_amx(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_s8_amx_scratch(const PackedWeights& w, int64_t m);
void matmul_bf16_amx(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_bf16_amx_scratch(const PackedWeights& w, int64_t m);

void spmm24_s8_avx512vbmi(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_s8_avx512vbmi_scratch(const PackedWeights& w, int64_t m);
void spmm24_s8_avx512vnni(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_s8_avx512vnni_scratch(const PackedWeights& w, int64_t m);
void matmul_s8_avx512vnni(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_s8_avx512vnni_scratch(const PackedWeights& w, int64_t m);
void spmm24_bf16_avx512bf16(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_bf16_avx512bf16_scratch(const PackedWeights& w, int64_t m);
void matmul_bf16_avx512bf16(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_bf16_avx512bf16_scratch(const PackedWeights& w, int64_t m);
void spmm24_f32_avx512(const PackedWeights& w, const MatmulArgs& args);
void matmul_f32_avx512(const PackedWeights& w, const MatmulArgs& args);

void spmm24_s8_avxvnni(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_s8_avxvnni_scratch(const PackedWeights& w, int64_t m);
void matmul_s8_avxvnni(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_s8_avxvnni_scratch(const PackedWeights& w, int64_t m);
void spmm24_s8_avx2(const PackedWeights& w, const MatmulArgs& args);
size_t spmm24_s8_avx2_scratch(const PackedWeights& w, int64_t m);
void matmul_s8_avx2(const PackedWeights& w, const MatmulArgs& args);
size_t matmul_s8_avx2_scratch(const PackedWeights& w, int64_t m);
void spmm24_f32_avx2(const PackedWeights& w, const MatmulArgs& args);
void matmul_f32_avx2(const PackedWeights& w, const MatmulArgs& args);

}  // namespace twofour
