// Plays the part of TensorRT: finds a plug-in in a registry, builds and serializes an engine with
// it, opens the engine, makes execution contexts, changes shapes and enqueues. The same tests drive
// the core and each adapter.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <functional>
#include <map>
#include <thread>

#include "twofour/tensorrt/testing.h"

namespace twofour::tensorrt {

inline int64_t rows_of(const Dimensions& x) {
  int64_t m = 1;
  for (size_t i = 0; i + 1 < x.size(); ++i) m *= x[i];
  return m;
}

class PluginRegistry {
 public:
  void add(std::unique_ptr<DrivenCreator> creator) {
    std::string key = creator->key();
    creators_[key] = std::move(creator);
  }
  // As the parser looks it up: by the node's type and the attributes of version and namespace.
  DrivenCreator* find(const std::string& type, const std::string& version,
                      const std::string& space) const {
    const auto found = creators_.find(type + "/" + version + "/" + space);
    return found == creators_.end() ? nullptr : found->second.get();
  }
  DrivenCreator& spmm() const {
    return *find(spmm_node::kType, spmm_node::kVersion, spmm_node::kNamespace);
  }

 private:
  std::map<std::string, std::unique_ptr<DrivenCreator>> creators_;
};

// 256-byte aligned memory of exactly `bytes`, with a guard behind it.
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes) : bytes_(bytes), storage_(bytes + 512, kGuard) {}
  std::byte* data() {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    return storage_.data() + (256 - address % 256) % 256;
  }
  size_t size() const { return bytes_; }
  bool intact() {
    const std::byte* end = data() + bytes_;
    return std::all_of(end, static_cast<const std::byte*>(storage_.data() + storage_.size()),
                       [](std::byte b) { return b == kGuard; });
  }

 private:
  static constexpr std::byte kGuard{0xa5};
  size_t bytes_;
  std::vector<std::byte> storage_;
};

// One execution context: the plug-in's clone and the workspace that the engine keeps for it.
class DrivenContext {
 public:
  DrivenContext(std::unique_ptr<DrivenPlugin> plugin, size_t workspace_bytes)
      : plugin_(std::move(plugin)), workspace_(workspace_bytes) {}

  DrivenPlugin& plugin() { return *plugin_; }
  GuardedMemory& workspace() { return workspace_; }

  // y, or nothing where a call fails. TensorRT calls set_shape() when a shape changed, enqueue()
  // every time.
  std::optional<std::vector<uint16_t>> run(const TestLayer& layer, const Dimensions& shape,
                                           const std::vector<std::byte>& x,
                                           cuda::StreamHandle stream = nullptr,
                                           bool set_shape = true) {
    if (set_shape && shape != last_ && !plugin_->set_shape(shape)) return std::nullopt;
    last_ = shape;
    GuardedMemory y(rows_of(shape) * layer.n * sizeof(uint16_t));
    if (!plugin_->enqueue(shape, x.data(), y.data(), workspace_.data(), stream))
      return std::nullopt;
    EXPECT_TRUE(y.intact());
    EXPECT_TRUE(workspace_.intact());
    std::vector<uint16_t> out(y.size() / sizeof(uint16_t));
    if (!out.empty()) std::memcpy(out.data(), y.data(), y.size());
    return out;
  }

 private:
  std::unique_ptr<DrivenPlugin> plugin_;
  GuardedMemory workspace_;
  Dimensions last_;
};

struct DrivenEngine {
  std::string plan;
  size_t workspace_bytes = 0;
};

using CreatorFactory = std::function<std::unique_ptr<DrivenCreator>(ResourcesSource)>;

class LifecycleTest : public testing::TestWithParam<CreatorFactory> {
 protected:
  LifecycleTest() { registry_.add(GetParam()(gpu_.source())); }

  void TearDown() override { EXPECT_EQ(gpu_.cusparselt.violations + gpu_.runtime.violations, ""); }

  std::unique_ptr<DrivenPlugin> create(const TestLayer& layer) {
    return registry_.spmm().create("layer.0", layer.fields());
  }

