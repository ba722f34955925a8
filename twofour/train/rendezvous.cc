#include "twofour/train/rendezvous.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <system_error>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/train/torch_errors.h"

namespace twofour {
namespace {

using Clock = std::chrono::steady_clock;

// Between two looks at the others and at who asks for a stop.
constexpr std::chrono::milliseconds kSlice{100};
// Processes that are started together have met before.
constexpr std::chrono::seconds kTellAfter{1};
// For one address of several, and for a listener to show that it is a store.
constexpr std::chrono::seconds kTry{5};

// --- Addresses ---------------------------------------------------------------------------------

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(const ProcessOptions& options) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int code =
      getaddrinfo(options.address.c_str(), std::to_string(options.port).c_str(), &hints, &found);
  if (code == 0) return {found, freeaddrinfo};
  throw Error("MASTER_ADDR", fmt::format("is '{}': {}", options.address, gai_strerror(code)),
              "Name the machine of rank 0.");
}

std::string text_of(int error) { return std::generic_category().message(error); }

// c10d's own would listen on every address of the machine, to whoever calls.
int bound_socket(const addrinfo* addresses, const ProcessOptions& options) {
  int error = 0;
  for (const addrinfo* a = addresses; a != nullptr; a = a->ai_next) {
    const int socket = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    const int on = 1;
    if (socket >= 0 && setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        ::bind(socket, a->ai_addr, a->ai_addrlen) == 0) {
      return socket;
    }
    error = errno;
    if (socket >= 0) ::close(socket);
  }
  throw Error(
      "rank 0",
      fmt::format("cannot listen at {}:{}: {}", options.address, options.port, text_of(error)),
      "MASTER_ADDR is an address of the machine of rank 0, MASTER_PORT a free port there.");
}

// This machine's, on the way to rank 0: a datagram socket knows it without sending anything.
std::string own_address(const addrinfo* addresses, const ProcessOptions& options) {
  for (const addrinfo* a = addresses; a != nullptr; a = a->ai_next) {
    const int socket = ::socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    sockaddr_storage own{};
    auto* address = reinterpret_cast<sockaddr*>(&own);
    socklen_t size = sizeof own;
    char text[NI_MAXHOST];
    const bool found =
        ::connect(socket, a->ai_addr, a->ai_addrlen) == 0 &&
        getsockname(socket, address, &size) == 0 &&
        getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0;
    ::close(socket);
    if (found) return text;
  }
  throw Error("MASTER_ADDR", fmt::format("no network leads to '{}'", options.address),
              "Name the machine of rank 0.");
}

// --- Waiting -----------------------------------------------------------------------------------

class Wait {
 public:
  Wait(const ProcessOptions& options, const Callbacks& callbacks)
      : options_(options), callbacks_(callbacks) {}

  bool stopped() const { return callbacks_.stop_requested && callbacks_.stop_requested(); }
  bool over() const { return Clock::now() - start_ >= options_.join_timeout; }

  // Of each once, and not for a short while.
  void tell(const std::string& for_whom) {
    if (for_whom == told_ || Clock::now() - start_ < kTellAfter) return;
    callbacks_.info(fmt::format("rank {} of {}: waiting for {} at {}:{}, at most {} s",
                                options_.rank, options_.size, for_whom, options_.address,
                                options_.port, options_.join_timeout.count()));
    told_ = for_whom;
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(
        fmt::format("rank {} of {}", options_.rank, options_.size),
        fmt::format("has not met the others at {}:{}: {}", options_.address, options_.port, why),
        fmt::format("Start all {} processes within {} s, with the same MASTER_ADDR and "
                    "MASTER_PORT.",
                    options_.size, options_.join_timeout.count()));
  }

