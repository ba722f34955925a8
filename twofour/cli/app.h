// The command `twofour` as a function: arguments and streams in, exit code out.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace twofour::cli {

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool terminal = false;  // err is one: progress may redraw its line
  int columns = 80;       // of that terminal
};

// `arguments` without the program's name. Never throws: problems go to streams.err.
int run(const std::vector<std::string>& arguments, const Streams& streams);

}  // namespace twofour::cli
