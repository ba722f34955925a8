#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>

#include "twofour/cli/app.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  twofour::cli::Streams streams{std::cin, std::cout, std::cerr};
  streams.terminal = isatty(STDERR_FILENO) == 1;
  winsize size{};
  if (streams.terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    streams.columns = size.ws_col;
  }
  return twofour::cli::run({argv + 1, argv + argc}, streams);
}
