#include "twofour/backend/cpu/vector_ops_impl.h"

namespace twofour {

constinit const VectorOps kVectorOpsAvx2 = make_vector_ops("avx2", attention_avx2);

}  // namespace twofour
