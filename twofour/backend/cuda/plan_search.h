// The search for the fastest kernel of each product: which candidates there are, what their times
// decide, and which buckets of rows can be spared. Times come from a PlanMeter, which measures on a
// device in a process of its own (plan_process.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "twofour/backend/cuda/plan_file.h"
#include "twofour/backend/cuda/product.h"
#include "twofour/base/error.h"
#include "twofour/base/progress.h"

namespace twofour::cuda {

// One product of one number of rows.
struct PlanTask {
  ProductDesc product;
  int64_t rows = 0;               // a bucket
  int count = 1;                  // layers of the model that it stands for
  bool sparse = true;             // whether the weight is 2:4
  std::string to_string() const;  // "I8 [3072, 768] -> I32, 64 rows"
};

// What a device can try for a task.
struct TaskFacts {
  int capability = 0;             // of the device
  int sparse_algorithms = 0;      // of cuSPARSELt; 0: it cannot compute the product
  int dense_algorithms = 0;       // of cuBLASLt; 0: likewise
  bool own = false;               // our own kernel for few rows can
  std::string missing = {};       // why a library that should compute it cannot; empty
  std::vector<int> cutlass = {};  // those of kSpmm24CutlassVariants that can
};

// What came of a candidate.
struct PlanTrial {
  PlanChoice choice;
  double us = 0;              // 0 where there is a failure
  std::string failure;        // why it must not be chosen; empty where it may
  bool fatal = false;         // it crashed or hung: not to be tried again
  std::string no_graph = {};  // as in PlanTime
  int split_k = 0;            // likewise
};

// The candidates to try next after `tried`; empty when the search is done. First every algorithm of
// both libraries and our own kernels; then ways to split k for the two fastest sparse ones. What
// `failed` names is left out.
std::vector<PlanChoice> next_candidates(const PlanTask& task, const TaskFacts& facts,
                                        const std::vector<PlanTrial>& tried,
                                        const std::vector<PlanFailure>& failed);

// The fastest, with its time and that of the fastest dense one, and split as the library has split
// it; nothing where all have failed.
std::optional<PlanChoice> fastest(const std::vector<PlanTrial>& tried);

// The fewest buckets of the table's with which no bucket's products together (each as often as
// `tasks` say) take more than 1 + `tolerance` times their own time. Empty unless every task has a
// time.
std::vector<int64_t> coarser_buckets(const std::vector<PlanTask>& tasks, const PlanTable& table,
                                     double tolerance);

// A candidate has broken the process's connection to the device: nothing runs there any more.
class DeviceLost : public Error {
 public:
  using Error::Error;
};

struct PlanTime {
  double us = 0;
  // Why its runs were not one graph, so that enqueueing them may count; empty where they were.
  std::string no_graph;
  // What cuSPARSELt made of the candidate's split_k, as it says; 0 where there is nothing to say.
  int split_k = 0;
};

// Measures; runs in the process that may crash.
class PlanMeter {
 public:
  virtual ~PlanMeter() = default;

  virtual PlanEnvironment environment() = 0;
  virtual TaskFacts facts(const PlanTask& task) = 0;
  // Of one product with all that follows it. Throws Error where the candidate cannot
  // run or gives wrong results.
  virtual PlanTime measure(const PlanTask& task, const PlanChoice& candidate) = 0;
};

// Asks a PlanMeter somewhere else.
class PlanProbe {
 public:
  virtual ~PlanProbe() = default;

  // Throws Error where the meter cannot answer.
  virtual PlanEnvironment environment() = 0;
  virtual TaskFacts facts(const PlanTask& task) = 0;
  // A trial that names what went wrong, if anything did. Gives up after `limit_s` seconds.
  virtual PlanTrial measure(const PlanTask& task, const PlanChoice& candidate, double limit_s) = 0;
};

struct PlanSearchOptions {
  double candidate_limit_s = 5;  // for one candidate
  double task_limit_s = 30;      // then no other of a task begins; the best until then is taken
  double bucket_tolerance = 0.05;
  // After every task and every crash: keep `contents`.
  std::function<void(const PlanContents& contents)> save;
};

// Searches the tasks that `contents` has no choice for, and adds what it finds. A task without any
// working candidate is reported as a warning and left out. Stops between candidates where
// callbacks.stop_requested() says so, after a last save(), and then returns false.
bool search_plans(PlanProbe& probe, const std::vector<PlanTask>& tasks,
                  const PlanSearchOptions& options, PlanContents& contents,
                  const Callbacks& callbacks);

}  // namespace twofour::cuda
