#include "twofour/io/dataset.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "twofour/base/testing.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string parse_error(const std::string& text, int64_t num_labels = 0) {
  return error_of([&] { parse_dataset(text, "x.tsv", {num_labels}); });
}

std::string rows(std::initializer_list<const char*> lines) {
  std::string text = "query\tdocument\tlabel\n";
  for (const char* line : lines) text += std::string(line) + "\n";
  return text;
}

TEST(DatasetTest, Tsv) {
  const Dataset data = parse_dataset(
      rows({"fast editor\tvim\t2", "fast editor\temacs\t1", "mail\tmutt\t0.5", "mail\tvim\t-1"}),
      "x.tsv");
  EXPECT_EQ(data.origin, "x.tsv");
  EXPECT_THAT(data.queries, ElementsAre("fast editor", "mail"));
  EXPECT_THAT(data.documents, ElementsAre("vim", "emacs", "mutt"));
  EXPECT_THAT(data.query_ids, ElementsAre("q1", "q2"));
  EXPECT_THAT(data.document_ids, ElementsAre("d1", "d2", "d3"));
  EXPECT_TRUE(data.queries_numbered && data.documents_numbered);
  ASSERT_EQ(data.pairs.size(), 4u);
  EXPECT_EQ(data.pairs[2].query, 1);
  EXPECT_EQ(data.pairs[2].document, 2);
  EXPECT_EQ(data.pairs[2].label, 0.5f);
  EXPECT_EQ(data.pairs[3].document, 0);
  EXPECT_EQ(data.pairs[3].label, -1.0f);
}

TEST(DatasetTest, ColumnsInAnyOrderWithIds) {
  const Dataset data = parse_dataset(
      "label\tsplit\tdocument_id\tquery\tquery_id\tdocument\n"
      "1\ttest\tD7\tsame text\tA\tvim\n"
      "2\ttest\tD8\tsame text\tB\tvim\n",
      "x.tsv");
  EXPECT_THAT(data.query_ids, ElementsAre("A", "B"));
  EXPECT_THAT(data.queries, ElementsAre("same text", "same text"));
  EXPECT_THAT(data.document_ids, ElementsAre("D7", "D8"));
  EXPECT_FALSE(data.queries_numbered || data.documents_numbered);
  EXPECT_EQ(data.pairs[1].label, 2.0f);
}

TEST(DatasetTest, ToleratesByteOrderMarkCrlfAndEmptyLines) {
  const Dataset data = parse_dataset(
      "\xEF\xBB\xBFquery\tdocument\tlabel\r\n"
      "q\td\xC3\xA9j\xC3\xA0 vu\t1\r\n"
      "\r\n"
      "q\t\xE4\xB8\xAD\xE6\x96\x87\t0",
      "x.tsv");
  EXPECT_THAT(data.documents, ElementsAre("d\xC3\xA9j\xC3\xA0 vu", "\xE4\xB8\xAD\xE6\x96\x87"));
  EXPECT_EQ(data.pairs[1].label, 0.0f);
}

TEST(DatasetTest, RepeatedPairStandsOnce) {
  EXPECT_EQ(parse_dataset(rows({"q\td\t1", "q\te\t1", "q\td\t1"}), "x.tsv").pairs.size(), 2u);
  EXPECT_THAT(parse_error(rows({"q\td\t1", "q\te\t1", "q\td\t2"})),
              AllOf(HasSubstr("x.tsv:4]"), HasSubstr("had label 1 before, now 2")));
  EXPECT_EQ(repeated_pairs_note(parse_dataset(rows({"q\td\t1", "q\td\t1"}), "x.tsv")),
            "pairs of x.tsv that repeat others with the same label, and count once: 1");
  EXPECT_EQ(repeated_pairs_note(parse_dataset(rows({"q\td\t1", "q\te\t1"}), "x.tsv")), "");
}

