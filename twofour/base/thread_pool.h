// A fixed set of threads that runs one parallel loop at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace twofour {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 starts no thread. Throws Error if it is below 1 or the system
  // starts no more.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls task(index, thread) for each index in [0, count), each once, on any thread in [0,
  // threads()). Returns when all are done. Not reentrant; one caller at a time, but a pool of
  // one thread keeps no state and serves any number. A task must not throw. The callable is passed
  // by reference and costs no allocation.
  template <class Task>
  void parallel_for(int64_t count, Task&& task) {
    run(
        count,
        [](void* context, int64_t index, int thread) {
          (*static_cast<std::remove_reference_t<Task>*>(context))(index, thread);
        },
        &task);
  }

 private:
  using Function = void (*)(void*, int64_t, int);
  void run(int64_t count, Function function, void* context);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace twofour
