#include "twofour/backend/vector_ops.h"

#include "twofour/backend/cpu/vector_tables.h"
#include "twofour/base/cpu_features.h"

namespace twofour {

size_t attention_scratch_bytes(int64_t length, int64_t head_dim) {
  const int64_t width = (head_dim + 15) / 16 * 16;
  const int64_t padded_values = width == head_dim ? 0 : length * width;
  // Of each query: itself, scores, output and three numbers.
  const int64_t queries = kAttentionQueries * (head_dim + kAttentionKeys + width + 3);
  return static_cast<size_t>(queries + padded_values) * sizeof(float);
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

}  // namespace twofour
