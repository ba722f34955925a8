// How well predicted query performance agrees with the true one.
//
// clang-format off
//   pearson    linear correlation
//   spearman   pearson of ranks, ties sharing their mean rank
//   kendall    tau-b: (concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y)
//   smare      scaled mean absolute rank error, mean |rank(predicted) - rank(actual)| / n, 0 is
//              best (Faggioli et al., ECIR 2021)
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

}  // namespace twofour
