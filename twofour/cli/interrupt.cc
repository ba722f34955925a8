#include "twofour/cli/interrupt.h"

#include <csignal>

namespace twofour::cli {
namespace {

volatile std::sig_atomic_t g_requested = 0;
constexpr int kSignals[] = {SIGINT, SIGTERM};
struct sigaction g_previous[2];

void on_signal(int) { g_requested = 1; }

}  // namespace

InterruptGuard::InterruptGuard() {
  g_requested = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  // The handler serves once: a second signal has its default effect.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &action, &g_previous[i]);
}

InterruptGuard::~InterruptGuard() {
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &g_previous[i], nullptr);
}

bool InterruptGuard::requested() { return g_requested != 0; }

}  // namespace twofour::cli
