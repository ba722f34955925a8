#include "twofour/runtime/engine.h"

#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/base/setting.h"
#include "twofour/runtime/engine_state.h"

namespace twofour {

Engine::Engine() : state_(std::make_unique<State>()) {}
Engine::~Engine() = default;

std::shared_ptr<const Engine> Engine::load(const std::filesystem::path& model_directory,
                                           const EngineOptions& options) {
  return load(ModelDirectory::open(model_directory), options);
}

std::shared_ptr<const Engine> Engine::load(const ModelDirectory& model,
                                           const EngineOptions& options) {
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
  if (warning.empty()) engine->state_->device_plan->options.plans = plans.value;
  engine->state_->warning = std::move(warning);
  return engine;
}

// A null device is the CPU.
std::shared_ptr<const Engine> Engine::load_on(const ModelDirectory& model,
                                              const EngineOptions& options,
                                              std::shared_ptr<cuda::Device> device) {
  std::shared_ptr<Engine> engine(new Engine());
  State& state = *engine->state_;
  state.origin = model.origin();
  state.config = model.config();
  state.network = build_network(state.config);
  check_complete(state.network, model);
  if (device == nullptr) {
    state.plan = make_plan(state.network, model, options);
  } else {
    state.device_plan = std::make_unique<DevicePlan>(
        make_device_plan(state.network, model, options, std::move(device)));
  }
  if (model.file("vocab.txt") || model.file("tokenizer.json"))
    state.tokenizer = Tokenizer::open(model);
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
const std::string& Engine::warning() const { return state_->warning; }
uint64_t Engine::packed_bytes() const {
  return state_->device_plan ? state_->device_plan->packed_bytes : state_->plan.packed_bytes;
}

}  // namespace twofour
