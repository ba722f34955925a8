// How well predicted query performance agrees with the true one.
//
// clang-format off
//   pearson    linear correlation
//   spearman   pearson of ranks, ties sharing their mean rank
//   kendall    tau-b: (concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y)
//   smare      scaled mean absolute rank error, mean |rank(predicted) - rank(actual)| / n, 0 is
//              best (Faggioli et al., ECIR 2021)
//   ordered_ndcg  NDCG of the queries as one list: ordered by falling prediction, each gains its actual
//              value, discount log2(rank + 1), all of them count; ties in prediction in input order.
//              NaN when every actual value is 0
// clang-format on
//
// Correlations are NaN when a side is constant. All throw Error for fewer than 2 values, different
// lengths, or values that are not finite.
#pragma once

#include <span>

namespace twofour {

double pearson(std::span<const double> x, std::span<const double> y);
double spearman(std::span<const double> x, std::span<const double> y);
double kendall(std::span<const double> x, std::span<const double> y);
double smare(std::span<const double> predicted, std::span<const double> actual);
double ordered_ndcg(std::span<const double> predicted, std::span<const double> actual);

// What a prediction is good for: a costly delivery (deeper ranking, a larger model) for the queries
// that need it most. `cheap` and `costly` are the qualities of either delivery by query.
struct Delivery {
  double fixed =
      0;  // mean quality when a share of all queries, no matter which, gets the costly one
  double predicted = 0;  // when those with the lowest predicted quality get it
  double best = 0;       // when those that win most get it: what no prediction can exceed
};

// The costly delivery goes to floor(share * queries) queries in each strategy, so that all three
// cost the same. Ties in prediction in input order. Throws Error as above, and for a share outside
// [0, 1].
Delivery delivery_gain(std::span<const double> predicted, std::span<const double> cheap,
                       std::span<const double> costly, double share);

}  // namespace twofour
