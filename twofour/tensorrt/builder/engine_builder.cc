#include "twofour/tensorrt/builder/engine_builder.h"

#include <fmt/format.h>

#include <filesystem>

#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour::tensorrt {
namespace {

using nvinfer1::BuilderFlag;

constexpr const char* kWhere = "TensorRT";

uint32_t network_flags() {
  using Flag [[maybe_unused]] = nvinfer1::NetworkDefinitionCreationFlag;
  uint32_t flags = 0;
#if NV_TENSORRT_MAJOR < 10
  flags |= 1U << static_cast<uint32_t>(Flag::kEXPLICIT_BATCH);
#endif
#if NV_TENSORRT_MAJOR == 9 || NV_TENSORRT_MAJOR == 10
  flags |= 1U << static_cast<uint32_t>(Flag::kSTRONGLY_TYPED);
#endif
  return flags;  // 11 knows no other networks
}

nvinfer1::Dims to_dims(const std::vector<int64_t>& values) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    dims.d[i] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(values[i]);
  return dims;
}

std::vector<NetworkInput> inputs_of(const nvinfer1::INetworkDefinition& network) {
  std::vector<NetworkInput> inputs;
  for (int32_t i = 0; i < network.getNbInputs(); ++i) {
    const nvinfer1::ITensor& input = *network.getInput(i);
    const nvinfer1::Dims dims = input.getDimensions();
    inputs.push_back({input.getName(), {dims.d, dims.d + dims.nbDims}});
  }
  return inputs;
}

#if NV_TENSORRT_MAJOR < 9
// A network of this version has no types of its own: the builder may use those that the file names.
void permit_types(const nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config) {
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    const nvinfer1::ILayer& layer = *network.getLayer(i);
    if (layer.getType() == nvinfer1::LayerType::kQUANTIZE) config.setFlag(BuilderFlag::kINT8);
    for (int32_t j = 0; j < layer.getNbOutputs(); ++j) {
      if (layer.getOutput(j)->getType() == nvinfer1::DataType::kHALF)
        config.setFlag(BuilderFlag::kFP16);
    }
  }
}
#endif

}  // namespace

void Logger::log(Severity severity, const char* message) noexcept {
  try {
    if (severity <= Severity::kERROR) {
      const std::lock_guard lock(mutex_);
      errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
    }
    if (severity == Severity::kWARNING) callbacks_.warn(std::string("TensorRT: ") + message);
  } catch (...) {
    // A message that cannot be kept is lost; TensorRT takes no exception.
  }
}

std::string Logger::take_errors() {
  const std::lock_guard lock(mutex_);
  return std::exchange(errors_, {});
}

EngineBuilder::EngineBuilder(const BuildEngineRequest& request, Logger& logger)
    : request_(request), logger_(logger), builder_(make_builder(logger)) {}

Nv<nvinfer1::INetworkDefinition> EngineBuilder::parse() {
  Nv<nvinfer1::INetworkDefinition> network(builder_->createNetworkV2(network_flags()));
  if (network == nullptr) throw Error(kWhere, "made no network: " + logger_.take_errors());
  // The parser owns weights that the network points to until it is built.
  parser_ = make_parser(*network, logger_);
  const auto severity = static_cast<int32_t>(nvinfer1::ILogger::Severity::kWARNING);
  if (parser_->parseFromFile(request_.onnx.c_str(), severity)) return network;
  const OnnxFile file = read_onnx(request_.onnx);
  std::string reasons;
  for (int32_t i = 0; i < parser_->getNbErrors(); ++i)
    reasons +=
        fmt::format("{}{}: {}", i == 0 ? "" : "; ", node_text(file, parser_->getError(i)->node()),
                    parser_->getError(i)->desc());
  throw Error(request_.onnx.string(), "TensorRT cannot take it: " + reasons,
              "Write the file with twofour export --target tensorrt");
}

Nv<nvinfer1::IBuilderConfig> EngineBuilder::configure(const nvinfer1::INetworkDefinition& network,
                                                      bool sparse) {
  Nv<nvinfer1::IBuilderConfig> config(builder_->createBuilderConfig());
  config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE,
                             static_cast<size_t>(request_.workspace_mb) << 20);
  config->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
  if (sparse) config->setFlag(BuilderFlag::kSPARSE_WEIGHTS);
#if NV_TENSORRT_MAJOR < 10
  // So that several sessions run one engine; later versions know nothing else.
  config->setPreviewFeature(nvinfer1::PreviewFeature::kPROFILE_SHARING_0806, true);
#endif
#if NV_TENSORRT_MAJOR < 9
  permit_types(network, *config);
#endif
  add_profile(network, *config);
  return config;
}

void EngineBuilder::add_profile(const nvinfer1::INetworkDefinition& network,
                                nvinfer1::IBuilderConfig& config) {
  using Selector = nvinfer1::OptProfileSelector;
  nvinfer1::IOptimizationProfile& profile = *builder_->createOptimizationProfile();
  const std::vector<NetworkInput> inputs = inputs_of(network);
  for (const InputProfile& input :
       choose_profile(request_.onnx.string(), inputs, request_.batch, request_.length)) {
    profile.setDimensions(input.name.c_str(), Selector::kMIN, to_dims(input.min));
    profile.setDimensions(input.name.c_str(), Selector::kOPT, to_dims(input.opt));
    profile.setDimensions(input.name.c_str(), Selector::kMAX, to_dims(input.max));
  }
  if (config.addOptimizationProfile(&profile) < 0)
    throw Error(kWhere, "takes no such profile: " + logger_.take_errors());
}

Nv<nvinfer1::ITimingCache> EngineBuilder::load_timing_cache(nvinfer1::IBuilderConfig& config) {
  const std::string bytes = std::filesystem::exists(request_.timing_cache)
                                ? read_file(request_.timing_cache)
                                : std::string();
  Nv<nvinfer1::ITimingCache> cache(config.createTimingCache(bytes.data(), bytes.size()));
  if (cache == nullptr || !config.setTimingCache(*cache, false)) {
    throw Error(request_.timing_cache.string(),
                "is no timing cache of this GPU and TensorRT: " + logger_.take_errors(),
                "Remove the file");
  }
  return cache;
}

void EngineBuilder::save_timing_cache(const nvinfer1::ITimingCache& cache) const {
  const Nv<nvinfer1::IHostMemory> bytes(cache.serialize());
  write_file_atomically(request_.timing_cache,
                        std::string_view(static_cast<const char*>(bytes->data()), bytes->size()));
}

Nv<nvinfer1::IHostMemory> EngineBuilder::build(bool sparse) {
  const Nv<nvinfer1::INetworkDefinition> network = parse();
  const Nv<nvinfer1::IBuilderConfig> config = configure(*network, sparse);
  Nv<nvinfer1::ITimingCache> cache;
  if (!request_.timing_cache.empty()) cache = load_timing_cache(*config);
  Nv<nvinfer1::IHostMemory> plan(builder_->buildSerializedNetwork(*network, *config));
  if (plan == nullptr)
    throw Error(request_.onnx.string(), "TensorRT built no engine: " + logger_.take_errors());
  if (cache != nullptr) save_timing_cache(*cache);
  return plan;
}

std::string inspect(nvinfer1::ICudaEngine& engine) {
  const Nv<nvinfer1::IEngineInspector> inspector(engine.createEngineInspector());
  return inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON);
}

}  // namespace twofour::tensorrt
