#include "twofour/train/sparsity_context.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/graph/inspect.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/train/aten_forms.h"
#include "twofour/train/elementwise.h"
#include "twofour/train/torch_tensors.h"

namespace twofour {
namespace {

constexpr NmPattern kPattern;
constexpr int64_t kGrain = 1 << 15;
constexpr const char* kSchedule = "schedule";

bool matches(const std::string& glob, const std::string& name) {
  return fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

void check_globs(const Network& network, const std::vector<std::string>& globs) {
  for (const std::string& glob : globs) {
    const bool found = std::any_of(network.ops.begin(), network.ops.end(), [&](const Op& op) {
      return op.kind == OpKind::kLinear && matches(glob, op.name);
    });
    if (!found) {
      throw Error("keep_dense", fmt::format("\"{}\" matches no linear layer", glob),
                  "`twofour inspect` lists the layers of a model");
    }
  }
}

bool stays_dense(const Op& op, const std::vector<std::string>& globs) {
  return !op.prunable || std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    return matches(glob, op.name);
  });
}

const uint8_t* keep_of(const at::Tensor& mask) {
  return static_cast<const uint8_t*>(mask.const_data_ptr());
}
float* floats(const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

at::Tensor mask_tensor(const Mask& mask) {
  at::Tensor result = at::empty({mask.rows, mask.cols}, at::kBool);
  std::copy(mask.keep.begin(), mask.keep.end(), static_cast<uint8_t*>(result.mutable_data_ptr()));
  return result;
}

Mask mask_of(const at::Tensor& tensor) {
  const uint8_t* keep = keep_of(tensor);
  return {tensor.size(0), tensor.size(1), std::vector<uint8_t>(keep, keep + tensor.numel())};
}

int share_of(const RowSets& sets) {
  return sets.empty() ? 1 : static_cast<int>(sets.front().size());
}

at::Tensor row_sets_tensor(const RowSets& sets) {
  at::Tensor result = at::empty({static_cast<int64_t>(sets.size()), share_of(sets)}, at::kInt);
  int32_t* out = result.mutable_data_ptr<int32_t>();
  for (const std::vector<int32_t>& set : sets) out = std::copy(set.begin(), set.end(), out);
  return result;
}

RowSets row_sets_of(const at::Tensor& tensor) {
  const int32_t* rows = tensor.const_data_ptr<int32_t>();
  RowSets sets(tensor.size(0));
  for (std::vector<int32_t>& set : sets) {
    set.assign(rows, rows + tensor.size(1));
    rows += tensor.size(1);
  }
  return sets;
}

// Calls f(first element, elements) for parts of a matrix, on several threads.
template <class F>
void for_parts(const at::Tensor& tensor, F f) {
  at::parallel_for(0, tensor.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += kGrain) f(begin, std::min(kGrain, end - begin));
  });
}

// A violation is rare once gradients are masked, so a step usually only reads.
void zero_outside(const at::Tensor& mask, const at::Tensor& values, const at::Tensor& removed) {
  if (aten_forms::needed(values)) return aten_forms::zero_outside(mask, values, removed);
  const uint8_t* keep = keep_of(mask);
  float* x = floats(values);
  float* collected = removed.defined() ? floats(removed) : nullptr;
  for_parts(mask, [&](int64_t begin, int64_t count) {
    if (!elementwise::violates(keep + begin, x + begin, count)) return;
    if (collected) {
      elementwise::select_into(keep + begin, x + begin, collected + begin, count);
    } else {
      elementwise::select(keep + begin, x + begin, count);
    }
  });
}

bool any_outside(const at::Tensor& mask, const at::Tensor& values) {
  if (aten_forms::needed(values)) return aten_forms::any_outside(mask, values);
  std::atomic<bool> found = false;
  for_parts(mask, [&](int64_t begin, int64_t count) {
    if (elementwise::violates(keep_of(mask) + begin, values.const_data_ptr<float>() + begin, count))
      found = true;
  });
  return found;
}

