#include "twofour/backend/cuda/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twofour/backend/cuda/testing.h"
#include "twofour/backend/cuda/testing_dense.h"
#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour::cuda {
namespace {

using testing::HasSubstr;

const PlanEnvironment kHere{"NVIDIA H100 80GB HBM3", "13.0", "13.0", "0.10.0", "13.1.0"};

ProductDesc product(int64_t n, int64_t k, DType input, DType output) {
  return {n, k, input, output, std::nullopt, nullptr, false};
}

PlanChoice cutlass(int variant, double us = 0) {
  PlanChoice choice{PlanUse::kCutlass, {}, 0, us};
  choice.variant = variant;
  return choice;
}

std::filesystem::path temporary(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / name;
}

PlanContents example() {
  PlanContents contents;
  PlanTable& table = contents.table;
  table.set(product(3072, 768, DType::kI8, DType::kF16), 64,
            {PlanUse::kSparse, {3, 2, SplitKMode::kTwoKernels, 1}, 0, 7.25, 9.5});
  table.set(product(3072, 768, DType::kI8, DType::kI32), 128, {PlanUse::kDense, {}, 2, 3, 3});
  table.set(product(3072, 768, DType::kI8, DType::kF16), 16, {PlanUse::kOwn, {}, 0});
  table.set(product(3072, 768, DType::kI8, DType::kF16), 256, cutlass(3, 5));
  table.set(product(3072, 768, DType::kI8, DType::kF16), 32, {PlanUse::kDense, {}, 2});
  table.set(product(768, 3072, DType::kBF16, DType::kBF16), 64, {});
  table.set(product(768, 3072, DType::kBF16, DType::kBF16), 64, {PlanUse::kDense, {}, 1}, false);
  contents.buckets = {16, 64, 128};
  contents.failed = {{PlanTable::key(product(64, 32, DType::kI8, DType::kI32), 16),
                      {PlanUse::kSparse, {4, -1, SplitKMode::kDefault, 0}},
                      "crashed by signal 4"}};
  return contents;
}

// The text of a file with one good entry.
std::string good() {
  return R"({"format": "twofour-plan-1",
 "made_on": {"gpu": "NVIDIA H100 80GB HBM3", "driver": "13.0", "runtime": "13.0", "cusparselt": "0.10.0",
             "cublaslt": "13.1.0"},
 "plans": [{"n": 64, "k": 32, "input": "I8", "output": "I32", "m": 16, "sparse": true, "use": "sparse",
            "algorithm": 1, "split_k": 1, "split_k_mode": "one-kernel", "split_k_buffers": 0}]})";
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

std::string error_of(const std::string& text) {
  const auto path = temporary("bad.json");
  write_file_atomically(path, text);
  try {
    read_plan_file(path, kHere);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("bad.json"));
    return error.what();
  }
  return "no error";
}

TEST(PlanFile, RoundTrip) {
  const auto path = temporary("plans/h100.json");
  write_plan_file(path, kHere, example());
  const PlanFile read = read_plan_file(path, kHere);
  EXPECT_EQ(static_cast<const PlanContents&>(read), example());
  EXPECT_EQ(read.warning, "");
  const std::string text = read_file(path);
  EXPECT_THAT(text, HasSubstr("\"split_k_mode\": \"two-kernels\""));
  write_plan_file(path, kHere, read);
  EXPECT_EQ(read_file(path), text);
}

TEST(PlanFile, IsIgnoredWithAWarningElsewhere) {
  const auto path = temporary("elsewhere.json");
  write_plan_file(path, kHere, example());
  for (auto member : {&PlanEnvironment::gpu, &PlanEnvironment::driver, &PlanEnvironment::runtime,
                      &PlanEnvironment::cusparselt, &PlanEnvironment::cublaslt}) {
    PlanEnvironment other = kHere;
    other.*member = "other";
    const PlanFile read = read_plan_file(path, other);
    EXPECT_TRUE(read.table.all().empty());
    EXPECT_THAT(read.warning, HasSubstr("elsewhere.json is ignored: it was made on NVIDIA H100"));
    EXPECT_THAT(read.warning, HasSubstr("other"));
  }
}

