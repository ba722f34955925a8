#include "twofour/cli/metric_notes.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kScore =
    "what documents are ranked by, as twofour predict gives it. Of a classifier with several "
    "labels the expected label: the sum of label times probability, from 0 to the highest label. "
    "Of one with a single output (regression) that output, of an embedding model the product of "
    "the two embeddings.";
constexpr const char* kPnr =
    "concordant / discordant pairs of documents of one query with different labels, counts pooled "
    "over queries. Ties in score count for neither. inf: no pair is discordant; JSON has null.";
constexpr const char* kAccuracy =
    "share of pairs whose predicted label is the right one; of models without classes, share of "
    "pairs that the score threshold calls relevant or not as their label does.";

// Metrics of an evaluation of any run, on any set of data.
void add_names(const Json& runs, std::set<std::string>& names, std::set<double>& relevant) {
  for (const Json& run : runs) {
    if (!run.contains("eval")) continue;
    const Json& eval = run.at("eval");
    for (const auto& [name, value] : eval.at("metrics").items()) names.insert(name);
    if (eval.contains("relevant_label") && eval.at("relevant_label").is_number())
      relevant.insert(eval.at("relevant_label").get<double>());
  }
}

std::string relevant_from(const std::set<double>& labels) {
  return labels.size() == 1 ? fmt::format("at least {:g}", *labels.begin())
                            : "at least that of eval --relevant";
}

// With the cut-off of the name, "f1@345".
std::string decision_note(const std::string& name, const std::string& relevant) {
  const std::string retrieved = fmt::format(
      "A document is retrieved if it is among the first {} of its query by score and the model "
      "calls it relevant: a classifier by the label that it predicts (the likeliest), {}; other "
      "models by --score-threshold, without it always.",
      name.substr(name.find('@') + 1), relevant);
  const std::string measure =
      name.starts_with("f1@")
          ? "2 x hits / (retrieved + relevant)"
          : fmt::format("share of the relevant documents (label {}) that are retrieved", relevant);
  return fmt::format("{}, pooled over queries. {}", measure, retrieved);
}

std::string note_of(const std::string& name, const std::string& relevant) {
  if (name == "pnr") return kPnr;
  if (name == "accuracy") return kAccuracy;
  if (name.starts_with("f1@") || name.starts_with("recall@")) return decision_note(name, relevant);
  if (name.starts_with("ndcg@")) {
    return fmt::format(
        "ranking by score: gain 2^label - 1 of the first {}, mean over queries with a positive "
        "label.",
        name.substr(5));
  }
  return "";
}

}  // namespace

Json metric_notes(const Json& report) {
  std::set<std::string> names;
  std::set<double> relevant;
  add_names(report.at("runs"), names, relevant);
  for (const Json& set : report.at("sets")) add_names(set.at("runs"), names, relevant);
  Json notes = Json::object();
  for (const std::string& name : names) {
    const std::string note = note_of(name, relevant_from(relevant));
    if (!note.empty()) notes[name] = note;
  }
  if (!notes.empty()) notes["score"] = kScore;
  return notes;
}

}  // namespace twofour::cli
