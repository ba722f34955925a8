#include "twofour/backend/cuda/plan_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr int kHopper = 90;
constexpr int64_t kLeastK = 256;  // of a part of a split product
constexpr size_t kRefined = 2;    // algorithms whose ways to split k are tried

bool contains(const std::vector<PlanTrial>& tried, const PlanChoice& choice) {
  return std::any_of(tried.begin(), tried.end(),
                     [&](const PlanTrial& trial) { return trial.choice.same_kernel(choice); });
}

bool contains(const std::vector<PlanFailure>& failed, const PlanTask& task,
              const PlanChoice& choice) {
  const PlanTable::Key key = PlanTable::key(task.product, task.rows, task.sparse);
  return std::any_of(failed.begin(), failed.end(), [&](const PlanFailure& failure) {
    return failure.key == key && failure.choice.same_kernel(choice);
  });
}

std::vector<PlanChoice> plain_candidates(const PlanTask& task, const TaskFacts& facts) {
  std::vector<PlanChoice> out;
  if (task.sparse) {
    for (int id = 0; id < facts.sparse_algorithms; ++id)
      out.push_back({PlanUse::kSparse, {id, 1, SplitKMode::kDefault, 0}});
    if (facts.own) out.push_back({PlanUse::kOwn, {}});
    for (const int variant : facts.cutlass) {
      out.push_back({PlanUse::kCutlass, {}});
      out.back().variant = variant;
    }
  }
  for (int rank = 0; rank < facts.dense_algorithms; ++rank)
    out.push_back({PlanUse::kDense, {}, rank});
  return out;
}

// Of the fastest sparse algorithms that do not split k.
std::vector<int> best_algorithms(const std::vector<PlanTrial>& tried) {
  std::vector<std::pair<double, int>> times;
  for (const PlanTrial& trial : tried) {
    const Algorithm& algorithm = trial.choice.algorithm;
    if (trial.choice.use == PlanUse::kSparse && trial.failure.empty() && algorithm.split_k == 1)
      times.emplace_back(trial.us, algorithm.id);
  }
  std::sort(times.begin(), times.end());
  std::vector<int> ids;
  for (size_t i = 0; i < std::min(kRefined, times.size()); ++i) ids.push_back(times[i].second);
  return ids;
}

std::vector<PlanChoice> split_candidates(const PlanTask& task, const TaskFacts& facts,
                                         const std::vector<PlanTrial>& tried) {
  std::vector<PlanChoice> out;
  for (const int id : best_algorithms(tried)) {
    for (const int parts : {2, 4, 8}) {
      if (task.product.k < parts * kLeastK) break;
      for (const SplitKMode mode : {SplitKMode::kOneKernel, SplitKMode::kTwoKernels})
        out.push_back({PlanUse::kSparse, {id, parts, mode, 0}});
    }
    if (facts.capability == kHopper)
      out.push_back({PlanUse::kSparse, {id, -1, SplitKMode::kDefault, 0}});
  }
  return out;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Of all products of a bucket; nothing where one has no time.
std::optional<double> time_of(const std::vector<PlanTask>& tasks, const PlanTable& table,
                              int64_t rows) {
  double sum = 0;
  for (const PlanTask& task : tasks) {
    if (task.rows != rows) continue;
    const PlanChoice* choice = table.find(task.product, rows, task.sparse);
    if (choice == nullptr || choice->us <= 0) return std::nullopt;
    sum += choice->us * task.count;
  }
  return sum;
}

class Search {
 public:
  Search(PlanProbe& probe, const PlanSearchOptions& options, PlanContents& contents,
         const Callbacks& callbacks)
      : probe_(probe), options_(options), contents_(contents), callbacks_(callbacks) {}

  // False where a stop was asked for.
  bool run(const PlanTask& task) {
    const auto begin = std::chrono::steady_clock::now();
    TaskFacts facts;
    try {
      facts = probe_.facts(task);
    } catch (const Error& error) {
      callbacks_.warn(fmt::format("{} is left out: {}", task.to_string(), error.what()));
      return !stopped();
    }
    if (!facts.missing.empty())
      callbacks_.warn(fmt::format("{}: {}", task.to_string(), facts.missing));
    std::vector<PlanTrial> tried;
    bool whole = true;
    for (auto next = next_candidates(task, facts, tried, contents_.failed); !next.empty() && whole;
         next = next_candidates(task, facts, tried, contents_.failed)) {
      for (const PlanChoice& candidate : next) {
        if (stopped()) return false;
        whole = seconds_since(begin) < options_.task_limit_s;
        if (!whole) break;
        tried.push_back(probe_.measure(task, candidate, options_.candidate_limit_s));
        warn_without_graph(task, tried.back());
        if (tried.back().fatal) keep_failure(task, tried.back());
      }
    }
    keep_fastest(task, tried);
    return !stopped();
  }

 private:
  bool stopped() const { return callbacks_.stop_requested && callbacks_.stop_requested(); }

  // Once is enough.
  void warn_without_graph(const PlanTask& task, const PlanTrial& trial) {
    if (trial.no_graph.empty() || std::exchange(warned_, true)) return;
    callbacks_.warn(fmt::format("{}: {} was timed without a graph, so that enqueueing counts: {}",
                                task.to_string(), trial.choice.to_string(), trial.no_graph));
  }

  void keep_failure(const PlanTask& task, const PlanTrial& trial) {
    callbacks_.warn(fmt::format("{}: {} {}; it will not be tried again", task.to_string(),
                                trial.choice.to_string(), trial.failure));
    contents_.failed.push_back(
        {PlanTable::key(task.product, task.rows, task.sparse), trial.choice, trial.failure});
    if (options_.save) options_.save(contents_);
  }

  void keep_fastest(const PlanTask& task, const std::vector<PlanTrial>& tried) {
    if (const auto choice = fastest(tried)) {
      contents_.table.set(task.product, task.rows, *choice, task.sparse);
      if (options_.save) options_.save(contents_);
      return;
    }
    callbacks_.warn(fmt::format("{}: no candidate ran{}", task.to_string(),
                                tried.empty() ? "" : ": " + tried.back().failure));
  }

  PlanProbe& probe_;
  const PlanSearchOptions& options_;
  PlanContents& contents_;
  const Callbacks& callbacks_;
  bool warned_ = false;
};

}  // namespace