void check_same(const std::string& key, const at::Tensor& tensor, at::ScalarType type,
                const std::vector<int64_t>& sizes) {
  if (tensor.scalar_type() == type && tensor.sizes() == at::IntArrayRef(sizes)) return;
  throw Error("SparsityContext",
              fmt::format("{} is {} {}, expected {} {}", key, at::toString(tensor.scalar_type()),
                          Shape(tensor.sizes().vec()).to_string(), at::toString(type),
                          Shape(sizes).to_string()),
              "Resume with the model and recipe that the checkpoint was made from");
}

// Reads tensors by name and counts them, so that left-over ones are noticed.
class StateReader {
 public:
  explicit StateReader(const std::map<std::string, at::Tensor>& state) : state_(state) {}

  // A copy; undefined if absent.
  at::Tensor take(const std::string& key, at::ScalarType type, const std::vector<int64_t>& sizes) {
    const auto found = state_.find(key);
    if (found == state_.end()) return {};
    check_same(key, found->second, type, sizes);
    ++taken_;
    return found->second.contiguous().clone();
  }

  void finish() const {
    if (taken_ == state_.size()) return;
    throw Error(
        "SparsityContext",
        fmt::format("masks of no prunable layer: {} of {}", state_.size() - taken_, state_.size()),
        "Resume with the model and recipe that the checkpoint was made from");
  }

 private:
  const std::map<std::string, at::Tensor>& state_;
  size_t taken_ = 0;
};

const at::Tensor& parameter(const ParameterMap& parameters, const std::string& name) {
  const auto found = parameters.find(name);
  if (found == parameters.end())
    throw Error("SparsityContext", fmt::format("parameter {} is missing", name));
  return found->second;
}

// Sets of the same size for all weights: at most `share_rows` rows, and single rows at the least.
std::vector<RowSets> common_row_sets(const std::vector<TensorView>& weights, int share_rows) {
  std::vector<RowSets> all;
  for (const TensorView& weight : weights) {
    std::optional<RowSets> sets = find_row_sets(weight, share_rows);
    if (!sets) return common_row_sets(weights, share_rows / 2);
    all.push_back(std::move(*sets));
  }
  return all;
}

}  // namespace

SparsityContext::SparsityContext(const Network& network, const Recipe& recipe, at::Device device)
    : device_(device), saliency_(saliency_by_name(recipe.saliency)) {
  check_globs(network, recipe.keep_dense);
  for (const Op& op : network.ops) {
    if (op.kind != OpKind::kLinear || stays_dense(op, recipe.keep_dense)) continue;
    if (const std::string reason = why_not_prunable(network, op); !reason.empty()) {
      left_dense_.push_back(dense_layer_warning(op, reason));
      continue;
    }
    const Parameter& weight = network.parameter(op, 0);
    Layer& layer = layers_.emplace_back();
    layer.weight = weight.name;
    layer.rows = weight.shape[0];
    layer.cols = weight.shape[1];
    names_.push_back(weight.name);
  }
  schedule_.regrowth_left = std::count_if(recipe.stages.begin(), recipe.stages.end(),
                                          [](const Stage& stage) { return stage.regrowth; });
}

void SparsityContext::adopt(const ParameterMap& parameters) {
  std::vector<Layer*> adopted;
  std::vector<at::Tensor> kept;  // what the views point into
  std::vector<TensorView> weights;
  int share_rows = 32;
  for (Layer& layer : layers_) {
    const at::Tensor weight = parameter(parameters, layer.weight).detach().cpu();
    const SparsityReport report = sparsity_report(view_of(weight));
    if (report.zeros < 0.5 || report.groups_2_4 < 1) continue;
    layer.mask = weight.ne(0).to(device_);
    if (schedule_.regrowth_left > 0) layer.removed = at::zeros_like(layer.mask, at::kFloat);
    share_rows = std::min(share_rows, report.share_rows);
    adopted.push_back(&layer);
    kept.push_back(weight);
    weights.push_back(view_of(weight));
  }
  if (adopted.empty()) return;
  std::vector<RowSets> sets = common_row_sets(weights, share_rows);
  for (size_t i = 0; i < adopted.size(); ++i) adopted[i]->row_sets = std::move(sets[i]);
  schedule_.share_rows = share_of(adopted.front()->row_sets);
  zeros_ = count_zeros();
}

