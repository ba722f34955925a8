#include "twofour/base/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace twofour {

int64_t Shape::numel() const {
  int64_t count = 1;
  for (int64_t dim : dims_) count *= dim;
  return count;
}

std::string Shape::to_string() const { return fmt::format("[{}]", fmt::join(dims_, ", ")); }

}  // namespace twofour
