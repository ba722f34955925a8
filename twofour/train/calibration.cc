#include "twofour/train/calibration.h"

#include <fmt/format.h>

#include <algorithm>

#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/quant/quantize.h"
#include "twofour/train/fake_quantize.h"
#include "twofour/train/result_model.h"
#include "twofour/train/sparsity_context.h"
#include "twofour/train/torch_session.h"

namespace twofour {
namespace {

TokenStore tokenize(const ModelDirectory& model, const Dataset& data, int64_t max_length,
                    int threads, const Callbacks& callbacks) {
  const auto tokenizer = Tokenizer::open(model);
  if (const std::string warning = tokenizer->warning(); !warning.empty()) callbacks.warn(warning);
  ThreadPool pool(threads);
  const int64_t length = std::min(max_length, model.config().max_sequence_length);
  return classifies(model.config().head) ? TokenStore::of_pairs(data, *tokenizer, length, pool)
                                         : TokenStore::of_texts(data, *tokenizer, length, pool);
}

// The first batches of a shuffled epoch.
std::vector<Batch> draw_batches(const CalibrateRequest& request, const ModelDirectory& model,
                                const Dataset& data, const TokenStore& tokens) {
  const bool pairs = classifies(model.config().head);
  const Batcher batcher(data, tokens,
                        {.form = pairs ? BatchForm::kPairs : BatchForm::kTexts,
                         .batch_pairs = request.batch_pairs,
                         .seed = request.seed});
  std::vector<Batch> batches = batcher.plan(0);
  batches.resize(std::min<size_t>(batches.size(), request.batches));
  return batches;
}

void check_request(const CalibrateRequest& request, const ModelDirectory& model,
                   const Network& network) {
  const std::string where = request.model.string();
  if (model.config().int8) throw Error(where, "is int8 already", "Calibrate the float model.");
  if (request.batches < 1 || request.batch_pairs < 1) {
    throw Error("calibrate", "batches and batch_pairs must be above 0");
  }
  const std::vector<std::string> absent = check_parameters(network, model);
  if (!absent.empty()) {
    throw Error(where, "lacks " + absent.front() + ": its head is not trained",
                "Train it first, for example with recipes/dense.yaml.");
  }
}

// The weights that are 2:4 already must be so in the result.
void keep_sparsity(const Network& network, const ParameterMap& parameters, ResultModel& result,
                   ResultDescription& description) {
  SparsityContext context(network, {});
  context.adopt(parameters);
  result.sparse_weights = context.sparse_weights();
  description.sparsity = context.sparsity();
  description.share_rows = context.share_rows();
}

}  // namespace

std::vector<float> calibrate_scales(const Network& network, const ParameterMap& parameters,
                                    const TokenStore& tokens, std::span<const Batch> batches,
                                    const CalibrationMethod& method, const TokenMasker* masker,
                                    const std::function<bool()>& stop) {
  const at::NoGradGuard no_grad;
  const TorchInterpreter interpreter(network, parameters);
  CalibrationHook hook(network.quant_points.size());
  for (const Batch& batch : batches) {
    if (stop && stop()) return {};
    TokenTensors read = tokens.collate(batch.sequences);
    if (masker) masker->mask(fixed_seeds(batch.sequences), read);
    interpreter.forward(to_device(read, device_of(parameters)), {.hook = &hook});
  }
  std::vector<float> scales;
  for (const Histogram& histogram : hook.histograms()) {
    scales.push_back(scale_from_amax(amax_from_histogram(histogram, method)));
  }
  return scales;
}

void run_calibration(const CalibrateRequest& request, const Callbacks& callbacks) {
  const int threads = request.threads > 0 ? request.threads : available_cores();
  const TorchSession session(threads, /*deterministic=*/true);
  const ModelDirectory model = ModelDirectory::open(request.model);
  const Network network = build_network(model.config());
  check_request(request, model, network);

  const Dataset data = read_dataset(request.data, {.need_labels = false});
  const TokenStore tokens = tokenize(model, data, request.max_length, threads, callbacks);
  const std::vector<Batch> batches = draw_batches(request, model, data, tokens);
  const ParameterMap parameters = load_parameters(network, model, request.seed);
  if (model.config().head == HeadKind::kTokenClassification) {
    callbacks.warn(
        "calibrating on texts without [MASK]: a recipe with 'calibrate' sees the masked tokens of "
        "its training");
  }
  callbacks.info(fmt::format("calibrating (quantization points: {}, batches: {})",
                             network.quant_points.size(), batches.size()));
  ResultModel result{model, network, parameters,
                     calibrate_scales(network, parameters, tokens, batches, request.method,
                                      /*masker=*/nullptr)};
  ResultDescription description{.int8 = true, .calibration = request.method.to_string()};
  keep_sparsity(network, parameters, result, description);
  result.twofour_json = describe_result(description, model.twofour_json());
  write_result_model(request.out, result);
}

}  // namespace twofour
