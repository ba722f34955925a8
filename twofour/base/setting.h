// An option that an environment variable stands in for when it is not set.
#pragma once

#include <cstdlib>
#include <string_view>

namespace twofour {

struct Setting {
  std::string_view value;  // empty: neither is set
  std::string_view where;  // what was read, for errors
};

inline Setting option_or_variable(std::string_view option, std::string_view value,
                                  const char* variable) {
  if (!value.empty()) return {value, option};
  const char* found = std::getenv(variable);
  return {found == nullptr ? "" : found, variable};
}

}  // namespace twofour