  // What a builder does with a node, for a profile [1, 1] to `most`.
  DrivenEngine build(const TestLayer& layer, const Dimensions& most) {
    const auto parsed = create(layer);
    if (parsed == nullptr) return {};
    const auto plugin = parsed->clone();  // the network's own
    const TensorFormat x{layer.type}, y{*plugin->output_type(layer.type)};
    EXPECT_TRUE(plugin->supports(0, x, y) && plugin->supports(1, x, y));
    const Dimensions least{1, 1, layer.k};
    EXPECT_TRUE(plugin->configure(least, most));
    DrivenEngine engine{"", plugin->workspace_bytes(most)};
    DrivenContext timing(plugin->attach(), engine.workspace_bytes);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(timing.run(layer, most, layer.input(rows_of(most), 5)).has_value());
    engine.plan = plugin->serialize();
    return engine;
  }

  DrivenContext context(DrivenPlugin& plugin, const DrivenEngine& engine) {
    return {plugin.attach(), engine.workspace_bytes};
  }

  // Against sums in double: y has 11 bits, and ours is rounded once more before GELU.
  static void expect_near(const std::vector<uint16_t>& y, const std::vector<double>& expected) {
    ASSERT_EQ(y.size(), expected.size());
    for (size_t i = 0; i < y.size(); ++i) {
      const double tolerance = 2e-3 * std::max(1.0, std::abs(expected[i]));
      ASSERT_NEAR(f16_to_f32(y[i]), expected[i], tolerance) << i;
    }
  }

  void expect_product(DrivenContext& context, const TestLayer& layer, const Dimensions& shape,
                      uint32_t seed) {
    const auto x = layer.input(rows_of(shape), seed);
    const auto y = context.run(layer, shape, x);
    ASSERT_TRUE(y.has_value());
    expect_near(*y, layer.product(x, rows_of(shape)));
  }

  StandInGpu gpu_;
  PluginRegistry registry_;
};

TEST_P(LifecycleTest, IsFoundByNameVersionAndNamespace) {
  EXPECT_NE(registry_.find("SpmmPluginDynamic", "1", ""), nullptr);
  EXPECT_EQ(registry_.find("SpmmPluginDynamic", "2", ""), nullptr);
  const auto names = registry_.spmm().field_names();
  for (const PluginField& field : TestLayer().fields())
    EXPECT_THAT(names, testing::Contains(std::string(field.name)));
}

TEST_P(LifecycleTest, BuiltSerializedOpenedAndRun) {
  for (const DType type : {DType::kI8, DType::kF16}) {
    for (const char* epilogue :
         {spmm_node::kNone, spmm_node::kBiasOnly, spmm_node::kBiasRelu, spmm_node::kBiasGelu}) {
      const TestLayer layer(type, 32, 64, epilogue);
      const DrivenEngine engine = build(layer, {4, 16, 64});
      const auto plugin = registry_.spmm().deserialize(engine.plan);
      ASSERT_NE(plugin, nullptr);
      DrivenContext run = context(*plugin, engine);
      expect_product(run, layer, {4, 16, 64}, 2);
      expect_product(run, layer, {1, 7, 64}, 3);
      expect_product(run, layer, {3, 11, 64}, 4);
    }
  }
}

TEST_P(LifecycleTest, NothingNeedsAGpuBeforeItIsConfigured) {
  const auto plugin = create(TestLayer())->clone();
  EXPECT_EQ(plugin->output_shape({-1, -1, 64}), (Dimensions{-1, -1, 32}));
  EXPECT_EQ(plugin->output_type(DType::kI8), DType::kF16);
  EXPECT_FALSE(plugin->serialize().empty());
  EXPECT_EQ(gpu_.asked, 0);
}

TEST_P(LifecycleTest, FormatsAndShapesThatItRefuses) {
  const auto plugin = create(TestLayer());
  const TensorFormat int8{DType::kI8}, half{DType::kF16}, single{DType::kF32};
  EXPECT_TRUE(plugin->supports(0, int8, half));
  EXPECT_FALSE(plugin->supports(0, half, half));
  EXPECT_FALSE(plugin->supports(0, TensorFormat{DType::kI8, false}, half));
  EXPECT_FALSE(plugin->supports(1, int8, single));
  EXPECT_FALSE(plugin->supports(1, int8, TensorFormat{DType::kF16, false}));
  EXPECT_EQ(plugin->output_type(DType::kF32), std::nullopt);
  EXPECT_THAT(plugin->output_shape({2, 3, 65}), testing::IsEmpty());
  EXPECT_FALSE(plugin->set_shape({2, 3, 65}));
}

