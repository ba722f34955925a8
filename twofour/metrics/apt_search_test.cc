// The frozen snapshot in data/apt-search: what documents and reports say about it must stay true.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "twofour/io/dataset.h"
#include "twofour/metrics/ranking.h"
#include "twofour/metrics/trec.h"

namespace twofour {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(TWOFOUR_SOURCE_DIR) / "data/apt-search";

Dataset read_part(const std::string& part) {
  return read_dataset(kFolder / "qrels" / (part + ".tsv.zst"), {.num_labels = 3});
}

struct Counts {
  size_t queries = 0, pairs = 0, labels[3] = {};
};

Counts count(const Dataset& data) {
  Counts out;
  out.pairs = data.pairs.size();
  std::set<int32_t> queries;
  for (const Pair& pair : data.pairs) {
    queries.insert(pair.query);
    ++out.labels[static_cast<size_t>(pair.label)];
  }
  out.queries = queries.size();
  return out;
}

void expect_counts(const std::string& part, const Counts& expected) {
  const Counts found = count(read_part(part));
  SCOPED_TRACE(part);
  EXPECT_EQ(found.queries, expected.queries);
  EXPECT_EQ(found.pairs, expected.pairs);
  for (int label = 0; label < 3; ++label) EXPECT_EQ(found.labels[label], expected.labels[label]);
}

TEST(AptSearch, HasItsFrozenCounts) {
  expect_counts("train", {1280, 67739, {21552, 34831, 11356}});
  expect_counts("dev", {160, 8433, {2691, 4276, 1466}});
  expect_counts("test", {480, 24928, {8222, 12535, 4171}});
}

TEST(AptSearch, PartsShareNoQuery) {
  std::set<std::string> texts;
  for (const char* part : {"train", "dev", "test"}) {
    const Dataset data = read_part(part);
    std::set<std::string> own;
    for (const Pair& pair : data.pairs) own.insert(data.queries[pair.query]);
    for (const std::string& text : own) EXPECT_TRUE(texts.insert(text).second) << text;
  }
  EXPECT_EQ(texts.size(), 1920u);
}

TEST(AptSearch, TextsAreNamesWithDescriptions) {
  const Dataset data = read_part("dev");
  for (const Pair& pair : data.pairs) {
    const std::string& id = data.document_ids[pair.document];
    EXPECT_EQ(data.documents[pair.document].rfind(id + ": ", 0), 0u) << id;
  }
}

Metrics metrics_of(const TrecRun& run, const Dataset& data) {
  return aggregate(query_stats(pairs_of_run(run, data), data.query_ids));
}

TEST(AptSearch, Bm25HasItsFrozenFigures) {
  const Dataset data = read_part("test");
  const Metrics metrics = metrics_of(read_trec_run(kFolder / "bm25.test.run.zst"), data);
  EXPECT_DOUBLE_EQ(metrics.at("pnr"), 105221.0 / 239480);
  EXPECT_EQ(metrics.at("pnr_ties"), 26635);
  EXPECT_NEAR(metrics.at("ndcg@10"), 0.32314, 5e-6);
}

// The other candidates are chosen from what BM25 misses.
TEST(AptSearch, Bm25HasItsFrozenPnrWithinItsTop40) {
  Dataset data = read_part("test");
  const TrecRun run = read_trec_run(kFolder / "bm25.test.run.zst");
  std::map<std::string, int> rows_of_query;
  std::set<std::pair<std::string, std::string>> top;
  for (const TrecRow& row : run.rows) {
    if (++rows_of_query[row.query] <= 40) top.emplace(row.query, row.document);
  }
  std::erase_if(data.pairs, [&](const Pair& pair) {
    return !top.contains({data.query_ids[pair.query], data.document_ids[pair.document]});
  });
  EXPECT_DOUBLE_EQ(metrics_of(run, data).at("pnr"), 91947.0 / 68475);
}

}  // namespace
}  // namespace twofour
