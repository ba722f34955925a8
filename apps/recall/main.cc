// twofour-recall: builds an index over a collection and answers queries from it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "apps/recall/retrieval.h"
#include "apps/speed.h"
#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(Texts are JSON Lines with the keys _id and text (and title), from a file or from standard input (-).

Examples:
  zstdcat corpus.jsonl.zst | twofour-recall build runs/sparse/model --out index --approximate
  zstdcat queries.jsonl.zst | twofour-recall search runs/sparse/model index --k 345 --run answers.trec
  zstdcat queries.jsonl.zst | twofour-recall search runs/sparse/model index --exact --run exact.trec
  twofour-recall bench runs/sparse/model index --against runs/int8/model int8-index --queries queries.jsonl)";

struct Options {
  std::filesystem::path model, index, out, run;
  std::vector<std::filesystem::path> against;  // model and index
  std::string texts = "-";
  bool approximate = false, share = false;
  int rounds = 8;
  SearchOptions search;
  EmbedderOptions embedder;
  GraphOptions graph;
};

Texts read(const std::string& path) {
  if (path == "-") return read_texts(std::cin, "stdin");
  std::ifstream in(path);
  if (!in) throw Error(path, "cannot be opened");
  return read_texts(in, path);
}

void build(const Options& options) {
  if (std::filesystem::exists(options.out))
    throw Error(options.out.string(), "exists already", "Name another folder");
  Texts texts = read(options.texts);
  Embedder embedder(options.model, options.embedder);
  const Index index(options.approximate ? IndexKind::kApproximate : IndexKind::kExact,
                    embedder.hash(), std::move(texts.ids), embedder.embed(texts.texts),
                    options.graph);
  index.save(options.out);
  std::cout << fmt::format("{} documents of width {} in {}\n", index.ids().size(), index.width(),
                           options.out.string());
}

void search(const Options& options) {
  Embedder embedder(options.model, options.embedder);
  const Index index = Index::load(options.index, embedder.hash(), options.graph);
  const Texts queries = read(options.texts);
  const Answers answers = answer(embedder, index, queries.texts, options.search);
  if (!options.run.empty()) write_run(options.run, queries, index, answers);
  const bool exact = options.search.exactly || index.kind() == IndexKind::kExact;
  Json summary = {{"search", exact ? "exact" : "approximate"},
                  {"queries", queries.ids.size()},
                  {"documents", index.ids().size()},
                  {"k", options.search.k},
                  {"threads", options.embedder.threads},
                  {"embed_seconds", answers.embed_seconds},
                  {"search_seconds", answers.search_seconds},
                  {"queries_per_second", answers.queries_per_second()}};
  if (options.share)
    summary["share_of_exact"] =
        share_of_exact(embedder, index, queries.texts, answers, options.search.k);
  std::cout << summary.dump(2) << '\n';
}

void bench(const Options& options) {
  Embedder first(options.model, options.embedder), second(options.against[0], options.embedder);
  const Index a = Index::load(options.index, first.hash(), options.graph);
  const Index b = Index::load(options.against[1], second.hash(), options.graph);
  const Texts queries = read(options.texts);
  const auto speed = [&](Embedder& embedder, const Index& index) {
    return answer(embedder, index, queries.texts, options.search).queries_per_second();
  };
  Json summary = {{"queries", queries.ids.size()},
                  {"k", options.search.k},
                  {"threads", options.embedder.threads},
                  {"rounds", options.rounds}};
  summary.update(in_turns(
      "queries_per_second", options.rounds, [&] { return speed(first, a); },
      [&] { return speed(second, b); }));
  std::cout << summary.dump(2) << '\n';
}

void add_engine_options(CLI::App& app, Options& options) {
  app.add_option("model", options.model, "Model directory with an embedding head")->required();
  app.add_option("--threads", options.embedder.threads, "CPU threads")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("--max-length", options.embedder.max_length, "Tokens of a text [the model's]")
      ->check(whole_number(1));
}

void add_search_options(CLI::App& app, Options& options) {
  app.add_option("index", options.index, "Folder of the index")->required();
  app.add_option("--queries", options.texts, "Queries")->capture_default_str();
  app.add_option("--k", options.search.k, "Documents for a query")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_flag("--exact", options.search.exactly,
               "Compare with every document, whatever the index is");
  app.add_option("--search-breadth", options.graph.search_breadth,
                 "Candidates that an approximate index looks at; at least k")
      ->capture_default_str()
      ->check(whole_number(1));
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Retrieval from a whole collection with embeddings", "twofour-recall");
  app.require_subcommand(1);
  app.footer(kExamples);
  CLI::App* build_app = app.add_subcommand("build", "Embed a collection and index it");
  add_engine_options(*build_app, options);
  build_app->add_option("--documents", options.texts, "The collection")->capture_default_str();
  build_app->add_option("--out", options.out, "Folder of the index")
      ->required()
      ->check(path_name());
  build_app->add_flag("--approximate", options.approximate, "A graph of hnswlib");
  build_app->add_option("--links", options.graph.links, "Links of a document in the graph")
      ->capture_default_str()
      ->check(CLI::Range(2, 256));
  build_app
      ->add_option("--build-breadth", options.graph.build_breadth,
                   "Candidates looked at when a document is added")
      ->capture_default_str()
      ->check(whole_number(1));
  CLI::App* search_app = app.add_subcommand("search", "Answer queries from an index");
  add_engine_options(*search_app, options);
  add_search_options(*search_app, options);
  search_app->add_option("--run", options.run, "TREC run to write")->check(file_to_write());
  search_app->add_flag("--share-of-exact", options.share,
                       "Also search exactly, and say what an approximate index finds of that");
  CLI::App* bench_app =
      app.add_subcommand("bench", "Queries a second of two models, each with its index, in turns");
  add_engine_options(*bench_app, options);
  add_search_options(*bench_app, options);
  bench_app->add_option("--against", options.against, "The other model and its index")
      ->required()
      ->expected(2);
  bench_app->add_option("--rounds", options.rounds, "Timed rounds")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  build_app->callback([&] { build(options); });
  search_app->callback([&] { search(options); });
  bench_app->callback([&] { bench(options); });
  return run_app(app, argc, argv);
}

}  // namespace
}  // namespace twofour::recall

// Only options that are declared wrongly throw out of it.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return twofour::recall::run(argc, argv); }
