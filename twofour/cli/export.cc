#include "twofour/export/api.h"

#include <fmt/format.h>

#include <filesystem>

#include "twofour/cli/command.h"
#include "twofour/cli/format.h"

namespace twofour::cli {
namespace {

constexpr const char* kExamples =
    R"(Writes the model as ONNX for other engines. An int8 model becomes Q/DQ with the scales of its file, placed where
the target fuses them; a 2:4 model stays 2:4. Inputs are input_ids, attention_mask and token_type_ids, int64
[batch, sequence]; the output is logits, embeddings or last_hidden_state. Weights beyond 2 GB go to FILE.onnx.data.

Examples:
  twofour export model --out model.onnx
  twofour export model-int8 --out model-int8.onnx --target openvino
  twofour export model-int8 --out model-int8.onnx --target tensorrt --opset 20
  twofour export model-int8 --out model-int8.onnx --target tensorrt --gemm-as-conv)";

void print_summary(const ExportRequest& request, const ExportSummary& summary, Console& console) {
  console.info(fmt::format("wrote {} ({}): {} nodes, {} linear layers, {} of them int8, {} 2:4",
                           request.out.string(), format_bytes(summary.bytes), summary.nodes,
                           summary.linear_layers, summary.int8_layers, summary.sparse_layers));
  if (summary.convolutions > 0) {
    console.info(fmt::format("{} linear layers are 1x1 convolutions", summary.convolutions));
  }
  if (!summary.data.empty()) console.info(fmt::format("weights are in {}", summary.data.string()));
  if (summary.clipped_points > 0) {
    console.info(fmt::format("{} of {} quantized values are clipped at -127 first",
                             summary.clipped_points, summary.quant_points));
  }
}

int run_export(const ExportRequest& request, Console& console) {
  print_summary(request, export_api().export_onnx(request), console);
  return kOk;
}

}  // namespace

Command add_export(CLI::App& root, Console& console) {
  auto request = std::make_shared<ExportRequest>();
  CLI::App* app = root.add_subcommand("export", "Write a model as ONNX for other engines");
  app->footer(kExamples);
  app->add_option("model", request->model, "Model directory: float or int8, dense or 2:4")
      ->required()
      ->type_name("MODEL");
  app->add_option("--out", request->out, "ONNX file to write")->required()->type_name("FILE.onnx");
  app->add_option("--target", request->target, "Engine: onnxruntime, openvino or tensorrt")
      ->capture_default_str();
  app->add_option("--opset", request->opset, "ONNX operator set, 17 to 21")->capture_default_str();
  app->add_flag("--clip,!--no-clip", request->clip,
                "Keep quantized values at -127 and above, as twofour does [on]");
  app->add_flag("--gemm-as-conv", request->gemm_as_conv,
                "The encoder's linear layers as 1x1 convolutions, weights [n, k, 1, 1]");
  app->add_flag("--external-data", request->external_data,
                "Weights in FILE.onnx.data, whatever the size");
  return {app, [request, &console] { return run_export(*request, console); }};
}

}  // namespace twofour::cli
