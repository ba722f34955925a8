#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/base/error.h"
#include "twofour/cli/report_data.h"
#include "twofour/cli/report_queries.h"
#include "twofour/cli/testing/int8_model.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/io/file.h"
#include "twofour/metrics/scores_file.h"

namespace twofour::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

class Report : public ::testing::Test {
 protected:
  std::filesystem::path run(const std::string& name, int steps) {
    const auto folder = folder_ / name;
    std::filesystem::create_directories(folder);
    std::string log = R"({"kind": "stage", "step": 0, "stage": "sparse <b>", "steps": 10})"
                      "\n";
    for (int step = 1; step <= steps; ++step) {
      log += json{{"kind", "step"},
                  {"step", step},
                  {"stage", "sparse"},
                  {"loss", 2.0 / step},
                  {"lr", 1e-4}}
                 .dump() +
             "\n";
    }
    log += json{{"kind", "evaluation"}, {"step", steps}, {"metrics", {{"ndcg@10", 0.7}}}}.dump() +
           "\n";
    spill(folder / "log.jsonl", log);
    std::filesystem::copy(golden("cross-encoder/model"), folder / "model",
                          std::filesystem::copy_options::recursive);
    return folder;
  }

  std::filesystem::path folder_ = scratch("report");
};

TEST_F(Report, CollectsCurvesStagesAndLayers) {
  const auto report = collect_report({run("a", 1000)});
  const auto& collected = report["runs"][0];
  EXPECT_EQ(collected["name"], "a");
  ASSERT_EQ(collected["curves"]["loss"].size(), 400);  // thinned
  EXPECT_EQ(collected["curves"]["loss"][399][0], 1000);
  EXPECT_EQ(collected["curves"]["metric:ndcg@10"][0][1], 0.7);
  EXPECT_EQ(collected["stages"][0]["name"], "sparse <b>");
  EXPECT_EQ(collected["model"]["layers"].size(), 14);
}

TEST_F(Report, PageHoldsEverythingAndNoMarkupOfRuns) {
  const auto page = folder_ / "report.html";
  ASSERT_EQ(
      run_command({"report", run("</script><img src=x>", 3), run("b", 3), "--out", page}).code, 0);
  const std::string html = slurp(page);
  EXPECT_THAT(html, HasSubstr("Chart.js v3"));
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, Not(HasSubstr("<b>")));
  EXPECT_THAT(html, Not(HasSubstr(" src=\"")));
  const std::string open = R"(<script type="application/json" id="data">)";
  const size_t begin = html.find(open) + open.size();
  const json data = json::parse(html.substr(begin, html.find("</script>", begin) - begin));
  EXPECT_EQ(data["runs"].size(), 2);
}

TEST_F(Report, TablesNeedNoScript) {
  const auto a = run("a & <b>", 1), b = run("b", 1), page = folder_ / "report.html";
  spill(a / "eval.json", json{{"metrics", {{"pnr", 1.5}}}}.dump());
  spill(a / "eval-hard half.json", json{{"metrics", {{"pnr", 1.25}}}}.dump());
  ASSERT_EQ(run_command({"report", a, b, "--out", page, "--title", "A & B"}).code, 0);
  const std::string html = slurp(page);
  const size_t begin = html.find("<main>");
  const std::string shown = html.substr(begin, html.find("</main>") - begin);
  const auto quality = [](const std::string& title, const std::string& pnr) {
    return "<h2>" + title +
           "</h2>\n<div class=\"card scroll\"><table>\n<thead>\n"
           "<tr><th class=\"left\">run</th><th class=\"left\">pnr</th><th>pnr ties</th></tr>\n"
           "</thead>\n<tbody>\n"
           "<tr><td class=\"left\">a &amp; &lt;b></td><td class=\"left\">" +
           pnr +
           "</td><td>-</td></tr>\n"
           "<tr><td class=\"left\">b</td><td class=\"left\">-</td><td>-</td></tr>\n"
           "</tbody>\n</table></div>\n";
  };
  const std::string head =
      "<h1>A &amp; B</h1>\n<p class=\"note\">In brackets behind a metric: the 95 % interval of its "
      "difference against the first run.</p>\n";
  EXPECT_THAT(shown, AllOf(HasSubstr(head + quality("Quality", "1.5000") +
                                     quality("hard half", "1.2500") + "<h2>Cost</h2>\n"),
                           HasSubstr("<th>file MB</th>"), Not(HasSubstr("<script"))));
}