TEST(PlanFile, AFileOfNoOtherFormIsTaken) {
  EXPECT_EQ(error_of(good()), "no error");
  EXPECT_THAT(error_of(""), HasSubstr("damaged JSON"));
  EXPECT_THAT(error_of(good().substr(0, 100)), HasSubstr("damaged JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error_of(replaced(good(), "twofour-plan-1", "twofour-plan-2")),
              HasSubstr("\"format\" is \"twofour-plan-2\", expected \"twofour-plan-1\""));
  EXPECT_THAT(error_of(replaced(good(), "\"plans\"", "\"planz\"")),
              HasSubstr("unknown key \"planz\""));
  EXPECT_THAT(error_of(replaced(good(), "\"driver\": \"13.0\", ", "")),
              HasSubstr("made_on] key \"driver\" is missing"));
  EXPECT_THAT(error_of(R"({"format": "twofour-plan-1", "plans": []})"),
              HasSubstr("key \"made_on\" is missing"));
}

TEST(PlanFile, EveryEntryIsChecked) {
  const auto with = [](const std::string& what, const std::string& by) {
    return error_of(replaced(good(), what, by));
  };
  EXPECT_THAT(with("\"n\": 64", "\"n\": 65"),
              HasSubstr("plans[0]] n is 65, expected a multiple of 32"));
  EXPECT_THAT(with("\"n\": 64", "\"n\": -64"), HasSubstr("\"n\": expected a whole number"));
  EXPECT_THAT(with("\"n\": 64", "\"n\": \"64\""), HasSubstr("\"n\": expected a whole number"));
  EXPECT_THAT(with("\"n\": 64, ", ""), HasSubstr("key \"n\" is missing"));
  EXPECT_THAT(with("\"sparse\": true, ", ""), HasSubstr("\"sparse\" is missing"));
  EXPECT_THAT(with("\"sparse\": true", "\"sparse\": false"),
              HasSubstr("a 2:4 kernel is named for a weight that is not 2:4"));
  EXPECT_THAT(with("\"m\": 16", "\"m\": 17"), HasSubstr("\"m\" is 17, expected a multiple of 16"));
  EXPECT_THAT(with("\"I8\"", "\"INT8\""), HasSubstr("\"input\" is \"INT8\""));
  EXPECT_THAT(with("\"I32\"", "\"F32\""), HasSubstr("I8 inputs do not give F32"));
  EXPECT_THAT(with("\"use\": \"sparse\"", "\"use\": \"maybe\""),
              HasSubstr("\"use\" is \"maybe\", expected one of sparse, dense, own"));
  EXPECT_THAT(with("\"use\": \"sparse\"", "\"use\": \"dense\""),
              HasSubstr("unknown key \"algorithm\""));
  EXPECT_THAT(with("\"use\": \"sparse\"", "\"use\": \"own\""),
              HasSubstr("unknown key \"algorithm\""));
  EXPECT_THAT(with("one-kernel", "no-kernel"), HasSubstr("\"split_k_mode\" is \"no-kernel\""));
  EXPECT_THAT(with("\"split_k\": 1", "\"split_k\": -2"),
              HasSubstr("\"split_k\": expected a whole number"));
  EXPECT_THAT(with("\"split_k\": 1", "\"split_k\": 0"), HasSubstr("\"split_k\" is 0"));
  EXPECT_THAT(with("\"m\": 16", "\"m\": 16, \"us\": -1"), HasSubstr("\"us\" is -1"));
  EXPECT_THAT(with("\"algorithm\": 1", "\"algorithm\": 1.5"), HasSubstr("\"algorithm\": expected"));
  EXPECT_THAT(with("\"algorithm\": 1", "\"algorithm\": 1, \"speed\": 2"),
              HasSubstr("unknown key \"speed\""));
  EXPECT_THAT(with("\"m\": 16", "\"m\": 16, \"m\": 32"), HasSubstr("stands twice"));
  const size_t begin = good().find("{\"n\""), end = good().rfind(']');
  const std::string entry = good().substr(begin, end - begin);
  EXPECT_THAT(with(entry, entry + ", " + entry),
              HasSubstr("I8 [64, 32] -> I32 with m 16 stands twice"));
}

TEST(PlanFile, BucketsAndFailuresAreChecked) {
  const auto with = [](const std::string& more) {
    return error_of(replaced(good(), "\"plans\"", more + ", \"plans\""));
  };
  EXPECT_EQ(with("\"buckets\": [16, 32]"), "no error");
  EXPECT_THAT(with("\"buckets\": [32, 16]"), HasSubstr("16 follows 32"));
  EXPECT_THAT(with("\"buckets\": [\"16\"]"), HasSubstr("buckets: expected a whole number"));
  EXPECT_THAT(with("\"buckets\": 16"), HasSubstr("expected a list"));
  const std::string own =
      R"({"n": 64, "k": 32, "input": "I8", "output": "I32", "m": 16, "sparse": true, "use": "own")";
  EXPECT_EQ(with("\"failed\": [" + own + ", \"reason\": \"hung\"}]"), "no error");
  EXPECT_THAT(with("\"failed\": [" + own + "}]"), HasSubstr("key \"reason\" is missing"));
}

TEST(PlanFile, NamesAVariantOfCutlass) {
  const auto with = [](const std::string& variant) {
    return error_of(replaced(good(),
                             R"("sparse",
            "algorithm": 1, "split_k": 1, "split_k_mode": "one-kernel", "split_k_buffers": 0)",
                             R"("cutlass")" + variant));
  };
  EXPECT_EQ(with(R"(, "variant": "sm80-128x64")"), "no error");
  EXPECT_THAT(with(""), HasSubstr("variant"));
  EXPECT_THAT(with(R"(, "variant": "sm75-8x8")"),
              HasSubstr("\"variant\" is \"sm75-8x8\", expected one of sm80-64x64, sm80-128x64, "
                        "sm80-128x128, sm90-128x64, sm90-128x128"));
  EXPECT_THAT(with(R"(, "variant": "sm80-128x64", "rank": 1)"), HasSubstr("unknown key \"rank\""));
}

