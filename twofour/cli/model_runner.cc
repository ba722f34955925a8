#include "twofour/cli/model_runner.h"

#include <random>

#include "twofour/cli/stopwatch.h"

namespace twofour::cli {

ModelRunner::ModelRunner(const std::shared_ptr<const Engine>& engine, const BenchCase& shape)
    : session_(engine, {.threads = shape.threads}) {
  const Network& network = engine->network();
  const bool by_token = network.values[network.output].rows == Rows::kTokens;
  output_.resize(shape.batch * (by_token ? shape.tokens : 1) * engine->output_width());
  std::mt19937 random(1);  // the same tokens each time
  ids_.resize(shape.batch * shape.tokens);
  for (int32_t& id : ids_)
    id = static_cast<int32_t>(random() % static_cast<uint64_t>(network.vocab_size));
  type_ids_.assign(ids_.size(), 0);
  for (int64_t i = 0; i <= shape.batch; ++i)
    offsets_.push_back(static_cast<int32_t>(i * shape.tokens));
}

double ModelRunner::run_ms() {
  const Stopwatch watch;
  session_.run({ids_, type_ids_, offsets_}, output_);
  return watch.seconds() * 1e3;
}

}  // namespace twofour::cli
