#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/cli/model_products.h"
#include "twofour/cli/testing/int8_model.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/io/testing.h"

namespace twofour::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string text_of(const std::vector<ModelProduct>& products) {
  std::string text;
  for (const ModelProduct& p : products) {
    text += fmt::format("{} x {}{}; ", p.count, p.product.to_string(), p.sparse ? " 2:4" : "");
  }
  return text;
}

// Two layers, hidden 32, intermediate 64: query, key and value are one product.
TEST(ModelProducts, CountsTheLayersOfEachForm) {
  const ModelDirectory dense = ModelDirectory::open(model("minilm"));
  const auto& config = dense.config();
  const int64_t h = config.hidden_size, i = config.intermediate_size;
  const auto layers = config.num_hidden_layers;
  const auto line = [&](int64_t n, int64_t k, const char* type, const char* pattern) {
    return fmt::format("{0} x {3} [{1}, {2}] -> {3}{4}; ", layers, n, k, type, pattern);
  };
  const auto all = [&](const char* type, const char* pattern) {
    return line(3 * h, h, type, pattern) + line(h, h, type, pattern) + line(i, h, type, pattern) +
           line(h, i, type, pattern);
  };
  EXPECT_EQ(text_of(model_products(dense, DType::kF16, false)), all("F16", ""));
  EXPECT_EQ(text_of(model_products(dense, DType::kBF16, true)), all("BF16", " 2:4"));
  EXPECT_THAT(text_of(model_products(dense, DType::kF8E4M3, true)),
              StartsWith(fmt::format("{} x F8_E4M3 [{}, {}] -> F16 2:4; ", layers, 3 * h, h)));

  const auto sparse = scratch("sparse") / "model";
  ASSERT_EQ(run_command({"-q", "prune", model("minilm"), "--out", sparse.string()}).code, 0);
  EXPECT_EQ(text_of(model_products(ModelDirectory::open(sparse), DType::kF16, false)),
            all("F16", " 2:4"));
}

// What the engine lets cuSPARSELt scale is not what leaves int8 sums to the kernel behind it.
TEST(ModelProducts, KnowWhatInt8ProductsLeave) {
  const ModelDirectory sparse = ModelDirectory::open(int8_model("minilm"));
  const auto& config = sparse.config();
  const int64_t h = config.hidden_size, i = config.intermediate_size;
  const auto line = [&](int64_t n, int64_t k, const char* type) {
    return fmt::format("{} x I8 [{}, {}] -> {} 2:4; ", config.num_hidden_layers, n, k, type);
  };
  for (const auto& [type, name] : {std::pair{DType::kF16, "F16"}, {DType::kBF16, "BF16"}}) {
    EXPECT_EQ(text_of(model_products(sparse, type, false)),
              line(3 * h, h, name) + line(h, h, name) + line(i, h, "I32") + line(h, i, name));
  }
}

TEST(PlanCommand, SaysWhatIsMissing) {
  const auto out = scratch("plan") / "plan.json";
  const Outcome outcome = run_command({"plan", model("minilm"), "--out", out.string()});
  const cuda::Diagnosis found = cuda::diagnose();
  if (found.built && found.problem.empty()) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, found.built ? HasSubstr("no NVIDIA driver is installed")
                                       : HasSubstr("built without CUDA. Build the preset cuda"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(PlanCommand, ChecksItsOptionsFirst) {
  const auto plan = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "plan");
    arguments.insert(arguments.end(), {"--out", "nowhere.json"});
    return run_command(arguments);
  };
  const auto misuse = [&](const std::vector<std::string>& arguments) {
    const Outcome outcome = plan(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(plan({"nowhere"}).err, HasSubstr("nowhere"));
  EXPECT_THAT(misuse({"--shapes", "64by64"}),
              StartsWith("twofour: --shapes: '64by64' is no shape"));
  EXPECT_THAT(misuse({model("minilm"), "--precision", "int8"}), HasSubstr("int8 is for --shapes"));
  const auto int8 = ModelDirectory::open(int8_model("minilm"));
  EXPECT_THAT(plan({without_input_scales(int8).path().string()}).err,
              HasSubstr("has dynamic activations, which a GPU does not quantize"));
  EXPECT_THAT(misuse({"--shapes", "64x64", "--buckets", "16,24"}),
              StartsWith("twofour: --buckets: 24 follows 16, expected multiples of 16"));
  EXPECT_THAT(misuse({"--shapes", "64x64", "--device", "gpu"}),
              StartsWith("twofour: --device: no device is named 'gpu'"));
  EXPECT_THAT(misuse({"--shapes", "64x64", "--seconds", "0"}),
              HasSubstr("--seconds: expected a number above 0, found 0\n"));
  EXPECT_THAT(run_command({"plan", "--shapes", "64x64", "--out", "no/such/plan.json"}).err,
              HasSubstr("there is no folder no/such"));
  EXPECT_EQ(run_command({"plan", "--out", "x.json"}).code, 2);
  EXPECT_EQ(run_command({"plan", model("minilm")}).code, 2);
}

}  // namespace
}  // namespace twofour::cli
