#include "twofour/train/fingerprint.h"

#include <fmt/format.h>

#include <sstream>

#include "twofour/base/checksum.h"
#include "twofour/base/error.h"

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

constexpr const char* kNone = "none";

// Hashes tell nobody anything.
std::string other_contents(const std::string& name, bool none_then, const std::string& source) {
  if (source.empty()) return fmt::format("{}: now there is none", name);
  if (none_then) return fmt::format("no {}: now there is {}", name, source);
  return fmt::format("{} {} than {} holds now", name.ends_with("data") ? "other" : "another", name,
                     source);
}

[[noreturn]] void report_recipe(const std::string& before, const std::string& now,
                                const std::string& where) {
  std::istringstream old_lines(before), new_lines(now);
  std::string old_line, new_line;
  do {
    if (!std::getline(old_lines, old_line)) old_line = "(nothing)";
    if (!std::getline(new_lines, new_line)) new_line = "(nothing)";
  } while (old_line == new_line);
  const auto trimmed = [](const std::string& line) {
    return line.substr(std::min(line.find_first_not_of(' '), line.size()));
  };
  throw Error(where,
              fmt::format("the run was started with another recipe: '{}' then, '{}' now",
                          trimmed(old_line), trimmed(new_line)),
              "Resume with the recipe and settings of the start, or choose another run folder.");
}

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

void check_same(const Fingerprint& before, const Fingerprint& now, const Sources& sources,
                const std::string& where) {
  const auto value = [](const Fingerprint& fingerprint, const std::string& name) {
    const auto found = fingerprint.find(name);
    return found == fingerprint.end() ? std::string(kNone) : found->second;
  };
  Fingerprint all = before;
  all.insert(now.begin(), now.end());
  for (const auto& [name, unused] : all) {
    const std::string then = value(before, name), today = value(now, name);
    if (then == today) continue;
    if (name == "recipe") report_recipe(then, today, where);
    const auto source = sources.find(name);
    const std::string how = source == sources.end()
                                ? fmt::format("another {}: {} then, {} now", name, then, today)
                                : other_contents(name, then == kNone, source->second);
    throw Error(
        where, "the run was started with " + how,
        fmt::format("Resume with the {} of the start, or choose another run folder.", name));
  }
}

}  // namespace twofour
