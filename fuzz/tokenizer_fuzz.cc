// The tokenizer: its files and the texts it encodes. The first byte of an input says what the rest
// is:
//
//   < 128   a text; the byte's bits choose options, the second byte is max_length
//   >= 128  the files of kNames joined by form feeds; an empty part is an absent file
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/io/tokenizer.h"

namespace {

constexpr std::array kNames = {"vocab.txt", "tokenizer.json", "tokenizer_config.json",
                               "special_tokens_map.json", "added_tokens.json"};
constexpr int64_t kRows = 64;
constexpr int64_t kNoLimit = std::numeric_limits<int32_t>::max();
constexpr int kVariants = 16;

constexpr std::string_view kConfig =
    R"({"model_type":"bert","vocab_size":64,"hidden_size":4,"num_hidden_layers":1,)"
    R"("num_attention_heads":1,"intermediate_size":4,"max_position_embeddings":16,)"
    R"("type_vocab_size":2,"hidden_act":"gelu","architectures":["BertModel"]})";

constexpr std::string_view kVocab =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nb\n##b\nab\n##ab\n.\n,\n\u4e2d\n\u00e9\n##\u00e9\n"
    "e\n##e\n\u0301\n##\u0301\n\u1100\n##\u1161\n";

constexpr std::string_view kText = "a AB, \u4e2d\u00e9[SEP] new\u0301 <x>";

using Files = std::map<std::string, std::span<const std::byte>>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

void require(bool condition) {
  if (!condition) std::abort();
}

std::unique_ptr<twofour::Tokenizer> open(Files files) {
  static const std::string header = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  static const uint64_t length = header.size();
  static const std::string weights =
      std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header +
      std::string(4, '\0');
  files["config.json"] = bytes_of(kConfig);
  files["model.safetensors"] = bytes_of(weights);
  return twofour::Tokenizer::open(twofour::ModelDirectory::from_memory(files, "memory"));
}

std::string options(int bits) {
  const auto flag = [&](int bit) { return bits >> bit & 1 ? "true" : "false"; };
  std::string out = std::string(R"({"do_lower_case":)") + flag(0) + R"(,"strip_accents":)" +
                    flag(1) + R"(,"tokenize_chinese_chars":)" + flag(2);
  if (bits >> 3 & 1) {
    out += R"(,"added_tokens_decoder":{"40":{"content":"<x>","lstrip":true,"rstrip":true},)"
           R"("41":{"content":"Ab","normalized":true},)"
           R"("42":{"content":"b","single_word":true,"special":true}})";
  }
  return out + "}";
}

const twofour::Tokenizer& variant(int bits) {
  static const auto all = [] {
    std::array<std::unique_ptr<twofour::Tokenizer>, kVariants> tokenizers;
    for (int i = 0; i < kVariants; ++i) {
      const std::string config = options(i);
      tokenizers[i] =
          open({{"vocab.txt", bytes_of(kVocab)}, {"tokenizer_config.json", bytes_of(config)}});
    }
    return tokenizers;
  }();
  return *all[bits % kVariants];
}

void check(const twofour::Encoding& encoding, const twofour::Tokenizer& tokenizer,
           int64_t max_length) {
  require(encoding.ids.size() == encoding.type_ids.size());
  require(static_cast<int64_t>(encoding.ids.size()) <= max_length);
  require(tokenizer.vocab_size() <= kRows);
  for (const int32_t id : encoding.ids) require(id >= 0 && id < tokenizer.vocab_size());
  for (const int32_t type : encoding.type_ids) require(type == 0 || type == 1);
}

// A cut text has the first tokens of the whole one.
void check_cut(const twofour::Encoding& cut, const twofour::Encoding& whole, int64_t max_length) {
  std::vector<int32_t> expected = whole.ids;
  if (static_cast<int64_t>(expected.size()) > max_length) {
    expected.resize(max_length);
    expected.back() = whole.ids.back();
  }
  require(cut.ids == expected);
}

void encode(const twofour::Tokenizer& tokenizer, std::string_view text, int64_t max_length) {
  const twofour::Encoding whole = tokenizer.encode(text, kNoLimit);
  check(whole, tokenizer, kNoLimit);
  const twofour::Encoding cut = tokenizer.encode(text, max_length);
  check(cut, tokenizer, max_length);
  check_cut(cut, whole, max_length);
  const std::string_view first = text.substr(0, text.size() / 3);
  check(tokenizer.encode_pair(first, text.substr(first.size()), max_length), tokenizer, max_length);
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (data[0] < 128) {
    encode(variant(data[0]), input.substr(2), 3 + data[1]);
    return 0;
  }
  try {
    const auto tokenizer = open(split(input.substr(1)));
    encode(*tokenizer, kText, 8);
  } catch (const twofour::Error&) {
  }
  return 0;
}
