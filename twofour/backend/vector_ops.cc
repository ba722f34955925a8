#include "twofour/backend/vector_ops.h"

#include <fmt/format.h>

#include "twofour/backend/cpu/vector_tables.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/base/setting.h"

namespace twofour {
namespace {

// Of those that are not f32; null: this machine has no instructions for it.
Attention best_attention(std::string_view name) {
#if defined(__x86_64__)
  const CpuFeatures& cpu = cpu_features();
  if (name == "bf16" && cpu.amx_bf16) return {"bf16", attention_bf16_amx};
  if (name == "bf16" && cpu.avx512_bf16) return {"bf16", attention_bf16_avx512};
  if (name == "int8" && cpu.avx512_vnni) return {"int8", attention_s8_avx512vnni};
  if (name == "int8" && cpu.avx_vnni) return {"int8", attention_s8_avxvnni};
#endif
  return {};
}

}  // namespace

size_t attention_scratch_bytes(int64_t length, int64_t head_dim) {
  const int64_t dims = (head_dim + 31) / 32 * 32;
  // Padded copies of the values as f32, of keys and values as bf16, in whole tiles of 32 keys, or
  // as int8 with the keys' scales.
  const int64_t copies = (length + 31) * dims;
  // Of each query: itself, scores and weights, output twice and three numbers. In int8, where
  // weights and queries are smaller, it leaves room for what the block shares.
  const int64_t queries = kAttentionQueries * (dims + 2 * kAttentionKeys + 2 * dims + 3);
  return static_cast<size_t>(copies + queries) * sizeof(float);
}

std::vector<const VectorOps*> vector_ops_list() {
  std::vector<const VectorOps*> list;
#if defined(__x86_64__)
  if (cpu_features().avx512) list.push_back(&kVectorOpsAvx512);
  if (cpu_features().avx2) list.push_back(&kVectorOpsAvx2);
#endif
  list.push_back(&kVectorOpsPortable);
  return list;
}

const VectorOps& vector_ops() {
  static const VectorOps& best = *vector_ops_list().front();
  return best;
}

Attention select_attention(std::string_view name) {
  const Setting setting = option_or_variable("attention", name, "TWOFOUR_ATTENTION");
  if (setting.value.empty() || setting.value == "f32") return {"f32", vector_ops().attention};
  if (setting.value != "bf16" && setting.value != "int8") {
    throw Error(setting.where, fmt::format("no attention is named '{}'", setting.value),
                "There are: f32, bf16, int8");
  }
  const Attention attention = best_attention(setting.value);
  if (attention.run != nullptr) return attention;
  throw Error(setting.where,
              fmt::format("{} needs {}, which this machine lacks", setting.value,
                          setting.value == "bf16" ? "AVX-512 BF16" : "AVX-512 VNNI or AVX-VNNI"),
              "Use f32");
}

}  // namespace twofour
