// bench on the small golden models and on small products.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "twofour/backend/backends.h"
#include "twofour/base/cpu_features.h"
#include "twofour/cli/as_if_model.h"
#include "twofour/cli/bench_gemm.h"
#include "twofour/cli/onednn_product.h"
#include "twofour/cli/random_product.h"
#include "twofour/cli/testing/run_command.h"
#include "twofour/cli/timing.h"
#include "twofour/runtime/test_models.h"

namespace twofour::cli {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Timing, MediansAndQuartiles) {
  const Timing timing = summarize({4, 1, 3, 2, 5});
  EXPECT_EQ(timing.median_ms, 3);
  EXPECT_DOUBLE_EQ(timing.p95_ms, 4.8);
  EXPECT_DOUBLE_EQ(timing.spread.value(), 2.0 / 3);
  const Ratio ratio = compare_times({1, 2, 4}, {2, 2, 12});
  EXPECT_EQ(ratio.median, 2);
  EXPECT_EQ(ratio.low, 1.5);
  EXPECT_EQ(ratio.high, 2.5);
  EXPECT_EQ(format_spread(timing.spread), "66.7");
  EXPECT_EQ(format_quartiles(ratio), "1.50 .. 2.50");
}

TEST(Timing, OneTimeHasNoSpread) {
  EXPECT_FALSE(summarize({4}).spread);
  EXPECT_EQ(summarize({4}).median_ms, 4);
  EXPECT_EQ(format_spread(std::nullopt), "-");
  EXPECT_EQ(format_quartiles(compare_times({1}, {2})), "-");
  EXPECT_TRUE(json_or_null(std::nullopt).is_null());
}

TEST(Timing, EachRunHasItsTurn) {
  std::string order;
  const std::function<void()> runs[] = {[&] { order += 'a'; }, [&] { order += 'b'; }};
  const auto ms = time_in_turns(runs, 2);
  ASSERT_EQ(ms.size(), 2);
  EXPECT_EQ(ms[0].size(), 2);
  order.erase(std::unique(order.begin(), order.end()), order.end());
  EXPECT_EQ(order, "ababab");  // to find the number of repeats, then two rounds
}

TEST(Bench, MeasuresEveryCaseAndTheRatio) {
  const auto out = scratch("bench") / "bench.json";
  const Outcome outcome =
      run_command({"bench", model("minilm"), "--against", model("minilm"), "--batch", "1,2",
                   "--tokens", "8", "--repeat", "3", "--json", "--out", out});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result, json::parse(slurp(out)));
  ASSERT_EQ(result["results"].size(), 2);
  for (const json& row : result["results"]) {
    EXPECT_GT(row["median_ms"], 0);
    EXPECT_GT(row["against"]["ratio"], 0);
    EXPECT_LE(row["median_ms"], row["p95_ms"]);
  }
  EXPECT_THAT(run_command({"bench", model("minilm"), "--repeat", "2", "--tokens", "8"}).out,
              HasSubstr("sequences/s"));
}

TEST(Bench, WarnsOfMoreThreadsThanCores) {
  const auto told = [](int threads) {
    return run_command({"bench", model("minilm"), "--batch", "1", "--tokens", "8", "--repeat", "1",
                        "--threads", "1," + std::to_string(threads)})
        .err;
  };
  const int cores = available_cores();
  EXPECT_THAT(told(cores), Not(HasSubstr("warning")));
  EXPECT_THAT(
      told(cores + 1),
      HasSubstr(fmt::format("warning: --threads {} is more than the {} core", cores + 1, cores)));
}

TEST(Bench, OneRunHasNoSpread) {
  std::vector<std::string> once = {
      "bench", model("minilm"), "--against", model("minilm"), "--batch",
      "1",     "--tokens",      "8",         "--repeat",      "1"};
  const Outcome table = run_command(once);
  ASSERT_EQ(table.code, 0) << table.err;
  // batch, tokens, threads, median ms, p95 ms, spread %, sequences/s, other ms, ratio, quartiles
  EXPECT_THAT(lines(table.out).back(), ContainsRegex("^ *1 +8 +1 +[0-9.]+ +[0-9.]+ +- .* -$"));
  once.emplace_back("--json");
  const json row = json::parse(run_command(once).out)["results"][0];
  EXPECT_TRUE(row["spread"].is_null());
  EXPECT_GT(row["median_ms"], 0);
}

