// Plan files choose the kernels of an engine on a device, over stand-ins.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "twofour/backend/cuda/plan_file.h"
#include "twofour/base/error.h"
#include "twofour/runtime/test_device_engine.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

cuda::PlanChoice by(cuda::PlanUse use) { return {use, {3, 1, {}, 0}}; }

cuda::PlanChoice by_cutlass(std::string_view variant) {
  cuda::PlanChoice choice = by(cuda::PlanUse::kCutlass);
  choice.variant = cuda::find_spmm24_cutlass(variant).value();
  return choice;
}

std::vector<cuda::PlanChoice> every_choice() {
  return {by(cuda::PlanUse::kSparse), by(cuda::PlanUse::kDense), by(cuda::PlanUse::kOwn),
          by_cutlass("sm80-64x64"), by_cutlass("sm90-128x64")};
}

class DevicePlans : public DeviceEngine {
 protected:
  // A plan file made here that has `choice` for every 2:4 product of 16, ..., `most` rows.
  void write_plans(const cuda::PlanChoice& choice, DType input, const std::vector<DType>& outputs,
                   int64_t most = 64, const std::string& gpu = "") {
    const cuda::DeviceLibraries libraries = stand_in_.libraries();
    const auto sparse = libraries.open_cusparselt();
    const auto dense = libraries.open_cublaslt();
    cuda::PlanEnvironment here =
        cuda::plan_environment(stand_in_.runtime, sparse.get(), dense.get(), 0);
    if (!gpu.empty()) here.gpu = gpu;
    cuda::PlanContents contents;
    for (const auto& [n, k] : {std::pair{192, 64}, {64, 64}, {128, 64}, {64, 128}}) {
      for (const int64_t rows : {16, 32, 48, 64}) {
        for (const DType output : outputs) {
          contents.table.set({n, k, input, output, std::nullopt, nullptr, false}, rows,
                             rows <= most ? choice : by(cuda::PlanUse::kSparse));
        }
      }
    }
    cuda::write_plan_file(path_, here, contents);
  }

  std::shared_ptr<const Engine> load(const ModelDirectory& model) {
    return Engine::load_on(model, {.precision = "fp16", .plans = path_.string()},
                           stand_in_.libraries(), 0);
  }

  const std::filesystem::path path_ =
      std::filesystem::path(testing::TempDir()) / ("device_plans_" + std::to_string(getpid()));
  const ModelDirectory model_ = random_model({64, 4, 128}, /*sparse=*/true, "plans");
};

TEST_F(DevicePlans, ChooseTheKernelOfEachProduct) {
  const auto cpu = Engine::load(model_);
  const PackedTokens tokens = random_tokens(cpu->network(), 3, 7, 15);
  const auto want = run(cpu, tokens.batch());
  for (const cuda::PlanChoice& choice : every_choice()) {
    const cuda::PlanUse use = choice.use;
    write_plans(choice, DType::kF16, {DType::kF16});
    const auto engine = load(model_);
    EXPECT_THAT(engine->warnings(), IsEmpty());
    EXPECT_EQ(engine->options().plans, path_.string());
    expect_close(run(engine, tokens.batch()), want, tolerance("fp16"));
    EXPECT_EQ(stand_in_.sparse->products.empty(), use != cuda::PlanUse::kSparse);
    EXPECT_TRUE(use != cuda::PlanUse::kDense || !stand_in_.dense->runs.empty());
    // What the file does not name runs as ever.
    const PackedTokens more = random_tokens(cpu->network(), 9, 8, 40);
    expect_close(run(engine, more.batch()), run(cpu, more.batch()), tolerance("fp16"));
    EXPECT_FALSE(stand_in_.sparse->products.empty());
  }
}

// Of int8 products the one before GELU leaves sums, the others scale.
class Int8DevicePlans : public DevicePlans {
 protected:
  void write(const cuda::PlanChoice& choice, int64_t most = 64) {
    write_plans(choice, DType::kI8, {DType::kI32, DType::kF16}, most);
  }

