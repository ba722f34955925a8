// What a mistyped name may have meant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

// The first of `names` with the least edit distance to `word`; nothing where half of the word or
// more would have to change.
std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& names);

}  // namespace twofour