TEST_P(LifecycleTest, ShapesPickTheirPlans) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 128, 64});
  const auto plugin = registry_.spmm().deserialize(engine.plan);
  DrivenContext run = context(*plugin, engine);
  const auto products = [&](const Dimensions& shape) {
    gpu_.cusparselt.products.clear();
    EXPECT_TRUE(run.run(layer, shape, layer.input(rows_of(shape), 1)).has_value());
    return gpu_.cusparselt.products;
  };
  using testing::ElementsAre;
  EXPECT_THAT(products({1, 16, 64}), ElementsAre(16));
  EXPECT_THAT(products({2, 24, 64}), ElementsAre(48));
  EXPECT_THAT(products({1, 128, 64}), ElementsAre(128));
  EXPECT_THAT(products({1, 20, 64}), ElementsAre(16, 16));       // 4 rows in a tail
  EXPECT_THAT(products({5, 30, 64}), ElementsAre(128, 16, 16));  // more than max_m
  EXPECT_THAT(products({0, 30, 64}), ElementsAre());
}

TEST_P(LifecycleTest, PlansAreMadeWhenTheShapeChangesNotWhenItRuns) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 128, 64});
  const auto plugin = registry_.spmm().deserialize(engine.plan);
  DrivenContext run = context(*plugin, engine);
  if (!run.plugin().prepares_plans()) GTEST_SKIP() << "there is no call for it";
  ASSERT_TRUE(run.plugin().set_shape({1, 40, 64}));
  const size_t plans = gpu_.cusparselt.plans_made.size();
  const size_t allocations = gpu_.runtime.allocations();
  for (int i = 0; i < 3; ++i) {
    run.run(layer, {1, 40, 64}, layer.input(40, 1), nullptr, false);
  }
  EXPECT_EQ(gpu_.cusparselt.plans_made.size(), plans);
  EXPECT_EQ(gpu_.runtime.allocations(), allocations);
}

TEST_P(LifecycleTest, WorkspaceIsTheMaximumOverPlansAndHoldsTheTails) {
  gpu_.cusparselt.workspace = 100;
  gpu_.cusparselt.workspace_per_row = 10;
  const TestLayer layer;
  const auto plugin = create(layer);
  ASSERT_TRUE(plugin->configure({1, 1, 64}, {1, 100, 64}));
  const size_t tails = 16 * 64 + 16 * 32 * sizeof(uint16_t);
  EXPECT_EQ(plugin->workspace_bytes({1, 100, 64}), tails + 100 + 112 * 10);
  EXPECT_EQ(plugin->workspace_bytes({1, 16, 64}), tails + 100 + 16 * 10);
  DrivenContext run(plugin->attach(), plugin->workspace_bytes({1, 100, 64}));
  for (const int64_t m : {1, 16, 50, 96, 100}) expect_product(run, layer, {1, m, 64}, 7);
  for (const void* workspace : gpu_.cusparselt.workspaces) {
    const auto* at = static_cast<const std::byte*>(workspace);
    EXPECT_EQ(at, run.workspace().data() + tails);
  }
}

TEST_P(LifecycleTest, ClonesAndContextsShareTheWeights) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 64, 64});
  const size_t before = gpu_.runtime.allocations();
  auto plugin = registry_.spmm().deserialize(engine.plan);
  DrivenContext first = context(*plugin, engine);
  const size_t with_one = gpu_.runtime.allocations();
  EXPECT_EQ(with_one, before + 3);  // weight, bias, scale
  auto copy = plugin->clone();
  DrivenContext second = context(*copy, engine), third = context(first.plugin(), engine);
  EXPECT_EQ(gpu_.runtime.allocations(), with_one);
  plugin.reset();
  copy.reset();
  expect_product(second, layer, {1, 64, 64}, 2);
  expect_product(third, layer, {1, 33, 64}, 3);
}

