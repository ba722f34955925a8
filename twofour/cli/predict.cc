#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <system_error>

#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/engine_options.h"
#include "twofour/cli/format.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/lexical_candidates.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/pair_scoring.h"
#include "twofour/cli/stopwatch.h"
#include "twofour/cli/table.h"
#include "twofour/cli/text_input.h"
#include "twofour/cli/validators.h"
#include "twofour/io/dataset.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/io/utf8.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

// In flight at a time, so that inputs of any length stream. Each is sorted by length: smaller
// blocks would pad more.
constexpr size_t kRowsPerBlock = 1024;

constexpr const char* kExamples =
    R"(Input is TSV with a header (columns query and document, or text) or JSON Lines with these keys; empty lines are
passed over, empty texts are not: they have a score or an embedding too. Output has the same form and order: score and label of pairs, embeddings of texts. It
comes in blocks of {} rows, the last one when the input ends. An embedding model scores a pair by the product of its
embeddings. With --documents, queries are answered by the best documents of a corpus: a BEIR corpus.jsonl[.zst], TSV
with a header (column document or text, and document_id if there is one), or one document a line; without --query they
are read from standard input, one a line.

Examples:
  twofour predict runs/sparse/model --input pairs.tsv --output scores.tsv
  printf 'text\nfast json parser\n' | twofour predict minilm
  twofour predict runs/sparse/model --query "chess programs" --documents corpus.jsonl.zst --top 5)";

struct Options {
  std::filesystem::path model;
  EngineOptions engine;
  std::string input = "-";
  std::filesystem::path output, documents;
  std::string query;
  int64_t top = 10;
  int64_t candidates = 100;
  int threads = 0;
  int64_t max_length = 0;
  bool json = false;
};

// Writes results in the input's format.
class Writer {
 public:
  Writer(std::ostream& out, TextInput::Format format, const PairScoring& scoring)
      : out_(out), json_(format == TextInput::Format::kJsonl), classes_(scoring.has_classes()) {}

  void scores(std::span<const Score> scores) {
    if (!json_) header(classes_ ? "score\tlabel" : "score");
    for (const Score& s : scores) {
      if (json_) {
        out_ << fmt::format(R"({{"score": {})", s.score);
        if (classes_) out_ << fmt::format(R"(, "label": {})", s.predicted);
        out_ << "}\n";
      } else {
        out_ << fmt::format("{}", s.score);
        if (classes_) out_ << '\t' << s.predicted;
        out_ << '\n';
      }
    }
  }

  void embeddings(std::span<const float> rows, int64_t width) {
    if (!json_) header(embedding_header(width));
    for (size_t i = 0; i < rows.size(); i += width) {
      const auto row = rows.subspan(i, width);
      if (json_)
        out_ << fmt::format(R"({{"embedding": [{}]}})", fmt::join(row, ", ")) << '\n';
      else
        out_ << fmt::format("{}\n", fmt::join(row, "\t"));
    }
  }

 private:
  static std::string embedding_header(int64_t width) {
    std::vector<int64_t> columns(width);
    std::iota(columns.begin(), columns.end(), 0);
    return fmt::format("e{}", fmt::join(columns, "\te"));
  }

  void header(const std::string& line) {
    if (!std::exchange(headed_, true)) out_ << line << '\n';
  }

  std::ostream& out_;
  bool json_, classes_, headed_ = false;
};

void predict_block(std::vector<InputText> block, const TextInput& input, PairScoring& scoring,
                   Writer& writer) {
  const auto where = [&](size_t i) { return input.where(block[i].line); };
  if (input.pairs()) {
    std::vector<TextPair> texts;
    for (const InputText& text : block) texts.push_back({text.first, text.second});
    writer.scores(scoring.score(texts, where));
    return;
  }
  if (!scoring.embeds()) {
    throw Error("predict", "this model scores pairs, but the input holds single texts",
                "Give the columns query and document");
  }
  std::vector<std::string> texts;
  for (InputText& text : block) texts.push_back(std::move(text.first));
  writer.embeddings(scoring.embed(texts, where, {}), scoring.width());
}

