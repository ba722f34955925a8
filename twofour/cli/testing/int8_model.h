// An int8 model directory, 2:4 or dense, for tests of verbs that read one.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "twofour/cli/pruning.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/quant/quantize.h"

namespace twofour::cli {

// The golden model `layout` as int8, 2:4 unless `dense`.
inline std::filesystem::path int8_model(const std::string& layout, bool dense = false) {
  const ModelDirectory source = ModelDirectory::open(model(layout));
  const Network network = build_network(source.config());
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : source.tensor_names()) tensors[name] = Tensor(source.tensor(name));
  for (const Op& op : network.ops) {
    if (!op.prunable) continue;
    const std::string& name = network.parameter(op, 0).name;
    Tensor weight =
        dense ? Tensor(source.tensor(name)) : prune_layer({}, source, network, op).values;
    QuantizedWeight quantized = quantize_weight(weight);
    tensors[name] = std::move(quantized.values);
    tensors[name + "_scale"] = std::move(quantized.scales);
    tensors[op.name + ".input_scale"] = Tensor(DType::kF32, {1});
    tensors[op.name + ".input_scale"].as<float>()[0] = 0.01f;
  }
  ModelToSave save{source.path(), source.config(), {}, R"({"version": "test"})"};
  save.config.int8 = true;
  for (const auto& [name, tensor] : tensors) save.tensors.push_back({name, tensor.view()});
  const auto path = scratch((dense ? "dense-int8-" : "int8-") + layout) / "model";
  save_model_directory(path, save);
  return path;
}

}  // namespace twofour::cli
