#include "twofour/train/trainer.h"

#include <c10/core/DeviceGuard.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "twofour/base/checksum.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/train/calibration.h"
#include "twofour/train/checkpoint.h"
#include "twofour/train/evaluator.h"
#include "twofour/train/fake_quantize.h"
#include "twofour/train/optimizer.h"
#include "twofour/train/process_group.h"
#include "twofour/train/result_model.h"
#include "twofour/train/run_folder.h"
#include "twofour/train/run_inputs.h"
#include "twofour/train/run_log.h"
#include "twofour/train/sparsity_context.h"
#include "twofour/train/teacher.h"
#include "twofour/train/torch_errors.h"
#include "twofour/train/torch_session.h"
#include "twofour/train/torch_tensors.h"
#include "twofour/train/training_device.h"

namespace twofour {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// Epochs that training never reaches: their batches calibrate.
constexpr int64_t kCalibrationEpoch = int64_t{1} << 40;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

ParameterMap copy_of(const ParameterMap& parameters) {
  ParameterMap copy;
  for (const auto& [name, tensor] : parameters) copy[name] = tensor.detach().clone();
  return copy;
}

void assign(const ParameterMap& from, const ParameterMap& to) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : to) at::Tensor(tensor).copy_(from.at(name));
}

// Throws Error unless a group of a checkpoint has a value for each parameter.
void check_group(const std::string& group, const ParameterMap& values,
                 const ParameterMap& parameters) {
  for (const auto& [name, tensor] : parameters) {
    const auto found = values.find(name);
    if (found == values.end()) throw Error(group, "lacks " + name);
    if (found->second.sizes() != tensor.sizes() ||
        found->second.scalar_type() != tensor.scalar_type()) {
      throw Error(group, name + " is of another size or type");
    }
  }
}

OptimizerOptions optimizer_options(const Recipe& recipe) {
  return {.kind = recipe.optimizer,
          .beta1 = recipe.beta1,
          .beta2 = recipe.beta2,
          .epsilon = recipe.epsilon,
          .momentum = recipe.momentum,
          .weight_decay = recipe.weight_decay,
          .clip_norm = recipe.clip_norm};
}

// What one optimizer step tells.
struct StepReport {
  double loss = 0;
  std::map<std::string, double> terms;
  double learning_rate = 0;
  double gradient_norm = 0;
};

std::unique_ptr<Evaluator> make_evaluator(const RunInputs& inputs) {
  if (inputs.masker) {
    return std::make_unique<MaskedTokenEvaluator>(inputs.dev_tokens, inputs.network,
                                                  *inputs.masker);
  }
  return std::make_unique<RankingEvaluator>(*inputs.dev, inputs.dev_tokens, inputs.network,
                                            inputs.model);
}

std::vector<uint64_t> seeds_of_rows(uint64_t seed, const Batch& batch) {
  std::vector<uint64_t> seeds;
  for (uint64_t row = 0; row < batch.sequences.size(); ++row)
    seeds.push_back(mix_seeds({seed, row}));
  return seeds;
}

struct MicroBatch {
  Batch batch;
  TokenTensors tokens = {};
  at::Tensor targets = {};  // of masked tokens; undefined where none are masked
  double weight = 0;        // pairs, or masked tokens
  uint64_t seed = 0;
};

class Trainer {
 public:
  Trainer(const TrainRequest& request, const Callbacks& callbacks, const RunInputs& inputs,
          at::Device device, ProcessGroup& group)
      : request_(request),
        callbacks_(callbacks),
        inputs_(inputs),
        device_(device),
        group_(group),
        recipe_(inputs.recipe),
        folder_(request.out),
        parameters_(to_device(load_parameters(inputs.network, inputs.model, recipe_.seed), device)),
        student_(inputs.network, parameters_),
        sparsity_(inputs.network, recipe_, device),
        optimizer_(parameters_, optimizer_options(recipe_)),
        batcher_(inputs.train, inputs.train_tokens, inputs.batching),
        bf16_(inputs.bf16) {
    if (inputs.dev) evaluator_ = make_evaluator(inputs);
    if (inputs.teacher) {
      const TeacherInputs& teacher = *inputs.teacher;
      set_teacher(teacher.network, load_parameters(teacher.network, teacher.model, recipe_.seed));
    }
  }

