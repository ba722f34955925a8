#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/pruning.h"
#include "twofour/cli/testing/int8_model.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/export/api.h"
#include "twofour/io/safetensors.h"
#include "twofour/io/testing.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// First: a library that was opened once stays open.
TEST(ExportCommand, AbsentLibraryIsNamedWithTheRemedy) {
  setenv("TWOFOUR_EXPORT_LIBRARY", "/nowhere/libtwofour_export.so", 1);
  EXPECT_THAT([] { export_api(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("tried /nowhere/libtwofour_export.so"),
                                         HasSubstr("TWOFOUR_EXPORT_LIBRARY"))));
  unsetenv("TWOFOUR_EXPORT_LIBRARY");
}

TEST(ExportCommand, DoctorSaysWhereOptionalLibrariesAre) {
  for (const char* name : {"TWOFOUR_TRAIN_LIBRARY", "TWOFOUR_TENSORRT_LIBRARY"})
    setenv(name, "/nowhere/lib.so", 1);
  const Outcome outcome = run_command({"doctor"});
  for (const char* name : {"TWOFOUR_TRAIN_LIBRARY", "TWOFOUR_TENSORRT_LIBRARY"}) unsetenv(name);
  EXPECT_THAT(outcome.out,
              ::testing::ContainsRegex(
                  "\nexport      for export, inspect FILE.onnx: /[^ ]*/libtwofour_export.so\n"));
  EXPECT_THAT(outcome.out,
              HasSubstr("\ntensorrt    for build-engine, --backend tensorrt: not available: "
                        "[libtwofour_tensorrt.so] the TensorRT library is not there"));
}

TEST(ExportCommand, AFileWhoseWeightsAreNotReadIsRefusedWithTheFormThatIs) {
  const auto file = scratch("onnx") / "model.onnx";
  spill(file, {"\x3a\x00", 2});  // a graph without nodes
  const Outcome outcome = run_command({"inspect", file});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("model.onnx] holds no Conv, Gemm or MatMul"),
                                 HasSubstr("QLinearConv, QLinearMatMul, MatMulInteger")));
}

TEST(ExportCommand, WritesAFile) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", model("cross-encoder"), "--out", out});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("linear layers, 0 of them int8, 0 2:4"));
  EXPECT_TRUE(std::filesystem::exists(out));
}

TEST(ExportCommand, ExternalDataAreNamed) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", model("minilm"), "--out", out, "--external-data"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("weights are in " + out.string() + ".data"));
}

