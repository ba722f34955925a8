#include "twofour/backend/cpu/vector_ops_impl.h"

namespace twofour {

constinit const VectorOps kVectorOpsPortable = make_vector_ops("portable", attention_portable);

}  // namespace twofour