  // False: stopped on request.
  bool run(std::optional<Checkpoint> checkpoint) {
    checkpoint ? restore(*checkpoint) : begin();
    checkpoint.reset();  // as large as the model and its moments
    group_.is_first() ? log_.emplace(folder_.log(), state_.log_bytes) : log_.emplace();
    if (log_->bytes() < state_.log_bytes) {
      callbacks_.warn(folder_.log().string() +
                      " has lost rows that the checkpoint knew: training goes on without them, "
                      "reports lack them");
    }
    stream_.emplace(batcher_, state_.position);
    process_start_ = Clock::now();
    seconds_before_ = state_.seconds;
    while (state_.stage < std::ssize(recipe_.stages)) {
      if (!run_stage()) return false;
    }
    return true;
  }

  void write_model() {
    const Stage& last = recipe_.stages.back();
    ResultDescription description{.recipe = recipe_.name,
                                  .recipe_yaml = to_yaml(recipe_),
                                  .int8 = last.write_int8,
                                  .weight_bits = recipe_.weight_bits,
                                  .calibration = calibration_method(),
                                  .sparsity = sparsity_.sparsity(),
                                  .share_rows = sparsity_.share_rows(),
                                  .steps = state_.step,
                                  .dev = state_.best};
    ResultModel result{inputs_.model, inputs_.network, parameters_};
    if (last.write_int8) result.scales = state_.scales;
    result.weight_bits = recipe_.weight_bits;
    result.sparse_weights = last.sparsity >= 0.5 ? sparsity_.weights() : sparsity_.sparse_weights();
    result.twofour_json = describe_result(description, inputs_.model.twofour_json());
    write_result_model(folder_.model(), result);
    log_->write({{"kind", "result"},
                 {"step", state_.step},
                 {"model", folder_.model().string()},
                 {"metrics", state_.best},
                 {"best_step", state_.best_step}});
  }

  TrainSummary summary(bool finished) const {
    return {.finished = finished,
            .steps = state_.step,
            .seconds = seconds(),
            .pairs_per_second = pairs_per_second(),
            .sparsity = sparsity_.sparsity(),
            .dev = state_.best,
            .model = finished ? folder_.model() : std::filesystem::path(),
            .rank = group_.rank(),
            .processes = group_.size()};
  }

 private:
  const Stage& stage() const { return recipe_.stages[state_.stage]; }
  const TokenMasker* masker() const { return inputs_.masker ? &*inputs_.masker : nullptr; }
  bool is_last() const { return state_.stage + 1 == std::ssize(recipe_.stages); }

  // The best state on dev is what leaves these stages; others hand on their last one.
  bool selects() const { return evaluator_ && (is_last() || stage().teach); }

  bool is_over() const {
    return state_.stage_step >= stage().steps ||
           (recipe_.patience > 0 && state_.stale_evaluations >= recipe_.patience);
  }

  double seconds() const { return seconds_before_ + seconds_since(process_start_); }
  double pairs_per_second() const {
    return state_.training_seconds > 0 ? static_cast<double>(state_.pairs) / state_.training_seconds
                                       : 0;
  }

  std::string calibration_method() const {
    std::string method;
    for (const Stage& stage : recipe_.stages) {
      if (stage.calibrate) method = stage.calibrate->to_string();
    }
    return method;
  }

  void begin() {
    warn_of_layers_left_dense();
    sparsity_.adopt(parameters_);
    if (!sparsity_.active()) return;
    callbacks_.info(
        fmt::format("the model is sparse already ({:.3f}) and stays so", sparsity_.sparsity()));
  }

