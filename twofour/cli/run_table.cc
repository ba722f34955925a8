#include "twofour/cli/run_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "twofour/cli/format.h"
#include "twofour/cli/page.h"
#include "twofour/cli/table.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

const Json* find(const Json& object, std::initializer_list<const char*> path) {
  const Json* at = &object;
  for (const char* key : path) {
    if (!at->is_object() || !at->contains(key)) return nullptr;
    at = &at->at(key);
  }
  return at->is_null() ? nullptr : at;
}

std::string number(const Json* value, const char* format) {
  return value != nullptr && value->is_number()
             ? fmt::format(fmt::runtime(format), value->get<double>())
             : "-";
}

// "9.2041 (-2.1 % .. +0.4 %)": the value, and the interval of its relative difference to the first
// run.
std::string metric_cell(const Json& run, const std::string& name) {
  const Json* metrics = find(run, {"eval", "metrics"});
  const bool infinite =
      name == "pnr" && metrics != nullptr && metrics->contains(name) && metrics->at(name).is_null();
  // JSON has no infinity; other tables print it as this.
  std::string cell =
      infinite ? "inf" : number(find(run, {"eval", "metrics", name.c_str()}), "{:.4f}");
  if (const Json* difference = find(run, {"differences", name.c_str()})) {
    cell += fmt::format(" ({} .. {})", format_signed_percent(difference->at("low")),
                        format_signed_percent(difference->at("high")));
  }
  return cell;
}

std::vector<std::string> metric_names(const Json& runs) {
  std::vector<std::string> names;
  for (const Json& run : runs) {
    const Json* metrics = find(run, {"eval", "metrics"});
    if (metrics == nullptr) continue;
    for (const auto& [name, value] : metrics->items()) {
      if (name == "pnr_ties" || std::ranges::find(names, name) != names.end()) continue;
      names.push_back(name);
    }
  }
  return names;
}

Table quality_table(const Json& runs) {
  const auto names = metric_names(runs);
  std::vector<std::string> headers{"<run"};
  for (const std::string& name : names) headers.push_back("<" + name);
  headers.emplace_back("pnr ties");
  Table table(headers);
  for (const Json& run : runs) {
    std::vector<std::string> row{run.at("name")};
    for (const std::string& name : names) row.push_back(metric_cell(run, name));
    row.push_back(number(find(run, {"eval", "metrics", "pnr_ties"}), "{:.0f}"));
    table.add_row(std::move(row));
  }
  return table;
}

// "3.41 (1.83x, 1.79 .. 1.86)": median, and the ratio to the model it ran in turns with.
std::string bench_cell(const Json& run, const Json& shape) {
  const Json* results = find(run, {"bench", "results"});
  if (results == nullptr) return "-";
  for (const Json& row : *results) {
    if (row.at("batch") != shape.at("batch") || row.at("tokens") != shape.at("tokens") ||
        row.at("threads") != shape.at("threads"))
      continue;
    std::string cell = number(&row.at("median_ms"), "{:.2f}");
    if (const Json* against = find(row, {"against"})) {
      cell += fmt::format(" ({:.2f}x, {:.2f} .. {:.2f})", against->at("ratio").get<double>(),
                          against->at("ratio_low").get<double>(),
                          against->at("ratio_high").get<double>());
    }
    return cell;
  }
  return "-";
}

// Of the model beside the run, or as it was when it was evaluated: results are kept without models.
const Json* size_of(const Json& run, const char* name) {
  const Json* of_model = find(run, {"model", name});
  return of_model != nullptr ? of_model : find(run, {"eval", name});
}

bool is_of_a_model(const Json& run) {
  return run.contains("model") || find(run, {"eval", "memory_bytes"}) != nullptr;
}

std::string megabytes(const Json* bytes) {
  return bytes == nullptr ? "-" : fmt::format("{:.1f}", bytes->get<double>() / 1e6);
}