 private:
  const ProcessOptions& options_;
  const Callbacks& callbacks_;
  const Clock::time_point start_ = Clock::now();
  std::string told_;
};

// 0, or why nobody has answered there. c10d's own way to connect would not look up for minutes.
int try_to_connect(const addrinfo& address, const Wait& wait) {
  const int socket = ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                              address.ai_protocol);
  if (socket < 0) return errno;
  int error = ::connect(socket, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  const Clock::time_point end = Clock::now() + kTry;
  while (error == EINPROGRESS) {
    pollfd answer{.fd = socket, .events = POLLOUT, .revents = 0};
    if (::poll(&answer, 1, static_cast<int>(kSlice.count())) == 1) {
      socklen_t size = sizeof error;
      getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
    } else if (wait.stopped() || wait.over() || Clock::now() > end) {
      error = ETIMEDOUT;
    }
  }
  ::close(socket);
  return error;
}

int try_to_connect(const addrinfo* addresses, const Wait& wait) {
  int error = 0;
  for (const addrinfo* a = addresses; a != nullptr && !wait.stopped(); a = a->ai_next) {
    error = try_to_connect(*a, wait);
    if (error == 0) break;
  }
  return error;
}

// --- The store ---------------------------------------------------------------------------------

using Store = c10::intrusive_ptr<c10d::Store>;

c10d::TCPStoreOptions store_options(const ProcessOptions& options) {
  c10d::TCPStoreOptions store;
  store.port = options.port;
  store.waitWorkers = false;  // it cannot be interrupted
  store.useLibUV = false;     // not in every build of LibTorch, and for a thousand processes
  return store;
}

bool keeps_store(const ProcessOptions& options) {
  return options.rank == 0 && !options.store_is_there;
}

Store own_store(const ProcessOptions& options, const addrinfo* addresses) {
  c10d::TCPStoreOptions store = store_options(options);
  store.isServer = true;
  store.masterListenFd = bound_socket(addresses, options);
  return c10::make_intrusive<c10d::TCPStore>(options.address, store);
}

std::string keeper_of(const ProcessOptions& options) {
  return options.store_is_there ? "the launcher" : "rank 0";
}

// Null: asked to stop.
Store store_of_another(const ProcessOptions& options, const addrinfo* addresses, Wait& wait) {
  const std::string keeper = keeper_of(options);
  c10d::TCPStoreOptions store = store_options(options);
  store.timeout = kTry;
  while (true) {
    const int error = try_to_connect(addresses, wait);
    if (wait.stopped()) return {};
    std::string why = text_of(error);
    if (error == 0) {
      try {
        return c10::make_intrusive<c10d::TCPStore>(options.address, store);
      } catch (const std::exception& no_store) {
        why = reason_of(no_store);
      }
    }
    if (wait.over()) wait.fail(keeper + " does not answer there: " + why);
    wait.tell(keeper);
    std::this_thread::sleep_for(kSlice);
  }
}

// --- Agreement ---------------------------------------------------------------------------------

constexpr const char* kDecision = "decision";  // key: what all do, as the first one has it
constexpr const char* kGo = "go";
constexpr const char* kStop = "stop";  // other values: why it came to nothing

std::string key_of(int rank) { return fmt::format("come/{}", rank); }
std::string key_of_leaving(int rank) { return fmt::format("gone/{}", rank); }

bool all_have_come(c10d::Store& store, int size) {
  std::vector<std::string> keys;
  for (int rank = 0; rank < size; ++rank) keys.push_back(key_of(rank));
  return store.check(keys);
}

// "2 of 4 processes (rank 1, rank 3)"
std::string missing(c10d::Store& store, int size) {
  constexpr int kMostNames = 8;
  int count = 0;
  std::string names;
  for (int rank = 0; rank < size; ++rank) {
    if (store.check({key_of(rank)})) continue;
    if (++count <= kMostNames) names += fmt::format("{}rank {}", count > 1 ? ", " : "", rank);
  }
  return fmt::format("{} of {} processes ({}{})", count, size, names,
                     count > kMostNames ? ", ..." : "");
}

// What all that have come do. One that ends alone could leave others to wait for it that see it
// come: so the first to see that all are there, to be asked to stop or to have waited too long
// decides.
std::string agree(c10d::Store& store, const ProcessOptions& options, Wait& wait) {
  const auto decide = [&](const std::string& what) {
    return store.compareSet(kDecision, "", what);
  };
  store.set(key_of(options.rank), "");
  while (true) {
    if (store.check({kDecision})) return store.get_to_str(kDecision);
    if (all_have_come(store, options.size)) return decide(kGo);
    if (wait.stopped()) return decide(kStop);
    if (wait.over()) {
      return decide(
          fmt::format("rank {} has waited for {}", options.rank, missing(store, options.size)));
    }
    wait.tell(missing(store, options.size));
    std::this_thread::sleep_for(kSlice);
  }
}

// The store ends with who keeps it: the others read first what was decided.
void leave(c10d::Store& store, const ProcessOptions& options) {
  store.set(key_of_leaving(options.rank), "");
  if (!keeps_store(options)) return;
  const Clock::time_point end = Clock::now() + 20 * kSlice;
  const auto is_here = [&](int rank) {
    return store.check({key_of(rank)}) && !store.check({key_of_leaving(rank)});
  };
  for (int rank = 1; rank < options.size; ++rank) {
    while (is_here(rank) && Clock::now() < end) std::this_thread::sleep_for(kSlice);
  }
}

}  // namespace

std::optional<Meeting> meet(const ProcessOptions& options, const Callbacks& callbacks) {
  const Addresses addresses = resolve(options);
  Wait wait(options, callbacks);
  std::string decision;
  try {
    const Store keeper = keeps_store(options) ? own_store(options, addresses.get())
                                              : store_of_another(options, addresses.get(), wait);
    if (!keeper) return std::nullopt;
    keeper->setTimeout(options.join_timeout);
    // The launcher's store keeps what an earlier attempt, and earlier trainings of one program,
    // have left there; each process has come to as many as the others.
    const std::string prefix = "twofour" + options.attempt;
    const int64_t meeting = keeper->add(fmt::format("{}/meetings/{}", prefix, options.rank), 1);
    const auto store =
        c10::make_intrusive<c10d::PrefixStore>(fmt::format("{}/{}", prefix, meeting), keeper);
    const std::string own = own_address(addresses.get(), options);
    decision = agree(*store, options, wait);
    if (decision == kGo) return Meeting{store, own};
    leave(*store, options);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    if (!decision.empty()) {
      // Who keeps the store has left before this process could.
    } else if (keeps_store(options)) {
      wait.fail(reason_of(error));
    } else {
      wait.fail(keeper_of(options) + " has ended");
    }
  }
  if (decision == kStop) return std::nullopt;
  wait.fail(decision);
}

}  // namespace twofour
