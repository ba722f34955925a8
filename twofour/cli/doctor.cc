#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unicode/uversion.h>
#include <unistd.h>
#include <zstd.h>
#include <CLI/Version.hpp>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "twofour/backend/backends.h"
#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/error.h"
#include "twofour/base/setting.h"
#include "twofour/cli/command.h"
#include "twofour/cli/format.h"
#include "twofour/cli/table.h"
#include "twofour/export/api.h"
#include "twofour/io/json.h"
#include "twofour/runtime/device_plan.h"
#include "twofour/runtime/plan.h"
#include "twofour/tensorrt/api.h"
#include "twofour/train/api.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples = R"(Examples:
  twofour doctor
  TWOFOUR_FORCE_KERNEL=spmm24_s8_avx2 twofour doctor   # is that kernel known, can it run here?

Exit code 1 where a variable names what there is not: every command that runs a model would fail.)";

uint64_t memory_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Free in the current folder, where runs are usually written.
uint64_t disk_free_bytes() {
  struct statvfs status {};
  return statvfs(".", &status) == 0 ? static_cast<uint64_t>(status.f_bavail) * status.f_frsize : 0;
}

std::string kind_of(bool sparse, std::string_view type) {
  return fmt::format("{} {}", sparse ? "2:4" : "dense", type);
}

// The best kernel of each kind that this machine runs is what engines choose, unless a layer's
// shape forbids it. A forced one takes what it can compute: a dense one 2:4 weights too.
Json kernels_json(const Kernel* forced) {
  Json kernels = Json::array();
  std::set<std::string> taken;
  if (forced != nullptr) {
    const std::string_view type = matmul_type_name(forced->type());
    taken.insert(kind_of(true, type));
    if (!forced->sparse()) taken.insert(kind_of(false, type));
  }
  for (const KernelInfo& kernel : describe_kernels()) {
    const std::string kind = kind_of(kernel.sparse, kernel.type);
    const bool is_forced = forced != nullptr && kernel.name == forced->name();
    const bool chosen = is_forced || (kernel.unavailable.empty() && taken.insert(kind).second);
    kernels.push_back({{"name", kernel.name},
                       {"kind", kind},
                       {"chosen", chosen},
                       {"unavailable", kernel.unavailable}});
  }
  return kernels;
}

// Null where the variable is not set, or names a kernel of the GPU in a build that has those.
// Throws Error for another name.
const Kernel* forced_on_cpu(const cuda::Diagnosis& gpu) {
  const Setting setting = option_or_variable("", "", "TWOFOUR_FORCE_KERNEL");
  const bool of_gpu = std::ranges::count(forcible_device_kernels(), setting.value) > 0;
  return gpu.built && of_gpu ? nullptr : forced_kernel({});
}

// Throws Error where TWOFOUR_MAX_ISA is no level.
void check_instruction_limit() {
  const Setting limit = option_or_variable("", "", "TWOFOUR_MAX_ISA");
  if (!limit.value.empty()) limit_features({}, limit.value);
}

// What a wrong variable hides is left out; the rest of the diagnosis goes on.
template <class Part>
void add_part(Json& problems, Part&& part) {
  try {
    part();
  } catch (const Error& error) {
    problems.push_back(error.what());
  }
}

// Variables that stand in for options of every engine.
void check_engine_variables(Json& problems) {
  bool on_gpu = false;
  add_part(problems, [&] {
    on_gpu = choose_backend({}) == kTensorRtBackend;
    if (on_gpu) tensorrt_device({});
  });
  const Setting device = option_or_variable("", "", "TWOFOUR_DEVICE");
  if (!on_gpu && !device.value.empty() && device.value != "cpu") {
    on_gpu = true;
    add_part(problems, [&] { cuda::device_ordinal(device.value, device.where); });
  }
  if (on_gpu) return;  // the others are about a GPU then
  add_part(problems, [] { float_precision({}); });
  add_part(problems, [] { select_attention({}); });
  add_part(problems, [] { choose_activation_scales({}); });
}

// A library that some verbs open. `open` returns something that lies in it.
Json library_json(const char* verbs, const std::function<const void*()>& open) {
  try {
    Dl_info found{};
    dladdr(open(), &found);
    const char* file = found.dli_fname != nullptr ? found.dli_fname : "";
    return {{"available", true}, {"verbs", verbs}, {"library", file}};
  } catch (const std::exception& error) {
    return {{"available", false}, {"verbs", verbs}, {"reason", error.what()}};
  }
}

Json training_json() {
  Json training = library_json("train, calibrate", [] { return &train_api(); });
  if (!training["available"]) return training;
  training["libtorch"] = train_api().version();
  training["gpus"] = train_api().cuda();
  return training;
}

Json cuda_json(const cuda::Diagnosis& found) {
  if (!found.built) return {{"built", false}};
  return {{"built", true},
          {"toolkit", found.toolkit},
          {"architectures", found.architectures},
          {"driver", found.driver},
          {"runtime", found.runtime},
          {"cusparselt", found.cusparselt},
          {"cublaslt", found.cublaslt},
          {"devices", found.devices}};
}