  void warn_of_layers_left_dense() {
    const bool prunes =
        std::ranges::any_of(recipe_.stages, [](const Stage& stage) { return stage.sparsity > 0; });
    if (!prunes) return;
    for (const std::string& layer : sparsity_.left_dense()) callbacks_.warn(layer);
  }

  // --- Stages ----------------------------------------------------------------------------------

  bool run_stage() {
    if (group_.size() > 1) stop_ = somebody_asks_to_stop();  // a stage before may be without steps
    if (stop_requested()) return false;
    if (!state_.stage_started && !start_stage()) {
      save();
      return false;
    }
    prepare_stage();
    while (!is_over()) {
      if (stop_requested()) return false;
      train_step();
      const bool due =
          recipe_.evaluate_every > 0 && state_.stage_step % recipe_.evaluate_every == 0;
      if (due) evaluate();
      if (request_.checkpoint_every > 0 && state_.step % request_.checkpoint_every == 0) save();
    }
    finish_stage();
    return true;
  }

  bool asked_to_stop() const { return callbacks_.stop_requested && callbacks_.stop_requested(); }

  bool stop_requested() {
    // Several processes have agreed in the step before, or as the stage began.
    if (!(group_.size() == 1 ? asked_to_stop() : stop_)) return false;
    save();
    return true;
  }

  // False: stopped on request while it calibrated.
  bool start_stage() {
    if (!state_.stage_pruned) optimizer_.zero_moments(sparsity_.advance(stage(), parameters_));
    state_.stage_pruned = true;
    if (stage().calibrate && !calibrate()) return false;
    check_equal_in_all_processes();
    state_.stage_started = true;
    log_->write({{"kind", "stage"},
                 {"step", state_.step},
                 {"stage", stage().name},
                 {"steps", stage().steps},
                 {"sparsity", sparsity_.sparsity()},
                 {"int8", stage().fake_quantize || stage().write_int8}});
    callbacks_.info(fmt::format("stage {}/{} {}: steps {}, sparsity {:.3f}", state_.stage + 1,
                                recipe_.stages.size(), stage().name, stage().steps,
                                sparsity_.sparsity()));
    return true;
  }

  // What is a function of stage and state, also after a resume.
  void prepare_stage() {
    stage_start_ = Clock::now();
    stage_start_step_ = state_.stage_step;
    quantizer_.reset();
    if (!stage().fake_quantize && !stage().write_int8) return;
    if (state_.scales.empty()) {
      throw Error("stage " + stage().name, "is int8, but no stage before it has calibrated");
    }
    quantizer_ = std::make_unique<FakeQuantizeHook>(state_.scales, recipe_.weight_bits);
  }

  // False: stopped on request.
  bool calibrate() {
    // One pass over the data at most: another one would see the same texts.
    std::vector<Batch> batches = batcher_.plan(kCalibrationEpoch + state_.stage);
    batches.resize(std::min<size_t>(batches.size(), stage().calibration_batches));
    callbacks_.info(fmt::format("calibrating (batches: {})", batches.size()));
    bool stopped = false;
    const auto stop = [&] { return stopped = somebody_asks_to_stop(); };
    std::vector<float> scales;
    if (group_.is_first()) {
      scales = calibrate_scales(inputs_.network, parameters_, inputs_.train_tokens, batches,
                                *stage().calibrate, masker(), stop);
    } else {
      for (size_t i = 0; i < batches.size() && !stop(); ++i) continue;
    }
    if (stopped) return false;
    state_.scales = of_first(scales);
    return true;
  }

  void finish_stage() {
    if (state_.evaluated_step != state_.step || state_.best.empty()) evaluate();
    warn_if_improving();
    if (selects() && !best_.empty()) assign(best_, parameters_);
    if (stage().teach && !inputs_.teacher) set_teacher(inputs_.network, copy_of(parameters_));
    if (!is_last()) state_.best.clear();
    ++state_.stage;
    state_.stage_step = 0;
    state_.stage_pruned = state_.stage_started = false;
    state_.stale_evaluations = 0;
    best_.clear();
    save();
  }

