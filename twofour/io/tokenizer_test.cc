#include "twofour/io/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/base/testing.h"
#include "twofour/io/file.h"
#include "twofour/io/wordpiece_config.h"

namespace twofour {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

const std::string kGolden = TWOFOUR_SOURCE_DIR "/tests/golden/";
constexpr int64_t kNoLimit = 1 << 30;

using Files = std::map<std::string, std::string, std::less<>>;

std::unique_ptr<Tokenizer> from_files(const Files& files, int64_t rows = kNoLimit) {
  const auto read = [&](std::string_view name) -> std::optional<std::string> {
    const auto found = files.find(name);
    if (found == files.end()) return std::nullopt;
    return found->second;
  };
  return make_wordpiece_tokenizer(read_wordpiece_config({read, "model"}, rows));
}

// 0 to 4 are [PAD] [UNK] [CLS] [SEP] [MASK].
std::string vocab(const std::string& more) { return "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + more; }

std::vector<int32_t> inner(const Encoding& encoding) {
  return {encoding.ids.begin() + 1, encoding.ids.end() - 1};
}

std::string message_of(const Files& files, int64_t rows = kNoLimit) {
  return error_of([&] { from_files(files, rows); });
}

// ---- equal to Hugging Face ----

class GoldenTokenization : public testing::Test {
 protected:
  json cases = json::parse(read_file(kGolden + "tokenizer/cases.json"));
  std::string vocab_txt = read_file(kGolden + "tokenizer/vocab.txt");

  void expect_ids(const Tokenizer& tokenizer, const json& expected, const std::string& name) {
    ASSERT_GE(cases["texts"].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto text = cases["texts"][i].get<std::string>();
      EXPECT_EQ(inner(tokenizer.encode(text, kNoLimit)), expected[i].get<std::vector<int32_t>>())
          << name << ": " << cases["texts"][i].dump(-1, ' ', true);
    }
  }
};

TEST_F(GoldenTokenization, EveryVariant) {
  ASSERT_EQ(cases["variants"].size(), 5u);
  for (const auto& [name, variant] : cases["variants"].items()) {
    const auto tokenizer = from_files(
        {{"vocab.txt", vocab_txt}, {"tokenizer_config.json", variant["options"].dump()}});
    ASSERT_EQ(variant["ids"].size(), cases["texts"].size());
    expect_ids(*tokenizer, variant["ids"], name);
  }
}

TEST_F(GoldenTokenization, AddedTokens) {
  const json config = {{"added_tokens_decoder", cases["added"]["decoder"]}};
  const auto tokenizer =
      from_files({{"vocab.txt", vocab_txt}, {"tokenizer_config.json", config.dump()}});
  expect_ids(*tokenizer, cases["added"]["ids"], "added");
}

TEST_F(GoldenTokenization, PairsAreCutLongestFirst) {
  const auto tokenizer = from_files({{"vocab.txt", vocab_txt}});
  const json& pairs = cases["pairs"];
  const auto first_words = [](const json& text, size_t count) {
    return text.get<std::string>().substr(0, count * 2);  // "a b c": each word is one letter
  };
  for (const auto& one : pairs["cases"]) {
    const auto [n1, n2, limit, kept1, kept2] = one.get<std::array<int64_t, 5>>();
    const Encoding encoding = tokenizer->encode_pair(first_words(pairs["first"], n1),
                                                     first_words(pairs["second"], n2), limit);
    std::vector<int32_t> types(2 + kept1, 0);
    types.resize(3 + kept1 + kept2, 1);
    EXPECT_EQ(encoding.type_ids, types) << one;
    EXPECT_EQ(encoding.ids.size(), types.size()) << one;
  }
}

class Layout : public testing::TestWithParam<std::string> {};

TEST_P(Layout, EncodesTheTextsOfItsGoldenFile) {
  const std::string folder = kGolden + GetParam();
  const auto tokenizer = Tokenizer::open(ModelDirectory::open(folder + "/model"));
  const Safetensors golden = Safetensors::open(folder + "/golden.safetensors");
  const json texts = json::parse(golden.metadata().at("texts"));
  const auto ids = golden.get("ids").as<int32_t>();
  const auto types = golden.get("type_ids").as<int32_t>();
  const auto lengths = golden.get("lengths").as<int32_t>();
  const size_t width = ids.size() / lengths.size();
  for (size_t i = 0; i < lengths.size(); ++i) {
    const std::string first = texts["first"][i];
    const bool pair = !texts["second"].empty();
    const Encoding found =
        pair ? tokenizer->encode_pair(first, texts["second"][i].get<std::string>(), 64)
             : tokenizer->encode(first, 64);
    const auto row = [&](auto values) {
      const auto part = values.subspan(i * width, lengths[i]);
      return std::vector<int32_t>(part.begin(), part.end());
    };
    EXPECT_EQ(found.ids, row(ids)) << first;
    EXPECT_EQ(found.type_ids, row(types)) << first;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Layout,
                         testing::Values("bert-cased", "bert-uncased", "bert-chinese", "minilm",
                                         "bge", "multilingual", "cross-encoder",
                                         "cross-encoder-regression"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tokenizer, TokenizerJsonAloneDoesAsWellAsVocabTxt) {
  const std::string folder = kGolden + "minilm/model/";
  const Files with_vocab = {{"vocab.txt", read_file(folder + "vocab.txt")}};
  const Files with_json = {{"tokenizer.json", read_file(folder + "tokenizer.json")}};
  const auto a = from_files(with_vocab);
  const auto b = from_files(with_json);
  ASSERT_EQ(a->vocab_size(), b->vocab_size());
  for (int32_t id = 0; id < a->vocab_size(); ++id) EXPECT_EQ(a->token(id), b->token(id));
  const std::string text = "The Owl, un-believable [SEP] caf\u00e9!";
  EXPECT_EQ(a->encode(text, 64).ids, b->encode(text, 64).ids);
}

TEST(Tokenizer, TwoVocabulariesMustAgree) {
  const std::string folder = kGolden + "minilm/model/";
  const std::string vocabulary = read_file(folder + "vocab.txt");
  Files files = {{"vocab.txt", vocabulary},
                 {"tokenizer.json", read_file(folder + "tokenizer.json")}};
  EXPECT_EQ(message_of(files), "no error");
  files["vocab.txt"] = vocabulary + "more\n";
  EXPECT_THAT(message_of(files), HasSubstr("] has \"more\", which tokenizer.json lacks. Remove"));
  json with_added = json::parse(files["tokenizer.json"]);
  with_added["added_tokens"].push_back({{"id", 211}, {"content", "more"}});
  Files extended = files;
  extended["tokenizer.json"] = with_added.dump();
  EXPECT_EQ(message_of(extended), "no error");
  files["vocab.txt"] = vocabulary;
  files["vocab.txt"].replace(vocabulary.find("\n!\n"), 5, "\n\"\n!\n");
  EXPECT_THAT(
      message_of(files),
      AllOf(HasSubstr("[model/vocab.txt] has \"\"\" as token "),
            HasSubstr(", but tokenizer.json has \"!\". Remove the file that is not this model's")));
  files["vocab.txt"] = vocabulary.substr(0, vocabulary.size() / 2);
  EXPECT_THAT(message_of(files), HasSubstr("[model/vocab.txt] has nothing as token "));
}

TEST(Tokenizer, TokenizerConfigGoesBeforeTokenizerJson) {
  json own = json::parse(read_file(kGolden + "minilm/model/tokenizer.json"));
  own["normalizer"]["lowercase"] = false;
  const Files cased = {{"tokenizer.json", own.dump()}};
  Files lowered = cased;
  lowered["tokenizer_config.json"] = R"({"do_lower_case": true})";
  EXPECT_NE(from_files(cased)->encode("FOREST", 64).ids,
            from_files(lowered)->encode("forest", 64).ids);
  EXPECT_EQ(from_files(lowered)->encode("FOREST", 64).ids,
            from_files(lowered)->encode("forest", 64).ids);
}

// ---- rules ----

TEST(Tokenizer, LongestPieceFirst) {
  const auto tokenizer = from_files({{"vocab.txt", vocab("un\n##aff\n##able\n##a\naff\nunaff")}});
  EXPECT_THAT(inner(tokenizer->encode("unaffable", 64)), ElementsAre(10, 7));
  EXPECT_THAT(inner(tokenizer->encode("affaff un", 64)), ElementsAre(9, 6, 5));
  EXPECT_THAT(inner(tokenizer->encode("unaffx aff", 64)), ElementsAre(1, 9));
}

TEST(Tokenizer, SpecialTokensInTextAreSpecial) {
  const auto tokenizer = from_files({{"vocab.txt", vocab("a\nb\n[\nsep\n]")}});
  EXPECT_THAT(inner(tokenizer->encode("a[SEP]b [sep]", 64)), ElementsAre(5, 3, 6, 7, 8, 9));
}

TEST(Tokenizer, DamagedUtf8IsDropped) {
  const auto tokenizer = from_files({{"vocab.txt", vocab("a\nb\nab\n##b")}});
  for (const char* text : {"a\xff"
                           "b",
                           "a\xe4\xb8"
                           "b",
                           "a\xed\xa0\x80"
                           "b",
                           "ab\xf0\x9f",
                           "\x80"
                           "ab"}) {
    EXPECT_THAT(inner(tokenizer->encode(text, 64)), ElementsAre(7)) << text;
  }
}

TEST(Tokenizer, CutsToMaxLength) {
  const auto tokenizer = from_files({{"vocab.txt", vocab("a\nb")}});
  EXPECT_THAT(tokenizer->encode("a b a b", 4).ids, ElementsAre(2, 5, 6, 3));
  EXPECT_THAT(tokenizer->encode("a b a b", 4).type_ids, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(tokenizer->encode("a", 2).ids, ElementsAre(2, 3));
  EXPECT_THAT(tokenizer->encode_pair("a", "b", 3).ids, ElementsAre(2, 3, 3));
  EXPECT_THROW(tokenizer->encode("a", 1), Error);
  EXPECT_THROW(tokenizer->encode_pair("a", "b", 2), Error);
}

TEST(Tokenizer, LongTextsAreReadInStepsWithoutSeams) {
  const auto tokenizer = from_files({{"vocab.txt", vocab("a\nb\n##b\n,\n\u00e9\n##\u00e9\n[")},
                                     {"tokenizer_config.json", R"({"strip_accents": false})"}});
  std::string text;
  std::vector<int32_t> expected = {2};
  for (int i = 0; i < 9000; ++i) {
    text += i % 3 == 0 ? "ab\u00e9, " : i % 3 == 1 ? "\u00e9[b  " : "b\t";
    if (i % 3 == 0) expected.insert(expected.end(), {5, 7, 10, 8});
    if (i % 3 == 1) expected.insert(expected.end(), {9, 11, 6});
    if (i % 3 == 2) expected.push_back(6);
  }
  expected.push_back(3);
  EXPECT_EQ(tokenizer->encode(text, kNoLimit).ids, expected);
  expected.erase(expected.begin() + 9999, expected.end() - 1);
  EXPECT_EQ(tokenizer->encode(text, 10000).ids, expected);
}

TEST(Tokenizer, SpecialTokensByOtherNames) {
  const auto tokenizer = from_files(
      {{"vocab.txt", "<s>\n</s>\n<unk>\n<pad>\na"},
       {"special_tokens_map.json", R"({"cls_token": {"content": "<s>"}, "sep_token": "</s>"})"},
       {"tokenizer_config.json",
        R"({"cls_token": "[CLS]", "unk_token": "<unk>", "pad_token": "<pad>"})"}});
  EXPECT_THAT(tokenizer->encode("a x<s>", 64).ids, ElementsAre(0, 4, 2, 0, 1));
  EXPECT_THAT(tokenizer->special_ids(), UnorderedElementsAre(0, 1, 2, 3));
  EXPECT_EQ(tokenizer->mask_id(), -1);
}

TEST(Tokenizer, KnowsWhichTokensAreSpecial) {
  const auto tokenizer =
      from_files({{"vocab.txt", vocab("a\n[MASK]\n[Q]\nadded")},
                  {"added_tokens.json", R"({"added": 8, "b": 9})"},
                  {"special_tokens_map.json", R"({"additional_special_tokens": ["[Q]", "[D]"]})"}});
  EXPECT_EQ(tokenizer->mask_id(), 6);
  EXPECT_THAT(tokenizer->special_ids(), UnorderedElementsAre(0, 1, 2, 3, 6, 7, 10));
  EXPECT_EQ(tokenizer->token(10), "[D]");
}

TEST(Tokenizer, AddedTokensAreNotPiecesOfWords) {
  const auto tokenizer = from_files(
      {{"vocab.txt", vocab("foot\n##ball\n##s")}, {"added_tokens.json", R"({"ball": 8})"}});
  EXPECT_THAT(inner(tokenizer->encode("foot ball Ball balls footballs", 64)),
              ElementsAre(5, 8, 8, 8, 1, 5, 8, 1));
  EXPECT_EQ(tokenizer->vocab_size(), 9);
  EXPECT_EQ(tokenizer->token(8), "ball");
}

TEST(Tokenizer, VocabTxtWithWindowsLineEndsAndRepeatedTokens) {
  const auto tokenizer =
      from_files({{"vocab.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\na\r\n"}});
  EXPECT_EQ(tokenizer->vocab_size(), 6);
  EXPECT_THAT(inner(tokenizer->encode("a", 64)), ElementsAre(5));
}

TEST(Tokenizer, TokenById) {
  const auto tokenizer = from_files({{"vocab.txt", vocab("a")}});
  EXPECT_EQ(tokenizer->token(5), "a");
  EXPECT_THROW(tokenizer->token(6), Error);
  EXPECT_THROW(tokenizer->token(-1), Error);
}

// ---- bad input ----

TEST(BadTokenizer, NoFiles) {
  EXPECT_THAT(message_of({}), HasSubstr("[model/vocab.txt] no such file"));
}

TEST(BadTokenizer, AnotherKind) {
  EXPECT_THAT(
      message_of({{"vocab.txt", vocab("")},
                  {"tokenizer_config.json", R"({"tokenizer_class": "XLMRobertaTokenizer"})"}}),
      AllOf(HasSubstr("model/tokenizer_config.json"), HasSubstr("XLMRobertaTokenizer")));
  EXPECT_THAT(
      message_of({{"tokenizer.json", R"({"model": {"type": "BPE"}})"}}),
      AllOf(HasSubstr("model/tokenizer.json"), HasSubstr("\"BPE\", expected \"WordPiece\"")));
  json other = json::parse(read_file(kGolden + "minilm/model/tokenizer.json"));
  other["normalizer"] = {{"type", "NFKC"}};
  EXPECT_THAT(message_of({{"tokenizer.json", other.dump()}}), HasSubstr("\"NFKC\""));
  other.erase("pre_tokenizer");
  other["normalizer"] = {{"type", "BertNormalizer"}};
  EXPECT_THAT(message_of({{"tokenizer.json", other.dump()}}),
              HasSubstr("\"pre_tokenizer\" is missing"));
}

TEST(BadTokenizer, DamagedFiles) {
  EXPECT_THAT(message_of({{"tokenizer.json", "{\"model\": "}}),
              AllOf(HasSubstr("model/tokenizer.json"), HasSubstr("damaged JSON")));
  EXPECT_THAT(message_of({{"tokenizer.json", "{}"}}), HasSubstr("\"model\" is missing"));
  EXPECT_THAT(message_of({{"vocab.txt", vocab("a\n\xff\xfe")}}), HasSubstr("line 7 is not UTF-8"));
  EXPECT_THAT(message_of({{"vocab.txt", vocab("")}, {"added_tokens.json", "[]"}}),
              HasSubstr("expected an object"));
  EXPECT_THAT(message_of({{"vocab.txt", vocab("a")}, {"added_tokens.json", R"({"new": 5})"}}),
              HasSubstr("tokens \"a\" and \"new\" have the same id 5"));
  EXPECT_THAT(message_of({{"vocab.txt", vocab("")},
                          {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {}}})"}}),
              HasSubstr("key \"x\" is no token id"));
  EXPECT_THAT(message_of({{"vocab.txt", vocab("")},
                          {"tokenizer_config.json", R"({"additional_special_tokens": 1})"}}),
              HasSubstr("is no list"));
}

TEST(BadTokenizer, VocabularyOfTokenizerJson) {
  json own = json::parse(read_file(kGolden + "minilm/model/tokenizer.json"));
  own["model"]["vocab"]["forest"] = "x";
  EXPECT_THAT(message_of({{"tokenizer.json", own.dump()}}), HasSubstr("id of \"forest\""));
  own["model"]["vocab"]["forest"] = -1;
  EXPECT_THAT(
      message_of({{"tokenizer.json", own.dump()}}),
      HasSubstr("id of \"forest\": expected a whole number from 0 to 2147483647, found -1"));
  own["model"]["vocab"]["forest"] = 1 << 30;
  EXPECT_THAT(message_of({{"tokenizer.json", own.dump()}}, 100'000),
              HasSubstr("has a token with id 1073741824, but the model's vocab_size is 100000"));
  own["model"]["vocab"]["forest"] = 0;
  EXPECT_THAT(message_of({{"tokenizer.json", own.dump()}}), HasSubstr("have the same id 0"));
  own["model"].erase("vocab");
  EXPECT_THAT(message_of({{"tokenizer.json", own.dump()}}), HasSubstr("no object \"vocab\""));
}

TEST(BadTokenizer, MissingSpecialToken) {
  EXPECT_THAT(message_of({{"vocab.txt", "[PAD]\n[UNK]\n[CLS]\na"}}),
              AllOf(HasSubstr("model/vocab.txt"),
                    HasSubstr("sep_token \"[SEP]\" is not in the vocabulary")));
}

TEST(BadTokenizer, MoreTokensThanTheEmbeddingHasRows) {
  EXPECT_EQ(message_of({{"vocab.txt", vocab("a\nb")}}, 7), "no error");
  EXPECT_THAT(message_of({{"vocab.txt", vocab("a\nb")}}, 6),
              AllOf(HasSubstr("id 6"), HasSubstr("vocab_size is 6")));
}

// Padding of an embedding has no tokens: up to 1023 rows.
TEST(BadTokenizer, VocabularyThatWasCutShort) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "cut_vocabulary";
  const auto message = [&](const std::string& layout, const char* name, const std::string& text) {
    std::filesystem::remove_all(folder);
    std::filesystem::copy(kGolden + layout + "/model", folder);
    write_file_atomically(folder / name, text);
    json config = json::parse(read_file(folder / "config.json"));
    config["vocab_size"] = 1100;
    write_file_atomically(folder / "config.json", config.dump());
    return error_of([&] { Tokenizer::open(ModelDirectory::open(folder)); });
  };
  const auto vocab_txt = [](int tokens) {
    std::string text = vocab("");
    for (int id = 5; id < tokens; ++id) text += "word" + std::to_string(id) + "\n";
    return text;
  };
  EXPECT_EQ(message("bert-uncased", "vocab.txt", vocab_txt(1100 - 1023)), "no error");
  EXPECT_THAT(message("bert-uncased", "vocab.txt", vocab_txt(1100 - 1024)),
              HasSubstr("/vocab.txt] has 76 tokens, but the model's vocab_size is 1100. Restore "
                        "the file"));
  const json whole = json::parse(read_file(kGolden + "multilingual/model/tokenizer.json"));
  const auto tokenizer_json = [&](int tokens) {
    json cut = whole;
    for (const auto& [word, id] : whole["model"]["vocab"].items()) {
      if (id >= tokens) cut["model"]["vocab"].erase(word);
    }
    return cut.dump();
  };
  EXPECT_EQ(message("multilingual", "tokenizer.json", tokenizer_json(1100 - 1023)), "no error");
  EXPECT_THAT(message("multilingual", "tokenizer.json", tokenizer_json(1100 - 1024)),
              HasSubstr("/tokenizer.json] has 76 tokens, but the model's vocab_size is 1100"));
  std::filesystem::remove_all(folder);
}

TEST(Tokenizer, WarnsOfRowsWithoutAToken) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "short_vocab";
  const std::filesystem::path whole = kGolden + "bert-uncased/model";
  EXPECT_EQ(Tokenizer::open(ModelDirectory::open(whole))->warning(), "");
  std::filesystem::remove_all(folder);
  std::filesystem::copy(whole, folder);
  std::string text = read_file(folder / "vocab.txt");
  text.pop_back();
  text.resize(text.rfind('\n') + 1);
  write_file_atomically(folder / "vocab.txt", text);
  EXPECT_EQ(Tokenizer::open(ModelDirectory::open(folder))->warning(),
            folder.string() +
                "/vocab.txt has 210 tokens, the model's vocab_size is 211: right if the other rows "
                "are padding; if the file was cut short, words are read as unknown: restore it");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace twofour