TEST(DatasetTest, ChecksumsTellPairsApart) {
  const auto sum = [](const std::string& text) {
    return pairs_checksum(parse_dataset(text, "x.tsv"));
  };
  const std::string numbered = sum(rows({"q\td\t1", "q\te\t0"}));
  EXPECT_THAT(numbered, testing::MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(sum(rows({"q\td\t1.0", "q\te\t0", "q\td\t1"})), numbered);
  for (const std::string& other :
       {rows({"p\td\t1", "p\te\t0"}), rows({"q\td\t1", "q\tf\t0"}), rows({"q\td\t2", "q\te\t0"}),
        rows({"q\te\t0", "q\td\t1"}), rows({"q\td\t1"})}) {
    EXPECT_NE(sum(other), numbered) << other;
  }
  const std::string header = "query\tdocument\tlabel\tquery_id\tdocument_id\n";
  const std::string named = sum(header + "q\td\t1\tA\t1\n" + "q\te\t0\tA\t2\n");
  EXPECT_EQ(sum(header + "Q\te\t0\tA\t2\n" + "Q\tD\t1\tA\t1\n"), named);
  EXPECT_NE(sum(header + "q\td\t1\tA\t1\n" + "q\te\t0\tA\t3\n"), named);
}

TEST(DatasetTest, Columns) {
  EXPECT_THAT(parse_error("query\ttext\tlabel\nq\td\t1\n"),
              AllOf(HasSubstr("x.tsv:1]"), HasSubstr("column \"document\" is missing"),
                    HasSubstr("\"query\", \"text\", \"label\"")));
  EXPECT_THAT(parse_error("query,document,label\nq,d,1\n"), HasSubstr("\"query\" is missing"));
  EXPECT_THAT(parse_error("query\tdocument\tlabel\tquery\nq\td\t1\tq\n"),
              HasSubstr("\"query\" stands twice"));
  EXPECT_THAT(parse_error(rows({"q\td\t1", "q\td"})),
              AllOf(HasSubstr("x.tsv:3]"),
                    HasSubstr("has another number of fields than the header: 2, expected 3")));
  EXPECT_THAT(parse_error(rows({"q\td\t1\t"})), HasSubstr("header: 4, expected 3"));
}

TEST(DatasetTest, Labels) {
  for (const char* label : {"", "x", "1 ", "nan", "inf", "1e99", "1,5", "0x10"}) {
    EXPECT_THAT(parse_error(rows({fmt::format("q\td\t{}", label).c_str()})),
                AllOf(HasSubstr("x.tsv:2]"), HasSubstr("is no number. A label is a number")))
        << label;
  }
  EXPECT_EQ(parse_error(rows({"q\td\t2"}), 3), "no error");
  for (const char* label : {"3", "-1", "0.5"}) {
    EXPECT_THAT(parse_error(rows({fmt::format("q\td\t{}", label).c_str()}), 3),
                HasSubstr("no whole number from 0 to 2: the model has num_labels 3. Correct the "
                          "label, or take a model with as many labels as the data"))
        << label;
  }
}

TEST(DatasetTest, LabelsThatNobodyNeeds) {
  const auto labels = [](const std::string& text) {
    std::vector<float> labels;
    for (const Pair& pair : parse_dataset(text, "x", {.need_labels = false}).pairs)
      labels.push_back(pair.label);
    return labels;
  };
  EXPECT_THAT(labels("document\tquery\nd\tq\ne\tq\n"), ElementsAre(0, 0));
  EXPECT_THAT(labels(rows({"q\td\t2", "q\te\t1"})), ElementsAre(2, 1));
  EXPECT_THAT(labels(R"({"query": "q", "document": "d"})"), ElementsAre(0));
  EXPECT_THAT(labels(R"({"query": "q", "document": "d", "label": 2})"), ElementsAre(2));
}

TEST(DatasetTest, Encodings) {
  EXPECT_THAT(parse_error(rows({"q\td\t1", "q\tcaf\xE9\t1"})),
              AllOf(HasSubstr("x.tsv:3]"), HasSubstr("0xe9"), HasSubstr("iconv")));
  EXPECT_THAT(parse_error(rows({"q\t\xED\xA0\x80\t1"})), HasSubstr("no UTF-8"));  // a surrogate
  for (const std::string& utf16 :
       {std::string("\xFF\xFEq\0u\0", 6), std::string("\xFE\xFF\0q\0u", 6)}) {
    EXPECT_THAT(parse_error(utf16),
                HasSubstr("[x.tsv:1] is UTF-16 text, expected UTF-8. Convert it, "
                          "for example with iconv -f UTF-16 -t UTF-8"));
  }
  for (const std::string& binary :
       {std::string("q\0u\0e\0r\0y\0", 10), std::string("\x7F\xE9\n\0", 4)}) {
    EXPECT_THAT(parse_error(binary),
                HasSubstr("[x.tsv:1] is not UTF-8 text: NUL bytes are those of a binary file"));
  }
}

TEST(DatasetTest, EmptyFilesAndTexts) {
  EXPECT_THAT(parse_error(""), HasSubstr("[x.tsv] the file is empty. Name a file that holds"));
  EXPECT_THAT(parse_error("\n\r\n"), HasSubstr("the file is empty"));
  EXPECT_THAT(parse_error(rows({})), HasSubstr("[x.tsv] holds no pairs. A line for each"));
  EXPECT_THAT(parse_error(rows({"\td\t1"})),
              HasSubstr("x.tsv:2] the query is empty. Give it a text, or remove the line"));
  EXPECT_THAT(parse_error(rows({"q\t  \t1"})), HasSubstr("the document is empty"));
  EXPECT_THAT(parse_error("query\tdocument\tlabel\tquery_id\nq\td\t1\t\n"),
              HasSubstr("the query's id is empty"));
}

TEST(DatasetTest, OneIdWithTwoTexts) {
  EXPECT_THAT(
      parse_error("query\tdocument\tlabel\tdocument_id\nq\td\t1\tA\nq\te\t1\tA\n"),
      AllOf(HasSubstr("x.tsv:3]"), HasSubstr("document id \"A\" stood for another text before")));
}

TEST(DatasetTest, Jsonl) {
  const Dataset data = parse_dataset(
      "{\"query\": \"a\\tb\", \"document\": \"d\\u00e9\", \"label\": 1, \"query_id\": 17}\n"
      "\n"
      "{\"label\": 0.5, \"query_id\": \"x\", \"query\": \"c\", \"document\": \"e\", \"extra\": "
      "[]}\n",
      "pairs");
  EXPECT_THAT(data.queries, ElementsAre("a\tb", "c"));
  EXPECT_THAT(data.query_ids, ElementsAre("17", "x"));
  EXPECT_THAT(data.document_ids, ElementsAre("d1", "d2"));
  EXPECT_EQ(data.documents[0], "d\xC3\xA9");
  EXPECT_EQ(data.pairs[1].label, 0.5f);
}

TEST(DatasetTest, DamagedJsonl) {
  const std::string good = R"({"query":"q","document":"d","label":1})"
                           "\n";
  const auto error = [&](const char* line) {
    return error_of([&] { parse_dataset(good + line, "x.jsonl"); });
  };
  EXPECT_THAT(error("{\"query\":"),
              HasSubstr("x.jsonl:2] damaged JSON: parse error at column 10: "));
  EXPECT_THAT(error("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error(R"({"query":"q","label":1})"),
              HasSubstr("\"document\" is missing. Correct it"));
  EXPECT_THAT(error(R"({"query":"q","document":"d"})"), HasSubstr("\"label\" is missing"));
  EXPECT_THAT(error(R"({"query":"q","document":"d","label":"1"})"), HasSubstr("expected a number"));
  EXPECT_THAT(error(R"({"query":"q","document":"d","label":1e300})"), HasSubstr("too large"));
  EXPECT_THAT(error(R"({"query":1,"document":"d","label":1})"), HasSubstr("expected a string"));
  EXPECT_THAT(error(R"({"query":"q","document":"d","label":1,"query_id":"1"})"),
              HasSubstr("\"query_id\" is given here, unlike"));
  EXPECT_THAT(error(R"({"query":"q","query":"r","document":"d","label":1})"),
              HasSubstr("stands twice"));
  EXPECT_THAT(error_of([] { parse_dataset("query\tdocument\tlabel\n", "x.jsonl.zst"); }),
              HasSubstr("damaged JSON"));
}

TEST(DatasetTest, JsonOfSeveralLinesIsNotCalledDamaged) {
  const std::string text = "{\n  \"query\": \"q\",\n  \"document\": \"d\"\n}\n";
  const auto said = HasSubstr(
      ":1] the JSON does not end in this line, expected one object a line. Write each object in a "
      "line of its own, for example with jq -c .");
  EXPECT_THAT(parse_error(text), said);
  EXPECT_THAT(error_of([] { parse_dataset("{} x\n{}\n", "x.jsonl"); }),
              HasSubstr("x.jsonl:1] damaged JSON"));
  const fs::path path = fs::path(testing::TempDir()) / "dataset_test_config.json";
  write_file_atomically(path, text);
  EXPECT_THAT(error_of([&] { read_corpus(path); }), said);
  EXPECT_THAT(error_of([&] { read_texts(path); }), said);
  fs::remove(path);
}

class BeirTest : public testing::Test {
 protected:
  std::string qrels = "query-id\tcorpus-id\tscore\nq1\td2\t2\nq1\td1\t0\nq2\td2\t1\n";
  std::string queries =
      "{\"_id\":\"q1\",\"text\":\"editor\"}\n{\"_id\":\"q2\",\"text\":\"mail\"}\n"
      "{\"_id\":\"q3\",\"text\":\"\"}\n";
  std::string corpus =
      "{\"_id\":\"d1\",\"title\":\"Vim\",\"text\":\"an editor\"}\n"
      "{\"_id\":\"d2\",\"title\":\"\",\"text\":\"a mailer\"}\n";

  Dataset parse() const {
    return parse_beir({qrels, "test.tsv"}, {queries, "queries.jsonl"}, {corpus, "corpus.jsonl"});
  }
  std::string error() const {
    return error_of([&] { parse(); });
  }
};

TEST_F(BeirTest, Parses) {
  const Dataset data = parse();
  EXPECT_THAT(data.query_ids, ElementsAre("q1", "q2"));
  EXPECT_THAT(data.queries, ElementsAre("editor", "mail"));
  EXPECT_THAT(data.document_ids, ElementsAre("d2", "d1"));
  EXPECT_THAT(data.documents, ElementsAre("a mailer", "Vim an editor"));
  EXPECT_EQ(data.pairs[2].query, 1);
  EXPECT_EQ(data.pairs[2].document, 0);
}

TEST_F(BeirTest, RefusesUndefinedIds) {
  qrels += "q9\td1\t1\n";
  EXPECT_THAT(error(),
              AllOf(HasSubstr("test.tsv:5]"), HasSubstr("\"q9\" is not in queries.jsonl")));
}

TEST_F(BeirTest, RefusesDamagedTexts) {
  const std::string good = corpus;
  corpus = good + "{\"_id\":\"d1\",\"text\":\"again\"}\n";
  EXPECT_THAT(error(), AllOf(HasSubstr("corpus.jsonl:3]"), HasSubstr("stands twice")));
  corpus = good + "{\"text\":\"nameless\"}\n";
  EXPECT_THAT(error(), HasSubstr("\"_id\" is missing"));
  corpus = good + "{";
  EXPECT_THAT(error(), HasSubstr("damaged JSON"));
}

TEST_F(BeirTest, RefusesDamagedQrels) {
  const std::string good = qrels;
  qrels = good + "q1\td1\n";
  EXPECT_THAT(error(), AllOf(HasSubstr("test.tsv:5]"), HasSubstr("the header: 2, expected 3")));
  qrels = good + "q1\td1\thigh\n";
  EXPECT_THAT(error(), HasSubstr("is no number"));
  qrels = "query\tcorpus\tscore\n";
  EXPECT_THAT(error(), HasSubstr("expected the header"));
  qrels = good + "q3\td1\t1\n";
  EXPECT_THAT(error(), HasSubstr("the query is empty"));
}

TEST_F(BeirTest, ReadsFromFolders) {
  const fs::path folder = fs::path(testing::TempDir()) / "dataset_test_beir";
  fs::remove_all(folder);
  write_file_atomically(folder / "qrels" / "test.tsv.zst", qrels);
  EXPECT_THAT(error_of([&] { read_dataset(folder / "qrels" / "test.tsv.zst"); }),
              AllOf(HasSubstr("queries.jsonl"), HasSubstr("no such file")));
  write_file_atomically(folder / "queries.jsonl", queries);
  write_file_atomically(folder / "corpus.jsonl.zst", corpus);
  EXPECT_EQ(read_dataset(folder / "qrels" / "test.tsv.zst").pairs.size(), 3u);
  fs::remove_all(folder);
}

TEST(CorpusTest, ReadsBeirAndPlainLines) {
  const fs::path path = fs::path(testing::TempDir()) / "dataset_test_corpus.jsonl.zst";
  write_file_atomically(path,
                        "\xEF\xBB\xBF{\"_id\": \"a\", \"title\": \"T\", \"text\": \"x\"}\r\n\r\n"
                        "{\"_id\": 7, \"title\": \"T\", \"text\": \"\"}\n");
  EXPECT_THAT(read_corpus(path).ids, ElementsAre("a", "7"));
  EXPECT_THAT(read_corpus(path).texts, ElementsAre("T x", "T"));
  write_file_atomically(path, "{\"_id\": \"a\"}\n");
  EXPECT_THAT(error_of([&] { read_corpus(path); }), HasSubstr(":1] key \"text\" is missing"));
  write_file_atomically(path, "{\"_id\": 7, \"text\": \"x\"}\n{\"_id\": \"7\", \"text\": \"y\"}\n");
  EXPECT_THAT(error_of([&] { read_corpus(path); }), HasSubstr(":2] _id \"7\" stands twice"));
  fs::remove(path);

  const fs::path plain = fs::path(testing::TempDir()) / "dataset_test_corpus.txt";
  write_file_atomically(plain, "one\r\n\ntwo\n");
  EXPECT_THAT(read_corpus(plain).ids, ElementsAre("1", "3"));
  EXPECT_THAT(read_corpus(plain).texts, ElementsAre("one", "two"));
  write_file_atomically(plain, "one\n\xff\n");
  EXPECT_THAT(error_of([&] { read_corpus(plain); }), HasSubstr("corpus.txt:2] byte 0xff"));
  write_file_atomically(plain, "\n");
  EXPECT_THAT(error_of([&] { read_corpus(plain); }), HasSubstr("holds no documents"));
  fs::remove(plain);
}

TEST(CorpusTest, AHeaderIsNoDocument) {
  const fs::path path = fs::path(testing::TempDir()) / "dataset_test_corpus.tsv";
  write_file_atomically(path, rows({"q\td\t1", "r\td\t0", "r\te\t1"}));
  EXPECT_THAT(read_corpus(path).ids, ElementsAre("d1", "d2"));
  EXPECT_THAT(read_corpus(path).texts, ElementsAre("d", "e"));
  write_file_atomically(path, "document_id\ttext\n7\tone\n8\ttwo\n");
  EXPECT_THAT(read_corpus(path).ids, ElementsAre("7", "8"));
  EXPECT_THAT(read_corpus(path).texts, ElementsAre("one", "two"));
  write_file_atomically(path, "document_id\ttext\n7\tone\n7\ttwo\n");
  EXPECT_THAT(error_of([&] { read_corpus(path); }),
              HasSubstr("corpus.tsv:3] document id \"7\" stood for another text before"));
  write_file_atomically(path, "query\tdocument\none\n");
  EXPECT_THAT(error_of([&] { read_corpus(path); }),
              HasSubstr("corpus.tsv:2] has another number of fields than the header: 1"));
  write_file_atomically(path, "text\nof\ta document\n");
  EXPECT_THAT(error_of([&] { read_corpus(path); }),
              HasSubstr("corpus.tsv:2] has another number of fields than the header: 2, expected "
                        "1. Line 1 was read as a header, \"text\". If it is a document, move it "
                        "down"));
  write_file_atomically(path, "text\n");
  EXPECT_THAT(error_of([&] { read_corpus(path); }), HasSubstr("holds no documents"));
  write_file_atomically(path, "one\nthree\n");  // no header
  EXPECT_THAT(read_corpus(path).texts, ElementsAre("one", "three"));
  fs::remove(path);
}

// By its name and its tabs; other files have one document a line, whatever stands in it.
TEST(CorpusTest, ATableWithoutDocumentsIsRefused) {
  for (const char* kind : {".tsv", ".tsv.zst", ".txt"}) {
    const fs::path path = fs::path(testing::TempDir()) / (std::string("dataset_test_table") + kind);
    write_file_atomically(path, "id\tbody\n1\tlamp\n");
    if (path.extension() == ".txt") {
      EXPECT_THAT(read_corpus(path).texts, ElementsAre("id\tbody", "1\tlamp"));
    } else {
      EXPECT_THAT(error_of([&] { read_corpus(path); }),
                  HasSubstr(std::string(kind) +
                            ":1] expected a header with the column document or text; found: id, "
                            "body. Name the columns in the first line"));
    }
    fs::remove(path);
  }
}

TEST(DatasetTest, AFolderIsRefusedWithTheFilesThatMayBeMeant) {
  const fs::path folder = fs::path(testing::TempDir()) / "dataset_test_folder";
  fs::remove_all(folder);
  fs::create_directory(folder);
  EXPECT_THAT(error_of([&] { read_dataset(folder); }),
              HasSubstr("dataset_test_folder] is a folder, expected a file. Name a file in it"));
  for (const char* name :
       {"corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv.zst"})
    write_file_atomically(folder / name, "");
  const std::string judgments = fmt::format(
      "Did you mean {0}/qrels/test.tsv.zst or "
      "{0}/qrels/train.tsv?",
      folder.string());
  EXPECT_THAT(error_of([&] { read_dataset(folder); }), HasSubstr(judgments));
  EXPECT_THAT(error_of([&] { read_dataset(folder / "qrels"); }), HasSubstr(judgments));
  for (const char* name : {"qrels/u.tsv", "qrels/v.tsv", "qrels/w.tsv"})
    write_file_atomically(folder / name, "");
  EXPECT_THAT(error_of([&] { read_dataset(folder); }), HasSubstr("/qrels/u.tsv (2 more)?"));
  const std::string corpus = "Did you mean " + (folder / "corpus.jsonl").string() + "?";
  EXPECT_THAT(error_of([&] { read_corpus(folder); }), HasSubstr(corpus));
  EXPECT_THAT(error_of([&] { read_texts(folder); }), HasSubstr(corpus));
  fs::create_symlink("corpus.jsonl.zst", folder / "corpus.jsonl.zst");  // cannot be looked at
  EXPECT_THAT(error_of([&] { read_corpus(folder); }), HasSubstr(corpus));
  fs::remove_all(folder);
}

TEST(CorpusTest, TextsOfEitherKind) {
  const fs::path path = fs::path(testing::TempDir()) / "dataset_test_texts";
  write_file_atomically(path, "one\ntwo\n");
  EXPECT_THAT(read_texts(path).documents, ElementsAre("one", "two"));
  EXPECT_THAT(read_texts(path).pairs, IsEmpty());
  write_file_atomically(path, "{\"_id\": \"a\", \"text\": \"x\"}\n");
  EXPECT_THAT(read_texts(path).documents, ElementsAre("x"));
  write_file_atomically(path, "{\"query\": \"q\", \"document\": \"d\", \"label\": 1}\n");
  EXPECT_THAT(read_texts(path).queries, ElementsAre("q"));
  write_file_atomically(path, rows({"q\td\t1"}));
  EXPECT_THAT(read_texts(path).pairs, SizeIs(1));
  write_file_atomically(path, "document_id\ttext\n7\tx\n");
  EXPECT_THAT(read_texts(path).documents, ElementsAre("x"));
  EXPECT_THAT(read_texts(path).pairs, IsEmpty());
  write_file_atomically(path, "query\tdocument\nq\td\n");
  EXPECT_THAT(error_of([&] { read_texts(path); }), HasSubstr("column \"label\" is missing"));
  write_file_atomically(path, "q\td\n");
  EXPECT_THAT(error_of([&] { read_texts(path); }), HasSubstr("column \"query\" is missing"));
  fs::remove(path);
}

TEST(DatasetTest, ReadsFiles) {
  const fs::path path = fs::path(testing::TempDir()) / "dataset_test.tsv.zst";
  write_file_atomically(path, rows({"q\td\t1"}));
  EXPECT_EQ(read_dataset(path).origin, path.string());
  write_file_atomically(path, rows({"q\td\tx"}));
  EXPECT_THAT(error_of([&] { read_dataset(path); }), HasSubstr(path.string() + ":2]"));
  fs::remove(path);
  EXPECT_THAT(error_of([&] { read_dataset(path); }), HasSubstr("No such file"));
}

// Processor time, so that other programs do not count. Only optimized builds are held to the limit
// that users see.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr double kSecondsFor100000 = 1;
#else
constexpr double kSecondsFor100000 = 20;
#endif

TEST(DatasetTest, ReadsAHundredThousandPairsInUnderASecond) {
  std::string text = "query\tdocument\tlabel\n";
  for (int i = 0; i < 100'000; ++i) {
    text += fmt::format("tool for purpose number {}\tpackage-{}: does something for you\t{}\n",
                        i / 50, i % 11'000, i % 3);
  }
  const std::clock_t begin = std::clock();
  const Dataset data = parse_dataset(text, "x.tsv", {3});
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  EXPECT_EQ(data.pairs.size(), 100'000u);
  EXPECT_LT(seconds, kSecondsFor100000);
}

}  // namespace
}  // namespace twofour