TEST(ExportCommand, ReportSaysWhichKernelsCanTakeALayer) {
  const auto folder = scratch("onnx");
  const auto pruned = folder / "pruned";
  ASSERT_EQ(run_command({"prune", model("minilm"), "--out", pruned}).code, 0);
  const Outcome outcome = run_command(
      {"export", pruned, "--out", folder / "model.onnx", "--report", folder / "report.json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("2:4 kernels of TensorRT can take 0 layers"));
  const auto report = nlohmann::json::parse(slurp(folder / "report.json"));
  EXPECT_EQ(report["sparse_layers"], report["layers"].size());
  for (const auto& layer : report["layers"]) {
    EXPECT_EQ(layer["groups_2_4"], layer["groups"]);
    EXPECT_EQ(layer["groups"], layer["n"].get<int64_t>() * layer["k"].get<int64_t>() / 4);
    EXPECT_THAT(layer["eligible"]["tensorrt"], HasSubstr("F32"));
  }
}

TEST(ExportCommand, ReportThatCannotBeWrittenIsRefusedFirst) {
  const auto folder = scratch("onnx");
  const auto out = folder / "model.onnx";
  const Outcome onto_folder =
      run_command({"export", model("minilm"), "--out", out, "--report", folder});
  EXPECT_EQ(onto_folder.code, 1);
  EXPECT_THAT(onto_folder.err, HasSubstr("it is a folder"));
  const Outcome onto_file = run_command({"export", model("minilm"), "--out", out, "--report", out});
  EXPECT_EQ(onto_file.code, 1);
  EXPECT_THAT(onto_file.err, HasSubstr("name of the exported file"));
  const Outcome typo =
      run_command({"export", model("minilm"), "--out", out, "--report", folder / "typo/x.json"});
  EXPECT_EQ(typo.code, 1);
  EXPECT_THAT(typo.err, HasSubstr("x.json] cannot be written: there is no folder "));
  EXPECT_THAT(run_command({"export", model("minilm"), "--out", folder / "typo/x.onnx"}).err,
              HasSubstr("x.onnx] cannot be written: there is no folder "));
  EXPECT_FALSE(std::filesystem::exists(folder / "typo"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(ExportCommand, PluginNodesAreReported) {
  const auto folder = scratch("onnx");
  const Outcome outcome =
      run_command({"export", int8_model("cross-encoder"), "--out", folder / "model.onnx",
                   "--target", "tensorrt", "--plugin", "--report", folder / "report.json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("12 linear layers are nodes of the plug-in SpmmPluginDynamic"),
                    HasSubstr("2 are not: head: stays dense")));
  const auto report = nlohmann::json::parse(slurp(folder / "report.json"));
  EXPECT_EQ(report["plugin_layers"], 12);
  EXPECT_EQ(report["layers"][0]["form"], "plugin");
  const Outcome both = run_command({"export", model("minilm"), "--out", folder / "other.onnx",
                                    "--target", "tensorrt", "--plugin", "--gemm-as-conv"});
  EXPECT_EQ(both.code, 2);
  const Outcome rows = run_command({"export", model("minilm"), "--out", folder / "other.onnx",
                                    "--target", "tensorrt", "--plugin", "--plugin-max-rows", "-3"});
  EXPECT_EQ(rows.code, 2);
  EXPECT_THAT(rows.err, HasSubstr("--plugin-max-rows: Value -3 not in range 1 to 1048576"));
}

TEST(ExportCommand, ResidualsInInt8AreCounted) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", int8_model("cross-encoder"), "--out", out,
                                       "--target", "tensorrt", "--quantize-residual"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("4 residual connections add an int8 copy"));
}

TEST(ExportCommand, InspectCountsTheWrittenFile) {
  const auto folder = scratch("onnx");
  const auto out = folder / "model.onnx";
  ASSERT_EQ(run_command({"export", int8_model("cross-encoder"), "--out", out, "--target",
                         "tensorrt", "--gemm-as-conv"})
                .code,
            0);
  const Outcome text = run_command({"inspect", out});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("2:4 along input channels: 12 of "));
  const auto report = nlohmann::json::parse(run_command({"inspect", out, "--json"}).out);
  EXPECT_EQ(report["sparse_weights"], 12);
  int convolutions = 0;
  for (const auto& weight : report["weights"]) {
    if (weight["op"] != "Conv") continue;
    ++convolutions;
    EXPECT_EQ(weight["type"], "I8");
    EXPECT_EQ(weight["groups_2_4"], weight["groups"]);
    EXPECT_EQ(weight["eligible"]["cusparselt"], true);
  }
  EXPECT_EQ(convolutions, 12);
}

TEST(ExportCommand, ANetworkInOnnxIsCountedAndReported) {
  const auto folder = scratch("onnx");
  const auto network = folder / "network.onnx", out = folder / "counted.onnx";
  ASSERT_EQ(run_command({"export", int8_model("cross-encoder"), "--out", network, "--target",
                         "tensorrt", "--gemm-as-conv"})
                .code,
            0);
  const Outcome outcome =
      run_command({"export", network, "--out", out, "--report", folder / "report.json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("14 weights, 12 of them 2:4"),
                    HasSubstr("TensorRT can take 12 weights, those of cuSPARSELt 12")));
  const auto report = nlohmann::json::parse(slurp(folder / "report.json"));
  EXPECT_EQ(report["file"], out.string());
  EXPECT_EQ(report["sparse_weights"], 12);
  EXPECT_EQ(report["weights"],
            nlohmann::json::parse(run_command({"inspect", out, "--json"}).out)["weights"]);
  EXPECT_THAT(run_command({"export", network, "--out", network}).err,
              HasSubstr("is an input of this command too"));
  for (const std::string option : {"--gemm-as-conv", "--no-clip", "--quantize-residual"}) {
    const Outcome usage = run_command({"export", network, "--out", out, option});
    EXPECT_EQ(usage.code, 2);
    EXPECT_THAT(usage.err, HasSubstr("goes with a model directory, not a network in ONNX"));
  }
}

uint16_t narrow(float value, DType dtype) {
  return dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
}

// The golden cross-encoder as apex leaves it: 2:4 weights in half precision, masks beside them.
std::filesystem::path pruned_elsewhere(DType dtype) {
  const ModelDirectory source = ModelDirectory::open(model("cross-encoder"));
  const Network network = build_network(source.config());
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : source.tensor_names()) {
    tensors[name] = to_f32(source.tensor(name), name);
  }
  for (const Op& op : network.ops) {
    if (!op.prunable) continue;
    PrunedLayer layer = prune_layer({}, source, network, op);
    Tensor mask(DType::kBool, layer.values.shape());
    for (int64_t i = 0; i < mask.numel(); ++i) {
      mask.data()[i] = std::byte(layer.values.as<float>()[i] != 0);
    }
    tensors[op.name + ".__weight_mma_mask"] = std::move(mask);
    tensors[layer.weight] = std::move(layer.values);
  }
  const auto folder = scratch(std::string("elsewhere-") + std::string(dtype_name(dtype)));
  for (const auto& file : std::filesystem::directory_iterator(model("cross-encoder"))) {
    if (file.path().extension() == ".safetensors") continue;
    std::filesystem::copy_file(file.path(), folder / file.path().filename());
  }
  std::vector<NamedTensor> named;
  for (auto& [name, tensor] : tensors) {
    if (tensor.dtype() == DType::kF32) {
      Tensor half(dtype, tensor.shape());
      for (int64_t i = 0; i < half.numel(); ++i) {
        half.as<uint16_t>()[i] = narrow(tensor.as<float>()[i], dtype);
      }
      tensor = std::move(half);
    }
    named.push_back({name, tensor.view()});
  }
  write_safetensors(folder / "model.safetensors", named);
  return folder;
}

TEST(ExportCommand, ModelsPrunedElsewhereAreTaken) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const auto folder = pruned_elsewhere(dtype);
    const Outcome inspected = run_command({"inspect", folder, "--json"});
    ASSERT_EQ(inspected.code, 0) << inspected.err;
    const auto report = nlohmann::json::parse(inspected.out);
    EXPECT_TRUE(report.contains("memory_bytes")) << inspected.err;  // the engine runs it
    int sparse = 0;
    for (const auto& layer : report["layers"]) {
      EXPECT_EQ(layer["type"], dtype_name(dtype));
      sparse += layer["groups_2_4"] == 1;
    }
    EXPECT_EQ(sparse, 12);
    const Outcome exported = run_command({"export", folder, "--out", folder / "model.onnx"});
    EXPECT_THAT(exported.err, HasSubstr("0 of them int8, 12 2:4"));
  }
}