TEST(Bench, SaysWhichPrecisionRan) {
  const std::vector<std::string> arguments = {
      "bench", model("minilm"), "--against", model("minilm"), "--repeat", "2", "--tokens", "8"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), arguments.begin(), arguments.end());
    return run_command(more);
  };
  EXPECT_THAT(with({}).out, HasSubstr("floats   products f32, attention f32"));
  EXPECT_EQ(with({"--precision", "fp4"}).code, 2);
  EXPECT_EQ(with({"--precision", "fp8"}).code, 1);   // on a CPU
  EXPECT_EQ(with({"--precision", "fp16"}).code, 1);  // on a CPU
  EXPECT_EQ(with({"--precision", "int8"}).code, 2);
  const Outcome int8 = with({"--attention", "int8", "--json"});
  if (cpu_features().avx512_vnni || cpu_features().avx_vnni) {
    ASSERT_EQ(int8.code, 0) << int8.err;
    EXPECT_EQ(json::parse(int8.out)["attention"], "int8");
  } else {
    EXPECT_EQ(int8.code, 1);
    EXPECT_THAT(int8.err, HasSubstr("int8 needs AVX-512 VNNI or AVX-VNNI"));
  }
  const Outcome bf16 = with({"--precision", "bf16", "--attention", "bf16", "--json"});
  if (!cpu_features().avx512_bf16) {
    EXPECT_EQ(bf16.code, 1);
    EXPECT_THAT(bf16.err, HasSubstr("bf16 needs AVX-512 BF16"));
    return;
  }
  ASSERT_EQ(bf16.code, 0) << bf16.err;
  const json result = json::parse(bf16.out);
  EXPECT_EQ(result["precision"], "bf16");
  EXPECT_EQ(result["attention"], "bf16");
  EXPECT_THAT(result["kernels"],
              ElementsAre(cpu_features().amx_bf16 ? "matmul_bf16_amx" : "matmul_bf16_avx512bf16"));
}

TEST(Bench, SaysOnWhichDeviceItRan) {
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"bench", model("minilm"), "--repeat", "2", "--tokens", "8"});
    return run_command(more);
  };
  EXPECT_THAT(with({"--device", "cpu"}).out, HasSubstr("device   cpu\n"));
  EXPECT_EQ(json::parse(with({"--json"}).out)["device"], "cpu");
  const Outcome unknown = with({"--device", "gpu"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, StartsWith("twofour: --device: no device is named 'gpu'"));
  EXPECT_EQ(with({"--device", "cuda:0", "--as-if", "int8"}).code, 2);
  const Outcome gpu = with({"--device", "cuda:0", "--against", model("minilm")});
  if (gpu.code == 0)
    EXPECT_THAT(gpu.out, HasSubstr("device   cuda:0\n"));
  else  // the preset, a driver or a device is missing
    EXPECT_THAT(gpu.err, ::testing::AnyOf(HasSubstr("built without CUDA"), HasSubstr("[cuda:0]"),
                                          HasSubstr("cuBLASLt")));
}

