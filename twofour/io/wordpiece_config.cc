#include "twofour/io/wordpiece_config.h"

#include <fmt/format.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <unordered_map>

#include "twofour/base/error.h"
#include "twofour/io/json.h"

namespace twofour {
namespace {

constexpr const char* kVocab = "vocab.txt";
constexpr const char* kTokenizer = "tokenizer.json";
constexpr const char* kConfig = "tokenizer_config.json";
constexpr const char* kSpecialTokens = "special_tokens_map.json";
constexpr const char* kAddedTokens = "added_tokens.json";
constexpr const char* kOther = "Only the WordPiece tokenizer of the BERT family is supported";
constexpr const char* kFetch = "Correct it there, or fetch the tokenizer's files again";

// Classes of transformers that tokenize as BertTokenizerFast does.
constexpr std::array kClasses = {"BertTokenizer",       "DistilBertTokenizer", "ElectraTokenizer",
                                 "MobileBertTokenizer", "PreTrainedTokenizer", "TokenizersBackend"};

constexpr int64_t kHighestId = std::numeric_limits<int32_t>::max();

constexpr std::array kRequired = {"cls_token", "sep_token", "unk_token", "pad_token"};

bool is_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c = 0;
  for (size_t i = 0; i < text.size() && c >= 0;) U8_NEXT(bytes, i, text.size(), c);
  return c >= 0;
}

class Reader {
 public:
  Reader(const TokenizerFiles& files, int64_t rows)
      : files_(files),
        rows_(std::min(rows, kHighestId)),
        tokenizer_(parse(kTokenizer)),
        config_(parse(kConfig)),
        special_tokens_(parse(kSpecialTokens)) {}

  WordPieceConfig read() {
    check_class();
    read_model();
    out_.pieces = out_.tokens;
    read_normalizer();
    read_added_tokens();
    read_special_tokens();
    return std::move(out_);
  }

 private:
  std::optional<JsonObject> parse(const char* name) const {
    const auto text = files_.read(name);
    if (!text) return std::nullopt;
    return JsonObject::parse(*text, files_.where(name));
  }

  // ---- kind and vocabulary ----

  void check_class() const {
    if (!config_) return;
    std::string name = config_->string_or("tokenizer_class", "BertTokenizer");
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    if (std::find(kClasses.begin(), kClasses.end(), name) == kClasses.end()) {
      throw Error(config_->where(), fmt::format("tokenizer_class \"{}\" is not supported", name),
                  kOther);
    }
  }

  void read_model() {
    std::optional<JsonObject> model;
    if (tokenizer_) {
      model = tokenizer_->object("model");
      if (!model) throw Error(tokenizer_->where(), "\"model\" is missing", kFetch);
      // Files of early versions name no type.
      require_type(*model, "model", "WordPiece", "WordPiece");
      require_type_of("normalizer", "BertNormalizer");
      require_type_of("pre_tokenizer", "BertPreTokenizer");
      read_model_options(*model);
    }
    if (const auto text = files_.read(kVocab)) {
      read_vocab_txt(*text);
      if (model) check_same_vocabulary(*model);
    } else if (model) {
      read_vocab_json(*model);
    } else {
      throw Error(files_.where(kVocab), "no such file",
                  "A tokenizer needs vocab.txt or tokenizer.json");
    }
    for (size_t id = 0; id < out_.tokens.size(); ++id) {
      if (!out_.tokens[id].empty()) ids_[out_.tokens[id]] = static_cast<int32_t>(id);
    }
  }

  void require_type_of(const char* key, const char* type) const {
    const auto part = tokenizer_->object(key);
    if (!part) throw Error(tokenizer_->where(), fmt::format("\"{}\" is missing", key), kOther);
    require_type(*part, key, type, "");
  }

  static void require_type(const JsonObject& part, const char* key, const char* type,
                           const char* fallback) {
    const std::string found = part.string_or("type", fallback);
    if (found == type) return;
    throw Error(part.where(), fmt::format("{} has type \"{}\", expected \"{}\"", key, found, type),
                kOther);
  }

  void read_model_options(const JsonObject& model) {
    out_.vocabulary.continuing_prefix = model.string_or("continuing_subword_prefix", "##");
    out_.vocabulary.max_characters_per_word =
        model.integer_or("max_input_chars_per_word", 100, 0, std::numeric_limits<int32_t>::max());
  }

