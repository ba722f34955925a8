#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "twofour/cli/command.h"
#include "twofour/cli/report_assets.h"
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

// JSON inside a script element must not be able to close it.
std::string embeddable(const nlohmann::ordered_json& json) {
  std::string out;
  for (char c : json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

// The policy forbids every request: what the page shows is inside it.
void write_page(const nlohmann::ordered_json& report, std::ostream& out) {
  out << R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>twofour report</title>
<style>
)" << report_css()
      << "</style>\n</head>\n<body>\n<main></main>\n<noscript>This page draws its tables and "
         "charts with its own script; "
         "allow it to run.</noscript>\n<script type=\"application/json\" id=\"data\">"
      << embeddable(report) << "</script>\n<script>" << chart_js() << "</script>\n<script>\n"
      << report_js() << "</script>\n</body>\n</html>\n";
}

int run_report(const Options& options, Console& console) {
  auto report = collect_report(options.runs);
  report["version"] = TWOFOUR_VERSION;
  write_file_atomically(options.out, [&](std::ostream& out) { write_page(report, out); });
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
