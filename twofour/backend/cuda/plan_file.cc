#include "twofour/backend/cuda/plan_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "twofour/backend/cuda/buckets.h"
#include "twofour/backend/cuda/dense_product.h"
#include "twofour/backend/cuda/find_cublaslt.h"
#include "twofour/backend/cuda/find_cusparselt.h"
#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour::cuda {
namespace {

constexpr std::string_view kFormat = "twofour-plan-1";
constexpr int64_t kMaximumDimension = 1 << 24;
constexpr double kMaximumMicroseconds = 1e9;
constexpr int64_t kMaximumAttribute = std::numeric_limits<int>::max();

// By the values of SplitKMode.
constexpr std::string_view kModeNames[] = {
    "default", "one-kernel", "two-kernels", "heuristic", "data-parallel", "split-k", "stream-k"};

// By the values of PlanUse.
constexpr std::string_view kUseNames[] = {"sparse", "dense", "own", "cutlass"};

nlohmann::ordered_json to_json(const PlanTable::Key& key, const PlanChoice& choice) {
  nlohmann::ordered_json entry = {{"n", key.n},
                                  {"k", key.k},
                                  {"input", dtype_name(key.input)},
                                  {"output", dtype_name(key.output)},
                                  {"m", key.bucket},
                                  {"sparse", key.sparse},
                                  {"use", kUseNames[static_cast<int>(choice.use)]}};
  if (choice.use == PlanUse::kDense) entry["rank"] = choice.dense_rank;
  if (choice.use == PlanUse::kCutlass)
    entry["variant"] = kSpmm24CutlassVariants[choice.variant].name;
  if (choice.use == PlanUse::kSparse) {
    entry["algorithm"] = choice.algorithm.id;
    entry["split_k"] = choice.algorithm.split_k;
    entry["split_k_mode"] = kModeNames[static_cast<int>(choice.algorithm.mode)];
    entry["split_k_buffers"] = choice.algorithm.buffers;
  }
  if (choice.us > 0) entry["us"] = choice.us;
  if (choice.dense_us > 0) entry["dense_us"] = choice.dense_us;
  return entry;
}

nlohmann::ordered_json to_json(const PlanFailure& failure) {
  nlohmann::ordered_json entry = to_json(failure.key, failure.choice);
  entry["reason"] = failure.reason;
  return entry;
}

void check_keys(const JsonObject& object, const std::vector<std::string_view>& expected) {
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
  check_keys(object, {"gpu", "driver", "runtime", "cusparselt", "cublaslt"});
  return {object.string("gpu"), object.string("driver"), object.string("runtime"),
          object.string("cusparselt"), object.string("cublaslt")};
}

DType read_type(const JsonObject& entry, std::string_view key) {
  const std::string name = entry.string(key);
  if (const auto type = parse_dtype(name)) return *type;
  throw Error(entry.where(), fmt::format("\"{}\" is \"{}\", which is no element type", key, name));
}

// The value of the enumeration whose names these are.
template <class Enum, size_t kCount>
Enum read_name(const JsonObject& entry, std::string_view key,
               const std::string_view (&names)[kCount]) {
  const std::string name = entry.string(key);
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) {
    throw Error(entry.where(), fmt::format("\"{}\" is \"{}\", expected one of {}", key, name,
                                           fmt::join(names, ", ")));
  }
  return static_cast<Enum>(found - std::begin(names));
}

Algorithm read_algorithm(const JsonObject& entry) {
  const auto number = [&](std::string_view key, int64_t least) {
    return static_cast<int>(entry.integer(key, least, kMaximumAttribute));
  };
  const Algorithm algorithm{number("algorithm", 0), number("split_k", -1),
                            read_name<SplitKMode>(entry, "split_k_mode", kModeNames),
                            number("split_k_buffers", 0)};
  if (algorithm.split_k != 0) return algorithm;
  throw Error(entry.where(), "\"split_k\" is 0, expected -1 or 1 and more");
}

double time_or_zero(const JsonObject& entry, std::string_view key) {
  const double us = entry.number_or(key, 0);
  if (us >= 0 && us <= kMaximumMicroseconds) return us;
  throw Error(entry.where(), fmt::format("\"{}\" is {}, expected microseconds", key, us));
}

std::vector<std::string_view> keys_of(PlanUse use) {
  std::vector<std::string_view> keys = {"n",      "k",   "input", "output",  "m",
                                        "sparse", "use", "us",    "dense_us"};
  if (use == PlanUse::kDense) keys.push_back("rank");
  if (use == PlanUse::kCutlass) keys.push_back("variant");
  if (use == PlanUse::kSparse) {
    for (const char* key : {"algorithm", "split_k", "split_k_mode", "split_k_buffers"})
      keys.push_back(key);
  }
  return keys;
}

