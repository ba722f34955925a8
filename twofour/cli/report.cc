#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/cli/command.h"
#include "twofour/cli/page.h"
#include "twofour/cli/page_assets.h"
#include "twofour/cli/report_data.h"
#include "twofour/cli/run_table.h"
#include "twofour/io/file.h"

namespace twofour::cli {
namespace {

constexpr const char* kExamples =
    R"(RUN is a folder of twofour train, or a model directory. eval.json, bench.json and scores.jsonl.zst in it are
used where they exist; with scores, differences get the 95 % interval of a paired bootstrap over queries. The same
tables are printed. The page carries its script and style inside and needs no network. Differences are against the first run.

Examples:
  twofour eval runs/sparse/model test.tsv --out runs/sparse/eval.json --scores runs/sparse/scores.jsonl.zst
  twofour bench runs/sparse/model --out runs/sparse/bench.json
  twofour report runs/dense runs/sparse --out report.html)";

struct Options {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path out;
  bool markdown = false;
};

int run_report(const Options& options, Console& console) {
  auto report = collect_report(options.runs);
  report["version"] = TWOFOUR_VERSION;
  write_file_atomically(options.out, [&](std::ostream& out) {
    write_page("twofour report", report, report_js(), out);
  });
  print_run_tables(report, options.markdown, console.out());
  console.info(fmt::format("wrote {}", options.out.string()));
  return kOk;
}

}  // namespace

Command add_report(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      root.add_subcommand("report", "One self-contained HTML page about one or more runs");
  app->footer(kExamples);
  app->add_option("runs", options->runs, "Run folders")->required()->type_name("RUN");
  app->add_option("--out", options->out, "Page to write")->required()->type_name("FILE");
  app->add_flag("--markdown", options->markdown, "Print the tables as Markdown");
  return {app, [options, &console] { return run_report(*options, console); }};
}

}  // namespace twofour::cli