TEST_F(Report, PageHoldsThePicture) {
  const auto page = folder_ / "report.html", picture = folder_ / "x.png";
  const std::string signature = "\x89PNG\r\n";  // iVBORw0K
  for (const auto& [more, code] :
       {std::pair{"", "iVBORw0K"}, std::pair{"M", "iVBORw0KTQ=="}, std::pair{"Ma", "iVBORw0KTWE="},
        std::pair{"Man", "iVBORw0KTWFu"}}) {
    spill(picture, signature + more);
    ASSERT_EQ(run_command({"report", run("a", 1), "--out", page, "--picture", picture, "--caption",
                           "two <rows>"})
                  .code,
              0);
    const std::string html = slurp(page);
    EXPECT_THAT(html, HasSubstr(std::string("\"data:image/png;base64,") + code + "\""));
    EXPECT_THAT(html, HasSubstr("two \\u003crows>"));
    std::filesystem::remove_all(folder_ / "a");
  }
  spill(picture, "GIF89a");
  const Outcome outcome = run_command({"report", run("a", 1), "--out", page, "--picture", picture});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("x.png] is no PNG file"));
  EXPECT_EQ(run_command({"report", folder_ / "a", "--out", page, "--caption", "of what?"}).code, 2);
}

TEST_F(Report, RunsOfOneNameAreToldApart) {
  const auto report = collect_report({run("x/model-a", 1), run("y/model-a", 1)});
  EXPECT_EQ(report["runs"][0]["name"], "model-a");
  EXPECT_EQ(report["runs"][1]["name"], "y/model-a");
}

