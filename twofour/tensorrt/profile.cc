#include "twofour/tensorrt/profile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "twofour/base/error.h"

namespace twofour::tensorrt {
namespace {

constexpr std::array<std::string_view, 3> kInputs{kInputIds, kAttentionMask, kTokenTypeIds};
constexpr std::string_view kRemedy = "Write the file with twofour export --target tensorrt";

std::vector<int64_t> integers(std::string_view option, std::string_view text) {
  std::vector<int64_t> values;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    int64_t value = 0;
    const auto [rest, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || rest != text.data() + end || value < 1) {
      throw Error(option, fmt::format("'{}' is no list of integers of 1 or more", text),
                  "Give one number, or the least, the usual and the largest: 1,8,32");
    }
    values.push_back(value);
    begin = end + 1;
  }
  return values;
}

void check_input(std::string_view file, const NetworkInput& input) {
  if (!is_input_name(input.name)) {
    throw Error(file,
                fmt::format("has an input '{}', expected {}", input.name, fmt::join(kInputs, ", ")),
                kRemedy);
  }
  if (input.dims != std::vector<int64_t>{-1, -1}) {
    throw Error(
        file,
        fmt::format("input '{}' is [{}], expected two dynamic dimensions, batch and sequence",
                    input.name, fmt::join(input.dims, ", ")),
        kRemedy);
  }
}

}  // namespace

bool is_input_name(std::string_view name) {
  return std::find(kInputs.begin(), kInputs.end(), name) != kInputs.end();
}

DimensionRange parse_range(std::string_view option, std::string_view text) {
  const std::vector<int64_t> values = integers(option, text);
  if (values.size() == 1) return {values[0], values[0], values[0]};
  if (values.size() != 3 || !std::is_sorted(values.begin(), values.end())) {
    throw Error(option, fmt::format("'{}' is not least, usual, largest in ascending order", text),
                "For example 1,8,32");
  }
  return {values[0], values[1], values[2]};
}

std::string to_string(const DimensionRange& range) {
  return fmt::format("{},{},{}", range.min, range.opt, range.max);
}

std::vector<InputProfile> choose_profile(std::string_view file,
                                         std::span<const NetworkInput> inputs,
                                         const DimensionRange& batch,
                                         const DimensionRange& length) {
  if (inputs.empty()) throw Error(file, "has no inputs", kRemedy);
  std::vector<InputProfile> profiles;
  for (const NetworkInput& input : inputs) {
    check_input(file, input);
    profiles.push_back(
        {input.name, {batch.min, length.min}, {batch.opt, length.opt}, {batch.max, length.max}});
  }
  return profiles;
}

}  // namespace twofour::tensorrt