  const ModelDirectory int8_ = write_int8_model(
      random_model({64, 4, 128}, false, "plans_int8"),
      std::filesystem::path(testing::TempDir()) / ("device_plans_int8_" + std::to_string(getpid())),
      1);
  const std::shared_ptr<const Engine> cpu_ = Engine::load(int8_);
};

TEST_F(Int8DevicePlans, ChooseTheKernelOfEachProduct) {
  const PackedTokens tokens = random_tokens(cpu_->network(), 3, 5, 15);
  const auto want = run(cpu_, tokens.batch());
  std::map<std::string, size_t> products;
  for (const cuda::PlanChoice& choice : every_choice()) {
    write(choice);
    const auto engine = load(int8_);
    expect_close(run(engine, tokens.batch()), want, allowed_apart("fp16").all.output);
    products[choice.to_string()] = stand_in_.sparse->products.size();
  }
  EXPECT_GT(products["sparse, algorithm 3"], 0u);
  EXPECT_EQ(products["dense, rank 0"], 0u);
  EXPECT_EQ(products["own"], 0u);
  EXPECT_EQ(products["cutlass, sm90-128x64"], 0u);
  // It takes no k of 64 in int8: cuSPARSELt goes on with those.
  EXPECT_GT(products["cutlass, sm80-64x64"], 0u);
  EXPECT_LT(products["cutlass, sm80-64x64"], products["sparse, algorithm 3"]);
}

TEST_F(Int8DevicePlans, HoldForProductsThatScaleToo) {
  write(by(cuda::PlanUse::kSparse));
  const auto engine = load(int8_);
  run(engine, random_tokens(cpu_->network(), 3, 5, 15).batch());
  size_t scaling = 0;
  for (const auto& plan : stand_in_.sparse->plans_made) {
    EXPECT_EQ(plan.algorithm.id, 3);
    scaling += plan.channel_scales;
  }
  EXPECT_GT(scaling, 0u);
}

// Where cuBLASLt is chosen for some rows, cuSPARSELt still scales for others; as graphs too.
TEST_F(Int8DevicePlans, MayChooseAnotherKernelForMoreRows) {
  write(by(cuda::PlanUse::kDense), 16);
  const auto engine = load(int8_);
  Session session(engine);
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (const auto& [sequences, length] : {std::pair{4, 10}, {2, 5}}) {
      const PackedTokens tokens = uniform_tokens(sequences, length);
      std::vector<float> found(2 * sequences);
      session.run(tokens.batch(), found);
      expect_close(found, run(cpu_, tokens.batch()), allowed_apart("fp16").all.output);
    }
  }
  EXPECT_EQ(session.graph_use().failure, "");
  EXPECT_GT(session.graph_use().launched, 0u);
  EXPECT_FALSE(stand_in_.dense->runs.empty());
  const auto& plans = stand_in_.sparse->plans_made;
  EXPECT_TRUE(
      std::any_of(plans.begin(), plans.end(), [](const auto& p) { return p.channel_scales; }));
  EXPECT_EQ(stand_in_.sparse->violations + stand_in_.runtime.violations, "");
}

TEST_F(DevicePlans, OfAnotherGpuAreNotUsed) {
  write_plans(by(cuda::PlanUse::kDense), DType::kF16, {DType::kF16}, 64, "Another GPU");
  const auto engine = load(model_);
  EXPECT_THAT(engine->warnings(), ElementsAre(HasSubstr("Another GPU")));
  EXPECT_EQ(engine->options().plans, "");
  const PackedTokens tokens = random_tokens(engine->network(), 3, 7, 15);
  run(engine, tokens.batch());
  EXPECT_FALSE(stand_in_.sparse->products.empty());
}

TEST_F(DevicePlans, AreNotForTheCpu) {
  try {
    Engine::load(model_, {.device = "cpu", .plans = "h100.json"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("[plans] h100.json is for a GPU, the device is cpu"));
  }
}

}  // namespace
}  // namespace twofour
