#include "twofour/backend/cpu/attention_s8_impl.h"

namespace twofour {

void attention_s8_avx512vnni(const AttentionArgs& args) { attend(args); }

}  // namespace twofour