TEST_P(LifecycleTest, WeightsGoWithTheLastClone) {
  const TestLayer layer;
  {
    const auto plugin = create(layer);
    const auto attached = plugin->attach();
    EXPECT_EQ(gpu_.runtime.allocations(), 3u);
  }
  EXPECT_EQ(gpu_.runtime.allocations(), 0u);
}

TEST_P(LifecycleTest, SeveralContextsThreadsAndStreamsAtOnce) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 128, 64});
  const auto plugin = registry_.spmm().deserialize(engine.plan);
  constexpr int kThreads = 4;
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      start
          .arrive_and_wait();  // so that the first of them makes the weights while others want them
      DrivenContext run = context(*plugin, engine);
      for (int64_t m = 1 + i; m < 128; m += 29) {
        const auto x = layer.input(m, static_cast<uint32_t>(m));
        const auto y = run.run(layer, {1, m, 64}, x, reinterpret_cast<void*>(uintptr_t(i + 1)));
        ASSERT_TRUE(y.has_value());
        expect_near(*y, layer.product(x, m));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(LifecycleTest, AContextMayMoveToAnotherThread) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 64, 64});
  const auto plugin = registry_.spmm().deserialize(engine.plan);
  DrivenContext run = context(*plugin, engine);
  expect_product(run, layer, {1, 48, 64}, 1);
  // No set_shape(): it was called in this thread.
  std::thread([&] {
    const auto x = layer.input(48, 2);
    const auto y = run.run(layer, {1, 48, 64}, x, nullptr, false);
    ASSERT_TRUE(y.has_value());
    expect_near(*y, layer.product(x, 48));
  }).join();
}

TEST_P(LifecycleTest, EachDeviceHasItsOwnWeightsAndPlans) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 64, 64});
  const auto plugin = registry_.spmm().deserialize(engine.plan);
  DrivenContext first = context(*plugin, engine);
  expect_product(first, layer, {1, 64, 64}, 1);
  gpu_.runtime.set_device(1);
  DrivenContext second = context(*plugin, engine);
  expect_product(second, layer, {1, 64, 64}, 2);
  EXPECT_EQ(gpu_.cusparselt.plans_made.back().device, 1);
  EXPECT_EQ(gpu_.runtime.device_of(gpu_.cusparselt.plans_made.back().bias), 1);
  int device = 0;
  gpu_.runtime.current_device(device);
  EXPECT_EQ(device, 1);
}

TEST_P(LifecycleTest, AFailedCallIsReportedAndTheNextOneWorks) {
  const TestLayer layer;
  const DrivenEngine engine = build(layer, {1, 64, 64});
  const auto plugin = registry_.spmm().deserialize(engine.plan);
  gpu_.cusparselt.failures.next("compress", cuda::SparseStatus::kAllocFailed);
  EXPECT_EQ(plugin->attach(), nullptr);
  DrivenContext run = context(*plugin, engine);
  gpu_.cusparselt.failures.next("matmul", cuda::SparseStatus::kExecutionFailed);
  EXPECT_FALSE(run.run(layer, {1, 64, 64}, layer.input(64, 1)).has_value());
  expect_product(run, layer, {1, 64, 64}, 2);
}

TEST_P(LifecycleTest, AnEngineThatIsCutOffOrAlteredIsRefused) {
  const std::string plan = create(TestLayer())->serialize();
  ASSERT_NE(registry_.spmm().deserialize(plan), nullptr);
  for (const size_t size : {size_t{0}, size_t{10}, size_t{64}, plan.size() / 2, plan.size() - 1})
    EXPECT_EQ(registry_.spmm().deserialize(plan.substr(0, size)), nullptr) << size;
  EXPECT_EQ(registry_.spmm().deserialize(plan + "x"), nullptr);
  for (size_t at = 0; at < plan.size(); at += 97) {
    std::string altered = plan;
    altered[at] ^= 1;
    EXPECT_EQ(registry_.spmm().deserialize(altered), nullptr) << at;
  }
}

TEST_P(LifecycleTest, ANodeWithoutAFieldIsRefused) {
  const TestLayer layer;
  std::vector<PluginField> fields = layer.fields();
  std::erase_if(fields, [](const PluginField& f) { return f.name == spmm_node::kWeight; });
  EXPECT_EQ(registry_.spmm().create("layer.0", fields), nullptr);
}

}  // namespace twofour::tensorrt
