// The tables of VectorOps and the attention of each, defined in files of their own compiler flags.
#pragma once

#include "twofour/backend/vector_ops.h"

namespace twofour {

// What attention holds scores of at a time.
constexpr int kAttentionQueries = 32, kAttentionKeys = 128;

extern const VectorOps kVectorOpsAvx512;
extern const VectorOps kVectorOpsAvx2;
extern const VectorOps kVectorOpsPortable;

void attention_avx512(const AttentionArgs& args);
void attention_avx2(const AttentionArgs& args);
void attention_portable(const AttentionArgs& args);
void attention_bf16_amx(const AttentionArgs& args);
void attention_bf16_avx512(const AttentionArgs& args);
void attention_s8_avx512vnni(const AttentionArgs& args);
void attention_s8_avxvnni(const AttentionArgs& args);

}  // namespace twofour
