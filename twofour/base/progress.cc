#include "twofour/base/progress.h"

namespace twofour {

void Callbacks::info(const std::string& message) const {
  if (log) log(LogLevel::kInfo, message);
}

void Callbacks::warn(const std::string& message) const {
  if (log) log(LogLevel::kWarning, message);
}

}  // namespace twofour
