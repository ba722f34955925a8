// The engine on TensorRT, over a stand-in that takes the padding away and computes by the CPU
// engine: what is padded, cut and refused, not what TensorRT computes.
#include "twofour/runtime/tensorrt_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "twofour/base/error.h"
#include "twofour/io/content_hash.h"
#include "twofour/runtime/test_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();

// Outlives the engines that it opens.
class StandIn final : public RunEngineApi {
 public:
  explicit StandIn(const ModelDirectory& model)
      : cpu(Engine::load(model, {.device = "cpu", .backend = "twofour"})) {}

  std::shared_ptr<const Engine> cpu;
  tensorrt::DimensionRange batch{1, 2, 4}, length{8, 16, 32};
  std::filesystem::path plan;  // as it was opened
  std::string model;
  int device = -1;
  void* stream = nullptr;                            // of the last session
  std::vector<std::pair<int64_t, int64_t>> batches;  // sequences and length, in order
  std::string violations;

  std::unique_ptr<TensorRtEngine> open(const std::filesystem::path& file, const std::string& hash,
                                       int ordinal) override {
    plan = file;
    model = hash;
    device = ordinal;
    return std::make_unique<OpenEngine>(*this);
  }

  void run(const PaddedBatch& padded, std::span<float> output) {
    batches.emplace_back(padded.sequences, padded.length);
    if (padded.sequences < batch.min || padded.sequences > batch.max ||
        padded.length < length.min || padded.length > length.max)
      violations += "a batch beyond the bounds; ";
    const PackedTokens tokens = without_padding(padded);
    const std::vector<float> rows = twofour::run(cpu, tokens.batch());
    const Network& network = cpu->network();
    const auto width = static_cast<size_t>(cpu->output_width());
    const bool by_token = network.values[network.output].rows == Rows::kTokens;
    std::fill(output.begin(), output.end(), kNothing);
    if (output.size() != padded.sequences * (by_token ? padded.length : 1) * width)
      violations += "an output of another size; ";
    for (int64_t i = 0; i < padded.sequences; ++i) {
      const int64_t from = by_token ? tokens.offsets[i] : i;
      const int64_t to = by_token ? tokens.offsets[i + 1] : i + 1;
      std::copy(rows.begin() + from * width, rows.begin() + to * width,
                output.begin() + i * (by_token ? padded.length : 1) * width);
    }
  }

 private:
  class Context final : public TensorRtContext {
   public:
    explicit Context(StandIn& stand_in) : stand_in_(stand_in) {}
    void run(const PaddedBatch& padded, std::span<float> output) override {
      stand_in_.run(padded, output);
    }

   private:
    StandIn& stand_in_;
  };

  class OpenEngine final : public TensorRtEngine {
   public:
    explicit OpenEngine(StandIn& stand_in) : stand_in_(stand_in) {}
    tensorrt::DimensionRange batch() const override { return stand_in_.batch; }
    tensorrt::DimensionRange length() const override { return stand_in_.length; }
    uint64_t file_bytes() const override { return 1234; }
    std::unique_ptr<TensorRtContext> make_context(void* stream) override {
      stand_in_.stream = stream;
      return std::make_unique<Context>(stand_in_);
    }

   private:
    StandIn& stand_in_;
  };

  PackedTokens without_padding(const PaddedBatch& padded) {
    PackedTokens tokens;
    for (int64_t i = 0; i < padded.sequences; ++i) {
      const auto mask = padded.mask.subspan(i * padded.length, padded.length);
      const auto count = std::count(mask.begin(), mask.end(), 1);
      if (count == 0 || std::count(mask.begin(), mask.begin() + count, 1) != count)
        violations += "a mask that does not begin with its tokens; ";
      tokens.append(padded.ids.subspan(i * padded.length, count),
                    padded.type_ids.subspan(i * padded.length, count));
    }
    return tokens;
  }
};

PackedTokens of_lengths(const std::vector<int>& lengths) {
  PackedTokens tokens;
  for (const int length : lengths)
    tokens.append(std::vector<int32_t>(length, 5 + length), std::vector<int32_t>(length, 0));
  return tokens;
}

