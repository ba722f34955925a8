// Sessions of an engine on a device, over stand-ins: graphs, memory, streams and failures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "twofour/runtime/test_device_engine.h"
#include "twofour/runtime/test_random_models.h"
#include "twofour/runtime/test_runs.h"

namespace twofour {
namespace {

using testing::HasSubstr;

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

TEST_F(DeviceEngine, ProfilersSeeRangesOfSteps) {
  const auto engine = stand_in_.load(golden_model("minilm"));
  run(engine, random_tokens(engine->network(), 1, 1, 4).batch());
  EXPECT_THAT(stand_in_.runtime.ranges, testing::Contains("twofour::Session::run"));
  EXPECT_THAT(stand_in_.runtime.ranges, testing::Contains("encoder.layer.1.attention.self"));
}

}  // namespace
}  // namespace twofour
