#include "twofour/train/torch_errors.h"

#include <algorithm>
#include <string_view>

namespace twofour {
namespace {

std::string_view remedy_for(std::string_view reason) {
  const auto says = [&](std::string_view words) { return reason.find(words) != reason.npos; };
  if (says("out of memory") || says("allocate memory")) {
    return "Lower batch_pairs; in training, a higher accumulate makes up for it.";
  }
  if (says("deterministic")) return "Train with --no-deterministic.";
  return "";
}

}  // namespace

std::string reason_of(const std::exception& error) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  std::string text = of_torch != nullptr ? of_torch->what_without_backtrace() : error.what();
  const size_t place = text.find("] ");
  if (text.starts_with('[') && place != std::string::npos) text.erase(0, place + 2);
  text.resize(std::min(text.find('\n'), text.size()));
  if (text.ends_with('.')) text.pop_back();
  return text;
}

Error from_torch(const c10::Error& error) {
  std::string reason = reason_of(error);
  // What follows is advice for Python.
  reason.resize(std::min(reason.find(", but you set 'torch."), reason.size()));
  return {"LibTorch", reason, remedy_for(reason)};
}

}  // namespace twofour
