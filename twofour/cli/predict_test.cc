#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "twofour/cli/testing/run_command.h"
#include "twofour/io/file.h"
#include "twofour/io/model_directory.h"
#include "twofour/runtime/test_models.h"

namespace twofour::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

Outcome predict(const std::string& layout, const std::string& input,
                std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"predict", model(layout), "--threads", "1"});
  return run_command(more, input);
}

TEST(Predict, KeepsTheOrderOfPairs) {
  const Outcome all = run_command({"predict", model("cross-encoder"), "--input", data()});
  ASSERT_EQ(all.code, 0) << all.err;
  const auto rows = lines(slurp(data())), scores = lines(all.out);
  ASSERT_EQ(scores.size(), rows.size());
  EXPECT_EQ(scores[0], "score\tlabel");
  // Alone, each pair has the score that it has among others.
  for (size_t i : {1, 2, 50, 191}) {
    EXPECT_EQ(lines(predict("cross-encoder", rows[0] + "\n" + rows[i] + "\n").out)[1], scores[i]);
  }
}

TEST(Predict, JsonLinesInJsonLinesOut) {
  const Outcome outcome = predict("cross-encoder", R"({"query": "lamp", "document": "a green lamp"}
{"document": "", "query": "lamp", "extra": 1}
)");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto rows = lines(outcome.out);
  ASSERT_EQ(rows.size(), 2);
  EXPECT_TRUE(json::parse(rows[0]).contains("score"));
  EXPECT_GE(json::parse(rows[1])["label"], 0);
}

TEST(Predict, ActivationScalesAreChosen) {
  const std::string model = int8_model("cross-encoder", 0).path().string();
  const auto scores = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"predict", model, "--input", data()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_command(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string by_file = scores({});
  EXPECT_EQ(scores({"--activation-scales", "static"}), by_file);
  for (const std::string name : {"asymmetric", "per_token"}) {
    const std::string chosen = scores({"--activation-scales", name});
    EXPECT_NE(chosen, by_file) << name;
    ::setenv("TWOFOUR_ACTIVATION_SCALES", name.c_str(), 1);
    EXPECT_EQ(scores({}), chosen) << name;
    ::unsetenv("TWOFOUR_ACTIVATION_SCALES");
  }
}

TEST(Predict, SaysWhichKernelsRunIfAskedTo) {
  const std::string model = int8_model("cross-encoder", 1).path().string();
  const std::string pair = R"({"query": "lamp", "document": "bag"})";
  const Outcome plain = run_command({"predict", model}, pair),
                verbose = run_command({"predict", model, "-v"}, pair);
  EXPECT_EQ(verbose.out, plain.out);
  EXPECT_THAT(verbose.err, HasSubstr("on cpu: products f32, attention f32, "));
  EXPECT_THAT(verbose.err,
              HasSubstr("layer.0.attention.self.query+key+value: 2:4 int8 [96, 32] by spmm24_s8_"));
  EXPECT_THAT(plain.err, Not(HasSubstr(" by ")));
}

TEST(Predict, ToleratesByteOrderMarkAndEmptyLines) {
  const std::string plain = predict("cross-encoder", "query\tdocument\nlamp\tbag\n").out;
  EXPECT_EQ(lines(plain).size(), 2);
  EXPECT_EQ(predict("cross-encoder", "\xEF\xBB\xBF\r\nquery\tdocument\r\n\r\nlamp\tbag\r\n\n").out,
            plain);
  const std::string pair = R"({"query": "lamp", "document": "bag"})";
  EXPECT_EQ(predict("cross-encoder", "\xEF\xBB\xBF" + pair + "\n\n" + pair).out,
            predict("cross-encoder", pair + "\n" + pair + "\n").out);
}

TEST(Predict, EmbeddingsOfTextsAndProductOfPairs) {
  const Outcome texts = predict("minilm", "id\ttext\n1\tgreen lamp\n2\tred bag\n");
  ASSERT_EQ(texts.code, 0) << texts.err;
  EXPECT_THAT(lines(texts.out)[0], ::testing::StartsWith("e0\te1\t"));
  const auto embedding = [&](const std::string& text) {
    const Outcome outcome = predict("minilm", json{{"text", text}}.dump() + "\n");
    return json::parse(outcome.out)["embedding"].get<std::vector<float>>();
  };
  const auto a = embedding("green lamp"), b = embedding("red bag");
  float product = 0;
  for (size_t i = 0; i < a.size(); ++i) product += a[i] * b[i];
  const Outcome pair = predict("minilm", R"({"query": "green lamp", "document": "red bag"})");
  EXPECT_NEAR(json::parse(pair.out)["score"], product, 1e-5);
}

TEST(Predict, EmptyTextsHaveScoresAndEmbeddings) {
  const std::string pairs = "query\tdocument\n\tlamp\nlamp\t\n\t\n";
  for (const char* layout : {"cross-encoder", "minilm"}) {
    const Outcome outcome = predict(layout, pairs);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto rows = lines(outcome.out);
    ASSERT_EQ(rows.size(), 4);
    for (size_t i = 1; i < rows.size(); ++i) EXPECT_TRUE(std::isfinite(std::stof(rows[i])));
  }
  EXPECT_EQ(lines(predict("minilm", R"({"text": ""})").out).size(), 1);
}

TEST(Predict, AHeaderAloneGivesAHeaderAlone) {
  EXPECT_EQ(predict("cross-encoder", "query\tdocument\n").out, "score\tlabel\n");
  EXPECT_EQ(predict("minilm", "query\tdocument\n").out, "score\n");
  EXPECT_THAT(predict("minilm", "text\n").out, ::testing::StartsWith("e0\te1\t"));
  for (const char* nothing : {"", "\n\n", " \n\t\r\n"}) {
    const Outcome outcome = predict("minilm", nothing);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("[stdin] is empty. Begin with a header line"));
  }
}

