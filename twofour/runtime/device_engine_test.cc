// The engine on a device, over stand-ins of NVIDIA's runtime and libraries and with our kernels run
// on the host, against the engine on the CPU. What this cannot show is whether NVIDIA's libraries
// do what their stand-ins do: device_gpu_test.cc compares on a GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/backend/cuda/plan_file.h"
#include "twofour/base/error.h"
#include "twofour/io/testing.h"
#include "twofour/runtime/device_stand_in.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ModelDirectory golden_model(const std::string& layout) {
  return ModelDirectory::open(golden_path(layout) / "model");
}

PackedTokens uniform_tokens(int sequences, int length) {
  PackedTokens tokens;
  for (int i = 0; i < sequences; ++i)
    tokens.append(std::vector<int32_t>(length, 5 + i % 80), std::vector<int32_t>(length, 0));
  return tokens;
}

double tolerance(const std::string& precision) {
  return precision == "f32" ? 1e-4 : precision == "fp16" ? 0.01 : 0.06;
}

class DeviceEngine : public testing::Test {
 protected:
  // Nothing that the stand-ins saw may have been against the libraries' rules.
  void TearDown() override {
    EXPECT_EQ(stand_in_.runtime.violations, "");
    EXPECT_EQ(stand_in_.runtime.allocations(), 0u);
    EXPECT_EQ(stand_in_.runtime.pinned + stand_in_.runtime.graphs, 0);
    EXPECT_EQ(stand_in_.runtime.streams + stand_in_.runtime.events, 0);
  }

  DeviceStandIn stand_in_;
};