class TensorRt : public testing::Test {
 protected:
  ~TensorRt() override { EXPECT_EQ(stand_in_.violations, ""); }

  std::shared_ptr<const Engine> load(EngineOptions options = {}) {
    if (options.engine.empty()) options.engine = "model.plan";
    return Engine::load_on(model_, options, stand_in_);
  }

  const ModelDirectory model_ = golden_model("cross-encoder");
  StandIn stand_in_{model_};
};

TEST(TensorRtModels, OutputIsTheCpuEngines) {
  std::vector<ModelDirectory> models;
  for (const char* layout : {"bge", "cross-encoder", "cross-encoder-regression", "minilm"})
    models.push_back(golden_model(layout));
  models.push_back(golden_model("minilm").with_head(HeadKind::kNone, 0));
  for (const ModelDirectory& model : models) {
    StandIn stand_in(model);
    const PackedTokens tokens = random_tokens(stand_in.cpu->network(), 9, 3, 32);
    const auto engine = Engine::load_on(model, {.engine = "model.plan"}, stand_in);
    expect_close(run(engine, tokens.batch()), run(stand_in.cpu, tokens.batch()), 1e-5);
    EXPECT_EQ(stand_in.batches.size(), 3u);
    EXPECT_EQ(stand_in.violations, "") << model.origin();
  }
}

TEST_F(TensorRt, PartsArePaddedToTheirLongestSequence) {
  run(load(), of_lengths({9, 3, 10, 1, 2, 2, 5, 4, 31}).batch());
  EXPECT_THAT(stand_in_.batches, ElementsAre(Pair(4, 10), Pair(4, 8), Pair(1, 31)));
}

TEST_F(TensorRt, TheLeastBatchIsFilledUp) {
  stand_in_.batch = {3, 3, 4};
  const PackedTokens tokens = of_lengths({9, 3, 10, 1, 7});
  expect_close(run(load(), tokens.batch()), run(stand_in_.cpu, tokens.batch()), 1e-5);
  EXPECT_THAT(stand_in_.batches, ElementsAre(Pair(4, 10), Pair(3, 8)));
}

TEST_F(TensorRt, ASequenceThatTheEngineDoesNotTakeIsRefused) {
  Session session(load());
  const PackedTokens tokens = of_lengths({9, 33});
  std::vector<float> output(2 * 3);
  EXPECT_THAT(error_of([&] { session.run(tokens.batch(), output); }),
              AllOf(HasSubstr("sequence 1 has 33 tokens, the TensorRT engine takes 32 at most"),
                    HasSubstr("--length")));
  EXPECT_THAT(stand_in_.batches, IsEmpty());
  session.warm_up(2, 32);
  EXPECT_THAT(stand_in_.batches, ElementsAre(Pair(2, 32), Pair(2, 32)));
}

TEST_F(TensorRt, SaysWhatItRuns) {
  const auto engine = load({.device = "cuda:1"});
  EXPECT_EQ(stand_in_.plan, "model.plan");
  EXPECT_EQ(stand_in_.device, 1);
  EXPECT_EQ(stand_in_.model, hash_of(model_));
  EXPECT_EQ(engine->options().backend, "tensorrt");
  EXPECT_EQ(engine->options().engine, "model.plan");
  EXPECT_EQ(engine->options().device, "cuda:1");
  EXPECT_EQ(engine->options().precision, "as built");
  EXPECT_EQ(engine->packed_bytes(), 1234u);
  EXPECT_THAT(engine->layers(), IsEmpty());
  EXPECT_EQ(engine->output_width(), stand_in_.cpu->output_width());
  EXPECT_GT(engine->tokenizer().encode("a text", 16).ids.size(), 2u);
  EXPECT_EQ(stand_in_.cpu->options().backend, "twofour");
  load();
  EXPECT_EQ(stand_in_.device, 0);
}

