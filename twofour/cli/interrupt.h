// Ctrl-C as a request: the first one asks the library for a clean stop, the second ends the
// process.
#pragma once

namespace twofour::cli {

class InterruptGuard {
 public:
  InterruptGuard();  // catches SIGINT and SIGTERM until destroyed
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool requested();
};

}  // namespace twofour::cli
