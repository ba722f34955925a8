// The one exception type of the library: a caller's mistake or bad input.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "twofour/base/export.h"

namespace twofour {

// what() reads "[where] message" or "[where] message. remedy".
//
// `where` names the file, tensor or function, `message` says what was expected and what was found,
// `remedy` says what to do about it (may be empty).
class TWOFOUR_API Error : public std::runtime_error {
 public:
  Error(std::string_view where, std::string_view message, std::string_view remedy = {});
};

}  // namespace twofour