TEST_F(TensorRt, SessionsTakeAStreamButNoBatchOfAGpu) {
  int stream = 0;
  Session session(load(), {.stream = &stream});
  EXPECT_EQ(stand_in_.stream, &stream);
  EXPECT_THAT(error_of([&] { session.run(DeviceBatch{}, nullptr, nullptr); }),
              HasSubstr("the engine is TensorRT's, but the batch lies in a GPU's memory"));
  EXPECT_EQ(session.graph_use().launched + session.graph_use().plain, 0u);
}

TEST_F(TensorRt, OptionsThatTheEngineDecidesAreRefused) {
  const auto refused = [&](const EngineOptions& options) {
    return error_of([&] { load(options); });
  };
  EXPECT_THAT(refused({.precision = "fp16"}),
              HasSubstr("[precision] fp16 is for the backend twofour, the backend is tensorrt"));
  EXPECT_THAT(refused({.attention = "bf16"}), HasSubstr("[attention]"));
  EXPECT_THAT(refused({.activation_scales = "static"}), HasSubstr("[activation_scales]"));
  EXPECT_THAT(refused({.force_kernel = "spmm24_s8_reference"}), HasSubstr("[force_kernel]"));
  EXPECT_THAT(refused({.plans = "plans.json"}), HasSubstr("[plans]"));
  EXPECT_THAT(refused({.device = "cpu"}), HasSubstr("[device] the backend tensorrt runs on a GPU"));
  EXPECT_THAT(refused({.device = "gpu"}), HasSubstr("no device is named 'gpu'"));
  EXPECT_THAT(error_of([&] { Engine::load_on(model_, {}, stand_in_); }),
              HasSubstr("needs an engine file"));
}

TEST_F(TensorRt, VariablesStandInForOptions) {
  setenv("TWOFOUR_ENGINE", "from-variable.plan", 1);
  setenv("TWOFOUR_PRECISION", "fp16", 1);  // of other engines
  const std::string error = error_of([&] { Engine::load_on(model_, {}, stand_in_); });
  unsetenv("TWOFOUR_ENGINE");
  unsetenv("TWOFOUR_PRECISION");
  EXPECT_EQ(error, "no error");
  EXPECT_EQ(stand_in_.plan, "from-variable.plan");
}

TEST_F(TensorRt, TheVariableDoesNotTakeTheCpuFromWhoNamesIt) {
  setenv("TWOFOUR_BACKEND", "tensorrt", 1);
  setenv("TWOFOUR_ENGINE", "from-variable.plan", 1);
  std::string backend;
  const std::string error =
      error_of([&] { backend = Engine::load(model_, {.device = "cpu"})->options().backend; });
  unsetenv("TWOFOUR_BACKEND");
  unsetenv("TWOFOUR_ENGINE");
  EXPECT_EQ(error, "no error");
  EXPECT_EQ(backend, "twofour");
}

TEST_F(TensorRt, BackendsAreKnown) {
  setenv("TWOFOUR_TENSORRT_LIBRARY", "/nowhere/libtwofour_tensorrt.so", 1);
  setenv("TWOFOUR_BACKEND", "tensorrt", 1);
  const std::string absent = error_of([&] { Engine::load(model_, {.engine = "model.plan"}); });
  setenv("TWOFOUR_BACKEND", "another", 1);
  const std::string unknown = error_of([&] { Engine::load(model_); });
  unsetenv("TWOFOUR_BACKEND");
  unsetenv("TWOFOUR_TENSORRT_LIBRARY");
  EXPECT_THAT(absent, AllOf(HasSubstr("tried /nowhere/libtwofour_tensorrt.so"),
                            HasSubstr("TENSORRT_ROOT"), HasSubstr("docs/tensorrt.md")));
  EXPECT_THAT(unknown, AllOf(HasSubstr("[TWOFOUR_BACKEND] no backend is named 'another'"),
                             HasSubstr("There are: twofour, tensorrt")));
  EXPECT_THAT(error_of([&] { Engine::load(model_, {.engine = "model.plan"}); }),
              AllOf(HasSubstr("[engine] model.plan is for the backend tensorrt"),
                    HasSubstr("Name that backend too")));
}

}  // namespace
}  // namespace twofour