TEST(PlanTable, KnowsWhichFormsItUses) {
  PlanTable table;
  const ProductDesc p = product(64, 128, DType::kI8, DType::kF16);
  table.set(p, 128, cutlass(4));
  EXPECT_TRUE(table.uses(p, PlanUse::kCutlass));
  EXPECT_TRUE(table.uses(p, CutlassForm::kSm90));
  EXPECT_FALSE(table.uses(p, CutlassForm::kSm80));
  EXPECT_FALSE(table.uses(product(64, 64, DType::kI8, DType::kF16), CutlassForm::kSm90));
  EXPECT_TRUE(cutlass(4, 1).same_kernel(cutlass(4, 2)));
  EXPECT_FALSE(cutlass(4).same_kernel(cutlass(3)));
  EXPECT_EQ(cutlass(4).to_string(), "cutlass, sm90-128x128");
}

TEST(PlanFile, AMissingFileIsAnError) {
  EXPECT_THROW(read_plan_file(temporary("nowhere.json"), kHere), Error);
}

TEST(PlanEnvironment, NamesWhatPlansDependOn) {
  FakeRuntime runtime;
  FakeCusparseLt library(runtime);
  library.version_number = 801;
  runtime.driver = 12080;
  EXPECT_EQ(plan_environment(runtime, &library, nullptr, 1),
            (PlanEnvironment{"Fake A100", "12.8", "13.0", "0.8.1", "none"}));
  FakeCublasLt dense(runtime);
  EXPECT_EQ(plan_environment(runtime, nullptr, &dense, 1),
            (PlanEnvironment{"Fake A100", "12.8", "13.0", "none", "13.1.0"}));
}

}  // namespace
}  // namespace twofour::cuda
