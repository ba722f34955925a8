#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "apps/recall/index.h"
#include "apps/recall/model_hash.h"
#include "apps/recall/retrieval.h"
#include "apps/recall/texts.h"
#include "apps/testing.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

const fs::path kModels = fs::path(TWOFOUR_SOURCE_DIR) / "tests/golden";

Texts parse(const std::string& text) {
  std::istringstream in(text);
  return read_texts(in, "x");
}

void expect_refused(const std::string& text, const std::string& message) {
  EXPECT_THAT([&] { parse(text); }, ThrowsMessage<Error>(HasSubstr(message))) << text;
}

TEST(RecallTexts, AreReadWithTitles) {
  const Texts texts = parse(R"({"_id": "a", "title": "T", "text": "x"}
{"_id": 7, "text": "é"}

)");
  EXPECT_THAT(texts.ids, ElementsAre("a", "7"));
  EXPECT_THAT(texts.texts, ElementsAre("T x", "é"));
}

TEST(RecallTexts, BadInputIsRefusedWithItsLine) {
  const std::string good = "{\"_id\": \"a\", \"text\": \"x\"}\n";
  expect_refused("", "[x] holds no texts");
  expect_refused(good + good, "[x:2] _id \"a\" stands twice");
  expect_refused(good + "{\"_id\": \"b\", \"text\": \" \\t\"}", "[x:2] the text is empty");
  expect_refused(good + "{\"_id\": \"b c\", \"text\": \"x\"}", "empty or holds white space");
  expect_refused(good + "{\"_id\": \"\", \"text\": \"x\"}", "empty or holds white space");
  expect_refused(good + "{\"_id\": \"b\"}", "[x:2] key \"text\" is missing");
  expect_refused(good + "{\"text\": \"b\"}", "key \"_id\" is missing");
  expect_refused(good + "{\"_id\": \"b\", \"text\": 1.5}", "expected a string, found number");
  expect_refused(good + "[]", "[x:2] expected a JSON object");
  expect_refused(good + "{", "[x:2] expected a JSON object");
}

Vectors random_vectors(int64_t rows, int64_t width) {
  std::mt19937 random(3);
  Vectors vectors{width, {}};
  for (int64_t i = 0; i < rows * width; ++i)
    vectors.values.push_back(static_cast<float>(random() % 2001) / 1000 - 1);
  normalize(vectors);
  return vectors;
}

std::vector<std::string> ids_of(int64_t count) {
  std::vector<std::string> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back("d" + std::to_string(i));
  return ids;
}

TEST(RecallVectors, NearestAsSortingAllDoes) {
  const Vectors vectors = random_vectors(300, 19);  // no multiple of the lanes
  const auto query = vectors.row(7);
  std::vector<std::pair<double, int32_t>> expected;
  for (int32_t i = 0; i < vectors.rows(); ++i) {
    double sum = 0;
    for (size_t j = 0; j < query.size(); ++j)
      sum += static_cast<double>(vectors.row(i)[j]) * query[j];
    expected.emplace_back(-sum, i);
  }
  std::ranges::sort(expected);
  const auto hits = nearest(vectors, query, 50);
  ASSERT_EQ(hits.size(), 50u);
  EXPECT_EQ(hits[0].document, 7);
  for (size_t i = 0; i < hits.size(); ++i) {
    EXPECT_EQ(hits[i].document, expected[i].second);
    EXPECT_NEAR(hits[i].score, -expected[i].first, 1e-6);
  }
  EXPECT_EQ(nearest(vectors, query, 1000).size(), 300u);
}

TEST(RecallVectors, TiesByPositionAndZeroRowsStay) {
  Vectors vectors{2, {3, 4, 0, 0, 6, 8}};
  normalize(vectors);
  EXPECT_FLOAT_EQ(vectors.row(0)[0], .6F);
  EXPECT_EQ(vectors.row(1)[1], 0);
  const auto hits = nearest(vectors, vectors.row(0), 3);
  EXPECT_EQ(hits[0].document, 0);
  EXPECT_EQ(hits[1].document, 2);
  EXPECT_EQ(hits[2], (Hit{1, 0}));
}

