// A PlanMeter in a process of its own: what it tries may crash or hang without harm. A process that
// died is started anew for the next question.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "twofour/backend/cuda/plan_search.h"

namespace twofour::cuda {

class PlanProcess final : public PlanProbe {
 public:
  // `make` runs in the new process, which is a copy of this one: this one must not have used CUDA.
  // It may throw Error, which every question then throws. `start_limit_s` is for questions other
  // than measure().
  explicit PlanProcess(std::function<std::unique_ptr<PlanMeter>()> make, double start_limit_s = 60);
  ~PlanProcess() override;
  PlanProcess(const PlanProcess&) = delete;
  PlanProcess& operator=(const PlanProcess&) = delete;

  PlanEnvironment environment() override;
  TaskFacts facts(const PlanTask& task) override;
  PlanTrial measure(const PlanTask& task, const PlanChoice& candidate, double limit_s) override;

  int started() const { return started_; }  // processes so far

 private:
  struct Answer {
    std::string text;
    std::string death;  // how the process ended instead; empty where it lives
  };

  Answer ask(const std::string& question, double limit_s);
  std::string answer_or_throw(const std::string& question);
  void start();
  // Kills it if it lives and says how it ended.
  std::string stop();

  std::function<std::unique_ptr<PlanMeter>()> make_;
  double start_limit_s_;
  pid_t process_ = 0;
  int socket_ = -1;
  int started_ = 0;
};

}  // namespace twofour::cuda