void predict(TextInput& input, PairScoring& scoring, Console& console, std::ostream& out) {
  Writer writer(out, input.format(), scoring);
  const Stopwatch watch;
  int64_t done = 0;
  for (auto block = input.read(kRowsPerBlock); !block.empty(); block = input.read(kRowsPerBlock)) {
    done += static_cast<int64_t>(block.size());
    predict_block(std::move(block), input, scoring, writer);
    out.flush();
    console.progress("predict", done, 0, "rows", watch.seconds());
  }
  // A header alone, as the input is.
  if (done == 0) predict_block({}, input, scoring, writer);
  console.end_progress();
}

void predict_from(const Options& options, std::istream& in, const std::string& origin,
                  PairScoring& scoring, Console& console) {
  TextInput input(in, origin);
  write_output(options.output, console.out(),
               [&](std::ostream& out) { predict(input, scoring, console, out); });
}

// Opened once, since it may be a named pipe.
std::ifstream open_input(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const int error = errno;
  if (!in) {
    throw Error(path, fmt::format("cannot be read: {}", std::generic_category().message(error)),
                "Check its name and permissions");
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Error(path, "cannot be read: it is a folder", "Name a file");
  }
  return in;
}

int predict_rows(const Options& options, PairScoring& scoring, Console& console) {
  if (options.input == "-") {
    predict_from(options, console.in(), "stdin", scoring, console);
  } else if (options.input.ends_with(".zst")) {
    std::istringstream in(read_file(options.input));
    predict_from(options, in, options.input, scoring, console);
  } else {
    std::ifstream in = open_input(options.input);
    predict_from(options, in, options.input, scoring, console);
  }
  return kOk;
}

// Indices of the best documents, ties in the order of the corpus.
std::vector<size_t> best(const std::vector<Score>& scores, int64_t top) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<size_t>(top, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
                    [&](size_t a, size_t b) {
                      return scores[a].score != scores[b].score ? scores[a].score > scores[b].score
                                                                : a < b;
                    });
  order.resize(count);
  return order;
}

class Search {
 public:
  Search(const Options& options, PairScoring& scoring, Console& console)
      : options_(options),
        scoring_(scoring),
        console_(console),
        corpus_(read_corpus(options.documents)) {
    if (scoring_.embeds()) {
      embeddings_ = scoring_.embed(
          corpus_.texts, [this](size_t i) { return where(static_cast<int32_t>(i)); },
          progress("embed documents"));
    } else if (options_.candidates > 0 && options_.candidates < std::ssize(corpus_.texts)) {
      lexical_.emplace(corpus_.texts);
    }
  }

  void answer(const std::string& query) {
    const std::vector<int32_t> documents = candidates(query);
    std::vector<std::string> texts;
    for (int32_t document : documents) texts.push_back(corpus_.texts[document]);
    const auto scores = scoring_.score_query(
        query, texts, embeddings_,
        [&](size_t i) { return fmt::format("{}, query '{}'", where(documents[i]), query); },
        progress("score documents"));
    console_.end_progress();
    std::vector<Answer> answers;
    for (size_t i : best(scores, options_.top)) answers.push_back({documents[i], scores[i].score});
    if (options_.json)
      print_json(query, answers);
    else
      print_table(query, answers);
    console_.out().flush();
  }

 private:
  struct Answer {
    int32_t document = 0;
    float score = 0;
  };

  std::string where(int32_t document) const {
    return fmt::format("{}, document {}", options_.documents.string(), corpus_.ids[document]);
  }

