// Models and exported files for the tests of export/.
#pragma once

#include <gtest/gtest.h>
#include <onnx/onnx.pb.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "twofour/export/exporter.h"
#include "twofour/graph/network.h"
#include "twofour/io/file.h"
#include "twofour/quant/quantize.h"
#include "twofour/sparse/mask.h"

namespace twofour {

namespace fs = std::filesystem;

inline constexpr const char* kQuery = "encoder.layer.0.attention.self.query";
inline constexpr const char* kOutput = "encoder.layer.0.output.dense";

inline fs::path golden(const std::string& layout) {
  return fs::path(TWOFOUR_SOURCE_DIR) / "tests/golden" / layout / "model";
}

inline fs::path scratch(const std::string& name) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  return fs::path(testing::TempDir()) /
         (std::string("export_") + test->name() + "_" + std::to_string(getpid()) + "_" + name);
}

inline Tensor pruned(const std::string& name, const TensorView& view) {
  Tensor weight = to_f32(view, name);
  const auto values = weight.as<float>();
  std::vector<float> saliency(values.begin(), values.end());
  for (float& value : saliency) value *= value;
  const Mask mask =
      compute_mask(name, saliency, weight.shape()[0], weight.shape()[1], MaskOptions{}).mask;
  for (size_t i = 0; i < values.size(); ++i) values[i] *= mask.keep[i];
  return weight;
}

// The golden cross-encoder, 2:4 and int8; `scale_of` gives each layer's input scale.
template <class ScaleOf>
fs::path write_int8_model(ScaleOf scale_of) {
  const ModelDirectory model = ModelDirectory::open(golden("cross-encoder"));
  const Network network = build_network(model.config());
  std::map<std::string, Tensor> tensors;
  for (const Parameter& parameter : network.parameters)
    tensors[parameter.name] = Tensor(model.tensor(parameter.name));
  for (const Op& op : network.ops) {
    if (!op.prunable) continue;
    const std::string& name = network.parameter(op, 0).name;
    QuantizedWeight quantized = quantize_weight(pruned(name, model.tensor(name)));
    tensors[name] = std::move(quantized.values);
    tensors[name + "_scale"] = std::move(quantized.scales);
    Tensor scale(DType::kF32, {1});
    scale.as<float>()[0] = scale_of(op);
    tensors[op.name + ".input_scale"] = std::move(scale);
  }
  ModelToSave save;
  save.source = model.path();
  save.config = model.config();
  save.config.int8 = true;
  save.twofour_json = R"({"recipe": {"name": "a-recipe"}})";
  for (const auto& [name, tensor] : tensors) save.tensors.push_back({name, tensor.view()});
  const fs::path path = scratch("int8");
  save_model_directory(path, save);
  return path;
}

inline fs::path int8_model() {
  return write_int8_model([](const Op& op) { return op.name == kOutput ? 0.01f : 0.0125f; });
}

class Exported {
 public:
  explicit Exported(const ExportRequest& request) {
    summary = run_export(request);
    EXPECT_TRUE(model.ParseFromString(read_file(request.out)));
    for (const auto& tensor : graph().initializer()) initializers[tensor.name()] = &tensor;
    for (const auto& node : graph().node()) producers[node.output(0)] = &node;
  }

  const onnx::GraphProto& graph() const { return model.graph(); }

  std::vector<const onnx::NodeProto*> nodes(const std::string& type) const {
    std::vector<const onnx::NodeProto*> found;
    for (const auto& node : graph().node()) {
      if (node.op_type() == type) found.push_back(&node);
    }
    return found;
  }

  // Names that are read before anything gives them, and names that are given twice.
  std::vector<std::string> broken_names() const {
    std::vector<std::string> broken;
    std::set<std::string> known;
    auto add = [&](const std::string& name) {
      if (!known.insert(name).second) broken.push_back("twice: " + name);
    };
    for (const auto& input : graph().input()) add(input.name());
    for (const auto& tensor : graph().initializer()) add(tensor.name());
    for (const auto& node : graph().node()) {
      for (const auto& input : node.input()) {
        if (!known.contains(input)) broken.push_back("unknown: " + input);
      }
      for (const auto& output : node.output()) add(output);
    }
    for (const auto& output : graph().output()) {
      if (!known.contains(output.name())) broken.push_back("unknown: " + output.name());
    }
    return broken;
  }

  // What an int8 layer multiplies, before it is dequantized; its product is in any form.
  std::string quantized_input(const std::string& layer) const {
    for (const char* form : {"/MatMul", "/Conv", "/Spmm"}) {
      const auto product = producers.find(layer + form);
      if (product == producers.end()) continue;
      const onnx::NodeProto& input = *producers.at(product->second->input(0));
      return input.op_type() == "DequantizeLinear" ? input.input(0) : input.output(0);
    }
    return "no product";
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const std::string& bytes = initializers.at(name)->raw_data();
    const T* data = reinterpret_cast<const T*>(bytes.data());
    return {data, data + bytes.size() / sizeof(T)};
  }

  ExportSummary summary;
  onnx::ModelProto model;
  std::map<std::string, const onnx::TensorProto*> initializers;
  std::map<std::string, const onnx::NodeProto*> producers;
};

inline ExportRequest request(const fs::path& model, const std::string& target = "onnxruntime") {
  ExportRequest request;
  request.model = model;
  request.out = scratch(target + ".onnx");
  request.target = target;
  return request;
}

}  // namespace twofour