class DeviceModels : public DeviceEngine,
                     public testing::WithParamInterface<std::tuple<const char*, const char*>> {
 protected:
  std::string layout_ = std::get<0>(GetParam()), precision_ = std::get<1>(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Layouts, DeviceModels,
                         testing::Combine(testing::Values("bge", "cross-encoder",
                                                          "cross-encoder-regression", "minilm"),
                                          testing::Values("f32", "fp16", "bf16")),
                         [](const auto& info) {
                           std::string name = std::string(std::get<0>(info.param)) + "_" +
                                              std::string(std::get<1>(info.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(DeviceModels, OutputIsTheCpuEngines) {
  const auto golden = Safetensors::open(golden_path(layout_) / "golden.safetensors");
  const PackedTokens tokens = golden_tokens(golden);
  const ModelDirectory model = golden_model(layout_);
  const auto engine = stand_in_.load(model, {.precision = precision_});
  EXPECT_EQ(engine->options().device, "cuda:0");
  EXPECT_EQ(engine->options().precision, precision_);
  const std::vector<float> found = run(engine, tokens.batch());
  expect_close(found, run(Engine::load(model), tokens.batch()), tolerance(precision_));
  expect_close(found, golden.get("output").as<float>(), tolerance(precision_));
}

TEST_P(DeviceModels, HiddenStatesAreTheCpuEngines) {
  const ModelDirectory model = golden_model(layout_).with_head(HeadKind::kNone, 0);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 9, 4, 60);
  expect_close(run(stand_in_.load(model, {.precision = precision_}), tokens.batch()),
               run(cpu, tokens.batch()), tolerance(precision_));
}

// How far int8 values may be from the CPU engine's. With an f32 stream only sums run in another
// order. Where the stream is rounded, a value that falls to the next step moves many in the layers
// behind it, the more so with scales that were not calibrated.
struct Apart {
  int most;      // steps of quantization
  double share;  // of values that differ at all
  double output;
};
struct AllowedApart {
  Apart first, all;  // at the embeddings' output; anywhere
};
AllowedApart allowed_apart(const std::string& precision) {
  if (precision == "f32") return {{0, 0, 0}, {1, 0.001, 2e-3}};
  if (precision == "fp16") return {{1, 0.03, 0}, {16, 0.25, 0.1}};
  return {{1, 0.2, 0}, {16, 0.35, 0.2}};
}

void expect_near(const std::vector<int8_t>& found, const std::vector<int8_t>& want,
                 const Apart& apart) {
  ASSERT_EQ(found.size(), want.size());
  size_t different = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_LE(std::abs(found[i] - want[i]), apart.most) << i;
    different += found[i] != want[i];
  }
  EXPECT_LE(static_cast<double>(different), apart.share * static_cast<double>(want.size()));
}

TEST_P(DeviceModels, Int8IsTheCpuEngines) {
  const AllowedApart allowed = allowed_apart(precision_);
  for (int share_rows : {0, 1}) {
    const ModelDirectory model = int8_model(layout_, share_rows);
    const auto cpu = Engine::load(model);
    const PackedTokens tokens = random_tokens(cpu->network(), 9, 5, 60);
    Taps want_taps, taps;
    const auto want = run(cpu, tokens.batch(), 1, &want_taps);
    const auto engine = stand_in_.load(model, {.precision = precision_});
    expect_close(run(engine, tokens.batch(), 1, &taps), want, allowed.all.output);
    ASSERT_EQ(taps.size(), want_taps.size());
    const std::string first = cpu->network().quant_points.front().name;
    expect_near(taps[first], want_taps[first], allowed.first);
    std::vector<int8_t> all, want_all;
    for (const auto& [point, values] : want_taps) {
      want_all.insert(want_all.end(), values.begin(), values.end());
      all.insert(all.end(), taps[point].begin(), taps[point].end());
    }
    expect_near(all, want_all, allowed.all);
  }
}

struct SizeCase {
  const char* name;
  ModelSize size;
};

class DeviceSizes : public DeviceEngine,
                    public testing::WithParamInterface<std::tuple<SizeCase, bool>> {
 protected:
  std::string name_ = std::get<0>(GetParam()).name;
  ModelSize size_ = std::get<0>(GetParam()).size;
  bool sparse_ = std::get<1>(GetParam());
};
// Heads of 16, 32 and 64: attention by tensor cores.
INSTANTIATE_TEST_SUITE_P(
    Sizes, DeviceSizes,
    testing::Combine(testing::Values(SizeCase{"heads16", {64, 4, 128}},
                                     SizeCase{"heads32", {96, 3, 192}},
                                     SizeCase{"heads64", {128, 2, 128, 1, HeadKind::kEmbedding}},
                                     SizeCase{"relu", {64, 2, 96, 1, HeadKind::kNone, "relu"}}),
                     testing::Bool()),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) +
             (std::get<1>(info.param) ? "_sparse" : "_dense");
    });

TEST_P(DeviceSizes, EveryModeIsTheCpuEngines) {
  const ModelDirectory model = random_model(size_, sparse_, name_);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 7, 6, 150);
  const auto want = run(cpu, tokens.batch());
  for (const char* precision : {"f32", "fp16", "bf16"}) {
    const auto engine = stand_in_.load(model, {.precision = precision});
    for (const LayerInfo& layer : engine->layers()) {
      const bool encoder = layer.name.starts_with("encoder");
      EXPECT_EQ(layer.sparse, sparse_ && encoder && std::string_view(precision) != "f32");
      if (layer.sparse || !sparse_ || !encoder)
        EXPECT_EQ(layer.why_dense, "");
      else
        EXPECT_THAT(layer.why_dense, HasSubstr("F32 products have a 1:2 pattern"));
    }
    expect_close(run(engine, tokens.batch()), want, tolerance(precision));
  }
}

TEST_P(DeviceSizes, Int8IsTheCpuEngines) {
  const auto path = std::filesystem::path(testing::TempDir()) /
                    ("device_int8_" + name_ + "_" + std::to_string(getpid()));
  const ModelDirectory model =
      write_int8_model(random_model(size_, false, name_), path, sparse_ ? 1 : 0);
  const auto cpu = Engine::load(model);
  const PackedTokens tokens = random_tokens(cpu->network(), 5, 7, 150);
  const auto engine = stand_in_.load(model);
  EXPECT_EQ(engine->options().precision, "fp16");
  EXPECT_EQ(engine->layers()[0].kernel, sparse_ ? "spmm24_s8_cusparselt" : "matmul_s8_cublaslt");
  expect_close(run(engine, tokens.batch()), run(cpu, tokens.batch()), 0.03);
}

