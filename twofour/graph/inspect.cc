#include "twofour/graph/inspect.h"

#include <fmt/format.h>

#include <set>

namespace twofour {
namespace {

std::string multiple_of(std::string_view dimension, int64_t size, int64_t divisor) {
  if (size % divisor == 0) return {};
  return fmt::format("{} = {} is not a multiple of {}", dimension, size, divisor);
}

std::string first_of(const std::string& a, const std::string& b) { return a.empty() ? b : a; }

// values k / 2, metadata k / 8 and one f32 scale for each row, one input scale.
uint64_t sparse_int8_bytes(int64_t n, int64_t k) {
  return static_cast<uint64_t>(n * (k / 2 + k / 8) + 4 * n + 4);
}

uint64_t tensor_bytes(const ModelDirectory& model, const std::string& name) {
  return model.contains(name) ? model.tensor(name).bytes() : 0;
}

SparsityReport sparsity_of(const TensorView& view, const std::string& name) {
  if (view.dtype != DType::kF64) return sparsity_report(view);
  return sparsity_report(to_f32(view, name));
}

LayerReport inspect_layer(const Network& network, const Op& op, const ModelDirectory& model) {
  const Parameter& weight = network.parameter(op, 0);
  const TensorView view = model.tensor(weight.name);
  LayerReport report;
  report.name = op.name;
  report.n = weight.shape[0];
  report.k = weight.shape[1];
  report.dtype = view.dtype;
  report.not_prunable = why_not_prunable(network, op);
  report.engines = sparse_int8_engines(report.n, report.k);
  report.sparsity = sparsity_of(view, weight.name);
  report.bytes_now = view.bytes() + tensor_bytes(model, weight.name + "_scale") +
                     tensor_bytes(model, op.name + ".input_scale");
  report.bytes_after =
      report.not_prunable.empty() ? sparse_int8_bytes(report.n, report.k) : report.bytes_now;
  return report;
}

}  // namespace

std::vector<Eligibility> sparse_int8_engines(int64_t n, int64_t k) {
  // cuSPARSELt wants 32 elements of the structured operand's rows and columns; TensorRT's sparse
  // tactics 4 input channels a group and 16-byte rows.
  return {{"cpu", multiple_of("k", k, 8)},
          {"cusparselt", first_of(multiple_of("k", k, 32), multiple_of("n", n, 32))},
          {"tensorrt", first_of(multiple_of("k", k, 16), multiple_of("n", n, 16))}};
}

std::string why_not_prunable(const Network& network, const Op& op) {
  if (op.kind != OpKind::kLinear) return "not a linear layer";
  if (!op.prunable) return "head: stays dense";
  return multiple_of("k", network.parameter(op, 0).shape[1], 4);
}

std::string dense_layer_warning(const Op& op, std::string_view reason) {
  return fmt::format("{} stays dense: {}", op.name, reason);
}

std::vector<std::string> unread_tensors(const Network& network, const ModelDirectory& model) {
  std::set<std::string> read;
  for (const Parameter& parameter : network.parameters) {
    read.insert(parameter.name);
    read.insert(parameter.name + "_scale");
  }
  for (const Op& op : network.ops) {
    if (op.kind == OpKind::kLinear) read.insert(op.name + ".input_scale");
  }
  std::vector<std::string> unread;
  for (const std::string& name : model.tensor_names()) {
    if (!read.contains(name)) unread.push_back(name);
  }
  return unread;
}

ModelReport inspect_model(const Network& network, const ModelDirectory& model) {
  ModelReport report;
  report.absent = check_parameters(network, model);
  report.weight_file_bytes = model.weight_file_bytes();
  uint64_t all = 0;
  for (const Parameter& parameter : network.parameters) {
    all += tensor_bytes(model, parameter.name);
    all += tensor_bytes(model, parameter.name + "_scale");
  }
  for (const Op& op : network.ops) {
    if (op.kind != OpKind::kLinear || !model.contains(network.parameter(op, 0).name)) continue;
    all += tensor_bytes(model, op.name + ".input_scale");
    report.layers.push_back(inspect_layer(network, op, model));
    report.matrix_bytes_now += report.layers.back().bytes_now;
    report.matrix_bytes_after += report.layers.back().bytes_after;
  }
  report.other_bytes = all - report.matrix_bytes_now;
  for (const std::string& name : unread_tensors(network, model)) {
    ++report.unused_tensors;
    report.unused_bytes += tensor_bytes(model, name);
  }
  return report;
}

}  // namespace twofour
