#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unicode/uversion.h>
#include <unistd.h>
#include <zstd.h>
#include <CLI/Version.hpp>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "twofour/backend/backends.h"
#include "twofour/backend/cuda/diagnosis.h"
#include "twofour/base/cpu_features.h"
#include "twofour/base/setting.h"
#include "twofour/cli/command.h"
#include "twofour/cli/format.h"
#include "twofour/cli/table.h"
#include "twofour/train/api.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples = R"(Examples:
  twofour doctor
  TWOFOUR_FORCE_KERNEL=spmm24_s8_avx2 twofour doctor   # is that kernel known, can it run here?)";

uint64_t memory_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Free in the current folder, where runs are usually written.
uint64_t disk_free_bytes() {
  struct statvfs status {};
  return statvfs(".", &status) == 0 ? static_cast<uint64_t>(status.f_bavail) * status.f_frsize : 0;
}

// The best kernel of each kind that this machine runs is what engines choose, unless a layer's
// shape forbids it.
Json kernels_json() {
  Json kernels = Json::array();
  std::vector<std::string> seen;
  for (const KernelInfo& kernel : describe_kernels()) {
    const std::string kind = (kernel.sparse ? "2:4 " : "dense ") + kernel.type;
    const bool chosen =
        kernel.unavailable.empty() && std::find(seen.begin(), seen.end(), kind) == seen.end();
    if (chosen) seen.push_back(kind);
    kernels.push_back({{"name", kernel.name},
                       {"kind", kind},
                       {"chosen", chosen},
                       {"unavailable", kernel.unavailable}});
  }
  return kernels;
}

Json forced_kernel_json() {
  const Setting setting = option_or_variable("", "", "TWOFOUR_FORCE_KERNEL");
  if (setting.value.empty()) return nullptr;
  try {
    forced_kernel({});
    return setting.value;
  } catch (const std::exception& error) {
    return std::string(error.what());
  }
}

Json training_json() {
  try {
    return {{"available", true}, {"libtorch", train_api().version()}};
  } catch (const std::exception& error) {
    return {{"available", false}, {"reason", error.what()}};
  }
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
  return {
      {"version", TWOFOUR_VERSION},
      {"cpu", cpu_name()},
      {"features", cpu_features().names()},
      {"max_isa", option_or_variable("", "", "TWOFOUR_MAX_ISA").value},
      {"cores", available_cores()},
      {"memory_bytes", memory_bytes()},
      {"disk_free_bytes", disk_free_bytes()},
      {"gpu", gpu.summary()},
      {"cuda", cuda_json(gpu)},
      {"kernels", kernels_json()},
      {"forced_kernel", forced_kernel_json()},
      {"training", training_json()},
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
  if (json["max_isa"] != "") line("limit", "TWOFOUR_MAX_ISA=" + json["max_isa"].get<std::string>());
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
  const Json& training = json["training"];
  line("training", training["available"]
                       ? "LibTorch " + training["libtorch"].get<std::string>()
                       : "not available: " + training["reason"].get<std::string>());
  if (!json["forced_kernel"].is_null()) line("forced", json["forced_kernel"]);
  std::vector<std::string> libraries;
  for (const auto& [name, version] : json["libraries"].items())
    libraries.push_back(name + " " + version.get<std::string>());
  line("libraries", fmt::format("{}", fmt::join(libraries, ", ")));
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
    console.out() << diagnosis.dump(2) << '\n';
  else
    print_text(diagnosis, console.out());
  return kOk;
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
