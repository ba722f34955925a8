// A session on the CPU: threads and the buffers of each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "twofour/base/thread_pool.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/worker.h"

namespace twofour {

// A batch is cut into chunks of whole sequences, which threads take through the whole network: what
// a layer hands to the next stays in the thread's cache, and no thread waits for another. Where
// there are too few sequences for that, all threads work on every step.
class CpuSession {
 public:
  // Both must outlive it.
  CpuSession(const Network& network, const Plan& plan, int threads);

  // `batch` is valid, as Session::run() checks it.
  void run(const TokenBatch& batch, const Session::Tap& tap, std::span<float> output);

 private:
  void reserve(const Extent& batch, bool tapped);
  void cut(const TokenBatch& batch);
  double unevenness(const TokenBatch& batch);

  ThreadPool pool_;
  ThreadPool serial_{1};
  Worker together_;
  std::vector<Worker> workers_;  // by thread
  std::vector<Chunk> chunks_;
  std::vector<int64_t> busy_;
};

}  // namespace twofour
