// Golden models and int8 models made from them, for the tests of this folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "twofour/graph/network.h"
#include "twofour/io/model_directory.h"
#include "twofour/quant/quantize.h"
#include "twofour/runtime/packed_tokens.h"
#include "twofour/sparse/mask.h"

namespace twofour {

inline std::filesystem::path golden_path(const std::string& layout) {
  return std::filesystem::path(TWOFOUR_SOURCE_DIR) / "tests" / "golden" / layout;
}

inline ModelDirectory golden_model(const std::string& layout) {
  return ModelDirectory::open(golden_path(layout) / "model");
}

// Sequences of a golden file, unpadded.
inline PackedTokens golden_tokens(const Safetensors& golden) {
  const TensorView ids = golden.get("ids");
  const auto lengths = golden.get("lengths").as<int32_t>();
  const int64_t padded = ids.shape[1];
  PackedTokens tokens;
  for (size_t i = 0; i < lengths.size(); ++i) {
    tokens.append(ids.as<int32_t>().subspan(i * padded, lengths[i]),
                  golden.get("type_ids").as<int32_t>().subspan(i * padded, lengths[i]));
  }
  return tokens;
}

// Quantizes the prunable layers of `model`, 2:4 first when `share_rows` > 0. Every quantization
// point gets the scale 4 / 127 but for activations, which are smaller.
inline ModelDirectory write_int8_model(const ModelDirectory& model,
                                       const std::filesystem::path& path, int share_rows,
                                       float activation_amax = 1.5f) {
  const Network network = build_network(model.config());
  std::vector<Tensor> owned;
  std::map<std::string, TensorView> tensors;
  for (const Parameter& parameter : network.parameters)
    tensors[parameter.name] = model.tensor(parameter.name);
  owned.reserve(3 * network.parameters.size());
  for (const Op& op : network.ops) {
    if (!op.prunable) continue;
    const std::string& name = network.parameter(op, 0).name;
    Tensor weight = to_f32(model.tensor(name), name);
    if (share_rows > 0) {
      std::vector<float> saliency(weight.numel());
      for (size_t i = 0; i < saliency.size(); ++i)
        saliency[i] = weight.as<float>()[i] * weight.as<float>()[i];
      MaskOptions options;
      options.share_rows = share_rows;
      const Mask mask =
          compute_mask(name, saliency, weight.shape()[0], weight.shape()[1], options).mask;
      for (size_t i = 0; i < saliency.size(); ++i) weight.as<float>()[i] *= mask.keep[i];
    }
    QuantizedWeight quantized = quantize_weight(weight);
    Tensor input_scale(DType::kF32, {1});
    const bool activation = network.values[op.inputs[0]].name.ends_with("activation");
    input_scale.as<float>()[0] = (activation ? activation_amax : 4.0f) / 127;
    owned.push_back(std::move(quantized.values));
    tensors[name] = owned.back();
    owned.push_back(std::move(quantized.scales));
    tensors[name + "_scale"] = owned.back();
    owned.push_back(std::move(input_scale));
    tensors[op.name + ".input_scale"] = owned.back();
  }
  ModelToSave save;
  save.source = model.path();
  save.config = model.config();
  save.config.int8 = true;
  for (const auto& [name, view] : tensors) save.tensors.push_back({name, view});
  save_model_directory(path, save);
  return ModelDirectory::open(path);
}

inline ModelDirectory int8_model(const std::string& layout, int share_rows) {
  const auto path =
      std::filesystem::path(testing::TempDir()) /
      ("int8_" + layout + "_r" + std::to_string(share_rows) + "_" + std::to_string(getpid()));
  return write_int8_model(golden_model(layout), path, share_rows);
}

}  // namespace twofour
