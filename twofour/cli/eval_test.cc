#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "twofour/cli/testing/run_command.h"
#include "twofour/metrics/scores_file.h"

namespace twofour::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Eval, WritesScoresAndARunThatEvaluatesToTheSame) {
  const auto folder = scratch("eval");
  const Outcome outcome = run_command({"eval", model("cross-encoder"), data(), "--json", "--scores",
                                       folder / "s.jsonl.zst", "--run", folder / "run.trec.zst",
                                       "--out", folder / "eval.json", "--threads", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result, json::parse(slurp(folder / "eval.json")));
  EXPECT_EQ(result["pairs"], 192);
  EXPECT_GT(result["metrics"]["ndcg@10"], 0.3);
  const Outcome again =
      run_command({"eval", "--trec-run", folder / "run.trec.zst", data(), "--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  const json run = json::parse(again.out);
  EXPECT_EQ(run["metrics"]["pnr"], result["metrics"]["pnr"]);
  EXPECT_EQ(run["metrics"]["ndcg@10"], result["metrics"]["ndcg@10"]);
  EXPECT_FALSE(run["metrics"].contains("accuracy"));
  std::filesystem::copy_file(folder / "s.jsonl.zst", folder / "same.jsonl.zst");
  EXPECT_EQ(run_command({"compare", folder / "s.jsonl.zst", folder / "same.jsonl.zst",
                         "--non-inferior", "pnr=-1%"})
                .code,
            0);
  EXPECT_THAT(run_command({"compare", folder / "s.jsonl.zst", folder / "s.jsonl.zst"}).err,
              HasSubstr("s.jsonl.zst] is the baseline itself"));
  EXPECT_THAT(run_command({"compare", folder / "s.jsonl.zst", folder / "eval.json"}).err,
              HasSubstr("eval.json] is a result of twofour eval --out"));
}

// As the trainer's evaluations do.
TEST(Eval, TheLargestLabelIsRelevantWhereNoneIs2) {
  const auto folder = scratch("eval-binary");
  const std::string header = "query\tdocument\tlabel\n";
  const auto eval = [&](const std::string& rows, std::vector<std::string> more) {
    spill(folder / "data.tsv", header + rows);
    more.insert(more.begin(), {"eval", model("minilm"), folder / "data.tsv"});
    const Outcome outcome = run_command(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string binary = "q\tgood\t1\nq\tbad\t0\n";
  const json result = json::parse(eval(binary, {"--json"}));
  EXPECT_EQ(result["relevant_label"], 1);
  EXPECT_EQ(result["metrics"]["recall@345"], 1);
  EXPECT_THAT(eval(binary, {}), HasSubstr("2 pairs of 1 query, relevant from label 1 on in "));
  EXPECT_FALSE(
      json::parse(eval(binary, {"--json", "--relevant", "2"}))["metrics"].contains("recall@345"));
  EXPECT_EQ(json::parse(eval("q\tgood\t3\nq\tbad\t0\n", {"--json"}))["relevant_label"], 2);
  const json degrees = json::parse(eval("q\tgood\t0.9\nq\tfair\t0.8\nq\tbad\t0\n", {"--json"}));
  EXPECT_FALSE(degrees["metrics"].contains("recall@345"));
  EXPECT_TRUE(degrees["metrics"].contains("ndcg@10"));
}

TEST(Eval, SaysHowManyPairsRepeat) {
  const auto path = scratch("eval-repeated") / "data.tsv";
  spill(path, "query\tdocument\tlabel\nq\tgood\t1\nq\tbad\t0\nq\tgood\t1\n");
  const Outcome outcome = run_command({"eval", model("minilm"), path});
  EXPECT_THAT(outcome.out, HasSubstr("2 pairs of 1 query"));
  EXPECT_THAT(outcome.err,
              HasSubstr("pairs of " + path.string() +
                        " that repeat others with the same label, and count once: 1\n"));
}

TEST(Eval, EmbeddingModelsAreRankedByTheirProduct) {
  const Outcome outcome = run_command({"eval", model("minilm"), data()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("ndcg@10"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("accuracy")));
}

TEST(Eval, ATunedThresholdDecides) {
  const auto folder = scratch("eval-tune");
  const Outcome tuned =
      run_command({"eval", model("minilm"), data(), "--json", "--tune-threshold", "accuracy"});
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  const json best = json::parse(tuned.out);
  const std::string threshold = best["score_threshold"].dump();
  const Outcome given =
      run_command({"eval", model("minilm"), data(), "--json", "--score-threshold", threshold});
  EXPECT_EQ(json::parse(given.out)["metrics"], best["metrics"]);
  const Outcome none =
      run_command({"eval", model("minilm"), data(), "--json", "--score-threshold", "9"});
  EXPECT_GE(best["metrics"]["accuracy"], json::parse(none.out)["metrics"]["accuracy"]);
  const Outcome classes =
      run_command({"eval", model("cross-encoder"), data(), "--tune-threshold", "f1"});
  EXPECT_EQ(classes.code, 1);
  EXPECT_THAT(classes.err, HasSubstr("has classes"));
  const Outcome unused =
      run_command({"eval", model("cross-encoder"), data(), "--score-threshold", "0.5"});
  EXPECT_EQ(unused.code, 1);
  EXPECT_THAT(unused.err, HasSubstr("has classes: they decide, not a threshold. Leave "
                                    "--score-threshold out"));
  for (const std::string option : {"--score-threshold", "--relevant"}) {
    for (const std::string value : {"nan", "inf", "1e39"}) {
      const Outcome outcome = run_command({"eval", model("minilm"), data(), option, value});
      EXPECT_EQ(outcome.code, 2);
      EXPECT_THAT(outcome.err, HasSubstr(option + ": expected a number, found " + value));
    }
  }
  EXPECT_EQ(run_command({"eval", model("minilm"), data(), "--tune-threshold", "pnr"}).code, 2);
}

// Both have query q1 and documents d1 and d2, with the same labels.
TEST(Eval, RunsAndScoresOfOtherDataAreRefused) {
  const auto folder = scratch("eval-other-data");
  for (const std::string name : {"a", "b"}) {
    spill(folder / (name + ".tsv"),
          "query\tdocument\tlabel\n" + name + "\tgood\t2\n" + name + "\tbad\t0\n");
    const Outcome outcome =
        run_command({"eval", model("minilm"), folder / (name + ".tsv"), "--scores",
                     folder / (name + ".jsonl"), "--run", folder / (name + ".run")});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  const auto of_run = [&](const char* data) {
    return run_command({"eval", "--trec-run", folder / "a.run", folder / data});
  };
  EXPECT_EQ(of_run("a.tsv").code, 0);
  EXPECT_EQ(of_run("b.tsv").code, 1);
  EXPECT_THAT(of_run("b.tsv").err, HasSubstr("a.run] is of other data than "));
  const Outcome compared = run_command({"compare", folder / "a.jsonl", folder / "b.jsonl"});
  EXPECT_EQ(compared.code, 1);
  EXPECT_THAT(compared.err, HasSubstr("b.jsonl] has the checksum of other data than "));
}

TEST(Eval, WhatARunHasBesidesTheDataIsNamed) {
  const auto folder = scratch("eval-more");
  spill(folder / "data.tsv", "query\tdocument\tlabel\tquery_id\tdocument_id\nq\td\t2\tA\t1\n");
  const auto of_run = [&](const std::string& rows) {
    spill(folder / "run", "A Q0 1 1 2 t\n" + rows);
    return run_command({"eval", "--trec-run", folder / "run", folder / "data.tsv"});
  };
  const Outcome queries = of_run("B Q0 1 1 2 t\n");
  EXPECT_EQ(queries.code, 0);
  EXPECT_THAT(queries.err, AllOf(HasSubstr("1 of 2 queries of "),
                                 HasSubstr("data.tsv, and passed over, the first is 'B'")));
  const Outcome pairs = of_run("A Q0 2 2 1 t\n");
  EXPECT_EQ(pairs.code, 1);
  EXPECT_THAT(pairs.err, AllOf(HasSubstr("run] 1 of 2 pairs of the run are not in "),
                               HasSubstr("the first is document '2' of query 'A'"),
                               HasSubstr("--collection counts")));
}

TEST(Eval, RunsOverACollectionNeedNotHoldAllJudgedPairs) {
  const auto folder = scratch("eval-collection");
  spill(folder / "data.tsv",
        "query\tdocument\tlabel\tquery_id\tdocument_id\n"
        "q\td1\t2\tq1\td1\nq\td2\t2\tq1\td2\nr\td1\t2\tq2\td1\n");
  spill(folder / "run", "q1 Q0 unjudged 1 9 t\nq1 Q0 d1 2 8 t\nelsewhere Q0 d1 1 1 t\n");
  const std::vector<std::string> command = {"eval", "--trec-run", folder / "run",
                                            folder / "data.tsv", "--json"};
  EXPECT_EQ(run_command(command).code, 1);
  auto collection = command;
  collection.emplace_back("--collection");
  const Outcome outcome = run_command(collection);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_DOUBLE_EQ(json::parse(outcome.out)["metrics"]["recall@345"], 1 / 3.0);
  EXPECT_DOUBLE_EQ(json::parse(outcome.out)["metrics"]["f1@345"], 2 / 5.0);
  EXPECT_THAT(outcome.err, HasSubstr("nothing was found for them, the first is 'q2'"));
  EXPECT_EQ(run_command({"eval", model("minilm"), data(), "--collection"}).code, 2);
  spill(folder / "run", "elsewhere Q0 d1 1 1 t\n");
  const Outcome foreign = run_command(collection);
  EXPECT_EQ(foreign.code, 1);
  EXPECT_THAT(foreign.err, HasSubstr("run] no query of the run is in "));
  EXPECT_THAT(foreign.err, HasSubstr("ids are such as 'elsewhere' here, 'q1' there"));
  spill(folder / "data.tsv", "query\tdocument\tlabel\nq\td1\t2\nq\td2\t2\n");
  spill(folder / "run", "q1 Q0 d1 1 9 t\nq1 Q0 unjudged 2 8 t\n");
  EXPECT_THAT(run_command(collection).err,
              HasSubstr("run] is of other data: 1 of 2 pairs of the run are not in "));
}

TEST(Eval, PredictedPerformanceIsComparedWithTheActual) {
  const auto folder = scratch("eval-performance");
  const std::string header = "query\tdocument\tlabel\n";
  spill(folder / "data.tsv", header + "q\td1\t0.2\nr\td2\t0.9\ns\td3\t0.4\nt\td4\t0.8\n");
  spill(folder / "run", "q1 Q0 d1 1 0.1 t\nq2 Q0 d2 1 0.4 t\nq3 Q0 d3 1 0.2 t\nq4 Q0 d4 1 0.3 t\n");
  QueryScores costly{"costly"};
  for (const auto& [id, ndcg] : {std::pair{"q1", .7}, {"q2", .9}, {"q3", .5}, {"q4", .7}})
    costly.queries.push_back({.query_id = id, .ndcg = ndcg, .ndcg_defined = true});
  write_scores_file(folder / "costly.jsonl", costly);
  std::vector<std::string> command = {"eval",   "--trec-run",   folder / "run", folder / "data.tsv",
                                      "--json", "--performance"};
  const json alone = json::parse(run_command(command).out)["metrics"];
  EXPECT_NEAR(alone["spearman"].get<double>(), 1, 1e-12);
  EXPECT_EQ(alone["smare"], 0);
  EXPECT_NEAR(alone["ordered_ndcg"].get<double>(), 1, 1e-12);
  EXPECT_FALSE(alone.contains("pnr") || alone.contains("delivery"));
  command.insert(command.end(), {"--costly", folder / "costly.jsonl"});
  const Outcome outcome = run_command(command);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json metrics = json::parse(outcome.out)["metrics"];
  EXPECT_NEAR(metrics["delivery"].get<double>(), (.7 + .9 + .5 + .8) / 4, 1e-6);
  EXPECT_NEAR(metrics["delivery_fixed"].get<double>(), (.2 + .9 + .4 + .8 + .7 + .9 + .5 + .7) / 8,
              1e-6);
  costly.queries.push_back({.query_id = "q5", .ndcg = .5, .ndcg_defined = true});
  write_scores_file(folder / "costly.jsonl", costly);
  EXPECT_THAT(run_command(command).err,
              AllOf(HasSubstr("costly.jsonl] has scores of 5 queries, but "),
                    HasSubstr("data.tsv, where ids are numbers by place, has 4")));
  costly.queries.resize(3);
  write_scores_file(folder / "costly.jsonl", costly);
  EXPECT_THAT(run_command(command).err, HasSubstr("has no ndcg of query 'q4'"));
  spill(folder / "data.tsv", header + "q\td1\t0.2\nq\td2\t0.9\n");
  spill(folder / "run", "q1 Q0 d1 1 0.1 t\nq1 Q0 d2 2 0.05 t\n");
  EXPECT_THAT(run_command(command).err, HasSubstr("query 'q1' has more than one row"));
  command.insert(command.end(), {"--tune-threshold", "f1"});
  EXPECT_EQ(run_command(command).code, 2);
}

TEST(Eval, PoolsFoldsOfDifferentQueries) {
  const auto folder = scratch("eval-pool");
  const auto fold = [&](const std::string& name, const std::string& query,
                        const std::string& label = "2") {
    spill(folder / (name + ".tsv"), "query\tdocument\tlabel\tquery_id\n" + query + "\tgood\t" +
                                        label + "\t" + query + "\n" + query + "\tbad\t0\t" + query +
                                        "\n");
    const Outcome outcome = run_command({"eval", model("cross-encoder"), folder / (name + ".tsv"),
                                         "--scores", folder / (name + ".jsonl.zst")});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return (folder / (name + ".jsonl.zst")).string();
  };
  const std::string a = fold("a", "one"), b = fold("b", "two");
  const Outcome pooled =
      run_command({"eval", "--pool", a, b, "--json", "--scores", folder / "all.jsonl.zst"});
  ASSERT_EQ(pooled.code, 0) << pooled.err;
  EXPECT_EQ(json::parse(pooled.out)["queries"], 2);
  EXPECT_EQ(json::parse(pooled.out)["pairs"], 4);
  EXPECT_EQ(run_command({"eval", "--pool", folder / "all.jsonl.zst", "--json"}).code, 0);
  const Outcome other = run_command({"eval", "--pool", a, fold("c", "three", "1")});
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, AllOf(HasSubstr("c.jsonl.zst] was evaluated with other metric options"),
                               HasSubstr("--relevant too")));
  const Outcome twice = run_command({"eval", "--pool", a, b, a});
  EXPECT_EQ(twice.code, 1);
  EXPECT_THAT(twice.err, HasSubstr("a.jsonl.zst] query 'one' stands in an earlier file too"));
  EXPECT_EQ(run_command({"eval", "--pool", a, b, "--trec-run", "r"}).code, 2);
}

TEST(Eval, RefusesOutputsBeforeItWorks) {
  const auto folder = scratch("eval-outputs");
  const std::string rows = "query\tdocument\tlabel\nq\td1\t2\nq\td2\t0\n";
  spill(folder / "data.tsv", rows);
  const auto eval = [&](const char* option, const std::string& path) {
    return run_command({"eval", model("minilm"), folder / "data.tsv", option, path});
  };
  for (const char* option : {"--out", "--scores", "--run"}) {
    EXPECT_THAT(eval(option, folder / "data.tsv").err,
                HasSubstr("data.tsv] is an input of this command too"));
    EXPECT_THAT(eval(option, folder / "typo/x.json").err, HasSubstr("there is no folder "));
    EXPECT_EQ(eval(option, "").code, 2);
  }
  EXPECT_EQ(slurp(folder / "data.tsv"), rows);
  EXPECT_FALSE(std::filesystem::exists(folder / "typo"));
  // Files of the model, but for results that belong beside it, and what BEIR's judgments need.
  const auto own = folder / "model";
  std::filesystem::copy(model("minilm"), own, std::filesystem::copy_options::recursive);
  const auto eval_own = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"eval", own, folder / "data.tsv"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  };
  for (const char* name : {"config.json", "model.safetensors", "1_Pooling/config.json"}) {
    const std::string before = slurp(own / name);
    EXPECT_THAT(eval_own({"--out", own / name}).err, HasSubstr("is an input of this command too"));
    EXPECT_EQ(slurp(own / name), before);
  }
  for (int times = 0; times < 2; ++times) EXPECT_EQ(eval_own({"--out", own / "eval.json"}).code, 0);
  EXPECT_THAT(eval_own({"--out", folder / "x", "--scores", folder / "x"}).err,
              HasSubstr("is named for two outputs"));
  std::filesystem::create_directories(folder / "beir/qrels");
  spill(folder / "beir/corpus.jsonl", "");
  EXPECT_THAT(run_command({"eval", model("minilm"), folder / "beir/qrels/test.tsv", "--scores",
                           folder / "beir/corpus.jsonl"})
                  .err,
              HasSubstr("corpus.jsonl] is an input of this command too"));
  EXPECT_EQ(eval("--out", folder / "eval.json").code, 0);
}

TEST(Eval, RefusesWrongInput) {
  EXPECT_EQ(run_command({"eval", model("minilm")}).code, 2);
  EXPECT_EQ(run_command({"eval", "--trec-run", "r", "model", "data"}).code, 2);
  EXPECT_THAT(run_command({"eval", "--trec-run", "r"}).err,
              HasSubstr("--trec-run takes DATA, which is missing"));
  for (const char* option : {"--plans", "--engine"}) {
    EXPECT_EQ(run_command({"eval", "--trec-run", "r", "data", option, "file"}).code, 2) << option;
    EXPECT_EQ(run_command({"eval", "--pool", "r", option, "file"}).code, 2) << option;
  }
  const auto folder = scratch("eval-wrong");
  spill(folder / "labels.tsv", "query\tdocument\tlabel\nq\td\t7\n");
  const Outcome labels = run_command({"eval", model("cross-encoder"), folder / "labels.tsv"});
  EXPECT_EQ(labels.code, 1);
  EXPECT_THAT(labels.err,
              AllOf(HasSubstr("labels.tsv:2] label 7 is no whole number from 0 to 2: "),
                    HasSubstr("cross-encoder/model has num_labels 3. Correct the label, or take")));
  const Outcome headless = run_command({"eval", model("bert-uncased"), data()});
  EXPECT_EQ(headless.code, 1);
  EXPECT_THAT(headless.err, HasSubstr("bert-uncased/model] has no head"));
  EXPECT_THAT(headless.err, HasSubstr("Train it first, for example with recipes/dense.yaml"));
  spill(folder / "run.trec", "q1 Q0 d1 1 0.5 x\n");
  EXPECT_EQ(run_command({"eval", "--trec-run", folder / "run.trec", data()}).code, 1);
}

}  // namespace
}  // namespace twofour::cli