// A golden model with weights whose products exceed the largest float.
std::filesystem::path overflowing_model(const std::string& layout, const std::string& name) {
  const ModelDirectory source = ModelDirectory::open(model(layout));
  Tensor weight = to_f32(source.tensor(name), name);
  for (float& value : weight.as<float>()) value = 3e38f;
  ModelToSave save{source.path(), source.config(), {}, R"({"version": "test"})"};
  for (const std::string& tensor : source.tensor_names())
    save.tensors.push_back({tensor, tensor == name ? weight.view() : source.tensor(tensor)});
  const auto path = scratch("overflow") / "model";
  save_model_directory(path, save);
  return path;
}

TEST(Predict, ScoresThatAreNoNumbersAreRefusedWithTheirPlace) {
  const std::string path = overflowing_model("cross-encoder", "classifier.weight");
  const Outcome outcome =
      run_command({"predict", path}, "\nquery\tdocument\n\nlamp\ta green lamp\n");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("[stdin:4] the model gives "));
  const auto folder = scratch("overflow-data");
  spill(folder / "corpus.jsonl", R"({"_id": "d7", "text": "a green lamp"})");
  EXPECT_THAT(
      run_command({"predict", path, "--documents", folder / "corpus.jsonl", "--query", "lamp"}).err,
      HasSubstr("corpus.jsonl, document d7, query 'lamp'] the model gives "));
  spill(folder / "data.tsv",
        "query\tdocument\tlabel\tquery_id\tdocument_id\nlamp\ta lamp\t1\tfirst\td9\n");
  EXPECT_THAT(run_command({"eval", path, folder / "data.tsv"}).err,
              HasSubstr("data.tsv, query first, document d9] the model gives "));
}

