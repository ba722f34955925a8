#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "twofour/backend/cuda/buckets.h"
#include "twofour/backend/cuda/device.h"
#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/open_device.h"
#include "twofour/backend/cuda/plan_file.h"
#include "twofour/backend/cuda/plan_meter.h"
#include "twofour/backend/cuda/plan_process.h"
#include "twofour/backend/cuda/plan_search.h"
#include "twofour/base/error.h"
#include "twofour/cli/command.h"
#include "twofour/cli/interrupt.h"
#include "twofour/cli/model_products.h"
#include "twofour/cli/output_path.h"
#include "twofour/cli/table.h"
#include "twofour/cli/validators.h"
#include "twofour/runtime/device_plan.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples =
    R"(Tries every algorithm of cuSPARSELt, the dense ones of cuBLASLt and twofour's own kernels for each product of the
model and each bucket of rows (tokens), in a process that may crash or hang without harm, and keeps the fastest.
A search that was stopped goes on where it was: what stands in the file is kept. Needs an NVIDIA GPU and the preset cuda.

Examples:
  twofour plan runs/sparse/model --out h100.json
  twofour plan my-model --as-if-sparse --precision bf16 --buckets 16,64,256,1024,4096 --out h100.json
  twofour plan --shapes 3072x768,4096x4096 --precision int8 --buckets 16,4096 --out products.json)";

struct Options {
  fs::path model, out;
  std::string device = "cuda:0";
  int64_t max_rows = 1024;
  std::vector<int64_t> buckets;
  std::vector<std::string> shapes;  // "3072x768": n and k, in place of a model
  std::string precision = "fp16";
  bool as_if_sparse = false, restart = false, products_alone = false;
  cuda::PlanSearchOptions search;
};

cuda::Buckets buckets_of(const Options& options) {
  return options.buckets.empty() ? cuda::Buckets::every_16(options.max_rows)
                                 : cuda::Buckets::of(options.buckets);
}

DType type_of(const Options& options) {
  if (options.precision == "int8") return DType::kI8;
  if (options.precision == "fp8") return DType::kF8E4M3;
  return options.precision == "bf16" ? DType::kBF16 : DType::kF16;
}

// "3072x768"
ModelProduct product_of(const std::string& shape) {
  ModelProduct found{{}, 1, true};
  char end = 0;
  if (std::sscanf(shape.c_str(), "%ldx%ld%c", &found.product.n, &found.product.k, &end) != 2 ||
      found.product.n <= 0 || found.product.k <= 0) {
    throw Error("--shapes", fmt::format("'{}' is no shape, expected one such as 3072x768", shape));
  }
  return found;
}

std::vector<ModelProduct> products_of(const Options& options) {
  const DType type = type_of(options);
  if (options.shapes.empty()) {
    const ModelDirectory model = ModelDirectory::open(options.model);
    check_static_activations(model);
    return model_products(model, type, options.as_if_sparse);
  }
  std::vector<ModelProduct> products;
  for (const std::string& shape : options.shapes) {
    ModelProduct found = product_of(shape);
    found.product.input = type;
    found.product.output = type == DType::kI8       ? DType::kI32
                           : type == DType::kF8E4M3 ? DType::kF16
                                                    : type;
    products.push_back(found);
  }
  return products;
}

std::vector<cuda::PlanTask> tasks_of(const Options& options) {
  const cuda::Buckets buckets = buckets_of(options);
  std::vector<cuda::PlanTask> tasks;
  for (const ModelProduct& p : products_of(options)) {
    for (const int64_t rows : buckets.all()) tasks.push_back({p.product, rows, p.count, p.sparse});
  }
  if (tasks.empty()) throw Error(options.model.string(), "has no layer to plan for");
  return tasks;
}

// What an earlier search left, if it was made here.
cuda::PlanContents earlier(const Options& options, const cuda::PlanEnvironment& here) {
  if (options.restart || !fs::exists(options.out)) return {};
  cuda::PlanFile file = cuda::read_plan_file(options.out, here);
  if (!file.warning.empty()) {
    throw Error(options.out.string(), "was made elsewhere: " + file.warning,
                "Name another file with --out, or replace it with --restart");
  }
  return file;
}

void print_plans(const std::vector<cuda::PlanTask>& tasks, const cuda::PlanContents& contents,
                 std::ostream& out) {
  Table table({"<product", "rows", "layers", "<kernel", "us", "dense us", "ratio"});
  for (const cuda::PlanTask& task : tasks) {
    const cuda::PlanChoice* choice = contents.table.find(task.product, task.rows, task.sparse);
    if (choice == nullptr) continue;
    const bool compared = choice->dense_us > 0 && choice->us > 0;
    table.add_row({task.product.to_string(), std::to_string(task.rows), std::to_string(task.count),
                   choice->to_string(), fmt::format("{:.2f}", choice->us),
                   compared ? fmt::format("{:.2f}", choice->dense_us) : "-",
                   compared ? fmt::format("{:.2f}", choice->dense_us / choice->us) : "-"});
  }
  table.print(out);
  if (!contents.buckets.empty())
    out << fmt::format("\nbuckets that suffice: {}\n", fmt::join(contents.buckets, ", "));
}