std::string PlanTask::to_string() const {
  return fmt::format("{}, {} rows", product.to_string(), rows);
}

std::vector<PlanChoice> next_candidates(const PlanTask& task, const TaskFacts& facts,
                                        const std::vector<PlanTrial>& tried,
                                        const std::vector<PlanFailure>& failed) {
  const auto left = [&](std::vector<PlanChoice> candidates) {
    std::erase_if(candidates, [&](const PlanChoice& choice) {
      return contains(tried, choice) || contains(failed, task, choice);
    });
    return candidates;
  };
  std::vector<PlanChoice> plain = left(plain_candidates(task, facts));
  return plain.empty() ? left(split_candidates(task, facts, tried)) : plain;
}

std::optional<PlanChoice> fastest(const std::vector<PlanTrial>& tried) {
  const PlanTrial* best = nullptr;
  double dense_us = 0;
  for (const PlanTrial& trial : tried) {
    if (!trial.failure.empty()) continue;
    if (best == nullptr || trial.us < best->us) best = &trial;
    if (trial.choice.use == PlanUse::kDense && (dense_us == 0 || trial.us < dense_us))
      dense_us = trial.us;
  }
  if (best == nullptr) return std::nullopt;
  PlanChoice choice = best->choice;
  if (best->split_k != 0) choice.algorithm.split_k = best->split_k;
  choice.us = best->us;
  choice.dense_us = dense_us;
  return choice;
}

std::vector<int64_t> coarser_buckets(const std::vector<PlanTask>& tasks, const PlanTable& table,
                                     double tolerance) {
  std::map<int64_t, double> times;
  for (const PlanTask& task : tasks) {
    const auto time = time_of(tasks, table, task.rows);
    if (!time) return {};
    times[task.rows] = *time;
  }
  // From the largest down: a bucket is kept where the next larger one that is kept costs too much.
  std::vector<int64_t> kept;
  for (auto bucket = times.rbegin(); bucket != times.rend(); ++bucket) {
    if (kept.empty() || times[kept.back()] > bucket->second * (1 + tolerance))
      kept.push_back(bucket->first);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

bool search_plans(PlanProbe& probe, const std::vector<PlanTask>& tasks,
                  const PlanSearchOptions& options, PlanContents& contents,
                  const Callbacks& callbacks) {
  const auto begin = std::chrono::steady_clock::now();
  Search search(probe, options, contents, callbacks);
  int64_t done = 0;
  for (const PlanTask& task : tasks) {
    if (contents.table.find(task.product, task.rows, task.sparse) == nullptr && !search.run(task))
      return false;
    ++done;
    if (callbacks.progress) {
      callbacks.progress(
          {"plan", done, static_cast<int64_t>(tasks.size()), "products", seconds_since(begin), {}});
    }
  }
  contents.buckets = coarser_buckets(tasks, contents.table, options.bucket_tolerance);
  if (options.save) options.save(contents);
  return true;
}

}  // namespace twofour::cuda
