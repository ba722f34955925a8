#include "twofour/cli/interrupt.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "twofour/cli/exit_codes.h"
#include "twofour/io/file.h"

namespace twofour::cli {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr size_t kCount = std::size(kSignals);
struct sigaction g_previous[kCount];

void catch_signals(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) sigaddset(&action.sa_mask, signal);
  for (size_t i = 0; i < kCount; ++i) sigaction(kSignals[i], &action, &g_previous[i]);
}

void leave_ignored(int signal) {
  for (size_t i = 0; i < kCount; ++i) {
    if (kSignals[i] != signal || g_previous[i].sa_handler != SIG_IGN) continue;
    sigaction(signal, &g_previous[i], nullptr);
  }
}

void release_signals() {
  for (size_t i = 0; i < kCount; ++i) sigaction(kSignals[i], &g_previous[i], nullptr);
}

// Of those that somebody sends again to be rid of the process. A lost terminal sends SIGHUP twice:
// the shell does, and the system as the shell ends.
bool may_end_at_second(int signal) { return signal != SIGHUP; }

bool g_terminal = false;  // stderr is one

void tell(const char* text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

void tell_name() {
  tell(g_terminal ? "\r\033[Ktwofour: " : "twofour: ");  // over a line of progress
}

volatile std::sig_atomic_t g_requested = 0;
const char* g_at_second = "";

// Its default effect follows: it is blocked until this returns.
void on_second_request(int signal) {
  tell_name();
  tell(g_at_second);
  tell("\n");
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void on_request(int signal) {
  g_requested = 1;
  if (may_end_at_second(signal)) std::signal(signal, on_second_request);
}

// --- Cleaning up, by what a signal handler may call --------------------------------------------

using FileId = std::pair<dev_t, ino_t>;  // zeros: there is no file

struct Output {
  std::string path, folder, temporaries;  // the last one begins names in the folder
  FileId before;
};

std::vector<Output> g_outputs;
pthread_t g_writer;  // the thread that writes them

FileId id_of(const char* path) {
  struct stat status {};
  return ::stat(path, &status) == 0 ? FileId(status.st_dev, status.st_ino) : FileId();
}

// What an open folder holds under names that begin with `prefix`.
void remove_entries(int folder, const char* prefix) {
  alignas(dirent64) char entries[4096];
  for (ssize_t size = 0; (size = ::getdents64(folder, entries, sizeof entries)) > 0;) {
    for (ssize_t offset = 0; offset < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + offset);
      offset += entry->d_reclen;
      const char* name = entry->d_name;
      if (std::strncmp(name, prefix, std::strlen(prefix)) != 0) continue;
      if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
      if (::unlinkat(folder, name, 0) == 0) continue;
      const int inner = ::openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (inner < 0) continue;
      remove_entries(inner, "");
      ::close(inner);
      ::unlinkat(folder, name, AT_REMOVEDIR);
    }
  }
}

// The last output has got its name.
bool all_written() {
  const Output& last = g_outputs.back();
  const FileId now = id_of(last.path.c_str());
  return now != FileId() && now != last.before;
}

// What has got its name already, or lost what had it, is told.
[[noreturn]] void clean_up() {
  for (const Output& output : g_outputs) {
    const int folder = ::open(output.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) continue;
    remove_entries(folder, output.temporaries.c_str());
    ::close(folder);
  }
  tell_name();
  tell("interrupted, ");
  bool changed = false;
  for (const Output& output : g_outputs) {
    if (id_of(output.path.c_str()) == output.before) continue;
    if (std::exchange(changed, true)) tell(" and ");
    tell(output.path.c_str());
  }
  tell(changed ? " changed already\n" : "nothing written\n");
  ::_exit(kInterrupted);
}

// On another thread than the writer's, what is to go here could get its name between two steps of
// the cleanup.
void on_end(int signal) {
  if (::pthread_equal(::pthread_self(), g_writer) == 0) {
    ::pthread_kill(g_writer, signal);
    return;
  }
  const int error = errno;  // of what the signal came between
  if (!all_written()) clean_up();
  if (may_end_at_second(signal)) release_signals();
  errno = error;
}

}  // namespace

InterruptGuard::InterruptGuard(const char* at_second) {
  g_requested = 0;
  g_at_second = at_second;
  g_terminal = ::isatty(STDERR_FILENO) == 1;
  catch_signals(on_request, 0);
  leave_ignored(SIGHUP);  // by nohup; SIGINT is caught though a script ignores it for its jobs
}

InterruptGuard::~InterruptGuard() { release_signals(); }

bool InterruptGuard::requested() { return g_requested != 0; }

InterruptCleanup::InterruptCleanup(const std::vector<std::filesystem::path>& outputs) {
  std::vector<Output> named;
  for (const std::filesystem::path& path : outputs) {
    if (path.empty()) continue;
    const std::filesystem::path temporaries = temporaries_of(path);
    named.push_back({path.string(), temporaries.parent_path().string(),
                     temporaries.filename().string(), id_of(path.c_str())});
  }
  if (named.empty()) return;
  g_outputs = std::move(named);
  g_writer = ::pthread_self();
  g_terminal = ::isatty(STDERR_FILENO) == 1;
  catch_signals(on_end, SA_RESTART);
  // A shell ignores Ctrl-C for what runs in the background: that goes on then.
  for (const int signal : kSignals) leave_ignored(signal);
}

InterruptCleanup::~InterruptCleanup() {
  if (g_outputs.empty()) return;
  release_signals();
  g_outputs.clear();
}

}  // namespace twofour::cli