TEST(Predict, EmbeddingsThatAreNoNumbersAreRefusedWithTheirPlace) {
  const std::string path = overflowing_model("bge", "encoder.layer.1.output.LayerNorm.weight");
  EXPECT_THAT(run_command({"predict", path}, "text\nlamp\n").err,
              HasSubstr("[stdin:2] the model gives "));
  const auto folder = scratch("overflow-data");
  spill(folder / "corpus.txt", "a green lamp\n");
  EXPECT_THAT(
      run_command({"predict", path, "--documents", folder / "corpus.txt", "--query", "lamp"}).err,
      HasSubstr("corpus.txt, document 1] the model gives "));
  spill(folder / "data.tsv", "query\tdocument\tlabel\nlamp\ta lamp\t1\n");
  EXPECT_THAT(run_command({"eval", path, folder / "data.tsv"}).err,
              HasSubstr("data.tsv, query q1] the model gives "));
}

TEST(Predict, MalformedLineIsNamedAndLeavesFilesAsTheyWere) {
  const auto out = scratch("predict") / "scores.tsv";
  const auto fails = [&](const std::string& input) {
    const Outcome outcome = predict("cross-encoder", input, {"--output", out});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_FALSE(std::filesystem::exists(out));
    return outcome.err;
  };
  std::string many = "query\tdocument\n";
  for (int i = 0; i < 1500; ++i) many += "lamp\tbag\n";
  EXPECT_THAT(
      fails(many + "lamp\n"),
      HasSubstr("[stdin:1502] has another number of fields than the header: 1, expected 2. Fields "
                "are separated by single tabs and hold none\n"));
  EXPECT_THAT(
      fails("query\tdocument\nlamp\t\xff\n"),
      HasSubstr("[stdin:2] is not UTF-8 text. Convert it to UTF-8, for example with iconv\n"));
  EXPECT_THAT(
      fails(std::string("\xFF\xFEt\0e\0", 6)),
      HasSubstr("[stdin:1] is UTF-16 text, expected UTF-8. Convert it, for example with iconv "
                "-f UTF-16 -t UTF-8\n"));
  EXPECT_THAT(fails(std::string("text\nla\0mp\n", 11)),
              HasSubstr("[stdin:2] is not UTF-8 text: NUL bytes are those of a binary file"));
  EXPECT_THAT(fails("question\tanswer\n"),
              HasSubstr("columns query and document, or text; found: question, answer"));
  EXPECT_THAT(fails(""), HasSubstr("[stdin] is empty"));
  EXPECT_THAT(fails("{\"query\": \"a\", \"document\": \"b\"}\n{\"query\": 1"),
              HasSubstr("[stdin:2] damaged JSON: parse error at column 12: "));
  EXPECT_THAT(fails("{\"query\": \"a\"}\n"),
              HasSubstr("[stdin:1] expected a JSON object with the keys query and document, or "
                        "text. Write one such object in each line\n"));
  EXPECT_THAT(
      fails(std::string("\x1F\x8B\x08\0\n", 5)),
      HasSubstr("[stdin:1] is compressed by gzip. Decompress it, or compress it with zstd"));
  EXPECT_THAT(
      fails("{\"query\": \"a\", \"document\": 3}\n"),
      HasSubstr("document is not a string. Give it a text in double quotes, which may be empty\n"));
  EXPECT_THAT(fails("{\"query\": \"a\", \"document\": \"b\"}\n{\"text\": \"a\"}\n"),
              HasSubstr("[stdin:2] mixes single texts and pairs. Give them as two inputs\n"));
  EXPECT_THAT(fails("text\nlamp\n"), HasSubstr("scores pairs, but the input holds single texts"));
  spill(out, "precious");
  EXPECT_EQ(predict("cross-encoder", "query\tdocument\nx\n", {"--output", out}).code, 1);
  EXPECT_EQ(slurp(out), "precious");
}

TEST(Predict, NamesTheReasonWhyAnInputCannotBeRead) {
  EXPECT_THAT(predict("minilm", "", {"--input", "/nowhere.tsv"}).err,
              HasSubstr("[/nowhere.tsv] cannot be read: No such file or directory"));
  const auto folder = scratch("predict-input");
  EXPECT_THAT(predict("minilm", "", {"--input", folder}).err,
              HasSubstr("cannot be read: it is a folder"));
}