class DevicePlans : public DeviceEngine {
 protected:
  // A plan file made here that chooses `use` for every 2:4 product of 16, ..., `most` rows.
  void write_plans(cuda::PlanUse use, DType input, const std::vector<DType>& outputs,
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
        const cuda::PlanUse chosen = rows <= most ? use : cuda::PlanUse::kSparse;
        for (const DType output : outputs) {
          contents.table.set({n, k, input, output, std::nullopt, nullptr, false}, rows,
                             {chosen, {3, 1, {}, 0}, 0});
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
  for (const cuda::PlanUse use :
       {cuda::PlanUse::kSparse, cuda::PlanUse::kDense, cuda::PlanUse::kOwn}) {
    write_plans(use, DType::kF16, {DType::kF16});
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
  void write(cuda::PlanUse use, int64_t most = 64) {
    write_plans(use, DType::kI8, {DType::kI32, DType::kF16}, most);
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
  std::map<cuda::PlanUse, size_t> products;
  for (const cuda::PlanUse use :
       {cuda::PlanUse::kSparse, cuda::PlanUse::kDense, cuda::PlanUse::kOwn}) {
    write(use);
    const auto engine = load(int8_);
    expect_close(run(engine, tokens.batch()), want, allowed_apart("fp16").all.output);
    products[use] = stand_in_.sparse->products.size();
  }
  EXPECT_GT(products[cuda::PlanUse::kSparse], 0u);
  EXPECT_EQ(products[cuda::PlanUse::kDense], 0u);
  EXPECT_EQ(products[cuda::PlanUse::kOwn], 0u);
}

TEST_F(Int8DevicePlans, HoldForProductsThatScaleToo) {
  write(cuda::PlanUse::kSparse);
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
  write(cuda::PlanUse::kDense, 16);
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
  write_plans(cuda::PlanUse::kDense, DType::kF16, {DType::kF16}, 64, "Another GPU");
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

TEST_F(DeviceEngine, LayersSayWhatRunsDenseAndWhy) {
  const auto engine = stand_in_.load(int8_model("minilm", 1));
  const LayerInfo layer = engine->layers()[0];
  EXPECT_EQ(layer.kernel, "matmul_s8_cublaslt");
  EXPECT_FALSE(layer.sparse);
  EXPECT_THAT(layer.why_dense, HasSubstr("expected a multiple of 32 for I8"));
  EXPECT_EQ(stand_in_.sparse, nullptr);  // was not needed, hence not opened

  const auto forced =
      stand_in_.load(int8_model("cross-encoder", 1), {.force_kernel = "matmul_s8_cublaslt"});
  EXPECT_EQ(forced->layers()[0].why_dense, "a dense kernel is forced");
  EXPECT_EQ(forced->options().force_kernel, "matmul_s8_cublaslt");
  EXPECT_EQ(forced->layers().back().kernel, "head_f32_cuda");
  EXPECT_GT(forced->packed_bytes(), 0u);
}

TEST_F(DeviceEngine, BatchesThatComeAgainRunAsGraphs) {
  const ModelDirectory model = int8_model("cross-encoder", 1);
  const auto cpu = Engine::load(model);
  const auto engine = stand_in_.load(model);
  Session session(engine);
  const auto check = [&](const PackedTokens& tokens, size_t launches) {
    std::vector<float> output((tokens.offsets.size() - 1) * 3);
    session.run(tokens.batch(), output);
    expect_close(output, run(cpu, tokens.batch()), 0.03);
    EXPECT_EQ(stand_in_.runtime.launches, launches);
  };
  check(random_tokens(cpu->network(), 9, 1, 20), 0);
  check(random_tokens(cpu->network(), 9, 1, 20), 1);
  // Others of about the size: other numbers of tokens and sequences.
  const PackedTokens one = uniform_tokens(1, 8);
  check(one, 1);
  check(one, 2);
  for (int length : {1, 15, 16}) {
    const size_t launches = stand_in_.runtime.launches;
    check(uniform_tokens(16 / length, length), launches + 1);
  }
  EXPECT_EQ(stand_in_.runtime.graphs, 2);
}

TEST_F(DeviceEngine, RunsWithoutGraphs) {
  const ModelDirectory model = golden_model("cross-encoder");
  const auto engine = stand_in_.load(model);
  const PackedTokens tokens = random_tokens(engine->network(), 4, 1, 20);
  const auto want = run(Engine::load(model), tokens.batch());
  std::vector<float> output(want.size());
  Session without(engine, {.graphs = false});
  for (int i = 0; i < 3; ++i) without.run(tokens.batch(), output);
  expect_close(output, want, 1e-4);
  EXPECT_EQ(stand_in_.runtime.launches, 0u);

  Session cannot(engine);
  cannot.run(tokens.batch(), output);
  EXPECT_EQ(cannot.graph_use().failure, "");
  stand_in_.runtime.failures.next("end_capture", cuda::Status{901});
  for (int i = 0; i < 3; ++i) {
    std::fill(output.begin(), output.end(), 0.0f);
    cannot.run(tokens.batch(), output);
    expect_close(output, want, 1e-4);
  }
  EXPECT_EQ(stand_in_.runtime.launches, 0u);
  EXPECT_EQ(cannot.graph_use().failure, "cudaStreamEndCapture failed: status 901");
  EXPECT_EQ(cannot.graph_use().plain, 4u);
  // Batches of another size become graphs as before.
  const PackedTokens other = uniform_tokens(1, 8);
  for (int i = 0; i < 2; ++i) cannot.run(other.batch(), std::span(output).first(3));
  EXPECT_EQ(cannot.graph_use().launched, 1u);
  EXPECT_EQ(stand_in_.runtime.launches, 1u);
}

// While a stream captures, the stand-ins take no plan, memory or waiting: TearDown() sees it.
class DeviceCapture : public DeviceEngine {
 protected:
  void run_once(Session& session) { session.run(tokens_.batch(), output_); }
  void expect_graph(const Session& session) {
    EXPECT_EQ(session.graph_use().failure, "");
    EXPECT_EQ(session.graph_use().launched, 1u);
    expect_close(output_, run(Engine::load(model_), tokens_.batch()), 0.03);
    EXPECT_EQ(stand_in_.sparse->violations, "");
  }

  ModelDirectory model_ = int8_model("cross-encoder", 1);
  PackedTokens tokens_ = uniform_tokens(3, 9);
  std::vector<float> output_ = std::vector<float>(9);
};

TEST_F(DeviceCapture, OnAThreadThatHasNoPlansYet) {
  Session session(stand_in_.load(model_));
  run_once(session);
  std::jthread([&] { run_once(session); }).join();
  expect_graph(session);
}

TEST_F(DeviceCapture, AfterARunThatFailed) {
  Session session(stand_in_.load(model_));
  stand_in_.runtime.failures.next("kernel", cuda::Status{719});
  EXPECT_THAT(error_of([&] { run_once(session); }), HasSubstr("status 719"));
  run_once(session);
  EXPECT_EQ(session.graph_use().launched, 0u);
  run_once(session);
  expect_graph(session);
}

TEST_F(DeviceCapture, WithRoomForOnePlan) {
  Session session(Engine::load_on(model_, {}, stand_in_.device(0, 1)));
  run_once(session);
  run_once(session);
  expect_graph(session);
}

TEST_F(DeviceEngine, DoesNotAllocateInSteadyState) {
  const auto engine = stand_in_.load(int8_model("cross-encoder", 1));
  Session session(engine);
  std::vector<PackedTokens> batches;
  for (int sequences : {20, 3, 1}) {
    batches.push_back(random_tokens(engine->network(), sequences, sequences, 40));
    std::vector<float> output(sequences * 3);
    session.run(batches.back().batch(), output);
  }
  const size_t allocated = stand_in_.runtime.allocated;
  for (int i = 0; i < 3; ++i) {
    for (const PackedTokens& tokens : batches) {
      std::vector<float> output((tokens.offsets.size() - 1) * 3);
      session.run(tokens.batch(), output);
    }
  }
  EXPECT_EQ(stand_in_.runtime.allocated, allocated);
}

TEST_F(DeviceEngine, WorkspaceThatMovesDropsGraphs) {
  const ModelDirectory model = int8_model("cross-encoder", 1);
  const auto engine = stand_in_.load(model);
  Session session(engine);
  std::vector<float> output(15);
  const auto run_uniform = [&](int sequences, int length) {
    const PackedTokens tokens = uniform_tokens(sequences, length);
    const auto out = std::span(output).first(3 * sequences);
    session.run(tokens.batch(), out);
    expect_close(out, run(Engine::load(model), tokens.batch()), 0.03);
  };
  run_uniform(2, 60);
  for (int i = 0; i < 2; ++i) run_uniform(2, 7);
  EXPECT_EQ(stand_in_.runtime.graphs, 1);
  stand_in_.sparse->workspace = 5000;  // of plans made from now on
  run_uniform(5, 9);
  EXPECT_EQ(stand_in_.runtime.graphs, 0);
  for (int i = 0; i < 2; ++i) run_uniform(2, 7);
  EXPECT_EQ(stand_in_.runtime.graphs, 1);
}

TEST_F(DeviceEngine, WarmUpPreparesABatch) {
  const auto engine = stand_in_.load(golden_model("minilm"));
  Session session(engine);
  session.warm_up(4, 10);
  const size_t allocated = stand_in_.runtime.allocated, launches = stand_in_.runtime.launches;
  const PackedTokens tokens = uniform_tokens(4, 10);
  std::vector<float> output(4 * engine->output_width());
  session.run(tokens.batch(), output);
  EXPECT_EQ(stand_in_.runtime.allocated, allocated);
  EXPECT_EQ(stand_in_.runtime.launches, launches + 1);
  EXPECT_THAT(error_of([&] { session.warm_up(0, 3); }), HasSubstr("0 times 3 tokens are no batch"));
}

TEST_F(DeviceEngine, BatchesInDeviceMemoryOnTheCallersStream) {
  const ModelDirectory model = int8_model("cross-encoder", 1);
  const auto engine = stand_in_.load(model);
  const auto cpu = Engine::load(model);
  cuda::Stream stream(stand_in_.runtime);
  Session session(engine);
  for (int i = 0; i < 4; ++i) {
    const PackedTokens tokens = random_tokens(cpu->network(), 3, i / 2, 20);
    std::vector<float> output(9);  // "device memory" is the host's
    DeviceBatch batch{tokens.ids.data(),
                      tokens.type_ids.data(),
                      tokens.offsets.data(),
                      static_cast<int64_t>(tokens.ids.size()),
                      3,
                      20};
    session.run(batch, output.data(), stream.handle());
    expect_close(output, run(cpu, tokens.batch()), 0.03);
    std::vector<float> again(9);
    session.run(tokens.batch(), again);
    EXPECT_EQ(again, output);
  }
  EXPECT_GT(stand_in_.runtime.launches, 0u);
}

TEST_F(DeviceEngine, AnotherStreamWaitsForABatchThatFailed) {
  const auto engine = stand_in_.load(int8_model("cross-encoder", 1));
  cuda::Stream stream(stand_in_.runtime);
  Session session(engine);
  const PackedTokens tokens = uniform_tokens(3, 9);
  std::vector<float> output(9);
  const DeviceBatch batch{
      tokens.ids.data(), tokens.type_ids.data(), tokens.offsets.data(), 27, 3, 9};
  stand_in_.runtime.failures.next("kernel", cuda::Status{719});
  EXPECT_THAT(error_of([&] { session.run(batch, output.data(), stream.handle()); }),
              HasSubstr("status 719"));
  EXPECT_EQ(stand_in_.runtime.waits, 0u);
  session.run(tokens.batch(), output);
  EXPECT_EQ(stand_in_.runtime.waits, 1u);
}

TEST_F(DeviceEngine, RefusesBatchesThatCannotBe) {
  const auto engine = stand_in_.load(golden_model("cross-encoder"));
  Session session(engine);
  const int32_t numbers[4] = {};
  float output[3];
  const DeviceBatch good{numbers, numbers, numbers, 3, 1, 3};
  const auto error = [&](const std::function<void(DeviceBatch&)>& change) {
    DeviceBatch batch = good;
    change(batch);
    return error_of([&] { session.run(batch, output, nullptr); });
  };
  EXPECT_THAT(error([](DeviceBatch& b) { b.tokens = 0; }), HasSubstr("tokens is 0"));
  EXPECT_THAT(error([](DeviceBatch& b) { b.sequences = 4; }),
              HasSubstr("sequences is 4: must be in [1, 3]"));
  EXPECT_THAT(error([](DeviceBatch& b) { b.longest = 65; }),
              HasSubstr("longest is 65: must be in [1, 64]"));
  EXPECT_THAT(error([](DeviceBatch& b) { b.ids = nullptr; }),
              HasSubstr("an array of the batch is null"));
  EXPECT_THAT(error_of([&] { session.run(good, nullptr, nullptr); }), HasSubstr("output is null"));
  Session on_cpu(Engine::load(golden_model("cross-encoder")));
  EXPECT_THAT(error_of([&] { on_cpu.run(good, output, nullptr); }),
              HasSubstr("the engine runs on the CPU"));
  const std::vector<int32_t> ids = {1000}, types = {0}, offsets = {0, 1};
  std::vector<float> row(3);
  EXPECT_THAT(error_of([&] {
                session.run({ids, types, offsets}, row);
              }),
              HasSubstr("id 1000 of token 0 is outside"));
}

TEST_F(DeviceEngine, LargeBatchesRunInParts) {
  const ModelDirectory model = random_model({16, 2, 16, 1, HeadKind::kEmbedding}, false, "small");
  const PackedTokens tokens = uniform_tokens(1100, 16);
  const auto engine = stand_in_.load(model);
  const auto want = run(Engine::load(model), tokens.batch());
  expect_close(run(engine, tokens.batch()), want, 1e-4);
}

TEST_F(DeviceEngine, SessionsRunAtOnce) {
  const ModelDirectory model = int8_model("cross-encoder", 1);
  const auto cpu = Engine::load(model);
  const auto engine = stand_in_.load(model);
  std::vector<std::jthread> threads;
  std::vector<std::vector<float>> found(3), want(3);
  for (int i = 0; i < 3; ++i) {
    const PackedTokens tokens = random_tokens(cpu->network(), 3, i, 20);
    want[i] = run(cpu, tokens.batch());
    threads.emplace_back([&, i, tokens] {
      Session session(engine);
      found[i].resize(9);
      for (int repeat = 0; repeat < 4; ++repeat) session.run(tokens.batch(), found[i]);
    });
  }
  threads.clear();
  for (int i = 0; i < 3; ++i) expect_close(found[i], want[i], 0.03);
  EXPECT_EQ(stand_in_.sparse->violations, "");
  EXPECT_EQ(stand_in_.dense, nullptr);  // all that is dense runs in the head's kernel
}

TEST_F(DeviceEngine, AFailureStaysInItsSession) {
  const ModelDirectory model = int8_model("cross-encoder", 1);
  const auto engine = stand_in_.load(model);
  const PackedTokens tokens = random_tokens(engine->network(), 3, 1, 20);
  const auto want = run(Engine::load(model), tokens.batch());
  Session first(engine), second(engine);
  std::vector<float> output(want.size());
  second.run(tokens.batch(), output);
  for (const char* call : {"kernel", "copy", "synchronize"}) {
    stand_in_.runtime.failures.next(call, cuda::Status{719});
    EXPECT_THAT(error_of([&] { first.run(tokens.batch(), output); }),
                HasSubstr("failed: status 719"))
        << call;
    for (Session* session : {&second, &first}) {
      std::fill(output.begin(), output.end(), 0.0f);
      session->run(tokens.batch(), output);
      expect_close(output, want, 0.03);
    }
    first.run(random_tokens(engine->network(), 1, 1, 1).batch(), std::span(output).first(3));
  }
  stand_in_.runtime.failures.next("launch", cuda::Status{719});
  EXPECT_THAT(error_of([&] { second.run(tokens.batch(), output); }),
              HasSubstr("cudaGraphLaunch failed"));
  second.run(tokens.batch(), output);
  expect_close(output, want, 0.03);
}

TEST_F(DeviceEngine, MemoryThatIsNotThere) {
  const ModelDirectory model = int8_model("cross-encoder", 1);
  const size_t all = std::exchange(stand_in_.runtime.free_bytes, 3000);
  EXPECT_THAT(error_of([&] { stand_in_.load(model); }),
              HasSubstr("bytes on cuda:0, of whose 85899345920 bytes"));
  stand_in_.runtime.free_bytes = all;
  const auto engine = stand_in_.load(model);
  Session session(engine);
  const PackedTokens small = random_tokens(engine->network(), 2, 1, 5);
  const PackedTokens large = random_tokens(engine->network(), 60, 1, 60);
  std::vector<float> output(180);
  const auto run_small = [&] {
    session.run(small.batch(), std::span(output).first(6));
    expect_close(std::span(output).first(6), run(Engine::load(model), small.batch()), 0.03);
  };
  run_small();
  const size_t left = std::exchange(stand_in_.runtime.free_bytes, 50000);
  EXPECT_THAT(error_of([&] { session.run(large.batch(), output); }),
              HasSubstr("[Session::run] needs"));
  run_small();
  stand_in_.runtime.free_bytes = left;
  session.run(large.batch(), output);
  run_small();
}

TEST_F(DeviceEngine, ASessionKeepsToItsLimit) {
  const auto engine = stand_in_.load(golden_model("cross-encoder"));
  Session session(engine, {.device_memory_limit = 100000});
  const PackedTokens small = random_tokens(engine->network(), 2, 1, 5);
  const PackedTokens large = random_tokens(engine->network(), 60, 1, 60);
  std::vector<float> output(180);
  session.run(small.batch(), std::span(output).first(6));
  EXPECT_THAT(error_of([&] { session.run(large.batch(), output); }),
              HasSubstr("bytes on cuda:0, the session's limit is 100000"));
  session.run(small.batch(), std::span(output).first(6));
}

TEST_F(DeviceEngine, DevicesThatCannotBeUsed) {
  const auto error = [&](int ordinal = 0) { return error_of([&] { stand_in_.device(ordinal); }); };
  EXPECT_THAT(error(7), HasSubstr("[cuda:7] there is no such device, the last is cuda:1"));
  stand_in_.runtime.devices[1] = {"T4", 7, 5, size_t{16} << 30, 40};
  EXPECT_THAT(error(1), HasSubstr("[cuda:1] T4 has compute capability 7.5, expected 8.0 or later"));
  stand_in_.runtime.failures.next("device_count", cuda::Status::kInsufficientDriver);
  stand_in_.runtime.driver = 12020;
  EXPECT_THAT(error(), HasSubstr("the driver serves CUDA 12.2, this build needs 13.0"));
  stand_in_.runtime.failures.next("device_count", cuda::Status::kNoDevice);
  EXPECT_THAT(error(), HasSubstr("[cuda:0] no NVIDIA GPU was found"));
  stand_in_.runtime.driver = 0;
  EXPECT_THAT(error(), HasSubstr("[cuda:0] no NVIDIA driver is installed"));
}

TEST_F(DeviceEngine, OptionsThatTheDeviceLacks) {
  const ModelDirectory model = golden_model("minilm");
  const auto error = [&](const EngineOptions& options) {
    return error_of([&] { stand_in_.load(model, options); });
  };
  EXPECT_THAT(error({.precision = "fp4"}), HasSubstr("There are: f32, fp16, bf16, fp8"));
  EXPECT_THAT(error({.attention = "bf16", .precision = "fp8"}),
              HasSubstr("attention in 'bf16' beside precision 'fp8'"));
  EXPECT_THAT(error({.attention = "bf16"}),
              HasSubstr("attention in 'bf16' beside precision 'f32'"));
  EXPECT_THAT(error({.attention = "int8"}),
              HasSubstr("attention in 'int8' beside precision 'f32'"));
  EXPECT_EQ(error({.attention = "fp16", .precision = "fp16"}), "no error");
  EXPECT_THAT(error({.activation_scales = "per_token"}),
              HasSubstr("activation scales 'per_token' on a GPU"));
  EXPECT_THAT(error({.force_kernel = "matmul_s8_avx2"}),
              HasSubstr("There are: matmul_s8_cublaslt"));
}

// Rounded to 4 bits and multiplied as such, beside an fp16 stream.
TEST_F(DeviceEngine, Fp8IsNearTheCpuEngine) {
  for (const bool sparse : {false, true}) {
    const ModelDirectory model =
        random_model({64, 4, 128, 2, HeadKind::kNone}, sparse, sparse ? "fp8_sparse" : "fp8");
    const auto cpu = Engine::load(model);
    const PackedTokens tokens = random_tokens(cpu->network(), 5, 7, 60);
    const auto engine = stand_in_.load(model, {.precision = "fp8"});
    EXPECT_EQ(engine->options().precision, "fp8");
    EXPECT_EQ(engine->options().attention, "fp16");
    const LayerInfo layer = engine->layers()[0];
    EXPECT_EQ(layer.type, "fp8");
    EXPECT_EQ(layer.kernel, sparse ? "spmm24_e4m3_cusparselt" : "matmul_e4m3_cublaslt");
    EXPECT_LT(engine->packed_bytes(), stand_in_.load(model, {.precision = "fp16"})->packed_bytes());
    expect_close(run(engine, tokens.batch()), run(cpu, tokens.batch()), 0.25);
    if (!sparse) continue;
    const auto last = stand_in_.load(model, {.precision = "fp8"});
    run(last, tokens.batch());
    for (const auto& plan : stand_in_.sparse->plans_made) {
      EXPECT_EQ(plan.input.type, DType::kF8E4M3);
      EXPECT_EQ(plan.output.type, DType::kF16);
    }
    EXPECT_FALSE(stand_in_.sparse->plans_made.empty());
  }
}

TEST_F(DeviceEngine, Fp8NeedsTheDeviceAndFloatWeights) {
  const ModelDirectory model = golden_model("minilm");
  const auto error = [&](const ModelDirectory& on, int ordinal) {
    return error_of([&] { Engine::load_on(on, {.precision = "fp8"}, stand_in_.device(ordinal)); });
  };
  EXPECT_EQ(error(model, 0), "no error");
  EXPECT_THAT(
      error(model, 1),
      HasSubstr("Fake A100 has compute capability 8.0, fp8 needs 8.9 or later. Choose fp16"));
  EXPECT_THAT(error(int8_model("minilm", 1), 0),
              HasSubstr("fp8 is for products of float weights, the model's are int8"));
}

TEST_F(DeviceEngine, DynamicActivationsAreForTheCpu) {
  const ModelDirectory model = without_input_scales(int8_model("minilm", 1));
  EXPECT_THAT(error_of([&] { stand_in_.load(model, {}); }),
              testing::AllOf(HasSubstr("has dynamic activations, which a GPU does not quantize"),
                             HasSubstr("Run on the device cpu")));
}

TEST_F(DeviceEngine, SizesThatKernelsLack) {
  EXPECT_THAT(error_of([&] {
                stand_in_.load(random_model({18, 2, 16, 1, HeadKind::kEmbedding}, false, "odd"));
              }),
              HasSubstr("the width is 18, expected a multiple of 4"));
  EXPECT_THAT(error_of([&] {
                stand_in_.load(random_model({288, 1, 16, 1, HeadKind::kEmbedding}, false, "wide"));
              }),
              HasSubstr("heads of 288 exceed 256"));
}

TEST_F(DeviceEngine, ProfilersSeeRangesOfSteps) {
  const auto engine = stand_in_.load(golden_model("minilm"));
  run(engine, random_tokens(engine->network(), 1, 1, 4).batch());
  EXPECT_THAT(stand_in_.runtime.ranges, testing::Contains("twofour::Session::run"));
  EXPECT_THAT(stand_in_.runtime.ranges, testing::Contains("encoder.layer.1.attention.self"));
}

TEST(DeviceNames, AreCpuAndCuda) {
  EXPECT_EQ(cuda::device_ordinal("cuda"), 0);
  EXPECT_EQ(cuda::device_ordinal("cuda:12"), 12);
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x"}) {
    EXPECT_THAT(error_of([&] { cuda::device_ordinal(name); }),
                HasSubstr("no device is named '" + std::string(name)));
  }
  const ModelDirectory model = golden_model("minilm");
  EXPECT_EQ(Engine::load(model, {.device = "cpu"})->options().device, "cpu");
  const bool built = cuda::diagnose().built;
  const std::string known = built ? "There are: cpu, cuda, cuda:0" : "There is: cpu. ";
  EXPECT_THAT(error_of([&] { Engine::load(model, {.device = "tpu"}); }),
              HasSubstr("[device] no device is named 'tpu'. " + known));
  ASSERT_EQ(setenv("TWOFOUR_DEVICE", "cuda:x", 1), 0);
  EXPECT_THAT(error_of([&] { Engine::load(model); }),
              HasSubstr("[TWOFOUR_DEVICE] no device is named 'cuda:x'"));
  ASSERT_EQ(unsetenv("TWOFOUR_DEVICE"), 0);
  if (!built) {
    EXPECT_THAT(error_of([&] { Engine::load(model, {.device = "cuda:0"}); }),
                HasSubstr("built without CUDA"));
  }
}

TEST(EncoderBuckets, WasteLittle) {
  const cuda::Buckets buckets = cuda::encoder_buckets(16384);
  EXPECT_EQ(buckets.limit(), 16384);
  EXPECT_LT(buckets.count(), 50u);
  for (int64_t m = 64; m <= 16384; ++m)
    ASSERT_LE(buckets.rows(buckets.index_for(m)) - m, m / 4) << m;
}

}  // namespace
}  // namespace twofour