TEST(Bench, RunsSeveralSessionsAtOnce) {
  const Outcome outcome = run_command({"bench", model("minilm"), "--sessions", "3,1,3", "--batch",
                                       "2", "--tokens", "8", "--repeat", "2", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json results = json::parse(outcome.out)["results"];
  ASSERT_EQ(results.size(), 2);
  EXPECT_EQ(results[0]["sessions"], 1);
  EXPECT_EQ(results[0]["scaling"], 1);
  EXPECT_EQ(results[1]["sessions"], 3);
  EXPECT_GT(results[1]["scaling"], 0);
  for (const json& row : results) EXPECT_GT(row["sequences_per_second"], 0);
  EXPECT_EQ(run_command({"bench", model("minilm"), "--sessions", "0"}).code, 2);
  EXPECT_EQ(
      run_command({"bench", model("minilm"), "--sessions", "2", "--against", model("minilm")}).code,
      2);
}

TEST(Bench, RefusesWrongInput) {
  EXPECT_EQ(run_command({"bench", model("bert-uncased"), "--repeat", "2", "--tokens", "8"}).code,
            0);
  const Outcome outcome = run_command({"bench", model("minilm"), "--tokens", "60000"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("minilm/model] has 64 positions: it cannot read sequences of "
                                     "60000 tokens. Give --tokens 64 or less"));
  for (const std::string option : {"--sessions", "--repeat"}) {  // 128 tokens by default
    EXPECT_THAT(run_command({"bench", model("minilm"), option, "1"}).err,
                HasSubstr("cannot read sequences of 128 tokens"));
  }
  for (const std::string option : {"--batch", "--tokens", "--threads"})
    EXPECT_EQ(run_command({"bench", model("minilm"), option, "0"}).code, 2) << option;
}

std::vector<float> outputs(const std::shared_ptr<const Engine>& engine) {
  PackedTokens tokens;
  tokens.append(std::vector<int32_t>{1, 5, 9, 2}, std::vector<int32_t>(4, 0));
  const bool headless = engine->config().head == HeadKind::kNone;
  std::vector<float> out(engine->output_width() * (headless ? 4 : 1));
  Session(engine).run(tokens.batch(), out);
  return out;
}

std::shared_ptr<const Engine> as_if(const ModelDirectory& model) {
  std::istringstream in;
  std::ostringstream out;
  Console console({in, out, out});
  return load_as_if(model, {.sparse = true, .share_rows = 2}, {}, console);
}

TEST(AsIf, IsTheModelThatPruningAndCalibrationWouldWrite) {
  for (const char* layout : {"minilm", "bge", "cross-encoder", "bert-uncased"}) {
    const ModelDirectory dense = ModelDirectory::open(model(layout));
    const auto engine = as_if(dense);
    const auto written =
        Engine::load(write_int8_model(dense, scratch("as-if") / layout, /*share_rows=*/2));
    EXPECT_EQ(engine->packed_bytes(), written->packed_bytes());
    EXPECT_EQ(outputs(engine), outputs(written)) << layout;
  }
}

TEST(AsIf, ModulesMayLieInOtherFolders) {
  const auto folder = scratch("modules");
  std::filesystem::copy(golden("bge/model"), folder / "encoder");
  std::filesystem::copy(golden("bge/model/1_Pooling"), folder / "pool");
  json modules = json::parse(slurp(golden("bge/model/modules.json")));
  modules[0]["path"] = "encoder";
  modules[1]["path"] = "pool";
  spill(folder / "modules.json", modules.dump());
  EXPECT_EQ(outputs(as_if(ModelDirectory::open(folder))),
            outputs(as_if(ModelDirectory::open(model("bge")))));
}

TEST(Bench, AsIfComparesWithTheModelAsItIs) {
  const auto out = scratch("as-if") / "bench.json";
  const Outcome outcome =
      run_command({"bench", model("minilm"), "--as-if", "sparse-int8", "--share-rows", "2",
                   "--tokens", "8,16", "--repeat", "2", "--json", "--out", out});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result, json::parse(slurp(out)));
  EXPECT_EQ(result["as_if"]["scheme"], "sparse-int8");
  EXPECT_EQ(result["as_if"]["share_rows"], 2);
  EXPECT_EQ(result["against"], model("minilm"));
  EXPECT_LT(result["memory_bytes"], result["against_memory_bytes"]);
  ASSERT_EQ(result["results"].size(), 4);
  for (const json& row : result["results"]) EXPECT_GT(row["against"]["ratio"], 0);
  std::set<std::pair<int, int>> shapes;
  int count = 0;
  for (const json& layer : result["layers"]) {
    EXPECT_TRUE(shapes.emplace(layer["n"], layer["k"]).second);
    count += layer["count"].get<int>();
    EXPECT_THAT(layer["kernel"], StartsWith("spmm24_s8"));
    EXPECT_THAT(layer["dense_kernel"], StartsWith("matmul_f32"));
    for (const char* key : {"dense_ms", "as_if_ms", "ratio", "ratio_low", "ratio_high", "share"})
      EXPECT_GT(layer[key], 0) << key;
  }
  EXPECT_GE(count, 8);  // two layers of the network, four products each at least
}

TEST(Bench, AsIfDrawsAPage) {
  const auto page = scratch("as-if-page") / "as-if.html";
  const Outcome outcome = run_command({"bench", model("minilm"), "--as-if", "sparse-int8",
                                       "--tokens", "8", "--repeat", "2", "--plot", page});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("as if    sparse-int8, against the model as it is"));
  const std::string html = slurp(page);
  for (const char* part : {"<title>twofour bench --as-if</title>", "\"as_if\":{", "drawCharts()",
                           "quality is meaningless", "Chart.js"})
    EXPECT_THAT(html, HasSubstr(part));
  // For readers without a script: the same tables.
  const size_t begin = html.find("<main>");
  const std::string shown = html.substr(begin, html.find("</main>") - begin);
  for (const char* part : {"as if sparse-int8, against the model as it is", "<h2>Whole model</h2>",
                           "<th>other ms</th>", "<h2>Layers</h2>", "<th>as-if ms</th>",
                           "Products of one layer alone at 1 x 8 tokens"})
    EXPECT_THAT(shown, HasSubstr(part));
  EXPECT_EQ(run_command({"bench", model("minilm"), "--plot", page}).code, 2);
  EXPECT_THAT(run_command({"bench", model("minilm"), "--as-if", "int8", "--plot", "x.tsv"}).err,
              HasSubstr("[x.tsv] the name of a page must end in .html"));
}

TEST(Bench, AsIfInt8StaysDense) {
  const Outcome outcome = run_command(
      {"bench", model("cross-encoder"), "--as-if", "int8", "--tokens", "8", "--repeat", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("matmul_s8"));
  EXPECT_THAT(outcome.out, testing::Not(HasSubstr("spmm24")));
  EXPECT_THAT(outcome.out, HasSubstr("the quality is meaningless"));
  EXPECT_THAT(outcome.out, HasSubstr("as-if ms"));
}

TEST(Bench, AsIfMeasuresTheScalesThatAreAskedFor) {
  for (const std::string scales : {"asymmetric", "per_token"}) {
    const Outcome outcome =
        run_command({"bench", model("minilm"), "--as-if", "sparse-int8", "--activation-scales",
                     scales, "--tokens", "8", "--repeat", "2", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json result = json::parse(outcome.out);
    EXPECT_EQ(result["activation_scales"], scales);
    EXPECT_GE(result["layers"].size(), 3);
  }
}

// All rows have the scale that is the whole input's otherwise.
TEST(AsIf, ProductsWithScalesByTokenAreTheSame) {
  const Kernel& kernel = select_kernel({48, 64, MatmulType::kS8, true});
  RandomProduct whole(kernel, 48, 64, 1), by_token(kernel, 48, 64, 1, /*scales_by_row=*/true);
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    for (RandomProduct* product : {&whole, &by_token}) {
      product->set_rows(30, threads);
      product->run(pool);
    }
    for (size_t i = 0; i < whole.results().size(); ++i)
      ASSERT_NEAR(by_token.results()[i], whole.results()[i], 1e-4) << "at " << i;
  }
}

TEST(Bench, AsIfMeasuresTheCpuWhateverTheVariableSays) {
  setenv("TWOFOUR_DEVICE", "cuda:0", 1);
  const Outcome outcome = run_command(
      {"bench", model("minilm"), "--as-if", "int8", "--tokens", "8", "--repeat", "2", "--json"});
  unsetenv("TWOFOUR_DEVICE");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)["device"], "cpu");
}

TEST(Bench, AsIfRefusesWhatIsNotDenseFloat) {
  const std::string sparse = scratch("sparse") / "model", int8 = scratch("int8") / "model";
  ASSERT_EQ(run_command({"prune", model("minilm"), "--out", sparse, "--layers",
                         "encoder.layer.1.output.dense"})
                .code,
            0);
  write_int8_model(ModelDirectory::open(model("minilm")), int8, 0);
  for (const char* scheme : {"int8", "sparse-int8"}) {
    const Outcome pruned = run_command({"bench", sparse, "--as-if", scheme});
    EXPECT_EQ(pruned.code, 1);
    EXPECT_THAT(pruned.err, HasSubstr("encoder.layer.1.output.dense is 2:4 sparse already"));
    const Outcome quantized = run_command({"bench", int8, "--as-if", scheme});
    EXPECT_EQ(quantized.code, 1);
    EXPECT_THAT(quantized.err, HasSubstr("is int8 already"));
  }
}

TEST(Bench, RefusesWrongOptions) {
  const auto fails = [](std::vector<std::string> more) {
    more.insert(more.begin(), "bench");
    const Outcome outcome = run_command(more);
    EXPECT_EQ(outcome.code, 2);
    return outcome.err;
  };
  const std::string some = model("minilm");
  EXPECT_THAT(fails({}), HasSubstr("bench takes MODEL, or --gemm"));
  EXPECT_THAT(fails({some, "--gemm"}), HasSubstr("--gemm takes no MODEL"));
  EXPECT_THAT(fails({"--gemm", "--as-if", "int8"}), HasSubstr("excludes"));
  EXPECT_THAT(fails({"--gemm", "--threads", "2"}), HasSubstr("excludes"));
  EXPECT_THAT(fails({"--gemm", "--plans", "h100.json"}), HasSubstr("excludes"));
  EXPECT_THAT(fails({some, "--as-if", "int8", "--plans", "h100.json"}), HasSubstr("excludes"));
  EXPECT_THAT(fails({some, "--as-if", "int4"}), HasSubstr("int4 not in"));
  EXPECT_THAT(fails({some, "--as-if", "int8", "--against", some}), HasSubstr("excludes"));
  EXPECT_THAT(fails({some, "--share-rows", "2"}), HasSubstr("requires --as-if"));
  EXPECT_THAT(fails({some, "--as-if", "int8", "--share-rows", "2"}), HasSubstr("sparse-int8"));
  EXPECT_THAT(fails({some, "--out", ""}), HasSubstr("--out: expected a name, found nothing"));
  const std::string typo = scratch("bench-typo") / "typo/bench.json";
  EXPECT_THAT(run_command({"bench", some, "--out", typo}).err, HasSubstr("there is no folder "));
}

TEST(Gemm, ComparesEveryKernelWithTheBestDenseOne) {
  const GemmResult result = measure_gemm({{{48, 64}}, {1, 3}, 3}, [](int64_t, int64_t) {});
  std::set<std::pair<std::string, int64_t>> cases, with_best;
  std::set<std::string> kernels;
  for (const GemmRow& row : result.rows) {
    cases.emplace(row.type, row.m);
    kernels.insert(row.kernel);
    EXPECT_GT(row.gops, 0);
    EXPECT_GT(row.ratio, 0);
    EXPECT_GE(row.spread.value_or(-1), 0);
    EXPECT_TRUE(row.kernel.starts_with("spmm") || row.gops <= row.best_dense) << row.kernel;
    if (row.kernel != row.best_dense_kernel) continue;
    with_best.emplace(row.type, row.m);
    EXPECT_EQ(row.gops, row.best_dense);
    EXPECT_EQ(row.ratio, 1);
  }
  EXPECT_EQ(with_best, cases);
  for (const Kernel* kernel : kernel_list()) {
    const bool reference = kernel->name().ends_with("reference");
    EXPECT_TRUE(reference || kernel->unavailable() || kernels.contains(std::string(kernel->name())))
        << kernel->name();
  }
}

TEST(Gemm, PeaksOfTheInstructionsThatThisMachineHas) {
  EXPECT_EQ(measure_peak("avx2", MatmulType::kS8).has_value(), cpu_features().avx2);
  EXPECT_EQ(measure_peak("avx512", MatmulType::kF32).has_value(), cpu_features().avx512);
  EXPECT_EQ(measure_peak("avx512vnni", MatmulType::kS8).has_value(), cpu_features().avx512_vnni);
  EXPECT_EQ(measure_peak("avx512bf16", MatmulType::kBf16).has_value(), cpu_features().avx512_bf16);
  EXPECT_EQ(measure_peak("amx", MatmulType::kS8).has_value(), cpu_features().amx_int8);
  EXPECT_EQ(measure_peak("amx", MatmulType::kBf16).has_value(), cpu_features().amx_bf16);
  EXPECT_FALSE(measure_peak("reference", MatmulType::kF32));
  const auto peak = measure_peak("avx2", MatmulType::kF32);
  EXPECT_EQ(peak.has_value(), cpu_features().avx2);
  if (peak) {
    EXPECT_GT(peak->gops, 1);
  }
}

TEST(Gemm, RandomWeightsShareTheirPatterns) {
  // The best one for floats, since the best one for int8 may be AMX's, which shares nothing.
  const Kernel& kernel = select_kernel({64, 64, MatmulType::kF32, true});
  for (const int share_rows : {2, 4})
    EXPECT_GE(RandomProduct(kernel, 64, 64, share_rows).linear().weights().share_rows, share_rows);
}

// The products of RandomProduct, by our plainest kernels.
TEST(OneDnn, ComputesTheSame) {
  const auto library = open_onednn();
  if (library == nullptr) GTEST_SKIP() << "no libdnnl.so.3; TWOFOUR_ONEDNN names one";
  EXPECT_THAT(version_of(*library), StartsWith("3."));
  ThreadPool pool(1);
  for (const MatmulType type : {MatmulType::kF32, MatmulType::kBf16, MatmulType::kS8}) {
    if (!computes(*library, type)) continue;
    // Without VNNI oneDNN's sums of int8 saturate.
    if (type == MatmulType::kS8 && !cpu_features().avx512_vnni && !cpu_features().avx_vnni)
      continue;
    const std::string name = std::string(matmul_type_name(type));
    SCOPED_TRACE(name);
    const Kernel& reference =
        *forced_kernel("matmul_" + (name == "int8" ? "s8" : name) + "_reference");
    RandomProduct want(reference, 48, 72, 1);
    for (const bool unsigned_input : {false, true}) {
      OneDnnProduct found(library, type, 48, 72, unsigned_input);
      for (const int64_t m : {1, 33, 7}) {
        want.set_rows(m, 1);
        want.run(pool);
        found.set_rows(m);
        found.run();
        ASSERT_EQ(found.results().size(), want.results().size());
        for (size_t i = 0; i < want.results().size(); ++i)
          ASSERT_NEAR(found.results()[i], want.results()[i], 1e-3) << "at " << i;
      }
    }
  }
}

TEST(OneDnn, WhatIsNamedMustBeIt) {
  const auto error = [](const char* library) {
    setenv("TWOFOUR_ONEDNN", library, 1);
    const Outcome outcome = run_command({"bench", "--gemm", "--tokens", "1", "--repeat", "1"});
    unsetenv("TWOFOUR_ONEDNN");
    EXPECT_EQ(outcome.code, 1);
    return outcome.err;
  };
  EXPECT_THAT(error("/nowhere/libdnnl.so.3"),
              StartsWith("twofour: [TWOFOUR_ONEDNN] /nowhere/libdnnl.so.3 cannot be loaded: "));
  EXPECT_THAT(error("libm.so.6"),
              StartsWith("twofour: [libm.so.6] does not export dnnl_version: it is no oneDNN 3. "
                         "TWOFOUR_ONEDNN takes libdnnl.so.3 of a build with OpenMP"));
}

TEST(Gemm, RowsAsJson) {
  const Outcome outcome =
      run_command({"bench", "--gemm", "--json", "--tokens", "2", "--repeat", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result["onednn"].is_null(), open_onednn() == nullptr);
  std::set<int> shares;
  for (const json& row : result["rows"]) {
    for (const char* key : {"isa", "kernel", "type", "m", "n", "k", "share_rows", "gops",
                            "best_dense", "ratio", "spread", "peak_share"})
      EXPECT_TRUE(row.contains(key)) << key;
    EXPECT_EQ(row["m"], 2);
    shares.insert(row["share_rows"].get<int>());
  }
  EXPECT_THAT(shares, ElementsAre(1, 2, 4));
}

}  // namespace
}  // namespace twofour::cli