  void warn_if_improving() {
    const bool compared = recipe_.evaluate_every > 0 && state_.stage_step > recipe_.evaluate_every;
    if (!selects() || !compared || state_.best_step != state_.step) return;
    callbacks_.warn(
        fmt::format("stage {} ended while dev was still improving: its last {} is its best; more "
                    "steps may help",
                    stage().name, recipe_.select_metric));
  }

  // --- Steps -----------------------------------------------------------------------------------

  void train_step() {
    const Clock::time_point start = Clock::now();
    StepReport report;
    ForwardNeeds needs = forward_needs(stage().losses);
    // Masked tokens change from step to step, and the teacher's logits with them.
    needs.teacher_logits_only = needs.teacher_logits_only && masker() == nullptr;
    std::vector<MicroBatch> batches;
    for (int64_t i = 0; i < recipe_.accumulate; ++i) {
      batches.push_back(next_micro_batch(i));
      state_.pairs += std::ssize(batches.back().batch.pairs);
    }
    const double weight =
        std::transform_reduce(batches.begin(), batches.end(), 0.0, std::plus{},
                              [](const MicroBatch& batch) { return batch.weight; });
    // Only across epochs does a pair come twice in a step: it has the logits of its first batch.
    const bool repeats = group_.size() > 1 && needs.teacher_logits_only &&
                         state_.position.epoch != stream_->position().epoch;
    for (int i = 0; i < std::ssize(batches); ++i) {
      const MicroBatch& micro = batches[i];
      if (i % group_.size() == group_.rank()) {
        accumulate_gradients(needs, micro, micro.weight / weight, report);
      } else if (repeats) {
        teacher_->forward(micro.batch, to_device(micro.tokens, device_), needs, bf16_);
      }
    }
    if (group_.size() > 1) sum_over_processes(needs, batches, report);
    sparsity_.mask_gradients(parameters_);
    report.learning_rate =
        learning_rate_at(stage().learning_rate, state_.stage_step, stage().steps);
    report.gradient_norm = optimizer_.step(report.learning_rate);
    sparsity_.apply(parameters_);
    optimizer_.zero_gradients();
    ++state_.step;
    ++state_.stage_step;
    state_.position = stream_->position();
    state_.training_seconds += seconds_since(start);
    tell(report);
  }

  MicroBatch next_micro_batch(int64_t index) {
    MicroBatch micro{.batch = stream_->next()};
    micro.seed =
        mix_seeds({recipe_.seed, static_cast<uint64_t>(state_.step), static_cast<uint64_t>(index)});
    micro.tokens = inputs_.train_tokens.collate(micro.batch.sequences);
    micro.weight = static_cast<double>(micro.batch.pairs.size());
    if (masker() == nullptr) return micro;
    micro.targets = masker()->mask(seeds_of_rows(micro.seed, micro.batch), micro.tokens);
    micro.weight = (micro.targets != kNotMasked).sum().item<double>();
    return micro;
  }

  // `share` of the step's pairs, or masked tokens: losses are means over them, and micro-batches
  // differ in size.
  void accumulate_gradients(const ForwardNeeds& needs, const MicroBatch& micro, double share,
                            StepReport& report) {
    const auto& [batch, host_tokens, host_targets, weight, seed] = micro;
    const TokenTensors tokens = to_device(host_tokens, device_);
    const at::Tensor targets = to_device(host_targets, device_);
    ForwardResult taught;
    if (needs.teacher) taught = teacher_->forward(batch, tokens, needs, bf16_);
    at::manual_seed(seed);
    const ForwardResult result =
        student_.forward(tokens, {.training = true,
                                  .dropout = recipe_.dropout,
                                  .hidden_states = needs.hidden_states,
                                  .last_attention = needs.last_attention,
                                  .bf16 = bf16_,
                                  .hook = stage().fake_quantize ? quantizer_.get() : nullptr});
    const LossValues losses =
        compute_losses(stage().losses, {inputs_.train, batch, tokens, targets}, result,
                       needs.teacher ? &taught : nullptr, inputs_.network.last_heads);
    const auto loss = losses.total.item<double>();
    if (!std::isfinite(loss)) {
      throw Error(fmt::format("step {}", state_.step),
                  fmt::format("the loss is {}: training has diverged", loss),
                  "Lower the stage's learning_rate.peak.");
    }
    (losses.total * share).backward();
    report.loss += loss * share;
    for (const auto& [name, value] : losses.terms) report.terms[name] += value * share;
  }