TEST_F(Report, ScoresGiveDifferencesTheirIntervals) {
  const auto a = run("a", 1), b = run("b", 1);
  for (const auto& [folder, layout] : {std::pair{a, "cross-encoder"}, std::pair{b, "minilm"}}) {
    ASSERT_EQ(run_command({"eval", model(layout), data(), "--out", folder / "eval.json", "--scores",
                           folder / "scores.jsonl.zst"})
                  .code,
              0);
  }
  const auto report = collect_report({a, b});
  EXPECT_FALSE(report["runs"][0].contains("differences"));
  EXPECT_LT(report["runs"][1]["differences"]["pnr"]["low"],
            report["runs"][1]["differences"]["pnr"]["high"]);
  const Outcome outcome =
      run_command({"report", a, b, "--out", folder_ / "page.html", "--markdown"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("| run | "));
  EXPECT_THAT(outcome.out, HasSubstr(" % .. "));
}

TEST_F(Report, JsonHoldsWhatTheTablesDo) {
  const auto a = run("a", 1), b = run("b", 1), page = folder_ / "page.html";
  spill(a / "eval.json", json{{"metrics", {{"pnr", 1.5}}}}.dump());
  spill(a / "eval-hard.json", json{{"metrics", {{"pnr", 1.25}}}}.dump());
  const Outcome outcome = run_command({"report", a, b, "--out", page, "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json report = json::parse(outcome.out);
  ASSERT_EQ(report["runs"].size(), 2);
  EXPECT_EQ(report["runs"][0]["name"], "a");
  EXPECT_EQ(report["runs"][0]["eval"]["metrics"]["pnr"], 1.5);
  EXPECT_GT(report["runs"][1]["model"]["weight_file_bytes"], 0);
  EXPECT_EQ(report["sets"][0]["runs"][0]["eval"]["metrics"]["pnr"], 1.25);
  EXPECT_FALSE(report["runs"][0].contains("curves"));
  EXPECT_FALSE(report["runs"][0]["model"].contains("layers"));
  EXPECT_THAT(slurp(page), HasSubstr("\"curves\":"));
  EXPECT_EQ(run_command({"report", a, "--out", page, "--json", "--markdown"}).code, 2);
}

// As results are kept: evaluation and scores alone.
TEST_F(Report, CostsAreKnownWithoutTheModel) {
  const auto a = run("a", 1);
  ASSERT_EQ(run_command({"eval", model("cross-encoder"), data(), "--out", a / "eval.json"}).code,
            0);
  const std::string with_model =
      run_command({"report", a, "--out", folder_ / "page.html", "--markdown"}).out;
  std::filesystem::remove_all(a / "model");
  std::filesystem::remove(a / "log.jsonl");
  EXPECT_EQ(run_command({"report", a, "--out", folder_ / "page.html", "--markdown"}).out,
            with_model);
  EXPECT_THAT(with_model, HasSubstr("| file MB |"));
}

TEST_F(Report, ScoresOverOtherQueriesGiveNoDifferences) {
  const auto write = [&](const std::filesystem::path& run, const std::string& id, int64_t k) {
    QueryScores scores{"test", {.recall_k = k}, {}};
    for (int i = 0; i < 4; ++i) {
      scores.queries.push_back(
          {.query_id = id + std::to_string(i), .concordant = 3 + i, .discordant = 1});
    }
    write_scores_file(run / "scores.jsonl.zst", scores);
  };
  const auto a = run("a", 1), b = run("b", 1), c = run("c", 1);
  write(a, "q", 10);
  write(b, "other", 10);
  write(c, "q", 10);
  const auto report = collect_report({a, b, c});
  EXPECT_FALSE(report["runs"][1].contains("differences"));
  EXPECT_TRUE(report["runs"][2].contains("differences"));
  write(c, "q", 20);
  EXPECT_THAT(
      [&] {
        collect_report({a, c});
      },
      ThrowsMessage<Error>(HasSubstr("other metric options")));
}

TEST_F(Report, FurtherSetsOfDataAreFurtherTables) {
  const auto a = run("a", 1), b = run("b", 1);
  for (const auto& [folder, layout] : {std::pair{a, "cross-encoder"}, std::pair{b, "minilm"}}) {
    ASSERT_EQ(run_command({"eval", model(layout), data(), "--out", folder / "eval-hard half.json",
                           "--scores", folder / "scores-hard half.jsonl.zst"})
                  .code,
              0);
  }
  const auto report = collect_report({a, b, golden("minilm/model")});
  ASSERT_EQ(report["sets"].size(), 1);
  EXPECT_EQ(report["sets"][0]["name"], "hard half");
  const auto& runs = report["sets"][0]["runs"];
  EXPECT_TRUE(runs[1]["differences"].contains("pnr"));
  EXPECT_FALSE(runs[0].contains("differences"));
  EXPECT_FALSE(runs[2].contains("eval"));
  EXPECT_THAT(run_command({"report", a, b, "--out", folder_ / "page.html"}).out,
              HasSubstr("hard half:\n"));
  spill(b / "eval-hard half.json", "{}");
  EXPECT_THAT(
      [&] {
        collect_report({a, b});
      },
      ThrowsMessage<Error>(HasSubstr("eval-hard half.json] key \"metrics\" is missing")));
}

TEST_F(Report, SetsRankingsSideBySide) {
  const auto a = run("a", 1), b = run("b", 1), c = run("c", 1);
  spill(folder_ / "data.tsv",
        "query_id\tquery\tdocument_id\tdocument\tlabel\n"
        "q1\tone\td1\tgood\t2\nq1\tone\td2\tbad\t0\nq2\ttwo\td1\tgood\t0\nq2\ttwo\td2\tbad\t1\n"
        "q3\tnothing fits\td1\tgood\t0\n");
  write_file_atomically(a / "test.run.zst",
                        "q1 Q0 d1 1 2 t\nq1 Q0 d2 2 1 t\nq2 Q0 d1 1 2 t\nq2 Q0 d2 2 1 t\n");
  write_file_atomically(b / "test.run.zst",
                        "q1 Q0 d2 1 2 t\nq1 Q0 d1 2 1 t\nq2 Q0 d2 1 2 t\nq2 Q0 x 2 1 t\n");
  const auto queries = collect_queries({a, b, c}, {"a", "b", "c"}, folder_ / "data.tsv");
  EXPECT_EQ(json(queries["runs"]), json({"a", "b"}));
  EXPECT_EQ(queries["queries"], 2);  // q3 has no positive label
  ASSERT_EQ(queries["worst"].size(), 1);
  EXPECT_EQ(queries["worst"][0]["text"], "one");
  EXPECT_EQ(queries["best"][0]["id"], "q2");
  EXPECT_EQ(queries["best"][0]["ndcg"][1], 1);
  EXPECT_EQ(json(queries["worst"][0]["rankings"][1][0]),
            json({{"id", "d2"}, {"text", "bad"}, {"label", 0}}));
  EXPECT_EQ(json(queries["best"][0]["rankings"][1][1]), json({{"id", "x"}}));
  const auto page = folder_ / "page.html";
  ASSERT_EQ(run_command({"report", a, b, c, "--queries", folder_ / "data.tsv", "--title", "A <b>",
                         "--out", page})
                .code,
            0);
  EXPECT_THAT(slurp(page),
              AllOf(HasSubstr("\"text\":\"one\""), HasSubstr("<title>A &lt;b></title>")));
  const Outcome alone =
      run_command({"report", a, "--queries", folder_ / "data.tsv", "--out", page});
  EXPECT_EQ(alone.code, 2);
  EXPECT_THAT(alone.err, HasSubstr("report --queries takes two runs or more"));
  EXPECT_THAT(
      [&] {
        collect_queries({a, c}, {"a", "c"}, folder_ / "data.tsv");
      },
      ThrowsMessage<Error>(HasSubstr("two runs with a ranking are needed")));
}

// Few lose here, and none wins: neither list is filled with others.
TEST_F(Report, OnlyWinnersAndLosersStandAmongTheQueries) {
  const auto a = run("a", 1), b = run("b", 1);
  std::string data = "query_id\tquery\tdocument_id\tdocument\tlabel\n", of_a, of_b;
  for (int i = 1; i <= 6; ++i) {
    data += fmt::format("q{0}\tquery {0}\tgood\tgood\t1\nq{0}\tquery {0}\tbad\tbad\t0\n", i);
    of_a += fmt::format("q{0} Q0 good 1 2 t\nq{0} Q0 bad 2 1 t\n", i);
    of_b += fmt::format("q{0} Q0 good 1 {1} t\nq{0} Q0 bad 2 1 t\n", i, i == 3 ? 0 : 2);
  }
  spill(folder_ / "data.tsv", data);
  write_file_atomically(a / "test.run.zst", of_a);
  write_file_atomically(b / "test.run.zst", of_b);
  const auto lost = collect_queries({a, b}, {"a", "b"}, folder_ / "data.tsv");
  EXPECT_EQ(lost["queries"], 6);
  EXPECT_EQ(lost["lost"], 1);
  EXPECT_EQ(lost["won"], 0);
  ASSERT_EQ(lost["worst"].size(), 1);
  EXPECT_EQ(lost["worst"][0]["id"], "q3");
  EXPECT_TRUE(lost["best"].empty());
  const auto won = collect_queries({b, a}, {"b", "a"}, folder_ / "data.tsv");
  EXPECT_TRUE(won["worst"].empty());
  ASSERT_EQ(won["best"].size(), 1);
  EXPECT_EQ(won["best"][0]["id"], "q3");
  const auto both = collect_queries({a, b}, {"a", "b"}, folder_ / "data.tsv", {.queries = 0});
  EXPECT_EQ(both["lost"], 1);
  EXPECT_TRUE(both["worst"].empty());
}

TEST_F(Report, NamesDataThatIsNotTheRuns) {
  const auto a = run("a", 1), b = run("b", 1);
  write_file_atomically(a / "test.run.zst", "q1 Q0 d1 1 2 t\n");
  write_file_atomically(b / "test.run.zst", "q1 Q0 d1 1 2 t\n");
  spill(folder_ / "other.tsv",
        "query_id\tquery\tdocument_id\tdocument\tlabel\nz\tone\td1\tgood\t2\n");
  EXPECT_THAT(
      [&] {
        collect_queries({a, b}, {"a", "b"}, folder_ / "other.tsv");
      },
      ThrowsMessage<Error>(HasSubstr("ids are such as 'q1' here, 'z' there")));
  spill(folder_ / "more.tsv",
        "query_id\tquery\tdocument_id\tdocument\tlabel\n"
        "q1\tone\td1\tgood\t2\nq2\ttwo\td1\tgood\t1\n");
  EXPECT_THAT(
      [&] {
        collect_queries({a, b}, {"a", "b"}, folder_ / "more.tsv");
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("a/test.run.zst] lacks 1 of 2 queries of "),
                                 HasSubstr("with a label above 0, the first is 'q2'"))));
  spill(folder_ / "numbered.tsv", "query\tdocument\tlabel\none\tgood\t2\n");
  collect_queries({a, b}, {"a", "b"}, folder_ / "numbered.tsv");
  write_file_atomically(b / "test.run.zst", "q1 Q0 d1 1 2 twofour-0123456789abcdef\n");
  EXPECT_THAT(
      [&] {
        collect_queries({a, b}, {"a", "b"}, folder_ / "numbered.tsv");
      },
      ThrowsMessage<Error>(HasSubstr("b/test.run.zst] is of other data than ")));

  const auto evaluate = [&](const std::filesystem::path& run, int pairs) {
    spill(run / "eval.json",
          json{{"queries", 2}, {"pairs", pairs}, {"metrics", {{"pnr", 1.5}}}}.dump());
    return run_command({"report", a, b, "--out", folder_ / "page.html"}).err;
  };
  evaluate(a, 5);
  EXPECT_THAT(evaluate(b, 5), Not(HasSubstr("other data")));
  EXPECT_THAT(evaluate(b, 6), HasSubstr("b was evaluated on other data than a: 6 pairs and 5"));
}

TEST_F(Report, ReplacesNothingButPages) {
  const auto a = run("a", 1);
  const std::string metrics = json{{"metrics", {{"pnr", 1.5}}}}.dump();
  spill(a / "eval.json", metrics);
  spill(a / "page.html", "an older page");
  spill(folder_ / "train.tsv", "precious");
  for (const auto& path : {a / "eval.json", a / "model/config.json", folder_ / "train.tsv"}) {
    const Outcome outcome = run_command({"report", a, "--out", path});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("the name of a page must end in .html"));
  }
  EXPECT_EQ(slurp(a / "eval.json"), metrics);
  EXPECT_EQ(slurp(folder_ / "train.tsv"), "precious");
  EXPECT_EQ(run_command({"report", a, "--out", a / "page.html"}).code, 0);
}

TEST_F(Report, ADeviceTakesThePage) {
  EXPECT_EQ(run_command({"report", run("a", 1), "--out", "/dev/null"}).code, 0);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST_F(Report, ModelDirectoryAloneIsARun) {
  const auto report = collect_report({golden("minilm/model")});
  EXPECT_TRUE(report["runs"][0].contains("model"));
  EXPECT_EQ(report["runs"][0]["name"], "minilm");
}

TEST_F(Report, TheModelInARunStandsForTheRun) {
  const auto a = run("a", 1), page = folder_ / "page.html";
  const auto report = [&](const std::filesystem::path& path) {
    const Outcome outcome = run_command({"report", path, "--out", page, "--markdown"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  spill(a / "eval.json", json{{"metrics", {{"pnr", 1.5}}}}.dump());
  const std::string whole = report(a);
  EXPECT_THAT(whole, HasSubstr("| a | 1.5000 | - |"));
  EXPECT_EQ(report(a / "model"), whole);
  EXPECT_EQ(report(a / "model/"), whole);
  // Results in model/ are the run's too, wherever it is asked for.
  std::filesystem::rename(a / "eval.json", a / "model/eval.json");
  EXPECT_EQ(report(a), whole);
  EXPECT_EQ(report(a / "model"), whole);
  std::filesystem::create_directory_symlink(a, folder_ / "link");
  EXPECT_EQ(report(folder_ / "link"), whole);
  EXPECT_EQ(report(folder_ / "link/model"), whole);
  std::filesystem::create_directory_symlink(a / "model", folder_ / "best");
  EXPECT_EQ(report(folder_ / "best"), whole);
}

// A run may link to another's model, as one pooled from folds does: its results are its own.
TEST_F(Report, ALinkedModelIsThatOfTheRunWithTheLink) {
  const auto a = run("a", 1), b = folder_ / "b";
  std::filesystem::create_directories(b);
  std::filesystem::create_directory_symlink(a / "model", b / "model");
  EXPECT_EQ(run_of(b / "model"), std::filesystem::canonical(b));
  EXPECT_EQ(run_of(b), std::filesystem::canonical(b));
  const auto named_so = run("model", 1);  // a run, no model
  EXPECT_EQ(run_of(named_so), std::filesystem::canonical(named_so));
}

class InFolder {
 public:
  explicit InFolder(const std::filesystem::path& path) : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(path);
  }
  ~InFolder() { std::filesystem::current_path(before_); }

 private:
  std::filesystem::path before_;
};

TEST_F(Report, TheFolderOneIsInIsTheRun) {
  const auto a = run("a", 1), page = std::filesystem::absolute(folder_ / "page.html");
  spill(a / "eval.json", json{{"metrics", {{"pnr", 1.5}}}}.dump());
  const auto report = [&](const std::string& path) {
    return run_command({"report", path, "--out", page, "--json"}).out;
  };
  const auto runs = [&](const std::string& path) { return json::parse(report(path))["runs"][0]; };
  const json whole = runs(a);
  EXPECT_EQ(whole["name"], "a");
  for (const auto& [folder, path] :
       {std::pair{a, "."}, std::pair{a, "./"}, std::pair{a, "model"}, std::pair{a, "../a"},
        std::pair{a / "model", "."}, std::pair{a / "model", ".."}}) {
    const InFolder in(folder);
    const json found = runs(path);
    EXPECT_EQ(found["name"], "a") << path;
    EXPECT_EQ(found["eval"], whole["eval"]) << path;
    EXPECT_EQ(found["model"]["weight_file_bytes"], whole["model"]["weight_file_bytes"]) << path;
  }
}

TEST_F(Report, OfTwoResultsTheOneBesideTheModelCounts) {
  const auto a = run("a", 1), page = folder_ / "page.html";
  spill(a / "eval.json", json{{"metrics", {{"pnr", 1.5}}}}.dump());
  spill(a / "model/eval.json", json{{"metrics", {{"pnr", 1.5}}}}.dump());
  EXPECT_THAT(run_command({"report", a, "--out", page}).err, Not(HasSubstr("differs")));
  spill(a / "model/eval.json", json{{"metrics", {{"pnr", 2.5}}}}.dump());
  spill(a / "model/eval-hard.json", json{{"metrics", {{"pnr", 3.5}}}}.dump());
  const Outcome of_run = run_command({"report", a, "--out", page, "--markdown"});
  const Outcome of_model = run_command({"report", a / "model", "--out", page, "--markdown"});
  EXPECT_THAT(of_run.out, AllOf(HasSubstr("| a | 1.5000 |"), HasSubstr("| a | 3.5000 |")));
  EXPECT_EQ(of_model.out, of_run.out);
  for (const Outcome& outcome : {of_run, of_model}) {
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("a/eval.json differs from "),
                                   HasSubstr("a/model/eval.json: the report shows the former")));
  }
}

json checkpoint_at(int step, int stage) {
  return {{"format", 1},
          {"state", {{"step", step}, {"stage", stage}}},
          {"progress", {{"stage", stage < 2 ? "sparse <b>" : ""}, {"stages", 2}, {"steps", 34}}}};
}

TEST_F(Report, SaysOfAnUnfinishedRunHowFarItIs) {
  const auto a = run("a", 7), page = folder_ / "page.html";
  std::filesystem::remove_all(a / "model");
  std::filesystem::create_directories(a / "checkpoint");
  const std::string position =
      "a: unfinished, step 6 of 34, stage sparse <b> (2 of 2). Unless it is running, it goes on "
      "with the command that began it and --resume: twofour train ... --out ";
  spill(a / "checkpoint/state.json", checkpoint_at(6, 1).dump());
  const Outcome outcome = run_command({"report", a, "--out", page});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr(position), HasSubstr("a --resume\n")));
  const std::string html = slurp(page);
  EXPECT_THAT(html,
              HasSubstr("<p class=\"note\">a: unfinished, step 6 of 34, stage sparse &lt;b>"));
  const json machine = json::parse(run_command({"report", a, "--out", page, "--json"}).out);
  EXPECT_EQ(machine["runs"][0]["unfinished"]["step"], 6);
  EXPECT_EQ(machine["runs"][0]["unfinished"]["steps"], 34);
  EXPECT_EQ(machine["runs"][0]["unfinished"]["stage"], "sparse <b>");

  spill(a / "checkpoint/state.json", checkpoint_at(34, 2).dump());
  EXPECT_THAT(run_command({"report", a, "--out", page}).out,
              HasSubstr("a: unfinished, step 34 of 34, its model not written yet. "));
  spill(a / "checkpoint/state.json", "{");
  EXPECT_THAT(run_command({"report", a, "--out", page}).err,
              AllOf(HasSubstr("checkpoint/state.json"), HasSubstr("damaged JSON")));
  json early = checkpoint_at(6, 1);
  early.erase("progress");
  spill(a / "checkpoint/state.json", early.dump());
  EXPECT_THAT(run_command({"report", a, "--out", page}).out, HasSubstr("a: unfinished, step 6. "));
  std::filesystem::remove(a / "checkpoint/state.json");
  EXPECT_THAT(run_command({"report", a, "--out", page}).err,
              HasSubstr("checkpoint/state.json] is missing. twofour train --resume says"));
  std::filesystem::remove(a / "checkpoint");
  EXPECT_THAT(run_command({"report", a, "--out", page}).out,
              HasSubstr("a: unfinished, step 7, no checkpoint. "));
}

