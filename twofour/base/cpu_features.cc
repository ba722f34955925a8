#include "twofour/base/cpu_features.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "twofour/base/error.h"
#include "twofour/base/setting.h"

namespace twofour {
namespace {

#if defined(__x86_64__)

struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool bit(unsigned word, int position) { return (word >> position) & 1; }

// The state components that the operating system saves (XCR0); 0 without XSAVE.
uint64_t enabled_state() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0;
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

CpuFeatures detect() {
  CpuFeatures f;
  const Leaf leaf1 = cpuid(1, 0), leaf7 = cpuid(7, 0), leaf7_1 = cpuid(7, 1);
  const uint64_t state = enabled_state();
  const bool os_avx = (state & 0x6) == 0x6;
  const bool os_avx512 = (state & 0xe6) == 0xe6;
  const bool os_amx = (state & 0x60000) == 0x60000;
  f.avx2 = os_avx && bit(leaf7.ebx, 5) && bit(leaf1.ecx, 12) && bit(leaf1.ecx, 29);
  f.avx_vnni = f.avx2 && bit(leaf7_1.eax, 4);
  f.avx512 = f.avx2 && os_avx512 && bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) &&
             bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
  f.avx512_vnni = f.avx512 && bit(leaf7.ecx, 11);
  f.avx512_vbmi = f.avx512_vnni && bit(leaf7.ecx, 1);
  f.avx512_vbmi2 = f.avx512 && bit(leaf7.ecx, 6);
  f.avx512_bf16 = f.avx512 && bit(leaf7_1.eax, 5);
  const bool tiles = os_amx && bit(leaf7.edx, 24) && f.avx512_vbmi2 && f.avx512_bf16;
  f.amx_bf16 = tiles && bit(leaf7.edx, 22);
  f.amx_int8 = tiles && bit(leaf7.edx, 25);
  return f;
}

#else

CpuFeatures detect() { return {}; }

#endif

// Linux lets a process use AMX only once it has asked, and refuses a process whose stack for
// signals is too small; no kernel before 5.16 knows the question.
bool may_use_amx() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h, asm/fpu/types.h
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

struct Level {
  std::string_view name;
  std::array<bool CpuFeatures::*, 2> adds;  // null: nothing more
};

constexpr Level kLevels[] = {
    {"portable", {}},
    {"avx2", {&CpuFeatures::avx2}},
    {"avx_vnni", {&CpuFeatures::avx_vnni}},
    {"avx512", {&CpuFeatures::avx512}},
    {"avx512_vnni", {&CpuFeatures::avx512_vnni}},
    {"avx512_vbmi", {&CpuFeatures::avx512_vbmi, &CpuFeatures::avx512_vbmi2}},
    {"avx512_bf16", {&CpuFeatures::avx512_bf16}},
    {"amx", {&CpuFeatures::amx_int8, &CpuFeatures::amx_bf16}},
};

std::string first_line(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

// Of this process's control group: version 2 as containers show it, then version 1.
int quota_of_cgroup() {
  if (const int cores = cores_of_quota(first_line("/sys/fs/cgroup/cpu.max")); cores > 0)
    return cores;
  return cores_of_quota(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") + " " +
                        first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
}

}  // namespace

std::vector<std::string> CpuFeatures::names() const {
  std::vector<std::string> out;
  auto add = [&](bool present, const char* name) {
    if (present) out.emplace_back(name);
  };
  add(avx2, "avx2");
  add(avx_vnni, "avx_vnni");
  add(avx512, "avx512");
  add(avx512_vnni, "avx512_vnni");
  add(avx512_vbmi, "avx512_vbmi");
  add(avx512_vbmi2, "avx512_vbmi2");
  add(avx512_bf16, "avx512_bf16");
  add(amx_bf16, "amx_bf16");
  add(amx_int8, "amx_int8");
  return out;
}

CpuFeatures limit_features(const CpuFeatures& features, std::string_view level) {
  CpuFeatures limited;
  std::vector<std::string_view> names;
  for (const Level& each : kLevels) {
    for (const auto feature : each.adds) {
      if (feature != nullptr) limited.*feature = features.*feature;
    }
    if (each.name == level) return limited;
    names.push_back(each.name);
  }
  throw Error("TWOFOUR_MAX_ISA", fmt::format("no instruction set is named '{}'", level),
              fmt::format("There are: {}", fmt::join(names, ", ")));
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = [] {
    const Setting limit = option_or_variable("", "", "TWOFOUR_MAX_ISA");
    CpuFeatures found = limit.value.empty() ? detect() : limit_features(detect(), limit.value);
    if ((found.amx_int8 || found.amx_bf16) && !may_use_amx())
      found.amx_int8 = found.amx_bf16 = false;
    return found;
  }();
  return features;
}

std::string cpu_name() {
#if defined(__x86_64__)
  unsigned words[12] = {};
  for (unsigned i = 0; i < 3; ++i) {
    const Leaf leaf = cpuid(0x80000002 + i, 0);
    const unsigned part[4] = {leaf.eax, leaf.ebx, leaf.ecx, leaf.edx};
    std::memcpy(words + 4 * i, part, sizeof part);
  }
  std::string name(reinterpret_cast<const char*>(words), sizeof words);
  name = name.substr(0, name.find('\0'));
  while (!name.empty() && name.back() == ' ') name.pop_back();
  const size_t start = name.find_first_not_of(' ');
  return start == std::string::npos ? "unknown x86-64" : name.substr(start);
#else
  return "unknown";
#endif
}

int cores_of_quota(std::string_view cpu_max) {
  std::istringstream in{std::string(cpu_max)};
  double quota = 0, period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(quota / period));
}

int available_cores() {
  cpu_set_t set;
  const int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const int quota = quota_of_cgroup();
  return quota > 0 ? std::min(allowed, quota) : allowed;
}

}  // namespace twofour