std::map<std::string, at::Tensor> SparsityContext::advance(const Stage& stage,
                                                           const ParameterMap& parameters) {
  const at::NoGradGuard no_grad;
  if (stage.regrowth) --schedule_.regrowth_left;
  const bool holds = stage.sparsity == schedule_.sparsity &&
                     (stage.share_rows == schedule_.share_rows || stage.sparsity == 0);
  std::map<std::string, at::Tensor> newly_pruned;
  if (holds && !stage.regrowth) return newly_pruned;
  for (Layer& layer : layers_) {
    newly_pruned[layer.weight] = advance_layer(layer, stage, parameter(parameters, layer.weight));
  }
  schedule_.sparsity = stage.sparsity;
  schedule_.share_rows = stage.share_rows;
  zeros_ = count_zeros();
  apply(parameters);
  return newly_pruned;
}

at::Tensor SparsityContext::advance_layer(Layer& layer, const Stage& stage,
                                          const at::Tensor& weight) const {
  if (stage.regrowth && layer.removed.defined()) weight.add_(layer.removed);
  MaskResult result = new_mask(layer, stage, weight.cpu());
  const at::Tensor mask = mask_tensor(result.mask).to(device_);
  const at::Tensor old = layer.mask.defined() ? layer.mask : at::ones_like(mask);
  if (!stage.regrowth && mask.logical_and(old.logical_not()).any().item<bool>()) {
    throw Error(layer.weight, "the new mask keeps a weight that was pruned before");
  }
  layer.mask = mask;
  layer.row_sets = std::move(result.row_sets);
  if (schedule_.regrowth_left == 0) {
    layer.removed.reset();
  } else if (stage.regrowth || !layer.removed.defined()) {
    layer.removed = at::zeros_like(mask, at::kFloat);
  }
  return old.logical_and(mask.logical_not());
}

MaskResult SparsityContext::new_mask(const Layer& layer, const Stage& stage,
                                     const at::Tensor& weight) const {
  const auto count = static_cast<size_t>(weight.numel());
  std::vector<float> saliency(count);
  saliency_({weight.const_data_ptr<float>(), count}, saliency);

  Mask within;
  MaskOptions options;
  options.pattern = kPattern;
  options.sparsity = stage.sparsity;
  options.share_rows = stage.share_rows;
  options.pairing = stage.pairing;
  if (layer.mask.defined() && !stage.regrowth) {
    within = mask_of(layer.mask.cpu());
    options.within = &within;
  }
  if (!layer.row_sets.empty() && share_of(layer.row_sets) == stage.share_rows)
    options.row_sets = &layer.row_sets;
  return compute_mask(layer.weight, saliency, layer.rows, layer.cols, options);
}

void SparsityContext::apply(const ParameterMap& parameters) {
  for (const Layer& layer : layers_) {
    if (layer.mask.defined())
      zero_outside(layer.mask, parameter(parameters, layer.weight), layer.removed);
  }
}

void SparsityContext::mask_gradients(const ParameterMap& parameters) const {
  if (schedule_.regrowth_left > 0) return;
  for (const Layer& layer : layers_) {
    const at::Tensor& gradient = parameter(parameters, layer.weight).grad();
    if (!layer.mask.defined() || !gradient.defined()) continue;
    if (aten_forms::needed(gradient)) {
      aten_forms::zero_outside(layer.mask, gradient, /*removed=*/{});
      continue;
    }
    for_parts(layer.mask, [&](int64_t begin, int64_t count) {
      elementwise::select(keep_of(layer.mask) + begin, floats(gradient) + begin, count);
    });
  }
}