  // A cross-encoder re-ranks what BM25 finds, as it was trained to; an embedding is near
  // everything.
  std::vector<int32_t> candidates(const std::string& query) const {
    if (lexical_) {
      auto found = lexical_->best(query, options_.candidates);
      if (!found.empty()) return found;
    }
    std::vector<int32_t> all(corpus_.texts.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  PairScoring::OnBlock progress(const char* task) {
    return [this, task, watch = Stopwatch()](int64_t done, int64_t total) {
      console_.progress(task, done, total, "documents", watch.seconds());
    };
  }

  void print_table(const std::string& query, const std::vector<Answer>& answers) {
    console_.out() << fmt::format("{}query  {}\n", std::exchange(answered_, true) ? "\n" : "",
                                  query);
    Table table({"rank", "score", "<id", "<document"});
    int rank = 0;
    for (const auto& [document, score] : answers) {
      table.add_row({std::to_string(++rank), fmt::format("{:.4f}", score), corpus_.ids[document],
                     corpus_.texts[document]});
    }
    table.print(console_.out());
  }

  void print_json(const std::string& query, const std::vector<Answer>& answers) {
    Json documents = Json::array();
    for (const auto& [document, score] : answers) {
      documents.push_back(
          {{"id", corpus_.ids[document]}, {"score", score}, {"text", corpus_.texts[document]}});
    }
    console_.out() << json_text(Json{{"query", query}, {"documents", documents}}) << '\n';
  }

  const Options& options_;
  PairScoring& scoring_;
  Console& console_;
  Corpus corpus_;
  std::vector<float> embeddings_;        // of an embedding model
  std::optional<LexicalIndex> lexical_;  // of a cross-encoder
  bool answered_ = false;                // a query before this one
};

void check_query(const std::string& query, const std::string& where) {
  if (first_bad_byte(query) != query.size()) throw Error(where, "is not UTF-8 text", kUtf8Remedy);
}

int search(const Options& options, PairScoring& scoring, Console& console) {
  Search search(options, scoring, console);
  if (!options.query.empty()) {
    search.answer(options.query);
    return kOk;
  }
  int64_t lines = 0, queries = 0;
  for (std::string line; std::getline(console.in(), line);) {
    if (++lines == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.ends_with('\r')) line.pop_back();
    if (is_blank(line)) continue;
    check_query(line, fmt::format("stdin:{}", lines));
    ++queries;
    search.answer(line);
  }
  if (queries == 0) throw Error("stdin", "holds no query", "Give one a line, or --query");
  return kOk;
}

int run_predict(Options& options, Console& console) {
  if (options.output == "-") options.output.clear();
  check_output_file(options.output, {options.model, options.input == "-" ? "" : options.input,
                                     options.documents, options.engine.engine});
  const InterruptCleanup cleanup({is_stream(options.output) ? "" : options.output});
  const int threads = options.threads > 0 ? options.threads : available_cores();
  PairScoring scoring(options.model, load_engine(options.model, options.engine, console),
                      {.threads = threads, .max_length = options.max_length});
  return options.documents.empty() ? predict_rows(options, scoring, console)
                                   : search(options, scoring, console);
}

}  // namespace

Command add_predict(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app = root.add_subcommand(
      "predict", "Scores of pairs, embeddings of texts, or the best documents for a query");
  app->footer(fmt::format(kExamples, kRowsPerBlock));
  app->add_option("model", options->model, "Model directory")->required()->type_name("MODEL");
  add_engine_options(*app, options->engine);
  auto* input = app->add_option("--input", options->input, "TSV or JSON Lines; - is standard input")
                    ->capture_default_str()
                    ->type_name("FILE")
                    ->check(path_name());
  auto* output = app->add_option("--output,--out", options->output,
                                 "File to write, whole or not at all (a device or pipe as it "
                                 "comes); - is standard output [-]")
                     ->type_name("FILE")
                     ->check(path_name());
  auto* documents =
      app->add_option("--documents", options->documents, "Corpus that answers queries")
          ->type_name("FILE")
          ->check(path_name());
  documents->excludes(input)->excludes(output);
  app->add_option("--query", options->query, "A query [one a line from standard input]")
      ->check(some_text())
      ->check(accepted_by([](const std::string& text) { check_query(text, "--query"); }))
      ->needs(documents);
  app->add_option("--top", options->top, "Documents to show")
      ->capture_default_str()
      ->check(positive_number())
      ->needs(documents);
  app->add_option("--candidates", options->candidates,
                  "Documents found by BM25 that a cross-encoder scores; 0, and where none shares a "
                  "word with the query: all")
      ->capture_default_str()
      ->check(non_negative_number())
      ->needs(documents);
  app->add_flag("--json", options->json, "Answers to queries as JSON Lines")->needs(documents);
  app->add_option("--threads", options->threads, "CPU threads [all cores]")
      ->check(CLI::Range(1, 1024));
  app->add_option("--max-length", options->max_length, "Tokens of a text or pair [the model's]")
      ->check(positive_number());
  return {app, [options, &console] { return run_predict(*options, console); }};
}

}  // namespace twofour::cli