TEST_F(Report, SaysNothingOfAFinishedRun) {
  const auto a = run("a", 7);
  EXPECT_FALSE(collect_report({a})["runs"][0].contains("unfinished"));
  spill(a / "summary.json", R"({"steps": 7, "seconds": 1})");
  std::filesystem::create_directories(a / "checkpoint");
  spill(a / "checkpoint/state.json", checkpoint_at(6, 1).dump());
  EXPECT_FALSE(collect_report({a})["runs"][0].contains("unfinished"));
  // The trainer would write the model again.
  std::filesystem::remove_all(a / "model");
  EXPECT_TRUE(collect_report({a})["runs"][0].contains("unfinished"));
  std::filesystem::remove_all(a / "checkpoint");
  EXPECT_FALSE(collect_report({a})["runs"][0].contains("unfinished"));
}

TEST_F(Report, SaysWhatTheMetricsAre) {
  const auto a = run("a", 1), page = folder_ / "page.html";
  ASSERT_EQ(run_command({"report", a, "--out", page}).code, 0);
  EXPECT_THAT(slurp(page), AllOf(HasSubstr("\"notes\":{}"), Not(HasSubstr("<dt>"))));
  const json metrics = {{"f1@20", 0.5}, {"recall@20", 0.5}, {"masked_accuracy", 0.5}};
  spill(a / "eval.json", json{{"relevant_label", 2}, {"metrics", metrics}}.dump());
  ASSERT_EQ(run_command({"report", a, "--out", page}).code, 0);
  const std::string html = slurp(page);
  EXPECT_THAT(
      html,
      AllOf(
          HasSubstr("<dt>recall@20</dt><dd>share of the relevant documents (label at least 2) that "
                    "are retrieved"),
          HasSubstr("a classifier by the label that it predicts (the likeliest), at least 2"),
          HasSubstr("among the first 20 of its query by score"),
          HasSubstr("<dt>score</dt><dd>what documents are ranked by"),
          HasSubstr("expected label: the sum of label times probability"),
          Not(HasSubstr("<dt>masked_accuracy")), HasSubstr("\"notes\":{\"f1@20\":")));
  spill(a / "eval-hard.json", json{{"relevant_label", 1}, {"metrics", metrics}}.dump());
  ASSERT_EQ(run_command({"report", a, "--out", page}).code, 0);
  EXPECT_THAT(slurp(page), HasSubstr("(label at least that of eval --relevant)"));
}

