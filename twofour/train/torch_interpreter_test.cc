#include "twofour/train/torch_interpreter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/train/fake_quantize.h"
#include "twofour/train/golden.h"
#include "twofour/train/losses.h"
#include "twofour/train/optimizer.h"

namespace twofour {
namespace {

constexpr double kTolerance = 1e-5;

// The gradient of a key's bias is zero but for rounding errors of the size of other gradients':
// softmax does not see it.
constexpr double kGradientFloor = 0.05;

ModelDirectory open_model(const std::string& layout) {
  return ModelDirectory::open(TWOFOUR_SOURCE_DIR "/tests/golden/" + layout + "/model");
}

TokenTensors make_tokens(const at::Tensor& ids, const at::Tensor& type_ids,
                         const at::Tensor& lengths) {
  TokenTensors tokens{ids, type_ids, lengths, {}};
  tokens.valid = at::arange(ids.size(1)).unsqueeze(0) < lengths.unsqueeze(1);
  return tokens;
}

TokenTensors golden_tokens(const Golden& golden) {
  return make_tokens(golden.int64("ids"), golden.int64("type_ids"), golden.int64("lengths"));
}

// Sequence `index` alone, without its padding.
TokenTensors one_sequence(const TokenTensors& tokens, int64_t index) {
  const int64_t length = tokens.lengths[index].item<int64_t>();
  const auto cut = [&](const at::Tensor& x) { return x.narrow(0, index, 1).narrow(1, 0, length); };
  return make_tokens(cut(tokens.ids), cut(tokens.type_ids), tokens.lengths.narrow(0, index, 1));
}

struct Model {
  explicit Model(const std::string& layout)
      : network(build_network(open_model(layout).config())),
        parameters(load_parameters(network, open_model(layout), 1)) {}

  ForwardResult forward(const TokenTensors& tokens, const ForwardOptions& options = {}) const {
    return TorchInterpreter(network, parameters).forward(tokens, options);
  }

