// Where a subcommand's words go: results to out; log lines and one line of progress to err.
#pragma once

#include <spdlog/logger.h>

#include <memory>
#include <string>

#include "twofour/base/progress.h"
#include "twofour/cli/app.h"
#include "twofour/cli/progress_line.h"

namespace twofour::cli {

enum class Verbosity { kQuiet, kNormal, kVerbose };

class Console {
 public:
  explicit Console(const Streams& streams);

  std::istream& in() { return streams_.in; }
  std::ostream& out() { return streams_.out; }

  // Of err: kQuiet: warnings and errors only, no progress. kVerbose: debug messages too.
  void set_verbosity(Verbosity verbosity);

  void info(const std::string& message) { log(LogLevel::kInfo, message); }
  void log(LogLevel level, const std::string& message);
  void progress(const Progress& progress);
  void progress(std::string task, int64_t done, int64_t total, std::string unit, double seconds);
  void end_progress() { progress_.clear(); }
  void error(const std::string& message);  // "twofour: message"

  // Log and progress lines of the library; nobody asks for a stop.
  Callbacks callbacks();

 private:
  Streams streams_;
  Verbosity verbosity_ = Verbosity::kNormal;
  ProgressLine progress_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace twofour::cli
