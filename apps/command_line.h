// Command lines that are read and refused as those of the command, whose own code is not public.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>

namespace twofour {

inline std::string refusal(const std::string& expected, const std::string& found) {
  return fmt::format("expected {}, found {}", expected, found.empty() ? "nothing" : found);
}

// The whole text is a Number for which accepts(number) holds.
template <class Number, class Accepts>
CLI::Validator number_that(const std::string& expected, Accepts accepts) {
  const auto check = [expected, accepts](const std::string& text) {
    Number value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    const bool good = error == std::errc() && rest == end && accepts(value);
    return good ? std::string() : refusal(expected, text);
  };
  return CLI::Validator(check, "");
}

inline CLI::Validator whole_number(uint64_t least) {
  return number_that<uint64_t>(fmt::format("a whole number from {}", least),
                               [least](uint64_t value) { return value >= least; });
}

// Both included; CLI::Range takes NaN.
inline CLI::Validator number_between(double low, double high) {
  return number_that<double>(fmt::format("a number from {} to {}", low, high),
                             [=](double value) { return value >= low && value <= high; });
}

inline CLI::Validator path_name() {
  const auto check = [](const std::string& text) {
    return text.empty() ? refusal("a name", text) : std::string();
  };
  return CLI::Validator(check, "");
}

// Refused before the work whose result it shall hold.
inline CLI::Validator file_to_write() {
  const auto check = [](const std::string& text) {
    std::error_code ignored;
    if (text.empty() || std::filesystem::is_directory(text, ignored))
      return refusal("the name of a file", text);
    const auto folder = std::filesystem::absolute(text, ignored).parent_path();
    const bool there = std::filesystem::is_directory(folder, ignored);
    return there ? std::string() : fmt::format("there is no folder {}", folder.string());
  };
  return CLI::Validator(check, "");
}

// Subcommands work in their callbacks. 0: done or helped, 1: an error, 2: a wrong command line.
inline int run_app(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << app.get_name() << ": " << error.what() << '\n';
    return 1;
  }
  return 0;
}

}  // namespace twofour
