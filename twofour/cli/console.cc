#include "twofour/cli/console.h"

#include <spdlog/sinks/ostream_sink.h>

namespace twofour::cli {

Console::Console(const Streams& streams)
    : streams_(streams),
      progress_(streams.err, streams.terminal, streams.columns),
      logger_(std::make_shared<spdlog::logger>(
          "twofour", std::make_shared<spdlog::sinks::ostream_sink_mt>(streams.err, true))) {
  logger_->set_pattern("%H:%M:%S %v");
}

void Console::set_verbosity(Verbosity verbosity) {
  verbosity_ = verbosity;
  logger_->set_level(verbosity == Verbosity::kQuiet     ? spdlog::level::warn
                     : verbosity == Verbosity::kVerbose ? spdlog::level::debug
                                                        : spdlog::level::info);
}

void Console::log(LogLevel level, const std::string& message) {
  progress_.clear();
  switch (level) {
    case LogLevel::kDebug:
      logger_->debug(message);
      break;
    case LogLevel::kInfo:
      logger_->info(message);
      break;
    case LogLevel::kWarning:
      logger_->warn("warning: {}", message);
      break;
  }
}

void Console::progress(const Progress& progress) {
  if (verbosity_ != Verbosity::kQuiet) progress_.update(progress);
}

void Console::progress(std::string task, int64_t done, int64_t total, std::string unit,
                       double seconds) {
  Progress state;
  state.task = std::move(task);
  state.done = done;
  state.total = total;
  state.unit = std::move(unit);
  state.seconds = seconds;
  progress(state);
}

void Console::error(const std::string& message) {
  progress_.clear();
  streams_.err << "twofour: " << message << std::endl;
}

Callbacks Console::callbacks() {
  Callbacks callbacks;
  callbacks.log = [this](LogLevel level, const std::string& message) { log(level, message); };
  callbacks.progress = [this](const Progress& p) { progress(p); };
  return callbacks;
}

}  // namespace twofour::cli
