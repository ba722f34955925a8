#include "twofour/base/thread_pool.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "twofour/base/error.h"

namespace twofour {

namespace {

// Parallel loops of one batch follow each other within microseconds, far less than it takes to wake
// a thread: waiting begins with some tens of microseconds of watching.
constexpr int kSpins = 1000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <class Condition>
bool spin_until(Condition condition) {
  for (int i = 0; i < kSpins; ++i) {
    if (condition()) return true;
    pause();
  }
  return false;
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable done;
  std::atomic<uint64_t> generation{0};  // changes under the mutex
  std::atomic<int> working{0};
  int sleeping = 0;
  std::atomic<bool> stop{false};

  Function function = nullptr;
  void* context = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> next{0};

  ~State() {
    {
      std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void start(int threads) {
    for (int i = 1; i < threads; ++i) workers.emplace_back([this, i] { work(i); });
  }

  void drain(int thread) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      function(context, i, thread);
    }
  }

  void await_work(uint64_t seen) {
    const auto ready = [&] { return stop || generation != seen; };
    if (spin_until(ready)) return;
    std::unique_lock lock(mutex);
    ++sleeping;
    wake.wait(lock, ready);
    --sleeping;
  }

  void work(int thread) {
    for (uint64_t seen = 0;;) {
      await_work(seen);
      if (stop) return;
      seen = generation;
      drain(thread);
      if (--working == 0) {
        std::lock_guard lock(mutex);
        done.notify_one();
      }
    }
  }

  void begin() {
    bool wake_up;
    {
      std::lock_guard lock(mutex);
      next.store(0, std::memory_order_relaxed);
      working = static_cast<int>(workers.size());
      ++generation;
      wake_up = sleeping > 0;
    }
    if (wake_up) wake.notify_all();
  }

  void await_end() {
    const auto ended = [&] { return working == 0; };
    if (spin_until(ended)) return;
    std::unique_lock lock(mutex);
    done.wait(lock, ended);
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads < 1)
    throw Error("ThreadPool", fmt::format("threads is {}: must be at least 1", threads));
  try {
    state_->start(threads);
  } catch (const std::system_error& error) {
    throw Error("ThreadPool",
                fmt::format("{} threads cannot be started: {}", threads, error.what()),
                "Ask for fewer");
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run(int64_t count, Function function, void* context) {
  State& s = *state_;
  if (s.workers.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) function(context, i, 0);
    return;
  }
  s.function = function;
  s.context = context;
  s.count = count;
  s.begin();
  s.drain(0);
  s.await_end();
}

}  // namespace twofour
