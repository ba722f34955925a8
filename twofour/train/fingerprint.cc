#include "twofour/train/fingerprint.h"

#include <fmt/format.h>

#include <sstream>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr const char* kNone = "none";

// Hashes tell nobody anything.
std::string other_contents(const std::string& name, bool none_then, const std::string& source) {
  if (source.empty()) return fmt::format("{}: now there is none", name);
  if (none_then) return fmt::format("no {}: now there is {}", name, source);
  return fmt::format("{} {} than {} holds now", name.ends_with("data") ? "other" : "another", name,
                     source);
}

[[noreturn]] void report_recipe(const std::string& before, const std::string& now,
                                const std::string& where) {
  std::istringstream old_lines(before), new_lines(now);
  std::string old_line, new_line;
  do {
    if (!std::getline(old_lines, old_line)) old_line = "(nothing)";
    if (!std::getline(new_lines, new_line)) new_line = "(nothing)";
  } while (old_line == new_line);
  const auto trimmed = [](const std::string& line) {
    return line.substr(std::min(line.find_first_not_of(' '), line.size()));
  };
  throw Error(where,
              fmt::format("the run was started with another recipe: '{}' then, '{}' now",
                          trimmed(old_line), trimmed(new_line)),
              "Resume with the recipe and settings of the start, or choose another run folder.");
}

}  // namespace

void check_same(const Fingerprint& before, const Fingerprint& now, const Sources& sources,
                const std::string& where) {
  const auto value = [](const Fingerprint& fingerprint, const std::string& name) {
    const auto found = fingerprint.find(name);
    return found == fingerprint.end() ? std::string(kNone) : found->second;
  };
  Fingerprint all = before;
  all.insert(now.begin(), now.end());
  for (const auto& [name, unused] : all) {
    const std::string then = value(before, name), today = value(now, name);
    if (then == today) continue;
    if (name == "recipe") report_recipe(then, today, where);
    const auto source = sources.find(name);
    const std::string how = source == sources.end()
                                ? fmt::format("another {}: {} then, {} now", name, then, today)
                                : other_contents(name, then == kNone, source->second);
    throw Error(
        where, "the run was started with " + how,
        fmt::format("Resume with the {} of the start, or choose another run folder.", name));
  }
}

}  // namespace twofour
