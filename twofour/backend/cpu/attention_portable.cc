#include "twofour/backend/cpu/attention_impl.h"

namespace twofour {

void attention_portable(const AttentionArgs& args) { attend(args); }

}  // namespace twofour
