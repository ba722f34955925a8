#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "twofour/base/error.h"
#include "twofour/sparse/mask.h"

namespace twofour {
namespace {

template <class Function>
void elementwise(std::span<const float> weights, std::span<float> saliency, Function function) {
  if (weights.size() != saliency.size()) {
    throw Error("saliency",
                fmt::format("{} weights but room for {} values", weights.size(), saliency.size()));
  }
  for (size_t i = 0; i < weights.size(); ++i) saliency[i] = function(weights[i]);
}

void magnitude(std::span<const float> weights, std::span<float> saliency) {
  elementwise(weights, saliency, [](float w) { return std::fabs(w); });
}

void energy(std::span<const float> weights, std::span<float> saliency) {
  elementwise(weights, saliency, [](float w) { return w * w; });
}

struct Entry {
  std::string_view name;
  void (*function)(std::span<const float>, std::span<float>);
};
constexpr Entry kSaliencies[] = {{"magnitude", magnitude}, {"energy", energy}};

}  // namespace

SaliencyFunction saliency_by_name(std::string_view name) {
  for (const Entry& entry : kSaliencies) {
    if (entry.name == name) return entry.function;
  }
  throw Error("saliency", fmt::format("expected one of {}, found \"{}\"",
                                      fmt::join(saliency_names(), ", "), name));
}

std::vector<std::string> saliency_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kSaliencies) names.emplace_back(entry.name);
  return names;
}

}  // namespace twofour