// JSON, which has no infinity, holds null.
TEST_F(Report, PnrWithoutDiscordantPairsIsInfinite) {
  const auto a = run("a", 1), b = run("b", 1), page = folder_ / "page.html";
  spill(a / "eval.json", R"({"metrics": {"pnr": null, "accuracy": null}})");
  spill(b / "eval.json", R"({"metrics": {"accuracy": 0.5}})");
  const Outcome outcome = run_command({"report", a, b, "--out", page, "--markdown"});
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("| a | inf | - | - |"), HasSubstr("| b | - | 0.5000 | - |")));
  EXPECT_THAT(slurp(page), HasSubstr("<td class=\"left\">inf</td>"));
}

TEST_F(Report, ADenseInt8ModelHasNoPattern) {
  const auto pattern = [&](const std::filesystem::path& model) {
    return collect_report({model})["runs"][0]["model"]["pattern"];
  };
  const auto kind = [&](const std::filesystem::path& model) {
    return collect_report({model})["runs"][0]["model"]["kind"];
  };
  EXPECT_EQ(kind(int8_model("minilm")), "2:4");
  EXPECT_EQ(kind(int8_model("minilm", /*dense=*/true)), "dense");
  EXPECT_EQ(pattern(golden("minilm/model")), "dense");
  EXPECT_EQ(pattern(int8_model("minilm")), "each row has its own pattern");
  EXPECT_EQ(pattern(int8_model("minilm", /*dense=*/true)), "dense");
}