  void tell(const StepReport& report) {
    log_->write({{"kind", "step"},
                 {"step", state_.step},
                 {"stage", stage().name},
                 {"loss", report.loss},
                 {"losses", report.terms},
                 {"lr", report.learning_rate},
                 {"grad_norm", report.gradient_norm},
                 {"pairs_per_second", pairs_per_second()},
                 {"sparsity", sparsity_.sparsity()}});
    if (!callbacks_.progress) return;
    const double elapsed = seconds_since(stage_start_);
    const auto done = static_cast<double>(state_.stage_step - stage_start_step_);
    const auto left = static_cast<double>(total_steps(recipe_) - state_.step);
    callbacks_.progress({.task = fmt::format("stage {}/{} {}", state_.stage + 1,
                                             recipe_.stages.size(), stage().name),
                         .done = state_.stage_step,
                         .total = stage().steps,
                         .unit = "steps",
                         .seconds = elapsed,
                         .values = {{"loss", report.loss},
                                    {"pairs/s", pairs_per_second()},
                                    {"seconds_left", elapsed / done * left}}});
  }

  // --- Several processes -----------------------------------------------------------------------

  // In all processes the same.
  bool somebody_asks_to_stop() {
    const at::Tensor asked = at::full({1}, asked_to_stop() ? 1 : 0, at::kLong);
    group_.all_reduce_sum(asked);
    return asked.item<int64_t>() > 0;
  }

  // Gradients, losses and whether somebody wants to stop; the teacher's logits, so that a pair
  // keeps those that it had first, as in one process.
  void sum_over_processes(const ForwardNeeds& needs, const std::vector<MicroBatch>& batches,
                          StepReport& report) {
    std::vector<at::Tensor> gradients, sums;
    for (const auto& [name, parameter] : parameters_) {
      if (!parameter.grad().defined()) continue;
      gradients.push_back(parameter.grad());
      sums.push_back(parameter.grad().cpu());  // where Gloo sums; itself if it is there
    }
    group_.all_reduce_sums(sums);
    for (size_t i = 0; i < sums.size(); ++i) gradients[i].copy_(sums[i]);
    std::vector<double> numbers = {report.loss, asked_to_stop() ? 1.0 : 0.0};
    for (const auto& [name, value] : report.terms) numbers.push_back(value);
    const at::Tensor totals = at::tensor(numbers, at::kDouble);
    group_.all_reduce_sum(totals);
    const double* sum = totals.const_data_ptr<double>();
    report.loss = *sum++;
    stop_ = *sum++ > 0;
    for (auto& [name, value] : report.terms) value = *sum++;
    if (!needs.teacher_logits_only || !teacher_->logits().defined()) return;
    for (size_t i = 0; i < batches.size(); ++i) {
      teacher_->share_logits(batches[i].batch, static_cast<int>(i) % group_.size(), group_);
    }
  }

  // What rank 0 has found.
  template <class T>
  T of_first(const T& value) {
    if (group_.size() == 1) return value;
    return Json::from_cbor(group_.broadcast(Json::to_cbor(value))).template get<T>();
  }