TEST(RecallIndex, RoundTrip) {
  const fs::path folder = scratch() / "index";
  const Index index(IndexKind::kExact, "abc", ids_of(40), random_vectors(40, 16));
  index.save(folder);
  const Index loaded = Index::load(folder, "abc");
  EXPECT_EQ(loaded.ids(), index.ids());
  const Vectors queries = random_vectors(3, 16);
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_EQ(loaded.search(queries.row(i), 10), index.search(queries.row(i), 10));
  EXPECT_THAT([&] { index.save(folder); }, ThrowsMessage<Error>(HasSubstr("exists already")));
  EXPECT_THAT([&] { loaded.search(random_vectors(1, 8).row(0), 3); },
              ThrowsMessage<Error>(HasSubstr("a query of width 8 for embeddings of width 16")));
}

TEST(RecallIndex, OfAnotherModelIsRefused) {
  const fs::path folder = scratch() / "index";
  Index(IndexKind::kExact, "abc", ids_of(4), random_vectors(4, 8)).save(folder);
  EXPECT_THAT([&] { Index::load(folder, "abd"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("hash abc"), HasSubstr("hash abd"),
                                         HasSubstr("build an index with this one"))));
}

TEST(RecallIndex, DamagedFilesAreRefusedByName) {
  const fs::path folder = scratch() / "index";
  Index(IndexKind::kExact, "abc", ids_of(4), random_vectors(4, 8)).save(folder);
  const auto refused = [&](const std::string& name, const std::string& text,
                           const std::string& message) {
    const fs::path path = folder / name, kept = folder / "kept";
    fs::rename(path, kept);
    std::ofstream(path) << text;
    EXPECT_THAT([&] { Index::load(folder, "abc"); },
                ThrowsMessage<Error>(AllOf(HasSubstr(name), HasSubstr(message))));
    fs::rename(kept, path);
  };
  refused("vectors.f32", "short", "was changed");
  refused("ids.txt", "d0\nd1\n", "was changed");
  refused("index.json", "{", "not the header of an index");
  refused("index.json", "[]", "not the header of an index");
  refused("index.json", R"({"format": "twofour-recall-index", "version": 2})", "of this version");
  refused("index.json", R"({"format": "twofour-recall-index", "version": 1, "width": -1})",
          "\"width\" is missing or no number");
  EXPECT_EQ(Index::load(folder, "abc").ids().size(), 4u);
  std::ofstream(folder / "index.json")
      << R"({"format": "twofour-recall-index", "version": 1, "width": 8, "documents": 9999999999,
             "kind": "exact", "model_hash": "abc", "files": {}})";
  EXPECT_THAT([&] { Index::load(folder, "abc"); },
              ThrowsMessage<Error>(HasSubstr("ids.txt] has 4 lines, expected 9999999999")));
  EXPECT_THAT([&] { Index::load(folder / "none", "abc"); },
              ThrowsMessage<Error>(HasSubstr("is this an index?")));
  EXPECT_THAT([] { Index(IndexKind::kExact, "a", ids_of(3), random_vectors(4, 8)); },
              ThrowsMessage<Error>(HasSubstr("3 ids but 4 embeddings")));
}

#if TWOFOUR_HAS_HNSWLIB
TEST(RecallIndex, ApproximateFindsAlmostAllOfTheExact) {
  const fs::path folder = scratch() / "index";
  const Vectors documents = random_vectors(2000, 24);
  const Index index(IndexKind::kApproximate, "abc", ids_of(2000), documents);
  index.save(folder);
  const Index loaded = Index::load(folder, "abc", {.search_breadth = 400});
  const Vectors queries = random_vectors(20, 24);
  int found = 0;
  for (int64_t i = 0; i < queries.rows(); ++i) {
    const auto exact = loaded.search_exactly(queries.row(i), 50);
    const auto hits = loaded.search(queries.row(i), 50);
    ASSERT_EQ(hits.size(), 50u);
    EXPECT_TRUE(std::ranges::is_sorted(hits, std::greater<>(), &Hit::score));
    for (const Hit& hit : hits) {
      EXPECT_NEAR(hit.score, product(queries.row(i), documents.row(hit.document)), 1e-5);
      found += std::ranges::any_of(exact, [&](const Hit& e) { return e.document == hit.document; });
    }
  }
  EXPECT_GT(found, 950);
  EXPECT_EQ(loaded.search(queries.row(0), 5000).size(), 2000u);
}