TEST_F(Report, SpeedsAreOfQueriesAndPairs) {
  const auto a = run("a", 1);
  spill(a / "eval.json",
        R"({"metrics": {}, "queries": 2, "seconds": 4, "pairs_per_second": 12.25})");
  const Outcome outcome = run_command({"report", a, "--out", folder_ / "page.html", "--markdown"});
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("| queries/s | pairs/s |"), HasSubstr("| 0.50 | 12.2 |")));
}

TEST_F(Report, NamesAFolderThatIsNotThere) {
  const auto page = folder_ / "page.html";
  const Outcome absent = run_command({"report", folder_ / "nosuch", "--out", page});
  EXPECT_EQ(absent.code, 1);
  EXPECT_THAT(absent.err, HasSubstr("nosuch] there is no such folder"));
  spill(folder_ / "file", "");
  EXPECT_THAT(run_command({"report", folder_ / "file", "--out", page}).err,
              HasSubstr("file] is no folder"));
}

TEST_F(Report, LineThatAKillCutShortIsLeftOut) {
  const auto folder = run("cut", 5);
  spill(folder / "log.jsonl", slurp(folder / "log.jsonl") + R"({"kind": "step", "st)");
  EXPECT_EQ(collect_report({folder})["runs"][0]["curves"]["loss"].size(), 5);
}

