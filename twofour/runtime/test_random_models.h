// Models of any size with random weights, for tests of engines.
#pragma once

#include <unistd.h>

#include <random>
#include <string>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/runtime/test_models.h"

namespace twofour {

struct ModelSize {
  int64_t hidden = 64, heads = 2, intermediate = 128, layers = 2;
  HeadKind head = HeadKind::kClassification;
  std::string hidden_act = "gelu";
};

inline ModelConfig config_of(const ModelSize& size) {
  ModelConfig config;
  config.model_type = "bert";
  config.vocab_size = 100;
  config.hidden_size = size.hidden;
  config.num_hidden_layers = size.layers;
  config.num_attention_heads = size.heads;
  config.intermediate_size = size.intermediate;
  config.max_position_embeddings = config.max_sequence_length = 160;
  config.type_vocab_size = 2;
  config.hidden_act = size.hidden_act;
  config.head = size.head;
  config.num_labels = classifies(size.head) ? 2 : 0;
  config.normalize = size.head == HeadKind::kEmbedding;
  return config;
}

// LayerNorms near 1, weights as a trained model's: results of a few. 2:4 if `sparse`.
inline Tensor random_parameter(const Parameter& parameter, bool sparse, std::mt19937& random) {
  Tensor tensor(DType::kF32, parameter.shape);
  const bool matrix = parameter.shape.rank() == 2;
  const bool gamma = !matrix && parameter.name.ends_with("LayerNorm.weight");
  const float deviation =
      matrix && !parameter.name.ends_with("_embeddings.weight")
          ? 1.2f / std::sqrt(static_cast<float>(parameter.shape[1]) * (sparse ? 0.5f : 1.0f))
          : 0.3f;
  std::normal_distribution<float> normal(gamma ? 1.0f : 0.0f, gamma ? 0.1f : deviation);
  for (float& value : tensor.as<float>()) value = normal(random);
  for (int64_t i = 0; sparse && i < tensor.numel(); i += 4) {
    const int64_t first = random() % 4, second = (first + 1 + random() % 3) % 4;
    tensor.as<float>()[i + first] = tensor.as<float>()[i + second] = 0;
  }
  return tensor;
}

// Writes one with float weights; the encoder's layers are 2:4 if `sparse`.
inline ModelDirectory random_model(const ModelSize& size, bool sparse, const std::string& name) {
  ModelToSave save;
  save.config = config_of(size);
  const Network network = build_network(save.config);
  std::vector<std::string> prunable;
  for (const Op& op : network.ops) {
    if (op.prunable) prunable.push_back(network.parameter(op, 0).name);
  }
  std::mt19937 random(17);
  std::vector<Tensor> tensors;
  tensors.reserve(network.parameters.size());
  for (const Parameter& parameter : network.parameters) {
    const bool prune =
        sparse && std::find(prunable.begin(), prunable.end(), parameter.name) != prunable.end();
    tensors.push_back(random_parameter(parameter, prune, random));
    save.tensors.push_back({parameter.name, tensors.back()});
  }
  const auto path = std::filesystem::path(testing::TempDir()) /
                    ("random_" + name + "_" + std::to_string(getpid()));
  save_model_directory(path, save);
  return ModelDirectory::open(path);
}

}  // namespace twofour
