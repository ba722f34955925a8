#include "twofour/base/error.h"

#include <fmt/format.h>

namespace twofour {

Error::Error(std::string_view where, std::string_view message, std::string_view remedy)
    : std::runtime_error(remedy.empty() ? fmt::format("[{}] {}", where, message)
                                        : fmt::format("[{}] {}. {}", where, message, remedy)),
      where_size_(where.size()),
      message_size_(message.size()) {}

}  // namespace twofour
