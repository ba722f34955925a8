// Exit codes of the command, as its --help documents them.
#pragma once

namespace twofour::cli {

enum ExitCode {
  kOk = 0,
  kFailure = 1,        // bad input or a failure, told on stderr
  kUsage = 2,          // the command line itself
  kGateNotMet = 3,     // compare --non-inferior
  kInterrupted = 130,  // stopped on request; what was done is saved and resumable, or removed,
                       // but for the first of several outputs, which are whole and named
};

}  // namespace twofour::cli