TEST(RecallIndex, DamagedGraphIsRefusedBeforeItIsRead) {
  const fs::path folder = scratch() / "index";
  Index(IndexKind::kApproximate, "abc", ids_of(50), random_vectors(50, 8)).save(folder);
  std::ofstream(folder / "hnsw.bin", std::ios::app) << "x";
  EXPECT_THAT([&] { Index::load(folder, "abc"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("hnsw.bin"), HasSubstr("was changed"))));
}
#else
TEST(RecallIndex, ApproximateWithoutHnswlibNamesThePackage) {
  EXPECT_THAT([] { Index(IndexKind::kApproximate, "abc", ids_of(2), random_vectors(2, 8)); },
              ThrowsMessage<Error>(HasSubstr("apt-get install libhnswlib-dev")));
}
#endif

TEST(RecallModel, HashFollowsWeightsConfigurationAndTokenizer) {
  const fs::path folder = scratch() / "model";
  fs::copy(kModels / "minilm/model", folder, fs::copy_options::recursive);
  const std::string before = model_hash(folder);
  EXPECT_EQ(before, model_hash(kModels / "minilm/model"));
  std::ofstream(folder / "README.md") << "words";
  std::ofstream(folder / "twofour.json") << "{}";
  EXPECT_EQ(model_hash(folder), before);
  for (const char* name : {"model.safetensors", "config.json", "vocab.txt"}) {
    if (!fs::exists(folder / name)) continue;
    const std::string now = model_hash(folder);
    std::ofstream(folder / name, std::ios::app) << " ";
    EXPECT_NE(model_hash(folder), now) << name;
  }
  EXPECT_THAT([&] { model_hash(folder / "none"); },
              ThrowsMessage<Error>(HasSubstr("is no model directory")));
}

TEST(RecallModel, OthersThanEmbeddersAreRefused) {
  EXPECT_THAT([] { Embedder(kModels / "cross-encoder/model"); },
              ThrowsMessage<Error>(HasSubstr("has no embedding head")));
}

TEST(Recall, ADocumentIsNearestToItself) {
  const std::vector<std::string> documents = {"play chess", "edit an image", "send mail",
                                              "compile a program", "a text editor"};
  Embedder embedder(kModels / "minilm/model");
  const Index index(IndexKind::kExact, embedder.hash(), ids_of(5), embedder.embed(documents));
  const Answers answers = answer(embedder, index, documents, {.k = 3, .block = 2});
  ASSERT_EQ(answers.hits.size(), 5u);
  for (int32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(answers.hits[i].size(), 3u);
    EXPECT_EQ(answers.hits[i][0].document, i);
    EXPECT_NEAR(answers.hits[i][0].score, 1, 1e-5);
  }
  EXPECT_EQ(answer(embedder, index, documents, {.k = 3, .exactly = true}).hits, answers.hits);
  EXPECT_EQ(share_of_exact(embedder, index, documents, answers, 3), 1);
  const fs::path run = scratch() / "run";
  write_run(run, {ids_of(5), documents}, index, answers);
  std::ifstream in(run);
  std::string first;
  std::getline(in, first);
  EXPECT_THAT(first, AllOf(HasSubstr("d0 Q0 d0 1 "), HasSubstr(" recall")));
}

TEST(RecallProgram, BuildsSearchesMeasuresAndRefuses) {
  const fs::path folder = scratch();
  std::ofstream(folder / "texts") << R"({"_id": 1, "text": "a"}
{"_id": 2, "text": "b"})";
  const std::string texts = folder / "texts", index = folder / "index", run = folder / "run";
  const std::string model = kModels / "minilm/model";
  const auto expect = [](int code, const std::string& message, const std::string& arguments) {
    expect_run(code, message, "twofour-recall " + arguments);
  };
  const std::string build = "build " + model + " --documents " + texts + " --out " + index;
  expect(0, "2 documents of width", build);
  expect(1, "exists already", build);
  const std::string queries = " " + index + " --queries " + texts;
  expect(0, "\"queries\": 2", "search " + model + queries + " --run " + run);
  EXPECT_TRUE(fs::exists(run));
  expect(0, "\"times_as_fast\"",
         "bench " + model + queries + " --rounds 1 --against " + model + " " + index);
  expect(1, "is no model directory", "search " + run + queries);
  expect(2, "there is no folder", "search " + model + queries + " --run " + run + "/none/run");
  expect(2, "the name of a file", "search " + model + queries + " --run " + index);
  expect(2, "--runs", "search " + model + queries + " --runs " + run);
  expect(2, "subcommand", "");
}

}  // namespace
}  // namespace twofour::recall
