// twofour-pictures: draws pictures for prompts, and measures how fast models do.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "apps/pictures/painter.h"
#include "apps/speed.h"
#include "apps/whole_file.h"
#include "twofour/base/error.h"

namespace twofour::pictures {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(Examples:
  twofour-pictures draw runs/pictures/quick/dense/model --prompt "red heart" --out heart.png
  twofour-pictures draw DENSE SPARSE --prompts prompts.txt --out sheet.png   # a row of pictures for each model
  twofour-pictures codes SPARSE --prompts prompts.txt --out drawn.tsv        # the pictures as tokens
  twofour-pictures bench SPARSE --against DENSE --prompts prompts.txt)";

constexpr int kGap = 1;  // pixels between pictures, before they are enlarged

struct Options {
  std::vector<std::filesystem::path> models;
  std::filesystem::path against, codebook = "data/emoji-pictures/codebook.png", out;
  std::vector<std::string> prompts, precisions;  // of each model, or of all
  std::string against_precision;
  std::string prompts_file;
  int threads = 1, scale = 3, rounds = 8;
  PaintOptions paint;
};

std::vector<std::string> read_prompts(const Options& options) {
  std::vector<std::string> prompts = options.prompts;
  if (!options.prompts_file.empty()) {
    std::ifstream in(options.prompts_file);
    if (!in) throw Error(options.prompts_file, "cannot be opened");
    for (std::string line; std::getline(in, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) prompts.push_back(line);
    }
  }
  for (const std::string& prompt : prompts) {
    if (prompt.find_first_of("\t\n") == std::string::npos) continue;
    throw Error("prompt", fmt::format("\"{}\" holds a tab or a line break", prompt));
  }
  if (prompts.empty()) throw Error("prompts", "there are none", "Give --prompt or --prompts.");
  return prompts;
}

Painter load(const std::filesystem::path& model, const std::string& precision,
             const Options& options) {
  return Painter(ModelDirectory::open(model), {.precision = precision}, options.threads);
}

// Of the models in their order; empty ones are the engine's default.
std::vector<std::string> precisions_of(const Options& options) {
  std::vector<std::string> precisions = options.precisions;
  if (precisions.size() < 2) {
    precisions.resize(options.models.size(), precisions.empty() ? "" : precisions[0]);
  }
  if (precisions.size() != options.models.size()) {
    throw Error(
        "--precision",
        fmt::format("names {} precisions for {} models", precisions.size(), options.models.size()),
        "Name one, or one for each model.");
  }
  return precisions;
}

// Columns are prompts, rows are models.
void draw(const Options& options) {
  const std::vector<std::string> prompts = read_prompts(options);
  const std::vector<std::string> precisions = precisions_of(options);
  const Codebook codebook = Codebook::read(options.codebook);
  const auto columns = static_cast<int>(prompts.size());
  const auto rows = static_cast<int>(options.models.size());
  const int step = kPixels + kGap;
  Image sheet(columns * step + kGap, rows * step + kGap, 255);
  for (int row = 0; row < rows; ++row) {
    Painter painter = load(options.models[row], precisions[row], options);
    if (painter.codes() != codebook.size()) {
      throw Error(options.codebook.string(),
                  fmt::format("has {} patches, the model {} draws with {}", codebook.size(),
                              options.models[row].string(), painter.codes()));
    }
    const std::vector<Codes> pictures = painter.paint(prompts, options.paint);
    for (int column = 0; column < columns; ++column) {
      sheet.paste(codebook.decode(pictures[column]), kGap + column * step, kGap + row * step);
    }
  }
  write_png(options.out, enlarged(sheet, options.scale));
}

// The columns of data/emoji-pictures: query (the picture as text), document (the prompt).
void write_codes(const Options& options) {
  const std::vector<std::string> prompts = read_prompts(options);
  Painter painter = load(options.models[0], precisions_of(options)[0], options);
  const std::vector<Codes> pictures = painter.paint(prompts, options.paint);
  write_whole_file(options.out, [&](std::ostream& out) {
    out << "query\tdocument\n";
    for (size_t i = 0; i < prompts.size(); ++i) {
      out << text_of(pictures[i]) << '\t' << prompts[i] << '\n';
    }
  });
}

void bench(const Options& options) {
  const std::vector<std::string> prompts = read_prompts(options);
  Painter first = load(options.models[0], precisions_of(options)[0], options);
  Painter second = load(options.against, options.against_precision, options);
  const auto speed = [&](Painter& painter) {
    return static_cast<double>(prompts.size()) /
           seconds_of([&] { painter.paint(prompts, options.paint); });
  };
  Json summary = {{"pictures", prompts.size()},
                  {"steps", options.paint.steps},
                  {"threads", options.threads},
                  {"rounds", options.rounds}};
  summary.update(in_turns(
      "pictures_per_second", options.rounds, [&] { return speed(first); },
      [&] { return speed(second); }));
  std::cout << summary.dump(2) << '\n';
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--prompt", options.prompts, "What to draw; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--prompts", options.prompts_file, "A file with one prompt a line");
  app.add_option("--precision", options.precisions,
                 "f32 or bf16, of layers with float weights; one, or one for each model: f32,bf16")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--threads", options.threads, "CPU threads")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("--seed", options.paint.seed, "Seed of the draws")
      ->capture_default_str()
      ->check(whole_number(0));
  app.add_option("--steps", options.paint.steps, "Steps from nothing to a picture")
      ->capture_default_str()
      ->check(CLI::Range(1, kTokens));
  app.add_option("--guidance", options.paint.guidance, "Weight of the prompt; 0: as it was learned")
      ->capture_default_str()
      ->check(number_between(0, 100));
  app.add_option("--temperature", options.paint.temperature,
                 "Of the draw of a patch; 0: the most probable one")
      ->capture_default_str()
      ->check(number_between(0, 100));
  app.add_option("--choice-temperature", options.paint.choice_temperature,
                 "Of the choice which patches stay in a step")
      ->capture_default_str()
      ->check(number_between(0, 100));
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Pictures from prompts with masked-token models", "twofour-pictures");
  app.require_subcommand(1);
  app.footer(kExamples);
  CLI::App* draw_app = app.add_subcommand("draw", "A PNG: columns are prompts, rows are models");
  draw_app->add_option("models", options.models, "Model directories")->required();
  draw_app->add_option("--codebook", options.codebook, "Pixels of the patches")
      ->capture_default_str();
  draw_app->add_option("--scale", options.scale, "Pixels for one pixel")
      ->capture_default_str()
      ->check(CLI::Range(1, 32));
  CLI::App* codes_app = app.add_subcommand("codes", "A TSV of pictures as tokens, and prompts");
  codes_app->add_option("model", options.models, "Model directory")->required()->expected(1);
  for (CLI::App* writer : {draw_app, codes_app}) {
    writer->add_option("--out", options.out, "File to write")->required()->check(file_to_write());
    add_options(*writer, options);
  }
  CLI::App* bench_app = app.add_subcommand("bench", "Pictures a second of two models, in turns");
  bench_app->add_option("model", options.models, "Model directory")->required()->expected(1);
  bench_app->add_option("--against", options.against, "The other model")->required();
  bench_app->add_option("--against-precision", options.against_precision, "The same of the other")
      ->check(CLI::IsMember({"f32", "bf16"}));
  bench_app->add_option("--rounds", options.rounds, "Timed rounds")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  add_options(*bench_app, options);
  draw_app->callback([&] { draw(options); });
  codes_app->callback([&] { write_codes(options); });
  bench_app->callback([&] { bench(options); });
  return run_app(app, argc, argv);
}

}  // namespace
}  // namespace twofour::pictures

// Only options that are declared wrongly throw out of it.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return twofour::pictures::run(argc, argv); }
