#include "twofour/backend/cpu/vector_ops_impl.h"

namespace twofour {

constinit const VectorOps kVectorOpsAvx512 = make_vector_ops("avx512", attention_avx512);

}  // namespace twofour
