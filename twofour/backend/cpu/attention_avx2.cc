#include "twofour/backend/cpu/attention_impl.h"

namespace twofour {

void attention_avx2(const AttentionArgs& args) { attend(args); }

}  // namespace twofour
