// Ctrl-C, SIGTERM and the loss of the terminal (SIGHUP, unless ignored as by nohup), in commands
// that can stop and go on later, and in those that can only end.
#pragma once

#include <filesystem>
#include <vector>

namespace twofour::cli {

// As a request: the first one asks the library for a clean stop, a second Ctrl-C or SIGTERM ends
// the process after a line that says `at_second`.
class InterruptGuard {
 public:
  explicit InterruptGuard(const char* at_second);  // catches them until destroyed
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool requested();
};

// As the end: the first one removes what the process has begun to write beside `outputs`, says so
// and ends it with kInterrupted. Once the last of `outputs`, which are named in the order in which
// they are written, has been replaced, nothing is left to stop: the process goes on to its own end,
// and a second signal does what it did before. Empty paths stand for none, and without any a signal
// does what it did before; so does one that was ignored. Made by the thread that writes the
// outputs, and by it alone. One of both classes at a time.
class InterruptCleanup {
 public:
  explicit InterruptCleanup(const std::vector<std::filesystem::path>& outputs);
  ~InterruptCleanup();
  InterruptCleanup(const InterruptCleanup&) = delete;
  InterruptCleanup& operator=(const InterruptCleanup&) = delete;
};

}  // namespace twofour::cli