TEST(Predict, WritesNeitherOverItsInputNorWhereNoFolderIs) {
  const auto folder = scratch("predict-output");
  const std::string pairs = "query\tdocument\nlamp\tbag\n";
  spill(folder / "pairs.tsv", pairs);
  std::filesystem::create_symlink(folder / "pairs.tsv", folder / "link.tsv");
  for (const char* name : {"pairs.tsv", "link.tsv"}) {
    const Outcome outcome =
        predict("minilm", "", {"--input", folder / "pairs.tsv", "--output", folder / name});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("is an input of this command too"));
  }
  EXPECT_EQ(slurp(folder / "pairs.tsv"), pairs);
  const Outcome typo = predict("minilm", pairs, {"--output", folder / "typo" / "scores.tsv"});
  EXPECT_EQ(typo.code, 1);
  EXPECT_THAT(typo.err,
              HasSubstr("scores.tsv] cannot be written: there is no folder " + folder.string()));
  EXPECT_FALSE(std::filesystem::exists(folder / "typo"));
  EXPECT_THAT(predict("minilm", pairs, {"--output", folder / "pairs.tsv" / "scores.tsv"}).err,
              HasSubstr("cannot be written: "));
  EXPECT_THAT(predict("minilm", pairs, {"--output", folder}).err, HasSubstr("it is a folder"));
}

TEST(Predict, StandardOutputHasANameAndOutASynonym) {
  const std::string pairs = "query\tdocument\nlamp\tbag\n";
  const std::string expected = predict("minilm", pairs).out;
  EXPECT_EQ(predict("minilm", pairs, {"--output", "-"}).out, expected);
  const auto out = scratch("predict-output") / "scores.tsv";
  EXPECT_EQ(predict("minilm", pairs, {"--out", out}).code, 0);
  EXPECT_EQ(slurp(out), expected);
}

TEST(Predict, DevicesAndPipesTakeTheOutputAsItComes) {
  const std::string pairs = "query\tdocument\nlamp\tbag\n";
  EXPECT_EQ(predict("minilm", pairs, {"--output", "/dev/null"}).code, 0);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_THAT(predict("minilm", pairs, {"--output", "/dev/full"}).err,
              HasSubstr("[/dev/full] cannot be written: "));
  const auto pipe = scratch("predict-output") / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(predict("minilm", pairs, {"--output", pipe}).code, 0);
  char bytes[256];
  const ssize_t count = read(reader, bytes, sizeof bytes);
  close(reader);
  EXPECT_EQ(std::string(bytes, std::max<ssize_t>(count, 0)), predict("minilm", pairs).out);
}

TEST(Predict, LengthsThatKeepNoTextAreRefused) {
  const std::string pair = R"({"query": "lamp", "document": "bag"})";
  EXPECT_THAT(predict("minilm", pair, {"--max-length", "2"}).err,
              HasSubstr("[max_length] is 2, expected 3 to "));
  EXPECT_THAT(predict("cross-encoder", pair, {"--max-length", "4"}).err,
              HasSubstr("[max_length] is 4, expected 5 to "));
  EXPECT_THAT(predict("minilm", pair, {"--max-length", "100000"}).err,
              HasSubstr("[max_length] is 100000, expected 3 to "));
  EXPECT_EQ(predict("cross-encoder", pair, {"--max-length", "5"}).code, 0);
}

TEST(Predict, HelpTellsTheBlocksOfItsOutput) {
  EXPECT_THAT(run_command({"predict", "--help"}).out, HasSubstr("in blocks of 1024 rows"));
}

