// A model directory with another intermediate size, for tests of layers that cannot be sparse.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "twofour/cli/testing/run_command.h"
#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/io/safetensors.h"

namespace twofour::cli {

// The uncased golden model with another intermediate size and random weights.
inline std::string model_with_intermediate(int64_t size) {
  const auto folder = scratch("intermediate");
  for (const char* name : {"vocab.txt", "tokenizer_config.json"}) {
    std::filesystem::copy_file(golden("bert-uncased/model") / name, folder / name);
  }
  nlohmann::json config = nlohmann::json::parse(slurp(golden("bert-uncased/model/config.json")));
  config["intermediate_size"] = size;
  spill(folder / "config.json", config.dump());
  // The parameters are known from the configuration alone; any directory with it will do to ask for
  // them.
  ModelConfig asked = ModelDirectory::open(model("bert-uncased")).config();
  asked.intermediate_size = size;
  std::mt19937 random(1);
  std::vector<Tensor> tensors;
  std::vector<NamedTensor> named;
  const Network network = build_network(asked);
  tensors.reserve(network.parameters.size());
  for (const Parameter& parameter : network.parameters) {
    Tensor& tensor = tensors.emplace_back(DType::kF32, parameter.shape);
    for (float& value : tensor.as<float>())
      value = static_cast<float>(random() % 1000) / 1000 - 0.5f;
    named.push_back({"bert." + parameter.name, tensor.view()});
  }
  write_safetensors(folder / "model.safetensors", named);
  return folder;
}

}  // namespace twofour::cli