TEST(ExportCommand, CompressedTensorsKeepEveryByte) {
  for (const std::string layout : {"cross-encoder", "minilm"}) {
    const auto source = int8_model(layout);
    const auto out = scratch("ct") / "model";
    const Outcome outcome =
        run_command({"export", source, "--out", out, "--format", "compressed-tensors"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("12 of them int8, 12 2:4"));
    for (const char* name : {"model.safetensors", "vocab.txt", "twofour.json"}) {
      EXPECT_TRUE(slurp(out / name) == slurp(source / name)) << name;
    }
    EXPECT_EQ(nlohmann::json::parse(slurp(out / "config.json")),
              nlohmann::json::parse(slurp(source / "config.json")));
  }
}

TEST(ExportCommand, DynamicActivationsStaySo) {
  const auto source = without_input_scales(ModelDirectory::open(int8_model("minilm"))).path();
  const auto out = scratch("ct") / "model";
  const Outcome outcome =
      run_command({"export", source, "--out", out, "--format", "compressed-tensors"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(ModelDirectory::open(out).config().dynamic_activations);
  EXPECT_TRUE(slurp(out / "model.safetensors") == slurp(source / "model.safetensors"));
  EXPECT_EQ(nlohmann::json::parse(slurp(out / "config.json")),
            nlohmann::json::parse(slurp(source / "config.json")));
  const Outcome onnx = run_command({"export", source, "--out", scratch("onnx") / "model.onnx"});
  EXPECT_EQ(onnx.code, 1);
  EXPECT_THAT(onnx.err, HasSubstr("has dynamic activations, which Q/DQ does not hold"));
}

TEST(ExportCommand, CompressedTensorsLeaveOutMasks) {
  const auto source = int8_model("minilm");
  const ModelDirectory model = ModelDirectory::open(source);
  const std::string expected = slurp(source / "model.safetensors");
  std::vector<NamedTensor> tensors;
  for (const std::string& name : model.tensor_names())
    tensors.push_back({name, model.tensor(name)});
  const std::string layer = "encoder.layer.0.attention.self.query";
  tensors.push_back({layer + ".__weight_mma_mask", model.tensor(layer + ".weight")});
  write_safetensors(source / "model.safetensors", tensors);
  const auto out = scratch("ct") / "model";
  EXPECT_EQ(run_command({"export", source, "--out", out, "--format", "compressed-tensors"}).code,
            0);
  EXPECT_TRUE(slurp(out / "model.safetensors") == expected);
}

TEST(ExportCommand, CompressedTensorsRefuse) {
  const auto source = int8_model("minilm");
  const auto out = scratch("ct") / "model";
  const auto refusal = [&](const std::string& model, const std::string& out, int code,
                           std::vector<std::string> more = {}) {
    std::vector<std::string> line{"export", model, "--out", out, "--format", "compressed-tensors"};
    line.insert(line.end(), more.begin(), more.end());
    const Outcome outcome = run_command(line);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(refusal(model("minilm"), out, 1), HasSubstr("twofour calibrate makes it int8"));
  EXPECT_THAT(refusal(source, source, 1), HasSubstr("is the model itself"));
  for (const std::string option :
       {"--gemm-as-conv", "--plugin", "--external-data", "--no-clip", "--quantize-residual"}) {
    refusal(source, out, 2, {option});
  }
  EXPECT_THAT(refusal(source, out, 2, {"--target", "openvino"}),
              HasSubstr("--target goes with --format onnx"));
  EXPECT_FALSE(std::filesystem::exists(out));
  refusal(source, out, 0);
  EXPECT_THAT(refusal(source, out, 1), HasSubstr("or give --force"));
  refusal(source, out, 0, {"--force"});
  const auto foreign = scratch("foreign");
  spill(foreign / "thesis.txt", "years of work");
  EXPECT_THAT(refusal(source, foreign, 1), HasSubstr("something other than a model: thesis.txt"));
  EXPECT_THAT(refusal(source, foreign / "thesis.txt", 1), HasSubstr("is a file"));
  EXPECT_EQ(slurp(foreign / "thesis.txt"), "years of work");
  EXPECT_THAT(refusal(foreign, out, 1), HasSubstr("config.json"));
}

TEST(ExportCommand, UnknownFormatIsRefused) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome =
      run_command({"export", model("minilm"), "--out", out, "--format", "gguf"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("gguf"));
}

TEST(ExportCommand, UnknownTargetIsRefused) {
  const auto out = scratch("onnx") / "model.onnx";
  const Outcome outcome = run_command({"export", model("minilm"), "--out", out, "--target", "tvm"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--target: tvm not in {onnxruntime,openvino,tensorrt}"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(ExportCommand, HelpListsTheTargetsOfTheLibrary) {
  EXPECT_THAT(run_command({"export", "--help"}).out,
              HasSubstr(fmt::format("{{{}}}", fmt::join(export_api().targets(), ","))));
}

TEST(ExportCommand, ValuesThatNoModelTakesAreWrongUsage) {
  const auto refusal = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"export", "nowhere", "--out", "x.onnx"});
    const Outcome outcome = run_command(more);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    return outcome.err;
  };
  for (const std::string opset : {"16", "22"})
    EXPECT_THAT(refusal({"--opset", opset}),
                HasSubstr("--opset: Value " + opset + " not in range 17 to 21"));
  EXPECT_THAT(refusal({"--plugin"}),
              HasSubstr("--plugin goes with --target tensorrt, not onnxruntime"));
}

TEST(ExportCommand, FolderThatIsNoModelIsRefused) {
  const auto folder = scratch("empty");
  const Outcome outcome = run_command({"export", folder, "--out", folder / "model.onnx"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("config.json"));
}

}  // namespace
}  // namespace twofour::cli
