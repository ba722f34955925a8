// One training step at the shape of MiniLM-L6, batch 64 x 48, random weights: what masks, fake
// quantization and a teacher add to it. Compare rows of one run; a teacher's pass with the
// student's in the same steps.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <chrono>

#include "twofour/base/cpu_features.h"
#include "twofour/train/distillation.h"
#include "twofour/train/fake_quantize.h"
#include "twofour/train/losses.h"
#include "twofour/train/optimizer.h"
#include "twofour/train/sparsity_context.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr int64_t kBatch = 64, kSeq = 48, kLabels = 3;

ModelConfig minilm_config() {
  ModelConfig config;
  config.model_type = "bert";
  config.vocab_size = 30522;
  config.hidden_size = 384;
  config.num_hidden_layers = 6;
  config.num_attention_heads = 12;
  config.intermediate_size = 1536;
  config.max_position_embeddings = 512;
  config.type_vocab_size = 2;
  config.hidden_act = "gelu";
  config.head = HeadKind::kClassification;
  config.num_labels = kLabels;
  return config;
}

ParameterMap random_parameters(const Network& network) {
  ParameterMap parameters;
  for (const Parameter& parameter : network.parameters) {
    const bool is_gamma = parameter.name.ends_with("LayerNorm.weight");
    at::Tensor value =
        is_gamma ? at::ones(parameter.shape.dims()) : at::randn(parameter.shape.dims()) * 0.02;
    parameters[parameter.name] = value.requires_grad_(true);
  }
  return parameters;
}

TokenTensors random_tokens() {
  TokenTensors tokens;
  tokens.ids = at::randint(1, 30522, {kBatch, kSeq});
  tokens.type_ids = at::zeros({kBatch, kSeq}, at::kLong);
  tokens.lengths = at::randint(kSeq - 8, kSeq + 1, {kBatch});
  tokens.valid = at::arange(kSeq).unsqueeze(0) < tokens.lengths.unsqueeze(1);
  return tokens;
}

struct Setup {
  bool masks = false, quantize = false, teacher = false, hidden_states = false;
};

class Step {
 public:
  explicit Step(const Setup& setup)
      : setup_(setup),
        parameters_(random_parameters(network_)),
        teacher_parameters_(random_parameters(network_)),
        sparsity_(network_, {}),
        optimizer_(parameters_, {}),
        quantizer_(std::vector<float>(network_.quant_points.size(), 0.05f)) {
    Stage stage;
    stage.sparsity = 0.5;
    if (setup.masks) sparsity_.advance(stage, parameters_);
  }

  void run() {
    ForwardResult taught;
    const Clock::time_point start = Clock::now();
    if (setup_.teacher) taught = teach();
    const Clock::time_point taught_at = Clock::now();
    ForwardOptions options = this->options();
    options.training = true;
    options.hook = setup_.quantize ? &quantizer_ : nullptr;
    const ForwardResult result = TorchInterpreter(network_, parameters_).forward(tokens_, options);
    teacher_ += taught_at - start;
    forward_ += Clock::now() - taught_at;
    at::Tensor loss = twofour::cross_entropy_loss(result.output, labels_);
    if (setup_.teacher) loss = loss + logits_loss(result.output, taught.output, 2);
    if (setup_.hidden_states) {
      loss = loss + hidden_states_loss(result.hidden_states, taught.hidden_states, tokens_.valid);
    }
    loss.backward();
    sparsity_.mask_gradients(parameters_);
    optimizer_.step(1e-5);
    sparsity_.apply(parameters_);
    optimizer_.zero_gradients();
  }

  // Of all runs: the teacher's pass and the student's own.
  Milliseconds teacher() const { return teacher_; }
  Milliseconds forward() const { return forward_; }

 private:
  ForwardResult teach() const {
    const at::NoGradGuard no_grad;
    return TorchInterpreter(network_, teacher_parameters_).forward(tokens_, options());
  }

  ForwardOptions options() const {
    return {.hidden_states = setup_.hidden_states, .bf16 = cpu_features().avx512_bf16};
  }

  Setup setup_;
  Network network_ = build_network(minilm_config());
  ParameterMap parameters_, teacher_parameters_;
  SparsityContext sparsity_;
  Optimizer optimizer_;
  FakeQuantizeHook quantizer_;
  TokenTensors tokens_ = random_tokens();
  at::Tensor labels_ = at::randint(0, kLabels, {kBatch});
  Milliseconds teacher_{}, forward_{};
};

void train_step(benchmark::State& state, const Setup& setup) {
  Step step(setup);
  step.run();
  for (auto _ : state) step.run();
  state.counters["pairs/s"] = benchmark::Counter(static_cast<double>(kBatch * state.iterations()),
                                                 benchmark::Counter::kIsRate);
  const auto runs = static_cast<double>(state.iterations() + 1);
  state.counters["forward_ms"] = step.forward().count() / runs;
  if (setup.teacher) state.counters["teacher_ms"] = step.teacher().count() / runs;
}

#define TWOFOUR_STEP(name, ...)                           \
  BENCHMARK_CAPTURE(train_step, name, Setup{__VA_ARGS__}) \
      ->Unit(benchmark::kMillisecond)                     \
      ->UseRealTime()

TWOFOUR_STEP(dense);
TWOFOUR_STEP(masks, .masks = true);
TWOFOUR_STEP(quantized, .quantize = true);
TWOFOUR_STEP(masks_quantized, .masks = true, .quantize = true);
TWOFOUR_STEP(teacher, .teacher = true);
TWOFOUR_STEP(teacher_hidden_states, .teacher = true, .hidden_states = true);

}  // namespace
}  // namespace twofour