TEST_F(Report, RefusesWrongTypesWithFileAndKey) {
  const auto folder = run("types", 2);
  const auto expect_refused = [&](const std::string& file, const std::string& text,
                                  const std::string& message) {
    spill(folder / file, text);
    EXPECT_THAT([&] { collect_report({folder}); },
                ThrowsMessage<Error>(
                    AllOf(HasSubstr(file), HasSubstr(message), Not(HasSubstr("json.exception")))));
    std::filesystem::remove(folder / file);
  };
  const std::string shape = R"({"results": [{"batch": 1, "tokens": 8, "threads": 1)";
  expect_refused("eval.json", "{\"metrics\": {", "damaged JSON: parse error");
  expect_refused("eval.json", "{", "Write it again with twofour eval --out");
  expect_refused("bench.json", "{", "Write it again with twofour bench --out");
  expect_refused("summary.json", "{", "Restore it from a copy");
  expect_refused("log.jsonl", "{\"kind\n{}\n", "Remove the line: reports do without it");
  expect_refused("eval.json", "[]", "expected a JSON object, found array");
  expect_refused("eval.json", "{}", "key \"metrics\" is missing");
  expect_refused("eval.json", R"({"metrics": {"pnr": "high"}})",
                 ", metrics] \"pnr\": expected a number, found string");
  expect_refused("eval.json", R"({"metrics": {}, "seconds": [1]})",
                 "\"seconds\": expected a number");
  expect_refused("bench.json", "{}", "key \"results\" is missing");
  expect_refused("bench.json", R"({"results": {}})", "\"results\": expected a list of objects");
  expect_refused("bench.json", R"({"results": [{"batch": "1"}]})",
                 ", results[0]] \"batch\": expected a whole number from 1");
  expect_refused("bench.json", shape + "}]}", "key \"median_ms\" is missing");
  expect_refused("bench.json", shape + R"(, "median_ms": 1, "against": {"ratio": 2}}]})",
                 "key \"ratio_low\" is missing");
  expect_refused("summary.json", R"({"seconds": true})",
                 "\"seconds\": expected a number, found true");
  expect_refused("log.jsonl",
                 R"({"kind": 1, "step": 1})"
                 "\n",
                 "log.jsonl:1] \"kind\": expected a string");
  expect_refused("log.jsonl",
                 R"({"kind": "step", "step": -1})"
                 "\n",
                 "\"step\": expected a whole number");
  expect_refused("log.jsonl",
                 R"({"kind": "step", "step": 1, "loss": "x"})"
                 "\n",
                 "\"loss\": expected a number");
  expect_refused("log.jsonl",
                 R"({"kind": "evaluation", "step": 1})"
                 "\n",
                 "key \"metrics\" is missing");
  expect_refused("scores.jsonl.zst", "{}", "scores.jsonl.zst");
  spill(folder / "model/twofour.json", R"({"recipe": {"name": 7}})");
  EXPECT_THAT([&] { collect_report({folder}); },
              ThrowsMessage<Error>(HasSubstr("recipe] \"name\": expected a string, found 7")));
}

TEST_F(Report, RefusesWrongInput) {
  EXPECT_THAT([&] { collect_report({folder_}); }, ThrowsMessage<Error>(HasSubstr("is no run")));
  const auto folder = run("bad", 2);
  spill(folder / "log.jsonl", "{\"kind\": \"step\"}\n{}\n");
  EXPECT_THAT([&] { collect_report({folder}); }, ThrowsMessage<Error>(HasSubstr("log.jsonl:1")));
  std::filesystem::remove(folder / "log.jsonl");
  spill(folder / "eval.json", "[1");
  EXPECT_THAT([&] { collect_report({folder}); }, ThrowsMessage<Error>(HasSubstr("eval.json")));
  EXPECT_EQ(run_command({"report", folder_, "--out", folder_ / "page.html"}).code, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "page.html"));
  EXPECT_EQ(run_command({"report", "--out", "x"}).code, 2);
  EXPECT_THAT(run_command({"report", folder_, "--out", folder_ / "typo" / "page.html"}).err,
              HasSubstr("there is no folder "));
}

}  // namespace
}  // namespace twofour::cli
