#include "twofour/metrics/qpp.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/metrics/concordance.h"

namespace twofour {
namespace {

void check(const char* name, std::span<const double> x, std::span<const double> y) {
  if (x.size() != y.size()) {
    throw Error(name, fmt::format("{} predicted but {} actual values", x.size(), y.size()));
  }
  if (x.size() < 2) throw Error(name, fmt::format("{} values: at least 2 are needed", x.size()));
  const auto finite = [](double value) { return std::isfinite(value); };
  if (!std::all_of(x.begin(), x.end(), finite) || !std::all_of(y.begin(), y.end(), finite)) {
    throw Error(name, "a value is not finite");
  }
}

double mean(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

// Ranks from 1; equal values share the mean of theirs.
std::vector<double> mean_ranks(std::span<const double> x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
  std::vector<double> ranks(x.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && x[order[end]] == x[order[begin]]) ++end;
    const double rank = static_cast<double>(begin + end + 1) / 2;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = rank;
  }
  return ranks;
}

double correlation(std::span<const double> x, std::span<const double> y) {
  const double mean_x = mean(x), mean_y = mean(y);
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  return xy / (std::sqrt(xx) * std::sqrt(yy));
}

// Indices by rising value, equal values in input order.
std::vector<size_t> ascending(std::span<const double> x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return x[i]; });
  return order;
}

double dcg(std::span<const double> gains, const std::vector<size_t>& order) {
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i)
    sum += gains[order[i]] / std::log2(static_cast<double>(i) + 2);
  return sum;
}

}  // namespace

double pearson(std::span<const double> x, std::span<const double> y) {
  check("pearson", x, y);
  return correlation(x, y);
}

double spearman(std::span<const double> x, std::span<const double> y) {
  check("spearman", x, y);
  return correlation(mean_ranks(x), mean_ranks(y));
}

double kendall(std::span<const double> x, std::span<const double> y) {
  check("kendall", x, y);
  const Concordance c = count_concordance(x, y);
  const auto ordered = static_cast<double>(c.concordant + c.discordant);
  return static_cast<double>(c.concordant - c.discordant) /
         (std::sqrt(ordered + static_cast<double>(c.tied_y_only)) *
          std::sqrt(ordered + static_cast<double>(c.tied_x_only)));
}

double smare(std::span<const double> predicted, std::span<const double> actual) {
  check("smare", predicted, actual);
  const std::vector<double> p = mean_ranks(predicted), a = mean_ranks(actual);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::abs(p[i] - a[i]);
  return sum / static_cast<double>(p.size() * p.size());
}

double ordered_ndcg(std::span<const double> predicted, std::span<const double> actual) {
  check("ordered_ndcg", predicted, actual);
  std::vector<double> negated(actual.size());
  std::ranges::transform(actual, negated.begin(), std::negate<>());
  std::vector<double> by_prediction(predicted.size());
  std::ranges::transform(predicted, by_prediction.begin(), std::negate<>());
  return dcg(actual, ascending(by_prediction)) / dcg(actual, ascending(negated));
}

Delivery delivery_gain(std::span<const double> predicted, std::span<const double> cheap,
                       std::span<const double> costly, double share) {
  check("delivery_gain", predicted, cheap);
  check("delivery_gain", predicted, costly);
  if (!(share >= 0 && share <= 1)) {
    throw Error("delivery_gain", fmt::format("share is {}: must be from 0 to 1", share));
  }
  const size_t queries = cheap.size();
  const auto chosen = static_cast<size_t>(share * static_cast<double>(queries));
  std::vector<double> losses(queries);  // what the costly delivery wins, negated
  for (size_t i = 0; i < queries; ++i) losses[i] = cheap[i] - costly[i];
  const auto with = [&](std::span<const double> first) {
    double sum = std::accumulate(cheap.begin(), cheap.end(), 0.0);
    const std::vector<size_t> order = ascending(first);
    for (size_t i = 0; i < chosen; ++i) sum -= losses[order[i]];
    return sum / static_cast<double>(queries);
  };
  const double part = static_cast<double>(chosen) / static_cast<double>(queries);
  return {mean(cheap) * (1 - part) + mean(costly) * part, with(predicted), with(losses)};
}

}  // namespace twofour
