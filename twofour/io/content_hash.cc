#include "twofour/io/content_hash.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "twofour/base/checksum.h"

namespace twofour {
namespace {

class ContentHash {
 public:
  void add(const void* data, size_t bytes) {
    state_ = checksum64({static_cast<const char*>(data), bytes}, state_);
  }
  // The length keeps "ab", "c" apart from "a", "bc".
  void add(std::string_view text) {
    const uint64_t size = text.size();
    add(&size, sizeof size);
    add(text.data(), text.size());
  }
  void add(const std::vector<std::string>& texts) {
    for (const std::string& text : texts) add(std::string_view(text));
  }
  std::string hex() const { return fmt::format("{:016x}", state_); }

 private:
  uint64_t state_ = checksum64({});
};

}  // namespace

std::string hash_of(const ModelDirectory& model) {
  ContentHash hash;
  hash.add(std::string_view(model.config().json));
  for (const char* name : {"vocab.txt", "tokenizer.json", "tokenizer_config.json",
                           "added_tokens.json", "special_tokens_map.json", "modules.json",
                           "1_Pooling/config.json", "sentence_bert_config.json"}) {
    hash.add(std::string_view(model.file(name).value_or("")));
  }
  for (const std::string& name : model.tensor_names()) {
    const TensorView tensor = model.tensor(name);
    hash.add(std::string_view(name));
    hash.add(dtype_name(tensor.dtype));
    hash.add(tensor.data, tensor.bytes());
  }
  return hash.hex();
}

std::string hash_of(const Dataset& data) {
  ContentHash hash;
  hash.add(data.queries);
  hash.add(data.documents);
  for (const Pair& pair : data.pairs) {
    hash.add(&pair.query, sizeof pair.query);
    hash.add(&pair.document, sizeof pair.document);
    hash.add(&pair.label, sizeof pair.label);
  }
  return hash.hex();
}

}  // namespace twofour