// Runs in the measuring process: the first to touch the device.
std::unique_ptr<cuda::PlanMeter> make_meter(const cuda::FoundLibraries& libraries,
                                            const Options& options) {
  const int device = cuda::device_ordinal(options.device);
  cuda::require_device(cuda::runtime(), device);
  cuda::MeterOptions meter;
  meter.epilogue = !options.products_alone;
  return std::make_unique<cuda::DeviceMeter>(cuda::runtime(), libraries.sparse.get(),
                                             libraries.dense.get(), cuda::encoder_kernels(), device,
                                             meter);
}

int run_plan(const Options& options, Console& console) {
  check_output_file(options.out, {options.model});
  const std::vector<cuda::PlanTask> tasks = tasks_of(options);
  const cuda::FoundLibraries libraries = cuda::find_libraries();
  for (const std::string& missing : {libraries.sparse_missing, libraries.dense_missing}) {
    if (!missing.empty()) console.log(LogLevel::kWarning, missing);
  }
  cuda::PlanProcess process([&] { return make_meter(libraries, options); });
  const cuda::PlanEnvironment here = process.environment();
  console.info(here.to_string());

  cuda::PlanContents contents = earlier(options, here);
  cuda::PlanSearchOptions search = options.search;
  search.save = [&](const cuda::PlanContents& found) {
    cuda::write_plan_file(options.out, here, found);
  };
  const InterruptGuard interrupt("ended at once; the same command goes on from what was saved");
  Callbacks callbacks = console.callbacks();
  callbacks.stop_requested = InterruptGuard::requested;
  const bool whole = cuda::search_plans(process, tasks, search, contents, callbacks);
  console.end_progress();
  print_plans(tasks, contents, console.out());
  console.info(fmt::format("wrote {}", options.out.string()));
  if (whole) return kOk;
  console.log(LogLevel::kWarning, "stopped: the same command goes on from here");
  return kInterrupted;
}

// What CLI11 cannot say of positionals and lists.
void check_options(const Options& options) {
  if (options.model.empty() && options.shapes.empty())
    throw CLI::RequiredError("MODEL or --shapes");
  if (options.shapes.empty() && options.precision == "int8")
    throw CLI::ValidationError("--precision", "int8 is for --shapes: a model says its own");
  const std::string refusal = refusal_of([&] { buckets_of(options); });
  if (!refusal.empty()) throw CLI::ValidationError("--buckets", refusal);
}

}  // namespace

Command add_plan(CLI::App& root, Console& console) {
  auto options = std::make_shared<Options>();
  CLI::App* app = root.add_subcommand(
      "plan", "Find the fastest kernel for each product of a model on this NVIDIA GPU");
  app->footer(kExamples);
  auto* model = app->add_option("model", options->model, "Model directory")->type_name("MODEL");
  app->add_option("--shapes", options->shapes, "Products of these [n, k] instead, 2:4")
      ->delimiter(',')
      ->type_name("NxK")
      ->check(accepted_by([](const std::string& text) { product_of(text); }))
      ->excludes(model);
  app->final_callback([options] { check_options(*options); });
  app->add_option("--out", options->out, "Plan file to write, or to go on with")
      ->required()
      ->type_name("FILE")
      ->check(path_name());
  app->add_option("--device", options->device, "cuda:0, cuda:1, ...")
      ->capture_default_str()
      ->check(accepted_by([](const std::string& text) { cuda::device_ordinal(text); }));
  app->add_option("--max-rows", options->max_rows, "Most tokens in a batch: buckets are every 16")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app->add_option("--buckets", options->buckets, "These numbers of rows instead, multiples of 16")
      ->delimiter(',')
      ->type_name("ROWS");
  app->add_option("--precision", options->precision,
                  "Of products whose weights are float, and of floats between int8 ones; int8 with "
                  "--shapes")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp16", "bf16", "fp8", "int8"}));
  app->add_flag("--as-if-sparse", options->as_if_sparse, "As if every encoder layer were 2:4");
  app->add_option("--seconds", options->search.task_limit_s,
                  "Most for one product and bucket; the best until then is taken")
      ->capture_default_str()
      ->check(positive_number());
  app->add_option("--tolerance", options->search.bucket_tolerance,
                  "What a coarser set of buckets may cost, as a share of the time")
      ->capture_default_str()
      ->check(number_between(0, 10));
  app->add_flag("--products-alone", options->products_alone,
                "Time products without what follows them (int8 sums to int8, bias)");
  app->add_flag("--restart", options->restart, "Do not go on with the file, replace it");
  return {app, [options, &console] { return run_plan(*options, console); }};
}

}  // namespace twofour::cli