  // Masks are computed by each process from what must be the same parameters.
  void check_equal_in_all_processes() {
    if (group_.size() == 1) return;
    uint64_t sum = checksum64({});
    for (const ParameterMap& tensors : {parameters_, sparsity_.state()}) {
      for (const auto& [name, tensor] : tensors) {
        const at::Tensor values = tensor.detach().cpu().contiguous();
        const TensorView view = view_of(values);
        sum = checksum64({reinterpret_cast<const char*>(view.data), view.bytes()}, sum);
      }
    }
    group_.check_equal(
        sum, fmt::format("parameters or masks at the start of stage {}", stage().name),
        "Give all processes the same build of twofour and LibTorch, and the same kind of CPU.");
  }

  // --- Evaluation ------------------------------------------------------------------------------

  void evaluate() {
    if (!evaluator_) return;
    const Metrics metrics = of_first(
        group_.is_first() ? evaluator_->evaluate(parameters_, quantizer_.get()) : Metrics());
    const double value = selected(metrics);
    const bool better = state_.best.empty() || is_better(value, selected(state_.best));
    state_.evaluated_step = state_.step;
    state_.stale_evaluations = better ? 0 : state_.stale_evaluations + 1;
    if (better) {
      state_.best = metrics;
      state_.best_step = state_.step;
      if (selects()) {
        best_.clear();  // before its successor needs the memory
        best_ = copy_of(parameters_);
      }
    }
    log_->write({{"kind", "evaluation"},
                 {"step", state_.step},
                 {"stage", stage().name},
                 {"metrics", metrics},
                 {"best", better}});
    std::string text = fmt::format("step {}:", state_.step);
    for (const auto& [name, value] : metrics) text += fmt::format(" {} {:.4f}", name, value);
    callbacks_.info(text);
  }

  double selected(const Metrics& metrics) const {
    return selected_metric(metrics, recipe_.select_metric, inputs_.dev->origin);
  }

  // Between states that both are infinitely good, like a pnr without discordant pairs, the later
  // one has learned more.
  bool is_better(double now, double best) const {
    return now > best || (now == best && std::isinf(now));
  }

  // --- Checkpoints -----------------------------------------------------------------------------

  void set_teacher(const Network& network, const ParameterMap& parameters) {
    teacher_ = std::make_unique<Teacher>(network, to_device(parameters, device_),
                                         std::ssize(inputs_.train.pairs));
  }

  // Earlier stages may have ended before their last step.
  RunProgress progress() const {
    RunProgress progress{"", std::ssize(recipe_.stages), state_.step - state_.stage_step};
    for (int64_t i = state_.stage; i < progress.stages; ++i)
      progress.steps += recipe_.stages[i].steps;
    if (state_.stage < progress.stages) progress.stage = stage().name;
    return progress;
  }

  void save() {
    if (!group_.is_first()) return;
    state_.seconds = seconds();
    state_.log_bytes = log_->bytes();
    TensorGroups tensors = {{"parameters", parameters_},
                            {"optimizer", optimizer_.state()},
                            {"sparsity", sparsity_.state()},
                            {"best", best_}};
    if (teacher_ && !inputs_.teacher) tensors["teacher"] = teacher_->parameters();
    if (teacher_ && teacher_->logits().defined()) {
      tensors["teacher_logits"]["logits"] = teacher_->logits();
    }
    try {
      save_checkpoint(folder_.checkpoint(),
                      {state_, std::move(tensors), inputs_.fingerprint, progress()});
    } catch (const Error& error) {
      const bool before = std::filesystem::exists(folder_.checkpoint());
      throw Error(fmt::format("step {}", state_.step),
                  fmt::format("the checkpoint cannot be saved: {}", error.what()),
                  before ? "--resume goes on from the checkpoint before."
                         : "--resume starts the run again.");
    }
  }

  void restore(const Checkpoint& checkpoint) {
    const std::filesystem::path path = folder_.checkpoint();
    try {
      load(checkpoint);
    } catch (const Error& error) {
      throw Error(path.string(), fmt::format("is damaged: {}: {}", error.where(), error.message()),
                  checkpoint_remedy(path));
    }
    callbacks_.info(fmt::format("resuming after step {}", state_.step));
  }

