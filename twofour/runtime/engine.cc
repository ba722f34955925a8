#include "twofour/runtime/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/error.h"
#include "twofour/base/setting.h"
#include "twofour/graph/inspect.h"
#include "twofour/io/content_hash.h"
#include "twofour/runtime/engine_state.h"

namespace twofour {
namespace {

void describe(const ModelDirectory& model, Engine::State& state) {
  state.origin = model.origin();
  state.config = model.config();
  state.network = build_network(state.config);
}

void open_tokenizer(const ModelDirectory& model, Engine::State& state) {
  if (!model.file("vocab.txt") && !model.file("tokenizer.json")) return;
  state.tokenizer = Tokenizer::open(model);
  if (const std::string warning = state.tokenizer->warning(); !warning.empty())
    state.warnings.push_back(warning);
}

// A checkpoint whose config.json is of a smaller model gives scores all the same.
void warn_of_unread_layers(const ModelDirectory& model, Engine::State& state) {
  std::vector<std::string> unread = unread_tensors(state.network, model);
  std::erase_if(unread, [](const std::string& name) {
    return !name.starts_with("encoder.") || !(name.ends_with(".weight") || name.ends_with(".bias"));
  });
  if (unread.empty()) return;
  state.warnings.push_back(
      fmt::format("weights and biases of the encoder that are not read: {}, the first is {}: "
                  "config.json has num_hidden_layers {}",
                  unread.size(), model.where(unread.front()), state.config.num_hidden_layers));
}

// Pooler and head of an int8 model are float, but most embedding models have neither.
void warn_of_unused_precision(const EngineOptions& options, Engine::State& state) {
  const std::string& precision = state.plan.options.precision;
  const auto& layers = state.plan.layers;
  if (precision == "f32" || std::ranges::find(layers, precision, &LayerInfo::type) != layers.end())
    return;
  const Setting setting = option_or_variable("precision", options.precision, "TWOFOUR_PRECISION");
  state.warnings.push_back(
      fmt::format("{} {} has no effect: no layer has float weights", setting.where, setting.value));
}

// Variables may be meant for other engines: those are passed over.
void check_left_to_tensorrt(const EngineOptions& options) {
  for (const auto& [name, value] : {std::pair("force_kernel", options.force_kernel),
                                    {"attention", options.attention},
                                    {"precision", options.precision},
                                    {"activation_scales", options.activation_scales},
                                    {"plans", options.plans}}) {
    if (value.empty()) continue;
    throw Error(name, fmt::format("{} is for the backend twofour, the backend is tensorrt", value),
                "It is decided where the engine is built");
  }
}

}  // namespace

Engine::Engine() : state_(std::make_unique<State>()) {}
Engine::~Engine() = default;

std::shared_ptr<const Engine> Engine::load(const std::filesystem::path& model_directory,
                                           const EngineOptions& options) {
  return load(ModelDirectory::open(model_directory), options);
}

std::shared_ptr<const Engine> Engine::load(const ModelDirectory& model,
                                           const EngineOptions& options) {
  if (choose_backend(options) == kTensorRtBackend) return load_on(model, options, run_engine_api());
  if (!options.engine.empty()) {
    throw Error(
        "engine",
        fmt::format("{} is for the backend tensorrt, the backend is twofour", options.engine),
        "Name that backend too");
  }
  const Setting setting = option_or_variable("device", options.device, "TWOFOUR_DEVICE");
  if (setting.value.empty() || setting.value == "cpu") {
    if (!options.plans.empty())
      throw Error("plans", fmt::format("{} is for a GPU, the device is cpu", options.plans));
    return load_on(model, options, nullptr);
  }
  return load_on(model, options, cuda::nvidia_libraries(),
                 cuda::device_ordinal(setting.value, setting.where));
}

std::shared_ptr<const Engine> Engine::load_on(const ModelDirectory& model,
                                              const EngineOptions& options,
                                              const cuda::DeviceLibraries& libraries, int ordinal) {
  const Setting plans = option_or_variable("plans", options.plans, "TWOFOUR_PLANS");
  if (plans.value.empty()) {
    return load_on(
        model, options,
        std::make_shared<cuda::Device>(libraries, ordinal, cuda::encoder_buckets(kDeviceTokens)));
  }
  std::string warning;
  const auto device = cuda::open_with_plans(libraries, ordinal, kDeviceTokens,
                                            std::filesystem::path(plans.value), warning);
  auto engine = load_on(model, options, device);
  if (warning.empty())
    engine->state_->device_plan->options.plans = plans.value;
  else
    engine->state_->warnings.push_back(std::move(warning));
  return engine;
}

// A null device is the CPU.
std::shared_ptr<const Engine> Engine::load_on(const ModelDirectory& model,
                                              const EngineOptions& options,
                                              std::shared_ptr<cuda::Device> device) {
  std::shared_ptr<Engine> engine(new Engine());
  State& state = *engine->state_;
  describe(model, state);
  check_complete(state.network, model);
  warn_of_unread_layers(model, state);
  if (device == nullptr) {
    state.plan = make_plan(state.network, model, options);
    warn_of_unused_precision(options, state);
  } else {
    state.device_plan = std::make_unique<DevicePlan>(
        make_device_plan(state.network, model, options, std::move(device)));
  }
  open_tokenizer(model, state);
  return engine;
}

// The weights are in the engine file; those of the folder say that it is of this model.
std::shared_ptr<const Engine> Engine::load_on(const ModelDirectory& model,
                                              const EngineOptions& options, RunEngineApi& library) {
  check_left_to_tensorrt(options);
  const int device = tensorrt_device(options);
  const Setting file = option_or_variable("engine", options.engine, "TWOFOUR_ENGINE");
  if (file.value.empty()) {
    throw Error("engine", "the backend tensorrt needs an engine file",
                "Name one that twofour build-engine made of this model");
  }
  std::shared_ptr<Engine> engine(new Engine());
  State& state = *engine->state_;
  describe(model, state);
  state.tensorrt = library.open(file.value, hash_of(model), device);
  const std::string as_built = "as built";
  state.plan.options = {.attention = as_built,
                        .precision = as_built,
                        .activation_scales = as_built,
                        .device = fmt::format("cuda:{}", device),
                        .backend = std::string(kTensorRtBackend),
                        .engine = std::string(file.value)};
  state.plan.packed_bytes = state.tensorrt->file_bytes();
  open_tokenizer(model, state);
  return engine;
}

const ModelConfig& Engine::config() const { return state_->config; }
const Network& Engine::network() const { return state_->network; }

const Tokenizer& Engine::tokenizer() const {
  if (state_->tokenizer == nullptr) {
    throw Error(state_->origin, "the model has no tokenizer: neither vocab.txt nor tokenizer.json");
  }
  return *state_->tokenizer;
}

int64_t Engine::output_width() const {
  return state_->network.values[state_->network.output].width;
}
const EngineOptions& Engine::options() const {
  return state_->device_plan ? state_->device_plan->options : state_->plan.options;
}
std::vector<LayerInfo> Engine::layers() const {
  return state_->device_plan ? state_->device_plan->layers : state_->plan.layers;
}
const std::vector<std::string>& Engine::warnings() const { return state_->warnings; }
uint64_t Engine::packed_bytes() const {
  return state_->device_plan ? state_->device_plan->packed_bytes : state_->plan.packed_bytes;
}

}  // namespace twofour