Table cost_table(const Json& runs) {
  Json shapes = Json::array();
  for (const Json& run : runs) {
    const Json* results = find(run, {"bench", "results"});
    if (shapes.empty() && results != nullptr) shapes = *results;
  }
  std::vector<std::string> headers{"<run",        "steps",     "train min", "file MB",
                                   "matrices MB", "memory MB", "queries/s", "pairs/s"};
  for (const Json& shape : shapes) {
    headers.push_back(fmt::format("<ms {}x{}, {} thr.", shape.at("batch").get<int>(),
                                  shape.at("tokens").get<int>(), shape.at("threads").get<int>()));
  }
  Table table(headers);
  for (const Json& run : runs) {
    if (!is_of_a_model(run)) continue;
    const Json* queries = find(run, {"eval", "queries"});
    const Json* seconds = find(run, {"eval", "seconds"});
    const Json* trained = find(run, {"summary", "seconds"});
    std::vector<std::string> row{
        run.at("name"),
        number(find(run, {"summary", "steps"}), "{:.0f}"),
        trained == nullptr ? "-" : fmt::format("{:.1f}", trained->get<double>() / 60),
        megabytes(size_of(run, "weight_file_bytes")),
        megabytes(size_of(run, "matrix_bytes_now")),
        megabytes(find(run, {"eval", "memory_bytes"})),
        queries == nullptr || seconds == nullptr
            ? "-"
            : fmt::format("{:.2f}", queries->get<double>() / seconds->get<double>()),
        number(find(run, {"eval", "pairs_per_second"}), "{:.1f}")};
    for (const Json& shape : shapes) row.push_back(bench_cell(run, shape));
    table.add_row(std::move(row));
  }
  return table;
}

struct RunTable {
  std::string title;
  Table table;
  bool of_set = false;  // of a further set of data, whose name the title is
};

std::vector<RunTable> run_tables(const Json& report) {
  const Json& runs = report.at("runs");
  std::vector<RunTable> tables;
  if (!metric_names(runs).empty()) tables.push_back({"Quality", quality_table(runs)});
  for (const Json& set : report.at("sets")) {
    tables.push_back(
        {set.at("name").get<std::string>(), quality_table(set.at("runs")), /*of_set=*/true});
  }
  if (std::ranges::any_of(runs, is_of_a_model)) tables.push_back({"Cost", cost_table(runs)});
  return tables;
}

// "a: unfinished, step 3 of 10, stage dense (1 of 2). To go on, ..."
std::vector<std::string> unfinished_notes(const Json& report) {
  std::vector<std::string> notes;
  for (const Json& run : report.at("runs")) {
    const Json* unfinished = find(run, {"unfinished"});
    if (unfinished == nullptr) continue;
    notes.push_back(fmt::format("{}: {}. {}", run.at("name").get<std::string>(),
                                unfinished->at("status").get<std::string>(),
                                unfinished->at("resume").get<std::string>()));
  }
  return notes;
}

void print_notes(const Json& notes, std::ostream& out) {
  if (notes.empty()) return;
  out << "<details class=\"notes\" open><summary>What the metrics are</summary>\n<dl>\n";
  for (const auto& [name, text] : notes.items())
    out << "<dt>" << html_text(name) << "</dt><dd>" << html_text(text.get<std::string>())
        << "</dd>\n";
  out << "</dl></details>\n";
}

}  // namespace

void print_run_tables(const Json& report, bool markdown, std::ostream& out) {
  const char* gap = "";
  for (const std::string& note : unfinished_notes(report))
    out << std::exchange(gap, "\n") << note << '\n';
  for (const auto& [title, table, of_set] : run_tables(report)) {
    out << std::exchange(gap, "\n");
    if (of_set) out << title << (markdown ? ":\n\n" : ":\n");
    if (markdown)
      table.print_markdown(out);
    else
      table.print(out);
  }
}

std::string run_tables_html(const Json& report) {
  std::ostringstream out;
  for (const std::string& note : unfinished_notes(report))
    out << "<p class=\"note\">" << html_text(note) << "</p>\n";
  if (report.at("runs").size() > 1) {
    out << "<p class=\"note\">In brackets behind a metric: the 95 % interval of its difference "
           "against the first run.</p>\n";
  }
  for (const RunTable& part : run_tables(report)) {
    out << "<h2>" << html_text(part.title) << "</h2>\n<div class=\"card scroll\">";
    part.table.print_html(out);
    out << "</div>\n";
  }
  print_notes(report.at("notes"), out);
  return out.str();
}

}  // namespace twofour::cli