int read_variant(const JsonObject& entry) {
  const std::string name = entry.string("variant");
  if (const auto variant = find_spmm24_cutlass(name)) return *variant;
  std::vector<std::string_view> names;
  for (const Spmm24CutlassVariant& variant : kSpmm24CutlassVariants) names.push_back(variant.name);
  throw Error(entry.where(), fmt::format("\"variant\" is \"{}\", expected one of {}", name,
                                         fmt::join(names, ", ")));
}

PlanChoice read_choice(const JsonObject& entry, bool failed) {
  PlanChoice choice;
  choice.use = read_name<PlanUse>(entry, "use", kUseNames);
  std::vector<std::string_view> keys = keys_of(choice.use);
  if (failed) keys.push_back("reason");
  check_keys(entry, keys);
  if (choice.use == PlanUse::kDense)
    choice.dense_rank = static_cast<int>(entry.integer("rank", 0, kMaximumAttribute));
  if (choice.use == PlanUse::kSparse) choice.algorithm = read_algorithm(entry);
  if (choice.use == PlanUse::kCutlass) choice.variant = read_variant(entry);
  choice.us = time_or_zero(entry, "us");
  choice.dense_us = time_or_zero(entry, "dense_us");
  return choice;
}

int64_t read_bucket(const JsonObject& entry) {
  const int64_t bucket = entry.integer("m", 1, kMaximumDimension);
  if (bucket % kRowMultiple == 0) return bucket;
  throw Error(entry.where(),
              fmt::format("\"m\" is {}, expected a multiple of {}", bucket, kRowMultiple));
}

ProductDesc read_product(const JsonObject& entry, PlanUse use) {
  ProductDesc product;
  product.n = entry.integer("n", 1, kMaximumDimension);
  product.k = entry.integer("k", 1, kMaximumDimension);
  product.input = read_type(entry, "input");
  product.output = read_type(entry, "output");
  const auto reason =
      use == PlanUse::kDense ? dense_rejects(dense_part(product)) : rejects(product);
  if (reason) throw Error(entry.where(), *reason);
  return product;
}

bool read_sparse(const JsonObject& entry, PlanUse use) {
  const nlohmann::json* found = entry.find("sparse");
  if (found == nullptr || !found->is_boolean())
    throw Error(entry.where(), "\"sparse\" is missing or neither true nor false");
  if (found->get<bool>() || use == PlanUse::kDense) return found->get<bool>();
  throw Error(entry.where(), "a 2:4 kernel is named for a weight that is not 2:4");
}

void read_entry(const JsonObject& entry, PlanTable& table) {
  const PlanChoice choice = read_choice(entry, false);
  const ProductDesc product = read_product(entry, choice.use);
  const int64_t bucket = read_bucket(entry);
  const bool sparse = read_sparse(entry, choice.use);
  if (table.find(product, bucket, sparse) != nullptr) {
    throw Error(entry.where(),
                fmt::format("{} with m {} stands twice", product.to_string(), bucket));
  }
  table.set(product, bucket, choice, sparse);
}

PlanFailure read_failure(const JsonObject& entry) {
  const PlanChoice choice = read_choice(entry, true);
  const ProductDesc product = read_product(entry, choice.use);
  return {PlanTable::key(product, read_bucket(entry), read_sparse(entry, choice.use)), choice,
          entry.string("reason")};
}

std::vector<int64_t> read_buckets(const JsonObject& file) {
  const nlohmann::json* list = file.find("buckets");
  if (list == nullptr) return {};
  if (!list->is_array()) throw Error(file.where(), "\"buckets\": expected a list of numbers");
  std::vector<int64_t> buckets;
  for (const nlohmann::json& rows : *list)
    buckets.push_back(checked_integer(rows, file.where(), "buckets", 1, kMaximumDimension));
  try {
    Buckets::of(buckets);
  } catch (const Error& error) {
    throw Error(file.where(), error.what());
  }
  return buckets;
}

PlanContents read_contents(const JsonObject& file) {
  if (!file.has("plans")) throw Error(file.where(), "key \"plans\" is missing");
  PlanContents contents;
  for (const JsonObject& entry : file.objects_or_empty("plans")) read_entry(entry, contents.table);
  for (const JsonObject& entry : file.objects_or_empty("failed"))
    contents.failed.push_back(read_failure(entry));
  contents.buckets = read_buckets(file);
  return contents;
}

}  // namespace

std::string PlanEnvironment::to_string() const {
  return fmt::format("{}, driver {}, runtime {}, cuSPARSELt {}, cuBLASLt {}", gpu, driver, runtime,
                     cusparselt, cublaslt);
}

std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

