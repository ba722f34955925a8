// Masks in whole runs: whose gradients count, and layers that can have none.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "twofour/graph/network.h"
#include "twofour/io/safetensors.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/train/objective.h"
#include "twofour/train/run_inputs.h"
#include "twofour/train/sparsity_context.h"
#include "twofour/train/torch_session.h"
#include "twofour/train/torch_tensors.h"
#include "twofour/train/trainer_test_support.h"

namespace twofour {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
namespace fs = std::filesystem;

// What the first step of a run without dropout and teacher has before it masks gradients.
ParameterMap masked_parameters_with_gradients(const RunInputs& inputs) {
  const Stage& stage = inputs.recipe.stages.front();
  ParameterMap parameters = load_parameters(inputs.network, inputs.model, inputs.recipe.seed);
  SparsityContext(inputs.network, inputs.recipe).advance(stage, parameters);
  const Batch batch = Batcher(inputs.train, inputs.train_tokens, inputs.batching).plan(0).front();
  const TokenTensors tokens = inputs.train_tokens.collate(batch.sequences);
  const ForwardResult result = TorchInterpreter(inputs.network, parameters)
                                   .forward(tokens, {.training = true, .dropout = 0});
  compute_losses(stage.losses, {inputs.train, batch, tokens, {}}, result, nullptr,
                 inputs.network.last_heads)
      .total.backward();
  return parameters;
}

TEST(TrainerMasks, TheNormThatClipsIsThatOfKeptGradients) {
  TrainRequest request = small_run("one-shot", "cross-encoder", "kept-gradients");
  request.max_steps = 1;
  request.overrides["dropout"] = "0";
  run_afresh(request);
  const double logged = log_rows(request.out, "step").at(0).at("grad_norm").get<double>();

  const TorchSession session(request.threads, request.deterministic);
  const RunInputs inputs = load_inputs(request, {}, request.threads, {});
  double all = 0, kept = 0;
  for (const auto& [name, parameter] : masked_parameters_with_gradients(inputs)) {
    const at::Tensor squares = parameter.grad().to(at::kDouble).square();
    all += squares.sum().item<double>();
    // Nothing in this model is zero but what is pruned.
    kept += (squares * parameter.detach().ne(0)).sum().item<double>();
  }
  ASSERT_GT(std::sqrt(all), 1.05 * std::sqrt(kept));
  EXPECT_NEAR(logged / std::sqrt(kept), 1, 1e-5);
}

// A golden model with the first `size` of its intermediate units.
fs::path model_with_intermediate(int64_t size) {
  const fs::path whole_path = golden_model("cross-encoder");
  const fs::path path =
      fs::path(testing::TempDir()) / fmt::format("intermediate.{}.{}", size, getpid());
  fs::remove_all(path);
  fs::copy(whole_path, path);
  auto json = nlohmann::ordered_json::parse(read_file(path / "config.json"));
  json["intermediate_size"] = size;
  write_file_atomically(path / "config.json", json.dump());

  const ModelDirectory whole = ModelDirectory::open(whole_path);
  ModelConfig config = whole.config();
  config.intermediate_size = size;
  std::vector<at::Tensor> tensors;
  std::vector<NamedTensor> named;
  for (const Parameter& parameter : build_network(config).parameters) {
    at::Tensor tensor = to_torch(whole.tensor(parameter.name));
    for (int64_t i = 0; i < tensor.dim(); ++i) tensor = tensor.narrow(i, 0, parameter.shape[i]);
    named.push_back({parameter.name, view_of(tensors.emplace_back(tensor.contiguous()))});
  }
  write_safetensors(path / "model.safetensors", named);
  return path;
}

std::vector<std::string> warnings_of(const TrainRequest& request) {
  std::vector<std::string> warnings;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel level, const std::string& message) {
    if (level == LogLevel::kWarning) warnings.push_back(message);
  };
  run_afresh(request, callbacks);
  return warnings;
}

TEST(TrainerMasks, LayersWithoutGroupsOfFourTrainDenseWithAWarning) {
  TrainRequest request = small_run("one-shot", "cross-encoder", "left-dense");
  request.model = model_with_intermediate(30);
  request.dev_data.clear();
  request.max_steps = 2;
  EXPECT_THAT(
      warnings_of(request),
      ElementsAre("encoder.layer.0.output.dense stays dense: k = 30 is not a multiple of 4",
                  "encoder.layer.1.output.dense stays dense: k = 30 is not a multiple of 4"));

  const ModelDirectory before = ModelDirectory::open(request.model);
  const ModelDirectory after = ModelDirectory::open(request.out / "model");
  const Network network = build_network(after.config());
  for (const Op& op : network.ops) {
    if (op.kind != OpKind::kLinear || !op.prunable) continue;
    const std::string& name = network.parameter(op, 0).name;
    const at::Tensor weight = to_torch(after.tensor(name));
    const bool dense = weight.size(1) == 30;
    EXPECT_EQ(weight.eq(0).sum().item<int64_t>(), dense ? 0 : weight.numel() / 2) << name;
    EXPECT_TRUE(dense || !find_violation(after.tensor(name))) << name;
    EXPECT_FALSE(at::equal(weight, to_torch(before.tensor(name)))) << name;
  }
}

TEST(TrainerMasks, NobodyIsWarnedWhereNothingIsPruned) {
  TrainRequest request = small_run("dense", "cross-encoder", "nothing-pruned");
  request.model = model_with_intermediate(30);
  request.dev_data.clear();
  request.max_steps = 1;
  EXPECT_THAT(warnings_of(request), IsEmpty());
}

}  // namespace
}  // namespace twofour
