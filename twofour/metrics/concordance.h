// How two orderings of the same items agree, counted over all pairs of items.
#pragma once

#include <cstdint>
#include <span>

namespace twofour {

struct Concordance {
  int64_t concordant = 0;   // x and y order the pair alike
  int64_t discordant = 0;   // x and y order it oppositely
  int64_t tied_x_only = 0;  // equal in x, different in y
  int64_t tied_y_only = 0;  // equal in y, different in x
};

// In O(n log n). The spans are of one length and hold no NaN.
Concordance count_concordance(std::span<const double> x, std::span<const double> y);

}  // namespace twofour
