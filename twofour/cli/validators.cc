#include "twofour/cli/validators.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "twofour/base/error.h"

namespace twofour::cli {
namespace {

std::string refusal(const std::string& expected, const std::string& found) {
  return fmt::format("expected {}, found {}", expected, found.empty() ? "nothing" : found);
}

// Numbers for which `accepts` holds; infinity and NaN are none. `type` stands in --help.
template <class Accepts>
CLI::Validator number(const std::string& expected, const std::string& type, Accepts accepts) {
  const auto check = [expected, accepts](const std::string& text) {
    double value = 0;
    const bool is_number = CLI::detail::lexical_cast(text, value) && std::isfinite(value);
    return is_number && accepts(value) ? std::string() : refusal(expected, text);
  };
  return CLI::Validator(check, type);
}

std::string check_whole_number(const std::string& text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end ? "" : refusal("a whole number from 0", text);
}

CLI::Validator not_empty(const std::string& expected) {
  const auto check = [expected](const std::string& text) {
    return text.empty() ? refusal(expected, text) : std::string();
  };
  return CLI::Validator(check, "");
}

}  // namespace

CLI::Validator positive_number() {
  return number("a number above 0", "POSITIVE", [](double value) { return value > 0; });
}

CLI::Validator non_negative_number() {
  return number("a number from 0", "NONNEGATIVE", [](double value) { return value >= 0; });
}

CLI::Validator dashes_as_underscores() {
  return CLI::Validator(
      [](std::string& text) {
        std::ranges::replace(text, '-', '_');
        return std::string();
      },
      "");
}

CLI::Validator number_between(double low, double high) {
  const std::string range = fmt::format("{} to {}", low, high);
  return number("a number from " + range, range,
                [low, high](double value) { return value >= low && value <= high; });
}

CLI::Validator finite_number() {
  return number("a number", "",
                [](double value) { return std::abs(value) <= std::numeric_limits<float>::max(); });
}

CLI::Validator whole_number() { return CLI::Validator(check_whole_number, ""); }

CLI::Validator path_name() { return not_empty("a name"); }
CLI::Validator some_text() { return not_empty("a text"); }

std::string refusal_of(const std::function<void()>& check) {
  try {
    check();
    return {};
  } catch (const Error& error) {
    return std::string(error.what()).substr(error.where().size() + 3);  // behind "[where] "
  }
}

CLI::Validator accepted_by(std::function<void(const std::string&)> check) {
  return CLI::Validator([check = std::move(check)](
                            const std::string& text) { return refusal_of([&] { check(text); }); },
                        "");
}

}  // namespace twofour::cli