  void load(const Checkpoint& checkpoint) {
    const auto group = [&](const std::string& name) {
      const auto found = checkpoint.tensors.find(name);
      return found == checkpoint.tensors.end() ? ParameterMap() : found->second;
    };
    state_ = checkpoint.state;
    if (state_.stage < 0 || state_.stage > std::ssize(recipe_.stages)) {
      throw Error("state.json", fmt::format("stage is {}, expected 0 to {}", state_.stage,
                                            recipe_.stages.size()));
    }
    const size_t points = inputs_.network.quant_points.size();
    if (!state_.scales.empty() && state_.scales.size() != points) {
      throw Error("state.json", fmt::format("the number of scales is {}, expected {}",
                                            state_.scales.size(), points));
    }
    const ParameterMap parameters = group("parameters");
    check_group("parameters", parameters, parameters_);
    assign(parameters, parameters_);
    optimizer_.load_state(group("optimizer"));
    sparsity_.load_state(group("sparsity"));
    sparsity_.check(parameters_);
    best_ = group("best");
    if (!best_.empty()) {
      check_group("best", best_, parameters_);
      sparsity_.check(to_device(best_, device_));
    }
    if (const auto teacher = group("teacher"); !teacher.empty()) {
      check_group("teacher", teacher, parameters_);
      set_teacher(inputs_.network, teacher);
    }
    if (const auto logits = group("teacher_logits"); !logits.empty()) {
      load_logits(logits.begin()->second);
    }
  }

  void load_logits(const at::Tensor& logits) {
    if (!teacher_ || logits.dim() != 2 || logits.size(0) != std::ssize(inputs_.train.pairs)) {
      throw Error("teacher_logits", "fit no teacher or other data");
    }
    teacher_->load_logits(logits);
  }

  const TrainRequest& request_;
  const Callbacks& callbacks_;
  const RunInputs& inputs_;
  const at::Device device_;
  ProcessGroup& group_;
  const Recipe& recipe_;
  const RunFolder folder_;

  ParameterMap parameters_;
  TorchInterpreter student_;
  SparsityContext sparsity_;
  Optimizer optimizer_;
  Batcher batcher_;
  bool bf16_;
  std::unique_ptr<Evaluator> evaluator_;
  std::unique_ptr<Teacher> teacher_;
  std::unique_ptr<FakeQuantizeHook> quantizer_;

  TrainerState state_;
  ParameterMap best_;  // of the stage, where it selects
  std::optional<RunLog> log_;
  std::optional<BatchStream> stream_;

  Clock::time_point process_start_ = Clock::now(), stage_start_ = process_start_;
  double seconds_before_ = 0;
  int64_t stage_start_step_ = 0;
  bool stop_ = false;  // as several processes have agreed
};

// Whole micro-batches: losses compare the pairs of one, and their random numbers follow from it.
void check_shares(const Recipe& recipe, const ProcessGroup& group) {
  if (recipe.accumulate % group.size() == 0) return;
  const int64_t accumulate = std::lcm(recipe.accumulate, int64_t{group.size()});
  const int64_t times = accumulate / recipe.accumulate;
  const int64_t batch_pairs = (recipe.batch_pairs + times - 1) / times;
  const int64_t before = recipe.accumulate * recipe.batch_pairs, now = accumulate * batch_pairs;
  throw Error(
      fmt::format("recipe '{}'", recipe.name),
      fmt::format("accumulate is {}: {} processes cannot share the micro-batches of a step evenly",
                  recipe.accumulate, group.size()),
      fmt::format("With --set accumulate={} --set batch_pairs={} they can, and steps {}.",
                  accumulate, batch_pairs,
                  now == before ? "keep their size"
                                : fmt::format("have {} pairs instead of {}", now, before)));
}

