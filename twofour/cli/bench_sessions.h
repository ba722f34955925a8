// Several sessions of one engine at once, for bench.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <vector>

#include "twofour/cli/model_runner.h"
#include "twofour/cli/timing.h"

namespace twofour::cli {

struct SessionsResult {
  BenchCase shape;
  int sessions;
  Timing run;  // of one batch while all sessions are busy
  double sequences_per_second;
  // Throughput over `sessions` times that of one session alone, in the same round.
  Ratio scaling;
};

// For each of `counts`, ascending and without repeats. In a round one session runs alone, then each
// number of sessions at once, each session on a thread of its own. Throws what Session throws at
// the warm-up, before there are threads.
std::vector<SessionsResult> measure_sessions(const BenchCase& shape, const std::vector<int>& counts,
                                             int rounds,
                                             const std::shared_ptr<const Engine>& engine);

nlohmann::ordered_json to_json(const std::vector<SessionsResult>& results);
void print_sessions(const std::vector<SessionsResult>& results, std::ostream& out);

}  // namespace twofour::cli