TEST(Predict, RefusesWrongUsage) {
  const Outcome top = predict("minilm", "", {"--documents", "c", "--top", "0"});
  EXPECT_EQ(top.code, 2);
  EXPECT_THAT(top.err, HasSubstr("--top: expected a number above 0, found 0\n"));
  EXPECT_THAT(predict("minilm", "", {"--documents", "c", "--candidates", "-1"}).err,
              HasSubstr("--candidates: expected a number from 0, found -1\n"));
  EXPECT_THAT(predict("minilm", "", {"--max-length", "nan"}).err,
              HasSubstr("expected a number above 0, found nan"));
  const Outcome unnamed = predict("minilm", "", {"--output", ""});
  EXPECT_EQ(unnamed.code, 2);
  EXPECT_THAT(unnamed.err, HasSubstr("--output: expected a name, found nothing"));
  const Outcome silent = predict("minilm", "", {"--documents", "c", "--query", ""});
  EXPECT_EQ(silent.code, 2);
  EXPECT_THAT(silent.err, HasSubstr("--query: expected a text, found nothing"));
  EXPECT_EQ(predict("minilm", "", {"--input", ""}).code, 2);
  EXPECT_EQ(predict("minilm", "", {"--documents", ""}).code, 2);
  EXPECT_EQ(predict("minilm", "", {"--query", "lamp"}).code, 2);
  EXPECT_EQ(predict("minilm", "", {"--documents", "c", "--input", "x"}).code, 2);
  EXPECT_EQ(predict("minilm", "", {"--input", "/nowhere.tsv"}).code, 1);
  EXPECT_EQ(predict("bert-uncased", "text\nlamp\n").code, 1);
}

class Search : public ::testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path folder_ = scratch("search");
};

