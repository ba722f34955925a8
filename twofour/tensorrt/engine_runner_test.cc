// What runs an engine, over a stand-in of the CUDA runtime and of TensorRT's execution context.
#include "twofour/tensorrt/engine_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <utility>

#include "twofour/backend/cuda/testing.h"
#include "twofour/base/error.h"
#include "twofour/base/testing.h"

namespace twofour::tensorrt {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<EngineTensor> tensors_of(DType integers) {
  // In no order that anybody promised.
  return {{"logits", false, DType::kF32},
          {"attention_mask", true, integers},
          {"input_ids", true, integers},
          {"token_type_ids", true, integers}};
}

// Has a result of two floats for each sequence: the sum of its ids that the mask shows, and of the
// type ids.
class FakeContext final : public ExecutionContext {
 public:
  explicit FakeContext(DType integers) : integers_(integers) {}

  std::string refuses;  // a tensor, or "batch"
  int64_t width = 2;
  std::map<std::string, std::pair<int64_t, int64_t>> shapes;
  cuda::StreamHandle stream = nullptr;  // of the last batch

  bool set_shape(const std::string& input, int64_t sequences, int64_t length) override {
    shapes[input] = {sequences, length};
    return input != refuses;
  }
  bool set_address(const std::string& tensor, void* memory) override {
    addresses_[tensor] = memory;
    return true;
  }
  int64_t elements(const std::string&) override { return shapes.at(kInputIds).first * width; }
  bool enqueue(cuda::StreamHandle on) override {
    stream = on;
    if (refuses == "batch") return false;
    const auto [sequences, length] = shapes.at(kInputIds);
    auto* result = static_cast<float*>(addresses_.at("logits"));
    for (int64_t i = 0; i < sequences; ++i) {
      result[2 * i] = result[2 * i + 1] = 0;
      for (int64_t t = i * length; t < (i + 1) * length; ++t) {
        result[2 * i] += static_cast<float>(number(kInputIds, t) * number(kAttentionMask, t));
        result[2 * i + 1] += static_cast<float>(number(kTokenTypeIds, t));
      }
    }
    return true;
  }
  std::string take_errors() override { return "the log's words"; }

 private:
  int64_t number(const char* input, int64_t at) const {
    const void* memory = addresses_.at(input);
    return integers_ == DType::kI32 ? static_cast<const int32_t*>(memory)[at]
                                    : static_cast<const int64_t*>(memory)[at];
  }

  DType integers_;
  std::map<std::string, void*> addresses_;
};

// A batch, and what FakeContext makes of it.
struct Numbers {
  Numbers(int64_t sequences, int64_t length) : sequences(sequences), length(length) {
    for (int64_t i = 0; i < sequences; ++i) {
      float sum = 0, types = 0;
      for (int64_t t = 0; t < length; ++t) {
        ids.push_back(static_cast<int32_t>(1 + 7 * i + t));
        mask.push_back(t <= i ? 1 : 0);
        type_ids.push_back(static_cast<int32_t>(t % 2));
        if (t <= i) sum += static_cast<float>(ids.back());
        types += static_cast<float>(type_ids.back());
      }
      want.insert(want.end(), {sum, types});
    }
  }
  PaddedBatch batch() const { return {sequences, length, ids, mask, type_ids}; }

  int64_t sequences, length;
  std::vector<int32_t> ids, mask, type_ids;
  std::vector<float> want;
};

class EngineRunnerTest : public ::testing::TestWithParam<DType> {
 protected:
  ~EngineRunnerTest() override {
    runner_.reset();
    EXPECT_EQ(runtime_.violations, "");
    EXPECT_EQ(runtime_.allocations(), 0u);
    EXPECT_EQ(runtime_.pinned + runtime_.streams, 0);
  }

  void start(cuda::StreamHandle stream = nullptr) {
    auto context = std::make_unique<FakeContext>(GetParam());
    context_ = context.get();
    runner_ = std::make_unique<EngineRunner>(runtime_, /*device=*/1, tensors_of(GetParam()),
                                             std::move(context), stream);
  }

  std::vector<float> run(const Numbers& numbers) {
    std::vector<float> output(numbers.want.size());
    runner_->run(numbers.batch(), output);
    return output;
  }

