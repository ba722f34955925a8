// The JSON files of a model directory, around fixed weights. Input: the files of kNames joined by
// form feeds, which no JSON text holds; an empty part is an absent file. With an index the weights
// are its shard "shard".
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "twofour/base/error.h"
#include "twofour/io/model_directory.h"

namespace {

constexpr std::array kNames = {"config.json",
                               "modules.json",
                               "1_Pooling/config.json",
                               "sentence_bert_config.json",
                               "tokenizer_config.json",
                               "twofour.json",
                               "model.safetensors.index.json"};

using Files = std::map<std::string, std::span<const std::byte>>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Files split(std::string_view input) {
  Files files;
  for (const char* name : kNames) {
    const std::string_view part = input.substr(0, input.find('\f'));
    if (!part.empty()) files[name] = bytes_of(part);
    input.remove_prefix(part.size() == input.size() ? part.size() : part.size() + 1);
  }
  return files;
}

// One linear layer, int8 or float; static int8 has an input scale.
std::string weights(bool int8, bool dynamic) {
  const std::string input_scale = dynamic ? "x.bias" : "x.input_scale";
  const std::string header =
      int8 ? R"({")" + input_scale +
                 R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                 R"("x.weight_scale":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]},)"
                 R"("x.weight":{"dtype":"I8","shape":[1,4],"data_offsets":[8,12]}})"
           : R"({"x.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}})";
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header +
         std::string(12, '\x3f');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string kStatic = weights(true, false), kDynamic = weights(true, true);
  static const std::string kFloat = weights(false, false);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  Files files = split(input);
  const bool int8 = input.find("quantization_config") != input.npos;
  const bool indexed = files.contains("model.safetensors.index.json");
  const bool dynamic = input.find("\"token\"") != input.npos;
  files[indexed ? "shard" : "model.safetensors"] = bytes_of(!int8     ? kFloat
                                                            : dynamic ? kDynamic
                                                                      : kStatic);
  try {
    twofour::ModelDirectory::from_memory(files, "fuzz");
  } catch (const twofour::Error&) {
  }
  return 0;
}