  void read_vocab_txt(std::string_view text) {
    const std::string where = files_.where(kVocab);
    if (text.ends_with('\n')) text.remove_suffix(1);
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      std::string_view line = text.substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!is_utf8(line)) {
        throw Error(where, fmt::format("line {} is not UTF-8", out_.tokens.size() + 1), kFetch);
      }
      check_id(static_cast<int64_t>(out_.tokens.size()), where);
      out_.tokens.emplace_back(line);
      begin = end + 1;
    }
  }

  static const nlohmann::json& vocabulary_of(const JsonObject& model) {
    const auto* vocab = model.find("vocab");
    if (vocab == nullptr || !vocab->is_object()) {
      throw Error(model.where(), "\"model\" has no object \"vocab\"", kFetch);
    }
    return *vocab;
  }

  static int64_t id_of(const std::string& token, const nlohmann::json& value,
                       const JsonObject& model) {
    return checked_integer(value, model.where(), fmt::format("id of \"{}\"", token), 0, kHighestId,
                           kFetch);
  }

  void read_vocab_json(const JsonObject& model) {
    for (const auto& [token, value] : vocabulary_of(model).items()) {
      place(token, id_of(token, value, model), model.where());
    }
  }

  // Which of the two files counts differs between users of a model (transformers' fast tokenizers
  // read tokenizer.json, others vocab.txt), so that both must say the same.
  void check_same_vocabulary(const JsonObject& model) const {
    const nlohmann::json& vocabulary = vocabulary_of(model);
    for (const auto& [token, value] : vocabulary.items()) {
      const int64_t id = id_of(token, value, model);
      const bool has = id < std::ssize(out_.tokens);
      if (has && out_.tokens[id] == token) continue;
      fail_as_different(fmt::format("has {} as token {}, but {} has \"{}\"",
                                    has ? fmt::format("\"{}\"", out_.tokens[id]) : "nothing", id,
                                    kTokenizer, token));
    }
    const std::set<std::string> added = contents_of_added_tokens();
    for (const std::string& token : out_.tokens) {
      if (token.empty() || vocabulary.contains(token) || added.contains(token)) continue;
      fail_as_different(fmt::format("has \"{}\", which {} lacks", token, kTokenizer));
    }
  }

  [[noreturn]] void fail_as_different(const std::string& difference) const {
    throw Error(files_.where(kVocab), difference, "Remove the file that is not this model's");
  }

  std::set<std::string> contents_of_added_tokens() const {
    std::set<std::string> contents;
    for (const JsonObject& token : tokenizer_->objects_or_empty("added_tokens"))
      contents.insert(token.string("content"));
    return contents;
  }

  void check_id(int64_t id, const std::string& where) const {
    if (id < rows_) return;
    throw Error(where,
                fmt::format("has a token with id {}, but the model's vocab_size is {}", id, rows_),
                "The tokenizer is not that of this model");
  }

  void place(const std::string& token, int64_t id, const std::string& where) {
    check_id(id, where);
    if (static_cast<int64_t>(out_.tokens.size()) <= id) out_.tokens.resize(id + 1);
    std::string& slot = out_.tokens[id];
    if (!slot.empty() && slot != token) {
      throw Error(where,
                  fmt::format("tokens \"{}\" and \"{}\" have the same id {}", slot, token, id),
                  "Give each token an id of its own, or fetch the tokenizer's files again");
    }
    slot = token;
  }

  // ---- options ----

  void read_normalizer() {
    std::optional<JsonObject> own;
    if (tokenizer_) own = tokenizer_->object("normalizer");
    const auto choose = [&](const char* in_config, const char* in_tokenizer, bool fallback) {
      if (own) fallback = own->boolean_or(in_tokenizer, fallback);
      return config_ ? config_->boolean_or(in_config, fallback) : fallback;
    };
    NormalizerOptions& options = out_.normalizer;
    if (own) options.clean_text = own->boolean_or("clean_text", true);
    options.lower_case = choose("do_lower_case", "lowercase", true);
    options.chinese = choose("tokenize_chinese_chars", "handle_chinese_chars", true);
    options.strip_accents = choose("strip_accents", "strip_accents", options.lower_case);
  }

  // ---- added and special tokens ----

  static AddedToken token_from(const JsonObject& json, bool special) {
    AddedToken token;
    token.content = json.string("content");
    token.single_word = json.boolean_or("single_word", false);
    token.special = json.boolean_or("special", special);
    token.normalized = json.boolean_or("normalized", !token.special);
    return token;
  }

  // A token that the vocabulary has keeps its id there. The first definition of a token counts.
  void add(AddedToken token, int64_t id, const std::string& where) {
    const auto known = ids_.find(token.content);
    if (known == ids_.end()) {
      place(token.content, id, where);
      ids_[token.content] = static_cast<int32_t>(id);
    }
    token.id = ids_[token.content];
    const auto same = [&](const AddedToken& other) { return other.content == token.content; };
    const auto first = std::find_if(out_.added.begin(), out_.added.end(), same);
    if (first == out_.added.end())
      out_.added.push_back(token);
    else
      first->special |= token.special;
  }

  void read_added_tokens() {
    if (const auto* list = tokenizer_ ? tokenizer_->find("added_tokens") : nullptr) {
      if (!list->is_array())
        throw Error(tokenizer_->where(), "\"added_tokens\" is no list", kFetch);
      for (const auto& item : *list) {
        const JsonObject json(item, tokenizer_->where());
        add(token_from(json, false), json.integer("id", 0, kHighestId), json.where());
      }
    }
    if (const auto decoder = config_ ? config_->object("added_tokens_decoder") : std::nullopt) {
      read_added_tokens_decoder(*decoder);
    }
    if (const auto text = files_.read(kAddedTokens)) {
      const std::string where = files_.where(kAddedTokens);
      const nlohmann::json map = parse_json(*text, where);
      if (!map.is_object()) throw Error(where, "expected an object of tokens and ids", kFetch);
      for (const auto& [content, value] : map.items()) {
        AddedToken token{.content = content, .normalized = true};
        add(token, checked_integer(value, where, content, 0, kHighestId), where);
      }
    }
  }

  void read_added_tokens_decoder(const JsonObject& decoder) {
    const nlohmann::json map = *config_->find("added_tokens_decoder");
    for (const auto& [key, value] : map.items()) {
      const bool number = !key.empty() && key.size() < 11 &&
                          key.find_first_not_of("0123456789") == std::string::npos;
      if (!number) {
        throw Error(decoder.where(),
                    fmt::format("added_tokens_decoder: key \"{}\" is no token id", key), kFetch);
      }
      add(token_from(JsonObject(value, decoder.where()), false), std::stoll(key), decoder.where());
    }
  }

  // The value of a key like "cls_token": special_tokens_map.json goes before tokenizer_config.json.
  AddedToken special_token(const std::string& key) const {
    for (const auto* source : {&special_tokens_, &config_}) {
      const auto* value = *source ? (*source)->find(key) : nullptr;
      if (value == nullptr) continue;
      if (value->is_object()) return token_from(JsonObject(*value, (*source)->where()), true);
      return {.content = (*source)->string(key), .special = true};
    }
    std::string name = key.substr(0, key.find('_'));
    std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c - 'a' + 'A'; });
    return {.content = "[" + name + "]", .special = true};
  }

  void read_special_tokens() {
    for (const std::string key : kRequired) {
      const AddedToken token = special_token(key);
      if (!ids_.contains(token.content)) {
        throw Error(files_.where(files_.read(kVocab) ? kVocab : kTokenizer),
                    fmt::format("{} \"{}\" is not in the vocabulary", key, token.content),
                    "Set it in tokenizer_config.json or complete the vocabulary");
      }
      add(token, -1, "");
    }
    const AddedToken mask = special_token("mask_token");
    if (ids_.contains(mask.content)) add(mask, -1, "");
    read_additional_special_tokens();
    out_.cls = ids_[special_token("cls_token").content];
    out_.sep = ids_[special_token("sep_token").content];
    if (ids_.contains(mask.content)) out_.mask = ids_[mask.content];
    out_.vocabulary.unknown = ids_[special_token("unk_token").content];
  }

  void read_additional_special_tokens() {
    for (const auto* source : {&special_tokens_, &config_}) {
      const auto* list = *source ? (*source)->find("additional_special_tokens") : nullptr;
      if (list == nullptr) continue;
      const std::string& where = (*source)->where();
      if (!list->is_array()) throw Error(where, "\"additional_special_tokens\" is no list", kFetch);
      for (const auto& item : *list) {
        const AddedToken token =
            item.is_string() ? AddedToken{.content = item.get<std::string>(), .special = true}
                             : token_from(JsonObject(item, where), true);
        add(token, static_cast<int64_t>(out_.tokens.size()), where);
      }
    }
  }

  const TokenizerFiles& files_;
  int64_t rows_;
  std::optional<JsonObject> tokenizer_, config_, special_tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  WordPieceConfig out_;
};

}  // namespace

std::string TokenizerFiles::where(std::string_view name) const {
  return folder.empty() ? std::string(name) : folder + "/" + std::string(name);
}

WordPieceConfig read_wordpiece_config(const TokenizerFiles& files, int64_t rows) {
  return Reader(files, rows).read();
}

}  // namespace twofour