Json diagnose() {
  const cuda::Diagnosis gpu = cuda::diagnose();
  Json features = Json::array(), kernels = Json::array(), problems = Json::array();
  add_part(problems, [&] {
    check_instruction_limit();
    features = cpu_features().names();
    const Kernel* forced = nullptr;
    add_part(problems, [&] { forced = forced_on_cpu(gpu); });
    kernels = kernels_json(forced);
    check_engine_variables(problems);
  });
  const Setting forced = option_or_variable("", "", "TWOFOUR_FORCE_KERNEL");
  return {
      {"version", TWOFOUR_VERSION},
      {"cpu", cpu_name()},
      {"features", features},
      {"max_isa", option_or_variable("", "", "TWOFOUR_MAX_ISA").value},
      {"cores", available_cores()},
      {"memory_bytes", memory_bytes()},
      {"disk_free_bytes", disk_free_bytes()},
      {"gpu", gpu.summary()},
      {"cuda", cuda_json(gpu)},
      {"kernels", kernels},
      {"forced_kernel", forced.value.empty() ? Json(nullptr) : Json(forced.value)},
      {"problems", problems},
      {"training", training_json()},
      {"export", library_json("export, inspect FILE.onnx", [] { return &export_api(); })},
      {"tensorrt",
       library_json("build-engine, --backend tensorrt", [] { return &build_engine_api(); })},
      {"libraries",
       {{"CLI11", CLI11_VERSION},
        {"fmt",
         fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
        {"ICU", U_ICU_VERSION},
        {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                                      NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
        {"zstd", ZSTD_versionString()}}}};
}

void print_text(const Json& json, std::ostream& out) {
  const auto line = [&](std::string_view name, const std::string& value) {
    out << fmt::format("{:<12}{}\n", name, value);
  };
  line("twofour", json["version"]);
  line("cpu", json["cpu"]);
  line("features",
       fmt::format("{}", fmt::join(json["features"].get<std::vector<std::string>>(), ", ")));
  const auto limit = json["max_isa"].get<std::string>();
  if (!limit.empty()) line("limit", "TWOFOUR_MAX_ISA=" + limit);
  line("cores", json["cores"].dump());
  line("memory", format_bytes(json["memory_bytes"]));
  line("disk", format_bytes(json["disk_free_bytes"]) + " free here");
  line("gpu", json["gpu"]);
  if (json["cuda"]["built"]) {
    const auto of = [&](const char* key) { return json["cuda"][key].get<std::string>(); };
    line("cuda", fmt::format("{} for {}; runtime {}, driver {}", of("toolkit"), of("architectures"),
                             of("runtime"), of("driver")));
    line("cusparselt", of("cusparselt"));
    line("cublaslt", of("cublaslt"));
  }
  const auto library = [&](const char* name, const std::string& version) {
    const Json& found = json[name];
    const auto of = [&](const char* key) { return found[key].get<std::string>(); };
    line(name, fmt::format("for {}: {}", of("verbs"),
                           found["available"] ? version + of("library")
                                              : "not available: " + of("reason")));
  };
  library("training",
          fmt::format("LibTorch {}, ", json["training"].value("libtorch", std::string())));
  if (json["training"]["available"]) {
    line("", "on GPUs: " + json["training"]["gpus"].get<std::string>());
  }
  library("export", "");
  library("tensorrt", "");
  if (!json["forced_kernel"].is_null()) line("forced", json["forced_kernel"]);
  std::vector<std::string> libraries;
  for (const auto& [name, version] : json["libraries"].items())
    libraries.push_back(name + " " + version.get<std::string>());
  line("libraries", fmt::format("{}", fmt::join(libraries, ", ")));
  if (json["kernels"].empty()) return;
  out << '\n';
  Table table({"<kernel", "<kind", "<state"});
  for (const Json& kernel : json["kernels"]) {
    const std::string unavailable = kernel["unavailable"];
    table.add_row({kernel["name"], kernel["kind"],
                   !unavailable.empty() ? unavailable
                   : kernel["chosen"]   ? "chosen"
                                        : "available"});
  }
  table.print(out);
}

int run_doctor(bool json, Console& console) {
  const Json diagnosis = diagnose();
  if (json)
    console.out() << json_text(diagnosis, 2) << '\n';
  else
    print_text(diagnosis, console.out());
  console.out().flush();
  for (const std::string problem : diagnosis["problems"]) console.error(problem);
  return diagnosis["problems"].empty() ? kOk : kFailure;
}

}  // namespace

Command add_doctor(CLI::App& root, Console& console) {
  auto json = std::make_shared<bool>(false);
  CLI::App* app =
      root.add_subcommand("doctor", "What this machine offers and what the command found");
  app->footer(kExamples);
  app->add_flag("--json", *json, "For machines");
  return {app, [json, &console] { return run_doctor(*json, console); }};
}

}  // namespace twofour::cli
