#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <tuple>

#include "twofour/base/error.h"
#include "twofour/base/random.h"
#include "twofour/metrics/quantile.h"
#include "twofour/metrics/ranking.h"

namespace twofour {
namespace {

enum Column {
  kConcordant,
  kDiscordant,
  kTies,
  kClassified,
  kCorrect,
  kNdcg,
  kNdcgQueries,
  kRetrieved,
  kRelevant,
  kRelevantRetrieved,
  kColumns
};
using Sums = std::array<double, kColumns>;

Sums row_of(const QueryStats& q) {
  Sums row{};
  row[kConcordant] = static_cast<double>(q.concordant);
  row[kDiscordant] = static_cast<double>(q.discordant);
  row[kTies] = static_cast<double>(q.ties);
  row[kClassified] = static_cast<double>(q.classified);
  row[kCorrect] = static_cast<double>(q.correct);
  row[kNdcg] = q.ndcg_defined ? q.ndcg : 0;
  row[kNdcgQueries] = q.ndcg_defined;
  row[kRetrieved] = static_cast<double>(q.retrieved);
  row[kRelevant] = static_cast<double>(q.relevant);
  row[kRelevantRetrieved] = static_cast<double>(q.relevant_retrieved);
  return row;
}

void add(const Sums& row, Sums& sums) {
  for (int i = 0; i < kColumns; ++i) sums[i] += row[i];
}

enum Metric { kPnr, kPnrTies, kAccuracy, kNdcgAtK, kF1AtK, kRecallAtK, kMetrics };
using Values = std::array<double, kMetrics>;  // NaN: not defined

// 0 / 0 is NaN and x / 0 infinite, which is what "not defined" and a PNR without discordant pairs
// are.
Values values_of(const Sums& s) {
  return {s[kConcordant] / s[kDiscordant],
          s[kTies],
          s[kCorrect] / s[kClassified],
          s[kNdcg] / s[kNdcgQueries],
          2 * s[kRelevantRetrieved] / (s[kRetrieved] + s[kRelevant]),
          s[kRelevantRetrieved] / s[kRelevant]};
}

std::array<std::string, kMetrics> metric_names(const MetricOptions& options) {
  return {"pnr",
          "pnr_ties",
          "accuracy",
          fmt::format("ndcg@{}", options.ndcg_k),
          fmt::format("f1@{}", options.recall_k),
          fmt::format("recall@{}", options.recall_k)};
}

struct PairedRow {
  Sums a, b;
};

std::vector<const QueryStats*> sorted_by_id(std::span<const QueryStats> queries,
                                            const char* system) {
  std::vector<const QueryStats*> out;
  for (const QueryStats& query : queries) out.push_back(&query);
  std::sort(out.begin(), out.end(), [](auto* x, auto* y) { return x->query_id < y->query_id; });
  const auto twice = std::adjacent_find(
      out.begin(), out.end(), [](auto* x, auto* y) { return x->query_id == y->query_id; });
  if (twice != out.end()) {
    throw Error("bootstrap",
                fmt::format("query '{}' stands twice in system {}", (*twice)->query_id, system));
  }
  return out;
}

std::vector<PairedRow> paired_rows(std::span<const QueryStats> a, std::span<const QueryStats> b) {
  const auto first = sorted_by_id(a, "a"), second = sorted_by_id(b, "b");
  const auto [i, j] = std::mismatch(first.begin(), first.end(), second.begin(), second.end(),
                                    [](auto* x, auto* y) { return x->query_id == y->query_id; });
  if (i != first.end() || j != second.end()) {
    const bool in_a = j == second.end() || (i != first.end() && (*i)->query_id < (*j)->query_id);
    throw Error("bootstrap",
                fmt::format("query '{}' stands in system {} only ({} and {} queries)",
                            (in_a ? *i : *j)->query_id, in_a ? "a" : "b", a.size(), b.size()),
                "Compare systems scored on the same queries");
  }
  if (first.empty()) throw Error("bootstrap", "there are no queries to compare");
  std::vector<PairedRow> rows;
  for (size_t q = 0; q < first.size(); ++q) rows.push_back({row_of(*first[q]), row_of(*second[q])});
  return rows;
}

struct Differences {
  std::vector<double> absolute, relative;
};

// Equal values differ by 0 even when both are infinite; what an infinite one loses is all of it.
std::pair<double, double> difference(double a, double b) {
  if (a == b) return {0, 0};
  return {b - a, std::isinf(a) ? -1 : (b - a) / a};
}

// By modulo: the distributions of the standard library differ between implementations.
void resample(const std::vector<PairedRow>& rows, uint64_t& random,
              std::array<Differences, kMetrics>& out) {
  PairedRow sums{};
  for (size_t i = 0; i < rows.size(); ++i) {
    const PairedRow& row = rows[split_mix(random) % rows.size()];
    add(row.a, sums.a);
    add(row.b, sums.b);
  }
  const Values a = values_of(sums.a), b = values_of(sums.b);
  for (int m = 0; m < kMetrics; ++m) {
    const auto [absolute, relative] = difference(a[m], b[m]);
    if (!std::isnan(absolute)) out[m].absolute.push_back(absolute);
    if (!std::isnan(relative)) out[m].relative.push_back(relative);
  }
}

std::pair<double, double> central_interval(const std::vector<double>& values, double confidence) {
  if (values.empty()) return {std::nan(""), std::nan("")};
  return {quantile(values, (1 - confidence) / 2), quantile(values, (1 + confidence) / 2)};
}

}  // namespace

Metrics aggregate(std::span<const QueryStats> queries, const MetricOptions& options) {
  Sums sums{};
  for (const QueryStats& query : queries) add(row_of(query), sums);
  const auto names = metric_names(options);
  const Values values = values_of(sums);
  Metrics out;
  for (int m = 0; m < kMetrics; ++m) {
    if (!std::isnan(values[m])) out[names[m]] = values[m];
  }
  return out;
}

std::map<std::string, Interval> paired_bootstrap(std::span<const QueryStats> a,
                                                 std::span<const QueryStats> b, int resamples,
                                                 double confidence, uint64_t seed,
                                                 const MetricOptions& options) {
  if (resamples < 1)
    throw Error("bootstrap", fmt::format("resamples is {}: must be at least 1", resamples));
  if (!(confidence > 0 && confidence < 1)) {
    throw Error("bootstrap", fmt::format("confidence is {}: must lie between 0 and 1", confidence));
  }
  const std::vector<PairedRow> rows = paired_rows(a, b);
  PairedRow sums{};
  for (const PairedRow& row : rows) {
    add(row.a, sums.a);
    add(row.b, sums.b);
  }
  std::array<Differences, kMetrics> differences;
  uint64_t random = seed;
  for (int i = 0; i < resamples; ++i) resample(rows, random, differences);

  const auto names = metric_names(options);
  const Values of_a = values_of(sums.a), of_b = values_of(sums.b);
  std::map<std::string, Interval> out;
  for (int m = 0; m < kMetrics; ++m) {
    if (std::isnan(of_a[m]) || std::isnan(of_b[m])) continue;
    Interval& interval = out[names[m]];
    std::tie(interval.difference, interval.relative) = difference(of_a[m], of_b[m]);
    std::tie(interval.low, interval.high) = central_interval(differences[m].absolute, confidence);
    std::tie(interval.relative_low, interval.relative_high) =
        central_interval(differences[m].relative, confidence);
  }
  return out;
}

}  // namespace twofour
