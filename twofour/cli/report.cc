#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/metric_notes.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/page.h"
#include "twofour/cli/page_assets.h"
#include "twofour/cli/report_data.h"
#include "twofour/cli/report_queries.h"
#include "twofour/cli/run_table.h"
#include "twofour/cli/validators.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    R"(RUN is a folder of twofour train, the model in it, or another model directory. eval.json, bench.json and
scores.jsonl.zst in the folder or in its model/ are used where they exist (of two, those in the folder); with scores,
differences get the 95 % interval of a paired bootstrap over queries. Files eval-NAME.json and scores-NAME.jsonl.zst are
a further table: the same runs on other data.
With --queries the page sets the rankings of the first run and of the last one side by side, for the queries where they
differ most: test.run.zst in their folders, from twofour eval --run on that data. Rankings of other data are refused;
where DATA has no ids, by the checksum that eval --run keeps then: rankings of other programs need ids. The same tables
are printed. The page carries its script and style inside and needs no network. Differences are against the first run.

Examples:
  twofour eval runs/sparse/model test.tsv --out runs/sparse/eval.json --scores runs/sparse/scores.jsonl.zst
  twofour bench runs/sparse/model --out runs/sparse/bench.json
  twofour report runs/dense runs/sparse --out report.html
  twofour report runs/dense runs/sparse --queries test.tsv --out report.html
  twofour report runs/dense runs/sparse --out report.html --json | jq '.runs[] | {name, metrics: .eval.metrics}')";

struct Options {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path out, queries, picture;
  std::string title = "twofour report", caption;
  bool markdown = false, json = false;
};

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += i + j > bytes.size() ? '=' : kDigits[group >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

// A picture is inside the page, like everything else.
Json read_picture(const std::filesystem::path& path, const std::string& caption) {
  const std::string bytes = read_file(path);
  if (!bytes.starts_with("\x89PNG\r\n")) throw Error(path.string(), "is no PNG file", "Convert it");
  return {{"source", "data:image/png;base64," + base64(bytes)}, {"caption", caption}};
}

// Tables and page set the metrics of runs beside each other, whatever they were evaluated on.
void warn_of_other_data(const Json& report, Console& console) {
  const Json* first = nullptr;
  for (const auto& run : report["runs"]) {
    if (!run.contains("eval")) continue;
    if (first == nullptr) first = &run;
    for (const char* key : {"queries", "pairs"}) {
      const auto of = [&](const Json& one) { return one["eval"].value(key, 0.0); };
      if (of(run) == of(*first)) continue;
      console.log(LogLevel::kWarning,
                  fmt::format("{} was evaluated on other data than {}: {} {} and {}",
                              run["name"].get<std::string>(), (*first)["name"].get<std::string>(),
                              of(run), key, of(*first)));
      break;
    }
  }
}

void warn_of_twofold_results(const std::vector<std::filesystem::path>& runs, Console& console) {
  for (const auto& run : runs) {
    for (const std::string& name : twofold_results(run)) {
      console.log(LogLevel::kWarning,
                  fmt::format("{} differs from {}: the report shows the former; remove one",
                              (run / name).string(), (run / "model" / name).string()));
    }
  }
}

// What the tables are made from: no curves, layers, rankings or picture.
Json table_data(Json report) {
  for (Json& run : report["runs"]) {
    for (const char* key : {"curves", "stages"}) run.erase(key);
    if (run.contains("model")) run["model"].erase("layers");
  }
  for (const char* key : {"queries", "picture", "notes"}) report.erase(key);
  return report;
}

int run_report(const Options& options, Console& console) {
  check_output_page(options.out, {options.queries, options.picture});
  std::vector<std::filesystem::path> runs;
  std::ranges::transform(options.runs, std::back_inserter(runs), run_of);
  auto report = collect_report(runs);
  warn_of_twofold_results(runs, console);
  warn_of_other_data(report, console);
  report["version"] = TWOFOUR_VERSION;
  report["title"] = options.title;
  report["notes"] = metric_notes(report);
  if (!options.queries.empty()) {
    std::vector<std::string> names;
    for (const auto& run : report["runs"]) names.push_back(run["name"]);
    report["queries"] = collect_queries(runs, names, options.queries);
  }
  if (!options.picture.empty()) report["picture"] = read_picture(options.picture, options.caption);
  write_output(options.out, console.out(), [&](std::ostream& out) {
    write_page(options.title, report, report_js(), out, run_tables_html(report));
  });
  if (options.json)
    console.out() << json_text(table_data(report), 2) << '\n';
  else
    print_run_tables(report, options.markdown, console.out());
  console.info(fmt::format("wrote {}", options.out.string()));
  return kOk;
}

// What CLI11 cannot say of a list.
void check_options(const Options& options) {
  if (!options.queries.empty() && options.runs.size() < 2)
    throw CLI::ValidationError("report --queries takes two runs or more");
}

}  // namespace

Command add_report(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      root.add_subcommand("report", "One self-contained HTML page about one or more runs");
  app->footer(kExamples);
  app->add_option("runs", options->runs, "Run folders")->required()->type_name("RUN");
  app->add_option("--out", options->out, "Page to write")
      ->required()
      ->type_name("FILE.html")
      ->check(path_name());
  app->add_option("--queries", options->queries,
                  "Data whose queries are shown with two runs' rankings side by side")
      ->type_name("DATA");
  CLI::Option* picture = app->add_option("--picture", options->picture, "A PNG to show in the page")
                             ->type_name("FILE");
  app->add_option("--caption", options->caption, "What the picture shows")
      ->type_name("TEXT")
      ->needs(picture);
  app->add_option("--title", options->title, "Heading of the page")->capture_default_str();
  CLI::Option* markdown =
      app->add_flag("--markdown", options->markdown, "Print the tables as Markdown");
  app->add_flag("--json", options->json, "What the tables hold, for machines")->excludes(markdown);
  app->callback([options] { check_options(*options); });
  return {app, [options, &console] { return run_report(*options, console); }};
}

}  // namespace twofour::cli