TEST_P(Search, AnswersAQueryWithTheBestDocuments) {
  spill(folder_ / "corpus.jsonl", R"({"_id": "d1", "title": "lamp", "text": "a green desk lamp"}
{"_id": "d2", "text": "a red leather bag"}
{"_id": "d3", "text": "a cheap black running shoe"}
)");
  const Outcome outcome = predict(
      GetParam(), "",
      {"--documents", folder_ / "corpus.jsonl", "--query", "green lamp", "--top", "2", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json answer = json::parse(outcome.out);
  ASSERT_EQ(answer["documents"].size(), 2);
  EXPECT_GE(answer["documents"][0]["score"], answer["documents"][1]["score"]);
  const Outcome pair =
      predict(GetParam(),
              json{{"query", "green lamp"}, {"document", answer["documents"][0]["text"]}}.dump());
  EXPECT_NEAR(json::parse(pair.out)["score"], answer["documents"][0]["score"], 1e-6);
}

TEST_P(Search, ReadsQueriesFromStandardInputAndDocumentsLineByLine) {
  spill(folder_ / "corpus.txt", "a green desk lamp\na red leather bag\n");
  const Outcome outcome =
      predict(GetParam(), "lamp\r\n\r\n \nbag\n", {"--documents", folder_ / "corpus.txt"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto rows = lines(outcome.out);
  ASSERT_EQ(rows.size(), 11);  // two tables of two rows, header and rule, a blank line between them
  EXPECT_EQ(rows[0], "query  lamp");
  EXPECT_EQ(rows[5], "");
  EXPECT_EQ(rows[6], "query  bag");
  const Outcome none = predict(GetParam(), " \n\n", {"--documents", folder_ / "corpus.txt"});
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.err, HasSubstr("[stdin] holds no query"));
}

TEST_P(Search, AnswersABlankQuery) {
  spill(folder_ / "corpus.txt", "a green desk lamp\na red leather bag\n");
  const Outcome outcome =
      predict(GetParam(), "", {"--documents", folder_ / "corpus.txt", "--query", " ", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)["query"], " ");
  EXPECT_EQ(json::parse(outcome.out)["documents"].size(), 2);
}

TEST_P(Search, ReadsQueriesWithWindowsLineEnds) {
  spill(folder_ / "corpus.txt", "a green desk lamp\r\na red leather bag\r\n");
  const Outcome outcome = predict(GetParam(), "\xEF\xBB\xBFlamp\r\n\r\nbag\r\n",
                                  {"--documents", folder_ / "corpus.txt", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto answers = lines(outcome.out);
  ASSERT_EQ(answers.size(), 2);
  EXPECT_EQ(json::parse(answers[0])["query"], "lamp");
  EXPECT_EQ(json::parse(answers[1])["query"], "bag");
}

TEST_P(Search, RefusesQueriesThatAreNotUtf8) {
  spill(folder_ / "corpus.txt", "a green desk lamp\na red leather bag\n");
  const Outcome typed =
      predict(GetParam(), "lamp\n\nbag \xff\n", {"--documents", folder_ / "corpus.txt", "--json"});
  EXPECT_EQ(typed.code, 1);
  EXPECT_EQ(lines(typed.out).size(), 1);  // of the query before
  EXPECT_THAT(typed.err, HasSubstr("[stdin:3] is not UTF-8 text"));
  const Outcome given =
      predict(GetParam(), "", {"--documents", folder_ / "corpus.txt", "--query", "a\xff"});
  EXPECT_EQ(given.code, 2);
  EXPECT_THAT(given.err, HasSubstr("--query: is not UTF-8 text. Convert it to UTF-8"));
}

TEST_P(Search, ReadsACompressedCorpus) {
  const std::string corpus = R"({"_id": "d1", "text": "a green desk lamp"})";
  for (const char* name : {"corpus.jsonl", "corpus.jsonl.zst"})
    write_file_atomically(folder_ / name, corpus);
  ASSERT_NE(slurp(folder_ / "corpus.jsonl.zst"), corpus);
  const auto answer = [&](const char* name) {
    return predict(GetParam(), "", {"--documents", folder_ / name, "--query", "lamp"}).out;
  };
  EXPECT_THAT(answer("corpus.jsonl.zst"), HasSubstr("d1  a green desk lamp"));
  EXPECT_EQ(answer("corpus.jsonl.zst"), answer("corpus.jsonl"));
}

TEST_P(Search, TakesTheDocumentsOfATable) {
  spill(folder_ / "pairs.tsv",
        "query\tdocument_id\tdocument\tlabel\nlamp\td7\ta green desk lamp\t1\n");
  const Outcome outcome = predict(
      GetParam(), "", {"--documents", folder_ / "pairs.tsv", "--query", "document", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json documents = json::parse(outcome.out)["documents"];
  ASSERT_EQ(documents.size(), 1);
  EXPECT_EQ(documents[0]["id"], "d7");
  EXPECT_EQ(documents[0]["text"], "a green desk lamp");
}

TEST_P(Search, RefusesADamagedCorpus) {
  spill(folder_ / "corpus.jsonl", "{\"_id\": \"d1\", \"text\": \"x\"}\n{\"_id\": 3}\n");
  const Outcome outcome =
      predict(GetParam(), "", {"--documents", folder_ / "corpus.jsonl", "--query", "lamp"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("corpus.jsonl:2"));
}

TEST_P(Search, RefusesDocumentsOfOneId) {
  spill(folder_ / "corpus.jsonl",
        "{\"_id\": \"d1\", \"text\": \"x\"}\n{\"_id\": \"d1\", \"text\": \"y\"}\n");
  const Outcome outcome =
      predict(GetParam(), "", {"--documents", folder_ / "corpus.jsonl", "--query", "lamp"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("corpus.jsonl:2] _id \"d1\" stands twice"));
}

TEST(SearchCandidates, CrossEncoderScoresWhatBm25Finds) {
  const std::filesystem::path folder = scratch("candidates");
  spill(folder / "corpus.txt", "a green desk lamp\na red leather bag\na red shoe\n");
  const Outcome outcome = predict(
      "cross-encoder", "",
      {"--documents", folder / "corpus.txt", "--query", "red bag", "--candidates", "1", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json documents = json::parse(outcome.out)["documents"];
  ASSERT_EQ(documents.size(), 1);
  EXPECT_EQ(documents[0]["text"], "a red leather bag");
}

INSTANTIATE_TEST_SUITE_P(Heads, Search, ::testing::Values("cross-encoder", "minilm"),
                         [](const auto& info) {
                           return info.index == 0 ? "Scores" : "Embeddings";
                         });

}  // namespace
}  // namespace twofour::cli
