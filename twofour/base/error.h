// The one exception type of the library: a caller's mistake or bad input.
#pragma once

#include <algorithm>
#include <cstddef>
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

  // The parts of what(), for who knows a better name of the place, or a better remedy.
  std::string_view where() const { return part(1, where_size_); }
  std::string_view message() const { return part(where_size_ + 3, message_size_); }
  std::string_view remedy() const { return part(where_size_ + message_size_ + 5); }

 private:
  // A NUL in a name ends what() early.
  std::string_view part(size_t begin, size_t size = std::string_view::npos) const {
    const std::string_view text = what();
    return text.substr(std::min(begin, text.size()), size);
  }

  size_t where_size_, message_size_;
};

}  // namespace twofour
