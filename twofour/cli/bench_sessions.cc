#include "twofour/cli/bench_sessions.h"

#include <fmt/format.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <thread>

#include "twofour/cli/stopwatch.h"
#include "twofour/cli/table.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kRoundMs = 100;  // at least: starting threads must not count

struct Round {
  std::vector<double> run_ms;
  double sequences_per_second;
};

// The first `count` sessions run so many batches each, at once.
Round run_together(std::deque<ModelRunner>& runners, int count, int runs, int64_t batch) {
  std::vector<std::vector<double>> ms(count, std::vector<double>(runs));
  std::barrier start(count + 1);
  std::vector<std::jthread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      for (double& run : ms[i]) run = runners[i].run_ms();
    });
  }
  start.arrive_and_wait();
  const Stopwatch watch;
  for (std::jthread& thread : threads) thread.join();
  const double seconds = watch.seconds();
  Round round{{}, static_cast<double>(count * runs * batch) / seconds};
  for (const auto& session : ms)
    round.run_ms.insert(round.run_ms.end(), session.begin(), session.end());
  return round;
}

}  // namespace

std::vector<SessionsResult> measure_sessions(const BenchCase& shape, const std::vector<int>& counts,
                                             int rounds,
                                             const std::shared_ptr<const Engine>& engine) {
  std::deque<ModelRunner> runners;
  double last_ms = 0;
  for (int i = 0; i < counts.back(); ++i) {
    ModelRunner& runner = runners.emplace_back(engine, shape);
    for (int warm = 0; warm < kWarmUps; ++warm) last_ms = runner.run_ms();
  }
  const int runs = std::max(2, static_cast<int>(std::ceil(kRoundMs / last_ms)));

  struct Samples {
    std::vector<double> run_ms, sequences_per_second, times_alone;
  };
  std::vector<Samples> samples(counts.size());
  for (int round = 0; round < rounds; ++round) {
    const Round alone = run_together(runners, 1, runs, shape.batch);
    for (size_t i = 0; i < counts.size(); ++i) {
      const Round found =
          counts[i] == 1 ? alone : run_together(runners, counts[i], runs, shape.batch);
      Samples& s = samples[i];
      s.run_ms.insert(s.run_ms.end(), found.run_ms.begin(), found.run_ms.end());
      s.sequences_per_second.push_back(found.sequences_per_second);
      s.times_alone.push_back(counts[i] * alone.sequences_per_second);
    }
  }
  std::vector<SessionsResult> results;
  for (size_t i = 0; i < counts.size(); ++i) {
    const Samples& s = samples[i];
    results.push_back({shape, counts[i], summarize(s.run_ms), quantile(s.sequences_per_second, 0.5),
                       compare_times(s.times_alone, s.sequences_per_second)});
  }
  return results;
}

Json to_json(const std::vector<SessionsResult>& results) {
  Json rows = Json::array();
  for (const SessionsResult& r : results) {
    rows.push_back({{"batch", r.shape.batch},
                    {"tokens", r.shape.tokens},
                    {"threads", r.shape.threads},
                    {"sessions", r.sessions},
                    {"median_ms", r.run.median_ms},
                    {"p95_ms", r.run.p95_ms},
                    {"spread", json_or_null(r.run.spread)},
                    {"sequences_per_second", r.sequences_per_second},
                    {"scaling", r.scaling.median},
                    {"scaling_low", r.scaling.low},
                    {"scaling_high", r.scaling.high}});
  }
  return rows;
}

void print_sessions(const std::vector<SessionsResult>& results, std::ostream& out) {
  Table table({"batch", "tokens", "threads", "sessions", "median ms", "p95 ms", "spread %",
               "sequences/s", "scaling", "<quartiles"});
  for (const SessionsResult& r : results) {
    table.add_row({std::to_string(r.shape.batch), std::to_string(r.shape.tokens),
                   std::to_string(r.shape.threads), std::to_string(r.sessions),
                   fmt::format("{:.3f}", r.run.median_ms), fmt::format("{:.3f}", r.run.p95_ms),
                   format_spread(r.run.spread), fmt::format("{:.1f}", r.sequences_per_second),
                   fmt::format("{:.2f}", r.scaling.median), format_quartiles(r.scaling)});
  }
  table.print(out);
}

}  // namespace twofour::cli