PlanEnvironment plan_environment(Runtime& runtime, const CusparseLt* sparse, const CublasLt* dense,
                                 int device) {
  DeviceProperties properties;
  int driver = 0, version = 0;
  check(runtime, runtime.properties(device, properties), "cudaGetDeviceProperties");
  check(runtime, runtime.driver_version(driver), "cudaDriverGetVersion");
  check(runtime, runtime.runtime_version(version), "cudaRuntimeGetVersion");
  return {properties.name, cuda_version_text(driver), cuda_version_text(version),
          sparse == nullptr ? "none" : cusparselt_version_text(sparse->version()),
          dense == nullptr ? "none" : cublaslt_version_text(dense->version())};
}

bool PlanChoice::same_kernel(const PlanChoice& other) const {
  if (use != other.use) return false;
  if (use == PlanUse::kDense) return dense_rank == other.dense_rank;
  if (use == PlanUse::kCutlass) return variant == other.variant;
  return use == PlanUse::kOwn || algorithm == other.algorithm;
}

std::string PlanChoice::to_string() const {
  if (use == PlanUse::kOwn) return "own";
  if (use == PlanUse::kCutlass)
    return fmt::format("cutlass, {}", kSpmm24CutlassVariants[variant].name);
  if (use == PlanUse::kDense) return fmt::format("dense, rank {}", dense_rank);
  std::string text = fmt::format("sparse, algorithm {}", algorithm.id);
  if (algorithm.split_k != 1) text += fmt::format(", split-k {}", algorithm.split_k);
  if (algorithm.mode != SplitKMode::kDefault)
    text += fmt::format(" {}", kModeNames[static_cast<int>(algorithm.mode)]);
  return text;
}

PlanTable::Key PlanTable::key(const ProductDesc& p, int64_t bucket, bool sparse) {
  return {p.n, p.k, p.input, p.output, bucket, sparse};
}

void PlanTable::set(const ProductDesc& p, int64_t bucket, const PlanChoice& choice, bool sparse) {
  choices_[key(p, bucket, sparse)] = choice;
}

const PlanChoice* PlanTable::find(const ProductDesc& p, int64_t bucket, bool sparse) const {
  const auto found = choices_.find(key(p, bucket, sparse));
  return found == choices_.end() ? nullptr : &found->second;
}

bool PlanTable::uses(const ProductDesc& p, PlanUse use, bool sparse) const {
  const Key first = key(p, 0, sparse);
  return std::ranges::any_of(choices_, [&](const auto& entry) {
    Key other = entry.first;
    other.bucket = 0;
    return other == first && entry.second.use == use;
  });
}

bool PlanTable::uses(const ProductDesc& p, CutlassForm form) const {
  const Key first = key(p, 0);
  return std::ranges::any_of(choices_, [&](const auto& entry) {
    Key other = entry.first;
    other.bucket = 0;
    const PlanChoice& choice = entry.second;
    return other == first && choice.use == PlanUse::kCutlass &&
           kSpmm24CutlassVariants[choice.variant].form == form;
  });
}

void write_plan_file(const std::filesystem::path& path, const PlanEnvironment& made_on,
                     const PlanContents& contents) {
  nlohmann::ordered_json plans = nlohmann::ordered_json::array(), failed = plans;
  for (const auto& [key, choice] : contents.table.all()) plans.push_back(to_json(key, choice));
  for (const PlanFailure& failure : contents.failed) failed.push_back(to_json(failure));
  nlohmann::ordered_json file = {{"format", kFormat},
                                 {"made_on",
                                  {{"gpu", made_on.gpu},
                                   {"driver", made_on.driver},
                                   {"runtime", made_on.runtime},
                                   {"cusparselt", made_on.cusparselt},
                                   {"cublaslt", made_on.cublaslt}}},
                                 {"plans", plans}};
  if (!contents.buckets.empty()) file["buckets"] = contents.buckets;
  if (!contents.failed.empty()) file["failed"] = failed;
  write_file_atomically(path, file.dump(2) + "\n");
}

PlanFile read_plan_file(const std::filesystem::path& path, const PlanEnvironment& here) {
  const JsonObject file = JsonObject::parse(read_file(path), path.string());
  if (const std::string format = file.string("format"); format != kFormat) {
    throw Error(path.string(),
                fmt::format("\"format\" is \"{}\", expected \"{}\"", format, kFormat));
  }
  check_keys(file, {"format", "made_on", "plans", "buckets", "failed"});
  const PlanEnvironment made_on = read_environment(section(file, "made_on"));
  PlanFile out{read_contents(file), {}};
  if (made_on == here) return out;
  return {{},
          fmt::format("{} is ignored: it was made on {}; this is {}", path.string(),
                      made_on.to_string(), here.to_string())};
}

}  // namespace twofour::cuda
