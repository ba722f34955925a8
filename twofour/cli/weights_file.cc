#include "twofour/cli/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/cli/format.h"
#include "twofour/cli/model_json.h"
#include "twofour/cli/table.h"
#include "twofour/export/api.h"
#include "twofour/graph/weights.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Reports = std::vector<WeightReport>;

std::string zeros_of(const ConvCounts& counts) {
  if (counts.values == 0) return "-";
  return fmt::format("{:.1f}",
                     100 * static_cast<double>(counts.zeros) / static_cast<double>(counts.values));
}

void print(const Reports& reports, std::ostream& out) {
  out << fmt::format("2:4 along input channels: {} of {}\n\n", sparse_weights(reports),
                     counted(std::ssize(reports), "weight"));
  Table table({"<weight", "<read by", "<shape", "groups", "<type", "zeros %", "groups of 4", "2:4",
               "<eligible as 2:4 int8"});
  for (const WeightReport& w : reports) {
    table.add_row({w.name, w.op.empty() ? "-" : w.op, w.shape.to_string(),
                   std::to_string(w.conv.groups), w.type, zeros_of(w.counts),
                   std::to_string(w.counts.groups_of_four), std::to_string(w.counts.groups_2_4),
                   describe_engines(w.dense, w.engines)});
  }
  table.print(out);
}

Json weight_json(const WeightReport& w) {
  Json json = {{"name", w.name},
               {"op", w.op},
               {"shape", w.shape.dims()},
               {"n", w.conv.out},
               {"k", w.conv.in},
               {"kernel", {w.conv.height, w.conv.width}},
               {"conv_groups", w.conv.groups},
               {"type", w.type},
               {"values", w.counts.values},
               {"zeros", w.counts.zeros},
               {"groups", w.counts.groups_of_four},
               {"groups_2_4", w.counts.groups_2_4},
               {"sparse", w.is_sparse()},
               {"eligible", engines_json(w.dense, w.engines)}};
  if (!w.dense.empty()) json["dense"] = w.dense;
  return json;
}

[[noreturn]] void refuse_without_weights(const fs::path& path) {
  if (is_onnx(path)) {
    throw Error(path.string(), "holds no Conv, Gemm or MatMul with a constant weight",
                "QLinearConv, QLinearMatMul, MatMulInteger and nodes of com.microsoft are not "
                "read: export it with QuantizeLinear and DequantizeLinear (QDQ) in their place");
  }
  throw Error(path.string(), "holds no tensor X.weight with two dimensions or four",
              "Name a file whose tensors have such names, or export the network as ONNX");
}

}  // namespace

bool is_onnx(const fs::path& path) {
  std::error_code unknown;
  return path.extension() == ".onnx" && !fs::is_directory(path, unknown);
}

bool is_safetensors(const fs::path& path) {
  return path.extension() == ".safetensors" ||
         path.filename().string().ends_with(".safetensors.index.json");
}

bool is_weights_file(const fs::path& path) { return is_onnx(path) || is_safetensors(path); }

void inspect_weights_file(const fs::path& path, ConvLayout layout, bool json, Console& console) {
  const Reports reports = is_onnx(path) ? export_api().inspect_onnx(path)
                                        : inspect_weights(Safetensors::open(path), layout);
  if (reports.empty()) refuse_without_weights(path);
  if (json) {
    console.out() << json_text(weights_json(path, reports), 2) << '\n';
  } else {
    print(reports, console.out());
  }
}

Json weights_json(const fs::path& path, const Reports& reports) {
  Json weights = Json::array();
  for (const WeightReport& report : reports) weights.push_back(weight_json(report));
  return {{"file", path.string()},
          {"sparse_weights", sparse_weights(reports)},
          {"weights", std::move(weights)}};
}

int64_t sparse_weights(const Reports& reports) {
  return std::ranges::count_if(reports, &WeightReport::is_sparse);
}

}  // namespace twofour::cli
