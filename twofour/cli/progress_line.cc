#include "twofour/cli/progress_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "twofour/cli/format.h"

namespace twofour::cli {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 15;
constexpr double kBriefSeconds = 2;  // a task that ends sooner needs no line in a log
constexpr int kBarWidth = 24;

std::string bar(double share, int width) {
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
  return "[" + std::string(full, '#') + std::string(width - full, '.') + "] ";
}

}  // namespace

ProgressLine::ProgressLine(std::ostream& out, bool terminal, int columns)
    : out_(out), terminal_(terminal), columns_(columns) {}

std::string ProgressLine::render(const Progress& progress, int bar_width) const {
  std::string line = progress.task + "  ";
  if (progress.total > 0) {
    if (bar_width > 0) line += bar(static_cast<double>(progress.done) / progress.total, bar_width);
    line += fmt::format("{}/{} {}", progress.done, progress.total, progress.unit);
  } else {
    line += fmt::format("{} {}", progress.done, progress.unit);
  }
  double left = -1;
  for (const auto& [name, value] : progress.values) {
    if (name == "seconds_left")
      left = value;  // a library that knows more than this task tells it
    else
      line += fmt::format("  {} {:.4g}", name, value);
  }
  const double seconds = progress.seconds - first_seconds_;
  const auto done = static_cast<double>(progress.done - first_done_);
  if (seconds <= 0 || done <= 0) return line;
  line += fmt::format("  {:.3g} {}/s", done / seconds, progress.unit);
  if (left < 0 && progress.total > progress.done) {
    left = static_cast<double>(progress.total - progress.done) * seconds / done;
  }
  if (left > 0 && std::isfinite(left)) line += "  left " + format_duration(left);
  return line;
}

void ProgressLine::update(const Progress& progress) {
  const bool begins = progress.task != task_ || progress.done < first_done_;
  if (begins) {
    task_ = progress.task;
    first_done_ = progress.done;
    first_seconds_ = progress.seconds;
  }
  const bool ends = progress.total > 0 && progress.done >= progress.total;
  if (begins) last_seconds_ = progress.seconds;
  const double waited = progress.seconds - last_seconds_;
  const bool shows = terminal_
                         ? begins || ends || waited >= kRedrawSeconds
                         : waited >= kLineSeconds || (ends && progress.seconds >= kBriefSeconds);
  if (!shows) return;
  last_seconds_ = progress.seconds;
  if (!terminal_) {
    out_ << render(progress, 0) << std::endl;
    return;
  }
  // Cut to the terminal: a line that wraps could not be redrawn.
  out_ << "\r\033[K" << render(progress, kBarWidth).substr(0, std::max(columns_ - 1, 20))
       << std::flush;
  drawn_ = true;
}

void ProgressLine::clear() {
  if (drawn_) out_ << "\r\033[K" << std::flush;
  drawn_ = false;
}

}  // namespace twofour::cli
