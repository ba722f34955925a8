#include "twofour/backend/cpu/attention_s8_impl.h"

namespace twofour {

void attention_s8_avxvnni(const AttentionArgs& args) { attend(args); }

}  // namespace twofour
