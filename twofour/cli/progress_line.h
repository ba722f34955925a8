// One line of progress: redrawn on a terminal, a plain line now and then elsewhere.
#pragma once

#include <iosfwd>
#include <string>

#include "twofour/base/progress.h"

namespace twofour::cli {

class ProgressLine {
 public:
  ProgressLine(std::ostream& out, bool terminal, int columns);

  // Shows `progress` if it is news: the end of a task, or enough time (Progress::seconds) since the
  // last line. A value "seconds_left" stands for the time left, where the library knows better.
  void update(const Progress& progress);

  // Takes the line off the terminal, so that other text can follow.
  void clear();

 private:
  std::string render(const Progress& progress, int bar_width) const;

  std::ostream& out_;
  bool terminal_;
  int columns_;
  bool drawn_ = false;
  std::string task_;
  int64_t first_done_ = 0;  // a resumed task does not begin at 0: the rate counts from here
  double first_seconds_ = 0, last_seconds_ = 0;
};

}  // namespace twofour::cli