// Optimizer steps and their arithmetic must be the same everywhere.
void check_same_inputs(const RunInputs& inputs, const TrainingDevice& device, int threads,
                       ProcessGroup& group) {
  std::string all = fmt::format("{} {} {}", threads, at::get_cpu_capability(), device.gpu);
  for (const auto& [name, value] : inputs.fingerprint) all += fmt::format("\n{} {}", name, value);
  group.check_equal(checksum64(all), "recipe, model, data, --threads or kind of CPU or GPU",
                    "Start all of them with the same command on machines of one kind.");
}

TrainSummary train(const TrainRequest& request, const Callbacks& callbacks,
                   const TrainingDevice& device, int threads, ProcessGroup& group) {
  if (request.out.empty()) throw Error("--out", "is empty", "Name the folder of the run.");
  const RunFolder folder(request.out);
  std::optional<RunLock> lock;
  if (group.is_first()) lock.emplace(folder.log());
  const TorchSession session(threads, request.deterministic);
  const c10::DeviceGuard current(device.torch);
  if (group.is_first()) {
    folder.recover();
    folder.check(request.resume);
  }
  group.barrier();  // the others read what is repaired
  RunInputs inputs = load_inputs(request, device, threads, callbacks);
  check_shares(inputs.recipe, group);
  if (request.deterministic && group.size() > 1) {
    inputs.fingerprint["WORLD_SIZE"] = std::to_string(group.size());
  }
  check_same_inputs(inputs, device, threads, group);
  std::optional<TrainSummary> finished = folder.finished(inputs.fingerprint, inputs.sources);
  std::optional<Checkpoint> checkpoint =
      finished ? std::nullopt : folder.checkpoint_of(inputs.fingerprint, inputs.sources);
  const int64_t step = checkpoint ? checkpoint->state.step : -1;
  group.check_equal(finished ? -2 : step, "what they find in --out",
                    "It must be a folder that all of them see.");
  if (finished) {
    callbacks.info(request.out.string() + " is already finished; nothing to do");
    finished->rank = group.rank();
    finished->processes = group.size();
    return *finished;
  }
  if (request.resume && !checkpoint) {
    const bool replaces = std::filesystem::exists(folder.model());
    callbacks.warn(fmt::format("{} holds no checkpoint: the run starts again, with a new log{}",
                               request.out.string(),
                               replaces ? ", and replaces model/ at its end" : ""));
  }

  if (!device.gpu.empty()) {
    callbacks.info(fmt::format("training on {}, {}{}", device.torch.str(), device.gpu,
                               inputs.bf16 ? ", in bf16" : ""));
  }
  Trainer trainer(request, callbacks, inputs, device.torch, group);
  if (lock) lock->make();
  const bool done = trainer.run(std::move(checkpoint));
  if (done && group.is_first()) trainer.write_model();
  TrainSummary summary = trainer.summary(done);
  if (done && group.is_first()) folder.finish(summary, inputs.fingerprint);
  group.barrier();  // nobody reports what is not written yet
  return summary;
}

TrainSummary not_begun(const ProcessOptions& processes) {
  TrainSummary summary;
  summary.begun = false;
  summary.rank = processes.rank;
  summary.processes = processes.size;
  return summary;
}

}  // namespace

TrainSummary run_training(const TrainRequest& request, const Callbacks& callbacks) {
  const ProcessOptions processes = process_options();
  const TrainingDevice device = open_training_device(request.device, processes.size > 1);
  const std::unique_ptr<ProcessGroup> group = ProcessGroup::open(processes, callbacks);
  if (!group) return not_begun(processes);
  const int threads =
      request.threads > 0 ? request.threads : std::max(1, available_cores() / processes.local_size);
  const Callbacks quiet = {.log = {}, .progress = {}, .stop_requested = callbacks.stop_requested};
  try {
    return train(request, group->is_first() ? callbacks : quiet, device, threads, *group);
  } catch (const c10::Error& error) {
    const Error told = from_torch(error);
    group->fail(told.what());
    throw told;
  } catch (const std::exception& error) {
    group->fail(error.what());
    throw;
  }
}

}  // namespace twofour