  cuda::FakeRuntime runtime_;
  FakeContext* context_ = nullptr;
  std::unique_ptr<EngineRunner> runner_;
};
INSTANTIATE_TEST_SUITE_P(Types, EngineRunnerTest, ::testing::Values(DType::kI32, DType::kI64),
                         [](const auto& info) {
                           return info.param == DType::kI32 ? "int32" : "int64";
                         });

TEST_P(EngineRunnerTest, EveryInputGetsItsNumbers) {
  start();
  for (const auto& [sequences, length] :
       std::vector<std::pair<int64_t, int64_t>>{{3, 16}, {1, 5}, {9, 40}, {3, 16}}) {
    const Numbers numbers(sequences, length);
    EXPECT_EQ(run(numbers), numbers.want);
    for (const char* input : {kInputIds, kAttentionMask, kTokenTypeIds})
      EXPECT_EQ(context_->shapes.at(input), std::make_pair(sequences, length));
  }
}

TEST_P(EngineRunnerTest, MemoryLiesOnTheDeviceAndGrowsAlone) {
  start();
  run(Numbers(3, 16));
  EXPECT_EQ(runtime_.allocated, 2u);  // one on the device, one that copies reach
  EXPECT_EQ(runtime_.device_of(runtime_.copies.front().to), 1);
  EXPECT_EQ(runtime_.copies.size(), 2u);  // there and back
  run(Numbers(2, 16));
  EXPECT_EQ(runtime_.allocated, 2u);
  run(Numbers(30, 64));
  EXPECT_EQ(runtime_.allocated, 4u);
}

TEST_P(EngineRunnerTest, WorksOnTheStreamThatItIsGiven) {
  int stream = 0;
  start(&stream);
  EXPECT_EQ(runtime_.streams, 0);
  run(Numbers(1, 4));
  EXPECT_EQ(context_->stream, &stream);
  for (const auto& copy : runtime_.copies) EXPECT_EQ(copy.stream, &stream);
}

TEST_P(EngineRunnerTest, WhatTensorRtRefusesIsNamed) {
  start();
  const Numbers numbers(2, 16);
  context_->refuses = kAttentionMask;
  EXPECT_EQ(error_of([&] { run(numbers); }),
            "[TensorRT] takes no attention_mask of [2, 16]: the log's words");
  context_->refuses = "batch";
  EXPECT_THAT(error_of([&] { run(numbers); }),
              AllOf(HasSubstr("could not run the batch"), HasSubstr("the log's words")));
  context_->refuses.clear();
  context_->width = 3;
  EXPECT_THAT(error_of([&] { run(numbers); }),
              HasSubstr("gives 6 floats of 'logits' for [2, 16], the model has 4"));
  context_->width = 2;
  EXPECT_EQ(run(numbers), numbers.want);
}

TEST_P(EngineRunnerTest, ALackOfMemoryIsToldAndGoesBy) {
  start();
  const size_t free = std::exchange(runtime_.free_bytes, 1000);
  EXPECT_THAT(error_of([&] { run(Numbers(2, 16)); }), HasSubstr("Session::run"));
  runtime_.free_bytes = free;
  const Numbers numbers(2, 16);
  EXPECT_EQ(run(numbers), numbers.want);
}

TEST(EngineTensors, OnlyThoseOfOurModels) {
  const auto refused = [](const std::function<void(std::vector<EngineTensor>&)>& change) {
    auto tensors = tensors_of(DType::kI64);
    change(tensors);
    return error_of([&] { check_tensors("a.plan", tensors); });
  };
  EXPECT_EQ(refused([](auto&) {}), "no error");
  EXPECT_THAT(refused([](auto& tensors) { tensors[2].name = "image"; }),
              AllOf(HasSubstr("[a.plan] has an input 'image' of type I64"),
                    HasSubstr("twofour export --target tensorrt")));
  EXPECT_THAT(refused([](auto& tensors) { tensors[1].type = DType::kF32; }),
              HasSubstr("has an input 'attention_mask' of type F32"));
  EXPECT_THAT(refused([](auto& tensors) { tensors[0].type = DType::kF16; }),
              HasSubstr("has an output 'logits' of type F16"));
  EXPECT_THAT(refused([](auto& tensors) {
                tensors.push_back({"more", false, DType::kF32});
              }),
              HasSubstr("has an output 'more'"));
  EXPECT_THAT(refused([](auto& tensors) { tensors.pop_back(); }),
              HasSubstr("has 3 inputs and outputs, expected 3 and 1"));
}

}  // namespace
}  // namespace twofour::tensorrt
