#include "twofour/backend/cuda/plan_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "twofour/backend/cuda/find_cusparselt.h"
#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cuda {
namespace {

constexpr std::string_view kFormat = "twofour-plan-1";
constexpr int64_t kMaximumDimension = 1 << 24;
constexpr int64_t kMaximumAttribute = std::numeric_limits<int>::max();

// By the values of SplitKMode.
constexpr std::string_view kModeNames[] = {
    "default", "one-kernel", "two-kernels", "heuristic", "data-parallel", "split-k", "stream-k"};

nlohmann::ordered_json to_json(const PlanTable::Key& key, const PlanChoice& choice) {
  nlohmann::ordered_json entry = {{"n", key.n},
                                  {"k", key.k},
                                  {"input", dtype_name(key.input)},
                                  {"output", dtype_name(key.output)},
                                  {"m", key.bucket},
                                  {"use", choice.sparse ? "sparse" : "dense"}};
  if (!choice.sparse) return entry;
  entry["algorithm"] = choice.algorithm.id;
  entry["split_k"] = choice.algorithm.split_k;
  entry["split_k_mode"] = kModeNames[static_cast<int>(choice.algorithm.mode)];
  entry["split_k_buffers"] = choice.algorithm.buffers;
  return entry;
}

void check_keys(const JsonObject& object, std::initializer_list<std::string_view> expected) {
  for (const auto& [key, unused] : object.members().items()) {
    if (std::find(expected.begin(), expected.end(), key) == expected.end())
      throw Error(object.where(), fmt::format("unknown key \"{}\"", key));
  }
}

JsonObject section(const JsonObject& file, std::string_view key) {
  auto found = file.object(key);
  if (!found) throw Error(file.where(), fmt::format("key \"{}\" is missing", key));
  return *found;
}

PlanEnvironment read_environment(const JsonObject& object) {
  check_keys(object, {"gpu", "driver", "runtime", "cusparselt"});
  return {object.string("gpu"), object.string("driver"), object.string("runtime"),
          object.string("cusparselt")};
}

DType read_type(const JsonObject& entry, std::string_view key) {
  const std::string name = entry.string(key);
  if (const auto type = parse_dtype(name)) return *type;
  throw Error(entry.where(), fmt::format("\"{}\" is \"{}\", which is no element type", key, name));
}

SplitKMode read_mode(const JsonObject& entry) {
  const std::string name = entry.string("split_k_mode");
  const auto found = std::find(std::begin(kModeNames), std::end(kModeNames), name);
  if (found == std::end(kModeNames)) {
    throw Error(entry.where(), fmt::format("\"split_k_mode\" is \"{}\", expected one of {}", name,
                                           fmt::join(kModeNames, ", ")));
  }
  return static_cast<SplitKMode>(found - std::begin(kModeNames));
}

bool read_use(const JsonObject& entry) {
  const std::string use = entry.string("use");
  if (use == "sparse" || use == "dense") return use == "sparse";
  throw Error(entry.where(), fmt::format("\"use\" is \"{}\", expected sparse or dense", use));
}

PlanChoice read_choice(const JsonObject& entry) {
  PlanChoice choice;
  choice.sparse = read_use(entry);
  if (!choice.sparse) {
    check_keys(entry, {"n", "k", "input", "output", "m", "use"});
    return choice;
  }
  check_keys(entry, {"n", "k", "input", "output", "m", "use", "algorithm", "split_k",
                     "split_k_mode", "split_k_buffers"});
  choice.algorithm.id = static_cast<int>(entry.integer("algorithm", 0, kMaximumAttribute));
  choice.algorithm.split_k = static_cast<int>(entry.integer("split_k", 1, kMaximumAttribute));
  choice.algorithm.mode = read_mode(entry);
  choice.algorithm.buffers =
      static_cast<int>(entry.integer("split_k_buffers", 0, kMaximumAttribute));
  return choice;
}

void read_entry(const JsonObject& entry, PlanTable& table) {
  ProductDesc product;
  product.n = entry.integer("n", 1, kMaximumDimension);
  product.k = entry.integer("k", 1, kMaximumDimension);
  product.input = read_type(entry, "input");
  product.output = read_type(entry, "output");
  const int64_t bucket = entry.integer("m", 1, kMaximumDimension);
  if (const auto reason = rejects(product)) throw Error(entry.where(), *reason);
  if (bucket % kRowMultiple != 0) {
    throw Error(entry.where(),
                fmt::format("\"m\" is {}, expected a multiple of {}", bucket, kRowMultiple));
  }
  if (table.find(product, bucket) != nullptr) {
    throw Error(entry.where(),
                fmt::format("{} with m {} stands twice", product.to_string(), bucket));
  }
  table.set(product, bucket, read_choice(entry));
}

PlanTable read_plans(const JsonObject& file) {
  if (!file.has("plans")) throw Error(file.where(), "key \"plans\" is missing");
  PlanTable table;
  for (const JsonObject& entry : file.objects_or_empty("plans")) read_entry(entry, table);
  return table;
}

}  // namespace

std::string PlanEnvironment::to_string() const {
  return fmt::format("{}, driver {}, runtime {}, cuSPARSELt {}", gpu, driver, runtime, cusparselt);
}

std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

PlanEnvironment plan_environment(Runtime& runtime, const CusparseLt& library, int device) {
  DeviceProperties properties;
  int driver = 0, version = 0;
  check(runtime, runtime.properties(device, properties), "cudaGetDeviceProperties");
  check(runtime, runtime.driver_version(driver), "cudaDriverGetVersion");
  check(runtime, runtime.runtime_version(version), "cudaRuntimeGetVersion");
  return {properties.name, cuda_version_text(driver), cuda_version_text(version),
          cusparselt_version_text(library.version())};
}

void PlanTable::set(const ProductDesc& p, int64_t bucket, const PlanChoice& choice) {
  choices_[{p.n, p.k, p.input, p.output, bucket}] = choice;
}

const PlanChoice* PlanTable::find(const ProductDesc& p, int64_t bucket) const {
  const auto found = choices_.find({p.n, p.k, p.input, p.output, bucket});
  return found == choices_.end() ? nullptr : &found->second;
}

void write_plan_file(const std::filesystem::path& path, const PlanEnvironment& made_on,
                     const PlanTable& table) {
  nlohmann::ordered_json plans = nlohmann::ordered_json::array();
  for (const auto& [key, choice] : table.all()) plans.push_back(to_json(key, choice));
  const nlohmann::ordered_json file = {{"format", kFormat},
                                       {"made_on",
                                        {{"gpu", made_on.gpu},
                                         {"driver", made_on.driver},
                                         {"runtime", made_on.runtime},
                                         {"cusparselt", made_on.cusparselt}}},
                                       {"plans", plans}};
  write_file_atomically(path, file.dump(2) + "\n");
}

PlanFile read_plan_file(const std::filesystem::path& path, const PlanEnvironment& here) {
  const JsonObject file = JsonObject::parse(read_file(path), path.string());
  if (const std::string format = file.string("format"); format != kFormat) {
    throw Error(path.string(),
                fmt::format("\"format\" is \"{}\", expected \"{}\"", format, kFormat));
  }
  check_keys(file, {"format", "made_on", "plans"});
  const PlanEnvironment made_on = read_environment(section(file, "made_on"));
  PlanFile out{read_plans(file), {}};
  if (made_on == here) return out;
  return {{},
          fmt::format("{} is ignored: it was made on {}; this is {}", path.string(),
                      made_on.to_string(), here.to_string())};
}

}  // namespace twofour::cuda
