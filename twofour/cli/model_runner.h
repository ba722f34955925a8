// One session with a batch of random tokens to run, for bench.
#pragma once

#include <memory>
#include <vector>

#include "twofour/runtime/engine.h"

namespace twofour::cli {

struct BenchCase {
  int64_t batch, tokens;
  int threads;
};

class ModelRunner {
 public:
  ModelRunner(const std::shared_ptr<const Engine>& engine, const BenchCase& shape);

  double run_ms();
  Session::GraphUse graph_use() const { return session_.graph_use(); }

 private:
  Session session_;
  std::vector<float> output_;
  std::vector<int32_t> ids_, type_ids_, offsets_;
};

}  // namespace twofour::cli
