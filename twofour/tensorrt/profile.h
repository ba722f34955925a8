// The shapes that an engine is built for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofour::tensorrt {

// The inputs of a network that twofour export writes.
inline constexpr const char* kInputIds = "input_ids";
inline constexpr const char* kAttentionMask = "attention_mask";
inline constexpr const char* kTokenTypeIds = "token_type_ids";
bool is_input_name(std::string_view name);

// TensorRT tunes for `opt` and takes everything from `min` to `max`.
struct DimensionRange {
  int64_t min = 1, opt = 1, max = 1;
  bool operator==(const DimensionRange&) const = default;
};

// "8" or "1,8,32". Throws Error(`option`) for anything but ascending integers of 1 or more.
DimensionRange parse_range(std::string_view option, std::string_view text);
std::string to_string(const DimensionRange& range);  // "1,8,32"

// An input of a parsed network; -1 is a dynamic dimension.
struct NetworkInput {
  std::string name;
  std::vector<int64_t> dims;
};

struct InputProfile {
  std::string name;
  std::vector<int64_t> min, opt, max;
};

// Every input as [batch, length]. Throws Error with the input's name unless the inputs are those
// that twofour export writes and both their dimensions are dynamic.
std::vector<InputProfile> choose_profile(std::string_view file,
                                         std::span<const NetworkInput> inputs,
                                         const DimensionRange& batch, const DimensionRange& length);

}  // namespace twofour::tensorrt