void SparsityContext::check(const ParameterMap& parameters) const {
  for (const Layer& layer : layers_) {
    const at::Tensor& weight = parameter(parameters, layer.weight);
    if (!layer.mask.defined() || !any_outside(layer.mask, weight)) continue;
    const int64_t index = weight.detach()
                              .ne(0)
                              .logical_and(layer.mask.logical_not())
                              .flatten()
                              .nonzero()[0]
                              .item<int64_t>();
    throw Error(layer.weight, fmt::format("the weight at [{}, {}] is {}, but its mask prunes it",
                                          index / layer.cols, index % layer.cols,
                                          weight.flatten()[index].item<float>()));
  }
}

double SparsityContext::count_zeros() const {
  double zeros = 0, total = 0;
  for (const Layer& layer : layers_) {
    const auto size = static_cast<double>(layer.rows * layer.cols);
    if (layer.mask.defined()) zeros += size - static_cast<double>(layer.mask.sum().item<int64_t>());
    total += size;
  }
  return total > 0 ? zeros / total : 0;
}

std::vector<std::string> SparsityContext::sparse_weights() const {
  std::vector<std::string> names;
  for (const Layer& layer : layers_) {
    if (!layer.mask.defined()) continue;
    const at::Tensor kept = layer.mask.view({layer.rows, -1, kPattern.m}).sum(-1);
    if (kept.le(kPattern.n).all().item<bool>()) names.push_back(layer.weight);
  }
  return names;
}

bool SparsityContext::active() const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [](const Layer& layer) { return layer.mask.defined(); });
}

std::map<std::string, at::Tensor> SparsityContext::state() const {
  std::map<std::string, at::Tensor> result;
  result[kSchedule] = at::tensor({static_cast<double>(schedule_.regrowth_left), schedule_.sparsity,
                                  static_cast<double>(schedule_.share_rows)},
                                 at::kDouble);
  for (const Layer& layer : layers_) {
    if (!layer.mask.defined()) continue;
    result["mask." + layer.weight] = layer.mask;
    result["row_sets." + layer.weight] = row_sets_tensor(layer.row_sets);
    if (layer.removed.defined()) result["removed." + layer.weight] = layer.removed;
  }
  return result;
}

void SparsityContext::load_state(const std::map<std::string, at::Tensor>& state) {
  StateReader reader(state);
  const at::Tensor schedule = reader.take(kSchedule, at::kDouble, {3});
  if (!schedule.defined())
    throw Error("SparsityContext", fmt::format("the state lacks {}", kSchedule));
  const double* values = schedule.const_data_ptr<double>();
  const Schedule loaded{static_cast<int64_t>(values[0]), values[1],
                        std::max(1, static_cast<int>(values[2]))};

  std::vector<Layer> layers = layers_;
  for (Layer& layer : layers) {
    const auto take = [&](const char* kind, at::ScalarType type) {
      return to_device(reader.take(kind + layer.weight, type, {layer.rows, layer.cols}), device_);
    };
    layer.mask = take("mask.", at::kBool);
    layer.removed = take("removed.", at::kFloat);
    const at::Tensor sets = reader.take("row_sets." + layer.weight, at::kInt,
                                        {layer.rows / loaded.share_rows, loaded.share_rows});
    if (layer.mask.defined() != sets.defined()) {
      throw Error(
          "SparsityContext",
          fmt::format("mask.{0} and row_sets.{0} come together, one is missing", layer.weight));
    }
    layer.row_sets = sets.defined() ? row_sets_of(sets) : RowSets{};
  }
  reader.finish();
  layers_ = std::move(layers);
  schedule_ = loaded;
  zeros_ = count_zeros();
}

}  // namespace twofour
