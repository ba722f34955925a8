// How the library tells a caller what it does: callbacks. It never prints.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace twofour {

enum class LogLevel { kDebug, kInfo, kWarning };

struct Progress {
  std::string task;                                    // "stage 2/3 sparse-50"
  int64_t done = 0;                                    // in `unit`
  int64_t total = 0;                                   // 0 when unknown
  std::string unit;                                    // "steps"
  double seconds = 0;                                  // since the task began
  std::vector<std::pair<std::string, double>> values;  // {"loss", 0.41}, {"pairs/s", 132}
};

// Both may be empty. Called on the thread that called the library.
struct Callbacks {
  std::function<void(LogLevel, const std::string&)> log;
  std::function<void(const Progress&)> progress;
  // Polled between steps; true asks for a clean stop.
  std::function<bool()> stop_requested;

  void info(const std::string& message) const;
  void warn(const std::string& message) const;
};

}  // namespace twofour