  Network network;
  ParameterMap parameters;
};

at::Tensor without_padding(const at::Tensor& x, const TokenTensors& tokens) {
  return x * tokens.valid.unsqueeze(-1);
}

class Layouts : public ::testing::TestWithParam<const char*> {};

TEST_P(Layouts, ActivationsAreThoseOfTransformers) {
  const Golden golden(std::string(GetParam()) + "/golden.safetensors");
  const Model model(GetParam());
  const TokenTensors tokens = golden_tokens(golden);
  ForwardOptions options;
  options.hidden_states = true;
  options.last_attention = true;
  const ForwardResult result = model.forward(tokens, options);

  ASSERT_EQ(result.hidden_states.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(near(without_padding(result.hidden_states[i], tokens),
                     golden("hidden_states." + std::to_string(i)), kTolerance));
  }
  EXPECT_TRUE(near(without_padding(result.q, tokens), golden("q"), kTolerance));
  EXPECT_TRUE(near(without_padding(result.k, tokens), golden("k"), kTolerance));
  EXPECT_TRUE(near(without_padding(result.v, tokens), golden("v"), kTolerance));
  if (!golden.contains("output")) return;
  EXPECT_TRUE(near(result.output, golden("output"), kTolerance));
}

TEST_P(Layouts, PaddingChangesNothing) {
  const Golden golden(std::string(GetParam()) + "/golden.safetensors");
  if (!golden.contains("output")) return;
  const Model model(GetParam());
  const TokenTensors tokens = golden_tokens(golden);
  const at::Tensor batch = model.forward(tokens).output;
  for (int64_t i = 0; i < batch.size(0); ++i) {
    EXPECT_TRUE(near(model.forward(one_sequence(tokens, i)).output[0], batch[i], kTolerance));
  }
}

// Of classes, of a number, or of embeddings or hidden states times a fixed direction.
at::Tensor golden_loss(const Model& model, const Golden& golden) {
  const at::Tensor output = model.forward(golden_tokens(golden)).output;
  if (golden.contains("direction")) return (output * golden("direction")).sum();
  if (output.size(1) == 1) return twofour::mse_loss(output, golden("labels"));
  return twofour::cross_entropy_loss(output, golden.int64("labels"));
}

TEST_P(Layouts, GradientsAreThoseOfPyTorch) {
  const Golden golden(std::string(GetParam()) + "/golden.safetensors");
  const Model model(GetParam());
  const at::Tensor loss = golden_loss(model, golden);
  EXPECT_TRUE(near(loss, golden("loss"), kTolerance));
  loss.backward();
  for (const auto& [name, parameter] : model.parameters) {
    EXPECT_TRUE(near(parameter.grad(), golden("grad." + name), kTolerance, kGradientFloor)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Layouts,
                         ::testing::Values("bert-cased", "bert-uncased", "bert-chinese", "minilm",
                                           "bge", "multilingual", "cross-encoder",
                                           "cross-encoder-regression"));

TEST(TorchInterpreter, StepsAreThoseOfPyTorch) {
  const Golden golden("minilm/golden.safetensors");
  const Model model("minilm");
  Optimizer optimizer(model.parameters, {.clip_norm = 1});
  for (int step = 0; step < 3; ++step) {
    optimizer.zero_gradients();
    golden_loss(model, golden).backward();
    optimizer.step(1e-3);
  }
  for (const auto& [name, parameter] : model.parameters) {
    // Its gradient is rounding errors alone (see kGradientFloor), which Adam makes whole steps of.
    if (name.ends_with("key.bias")) continue;
    EXPECT_TRUE(near(parameter, golden("stepped." + name), kTolerance)) << name;
  }
}

TEST(TorchInterpreter, EmbeddingsOfPaddingGetNoGradient) {
  const Golden golden("cross-encoder/golden.safetensors");
  const Model model("cross-encoder");
  const TokenTensors tokens = golden_tokens(golden);
  twofour::cross_entropy_loss(model.forward(tokens).output, golden.int64("labels")).backward();
  const at::Tensor words = model.parameters.at("embeddings.word_embeddings.weight").grad();
  EXPECT_EQ(words[0].abs().max().item<float>(), 0);
  EXPECT_GT(words[tokens.ids[0][1].item<int64_t>()].abs().max().item<float>(), 0);
}

TEST(TorchInterpreter, DropoutOnlyInTraining) {
  const Golden golden("cross-encoder/golden.safetensors");
  const Model model("cross-encoder");
  const TokenTensors tokens = golden_tokens(golden);
  const at::Tensor plain = model.forward(tokens).output;
  EXPECT_TRUE(at::equal(model.forward(tokens).output, plain));

  ForwardOptions options;
  options.training = true;
  const at::Tensor first = model.forward(tokens, options).output;
  EXPECT_FALSE(at::equal(first, plain));
  EXPECT_FALSE(at::equal(model.forward(tokens, options).output, first));

  at::manual_seed(7);
  const at::Tensor seeded = model.forward(tokens, options).output;
  at::manual_seed(7);
  EXPECT_TRUE(at::equal(model.forward(tokens, options).output, seeded));

  options.dropout = 0;
  EXPECT_TRUE(at::equal(model.forward(tokens, options).output, plain));
}

// Attention has a path of its own when it drops probabilities; so small a share drops none.
TEST(TorchInterpreter, AttentionWithDropoutIsTheSameAttention) {
  const Golden golden("cross-encoder/golden.safetensors");
  const Model model("cross-encoder");
  ForwardOptions options;
  options.training = true;
  options.dropout = 1e-12;
  const at::Tensor output = model.forward(golden_tokens(golden), options).output;
  EXPECT_TRUE(near(output, golden("output"), kTolerance));
  twofour::cross_entropy_loss(output, golden.int64("labels")).backward();
  for (const auto& [name, parameter] : model.parameters) {
    EXPECT_TRUE(near(parameter.grad(), golden("grad." + name), kTolerance, kGradientFloor)) << name;
  }
}

TEST(TorchInterpreter, Bf16IsNear) {
  const Golden golden("cross-encoder/golden.safetensors");
  const Model model("cross-encoder");
  const TokenTensors tokens = golden_tokens(golden);
  ForwardOptions options;
  options.bf16 = true;
  options.hidden_states = true;
  const ForwardResult result = model.forward(tokens, options);
  EXPECT_EQ(result.output.scalar_type(), at::kFloat);
  EXPECT_TRUE(near(result.output, golden("output"), 0.03));
  EXPECT_FALSE(near(result.output, golden("output"), 1e-5));
  for (const at::Tensor& hidden : result.hidden_states) EXPECT_EQ(hidden.scalar_type(), at::kFloat);
  twofour::cross_entropy_loss(result.output, golden.int64("labels")).backward();
  for (const auto& [name, parameter] : model.parameters) {
    EXPECT_EQ(parameter.grad().scalar_type(), at::kFloat) << name;
    EXPECT_TRUE(near(parameter.grad(), golden("grad." + name), 0.1, kGradientFloor)) << name;
  }
}

// Counts calls and leaves tensors alone.
class CountingHook : public TensorHook {
 public:
  at::Tensor activation(int32_t quant_point, const at::Tensor& x, const at::Tensor&,
                        at::ScalarType type) override {
    ++points[quant_point];
    return x.to(type);
  }
  at::Tensor weight(const std::string& name, const at::Tensor& w, at::ScalarType type) override {
    ++weights[name];
    return w.to(type);
  }
  std::map<int32_t, int> points;
  std::map<std::string, int> weights;
};

TEST(TorchInterpreter, HookSeesEachQuantizationPointAndPrunableWeightOnce) {
  const Golden golden("cross-encoder/golden.safetensors");
  const Model model("cross-encoder");
  CountingHook hook;
  ForwardOptions options;
  options.hook = &hook;
  EXPECT_TRUE(at::equal(model.forward(golden_tokens(golden), options).output,
                        model.forward(golden_tokens(golden)).output));
  EXPECT_EQ(hook.points.size(), model.network.quant_points.size());
  for (const auto& [point, count] : hook.points) EXPECT_EQ(count, 1) << point;
  std::set<std::string> prunable;
  for (const Op& op : model.network.ops) {
    if (op.prunable) prunable.insert(model.network.parameter(op, 0).name);
  }
  EXPECT_EQ(hook.weights.size(), prunable.size());
  for (const auto& [name, count] : hook.weights) {
    EXPECT_EQ(count, 1) << name;
    EXPECT_TRUE(prunable.contains(name)) << name;
  }
}

// The hook's tensors are what linear layers read, and the residual stream is not among them.
TEST(TorchInterpreter, OnlyLinearLayersReadQuantizedValues) {
  class Zero : public CountingHook {
   public:
    at::Tensor activation(int32_t, const at::Tensor& x, const at::Tensor&,
                          at::ScalarType type) override {
      return at::zeros_like(x).to(type);
    }
  } hook;
  const Golden golden("minilm/golden.safetensors");
  const Model model("minilm");
  ForwardOptions options;
  options.hook = &hook;
  options.hidden_states = true;
  options.last_attention = true;
  const ForwardResult result = model.forward(golden_tokens(golden), options);
  const at::Tensor& bias = model.parameters.at("encoder.layer.1.attention.self.query.bias");
  EXPECT_TRUE(at::equal(result.q, bias.expand_as(result.q)));
  const at::Tensor token = result.hidden_states[1][0];
  EXPECT_GT((token[0] - token[1]).abs().max().item<float>(), 0.1);
}

TEST(TorchInterpreter, FakeQuantizationStaysNearAndTrains) {
  const Golden golden("cross-encoder/golden.safetensors");
  const Model model("cross-encoder");
  const TokenTensors tokens = golden_tokens(golden);
  CalibrationHook calibration(model.network.quant_points.size());
  ForwardOptions options;
  options.hook = &calibration;
  model.forward(tokens, options);
  std::vector<float> scales;
  for (const Histogram& histogram : calibration.histograms())
    scales.push_back(histogram.max() / 127);

  FakeQuantizeHook quantization(scales);
  options.hook = &quantization;
  const at::Tensor output = model.forward(tokens, options).output;
  EXPECT_TRUE(near(output, golden("output"), 0.05));
  EXPECT_FALSE(near(output, golden("output"), 1e-5));
  twofour::cross_entropy_loss(output, golden.int64("labels")).backward();
  for (const auto& [name, parameter] : model.parameters) {
    EXPECT_TRUE(near(parameter.grad(), golden("grad." + name), 0.2, kGradientFloor)) << name;
  }
}

TEST(LoadParameters, DrawsAMissingHeadFromTheSeed) {
  const ModelDirectory model = open_model("minilm").with_head(HeadKind::kClassification, 3);
  const Network network = build_network(model.config());
  const ParameterMap first = load_parameters(network, model, 1),
                     again = load_parameters(network, model, 1);
  const ParameterMap other = load_parameters(network, model, 2);
  const at::Tensor& weight = first.at("classifier.weight");
  EXPECT_EQ(weight.sizes(), at::IntArrayRef({3, 16}));
  EXPECT_TRUE(at::equal(weight, again.at("classifier.weight")));
  EXPECT_FALSE(at::equal(weight, other.at("classifier.weight")));
  EXPECT_NEAR(weight.std().item<double>(), 0.02, 0.01);
  EXPECT_EQ(first.at("classifier.bias").abs().max().item<float>(), 0);
  for (const auto& [name, parameter] : first)
    EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad()) << name;
}

TEST(TorchTensors, RoundTripAndErrors) {
  const at::Tensor x = at::randn({3, 5}).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(to_torch(view_of(x)), x));
  EXPECT_THROW(view_of(x.t()), Error);
  EXPECT_THROW(dtype_of(at::zeros({1}, at::kComplexFloat)), Error);
}

// The device "meta" is always there, and holds no values.
TEST(ToDevice, MovesWhatIsElsewhereAndSharesTheRest) {
  const ParameterMap parameters = {{"w", at::ones({2, 2}).requires_grad_(true)},
                                   {"fixed", at::ones({2})}};
  for (const at::Device device : {at::kCPU, at::kMeta}) {
    const ParameterMap moved = to_device(parameters, device);
    EXPECT_EQ(device_of(moved), device);
    EXPECT_TRUE(moved.at("w").is_leaf() && moved.at("w").requires_grad());
    EXPECT_FALSE(moved.at("fixed").requires_grad());
    EXPECT_FALSE(to_device(at::Tensor(), device).defined());
    const TokenTensors tokens = {at::ones({1, 2}, at::kLong), at::zeros({1, 2}, at::kLong),
                                 at::ones({1}, at::kLong), at::ones({1, 2}, at::kBool)};
    const TokenTensors there = to_device(tokens, device);
    for (const at::Tensor& part : {there.ids, there.type_ids, there.lengths, there.valid})
      EXPECT_EQ(part.device(), device);
    EXPECT_EQ(there.ids.is_same(tokens.ids), device.is_cpu());
  }
  const ParameterMap same = to_device(parameters, at::kCPU);
  EXPECT_EQ(same.at("w").const_data_ptr(), parameters.at("w").const_data_ptr());
}

}  // namespace
}  // namespace twofour
