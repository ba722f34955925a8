// The processes that train one model together, on one machine or several.
#pragma once

#include <ATen/ATen.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/progress.h"

namespace twofour {

struct ProcessOptions {
  int rank = 0;
  int size = 1;
  int local_size = 1;   // processes on this machine
  std::string address;  // where rank 0 listens, by name or number
  uint16_t port = 0;
  bool store_is_there = false;  // the launcher listens in rank 0's place
  std::string attempt = {};     // of the launcher, which may start all processes again
  std::chrono::seconds join_timeout{300};
};

using Environment = std::function<const char*(const char* name)>;

// As torchrun sets them: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, and where they are set
// LOCAL_WORLD_SIZE, TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT. LOCAL_RANK chooses
// a GPU (training_device.h). With neither RANK nor WORLD_SIZE there is one process. Throws Error
// naming the variable that is missing or wrong.
ProcessOptions process_options(const Environment& environment = std::getenv);

// All processes call the same functions in the same order, from one thread. An object of this class
// itself is one process alone: its functions do nothing.
//
// Calls throw Error when another process has ended or does not answer for two hours (rank 0
// evaluates and saves while the others wait). The group is of no use then.
class ProcessGroup {
 public:
  // Waits until all processes have called it, and after a second logs for whom. They meet at the
  // address of rank 0; each listens only on that address of its machine which lies on the way
  // there. Null if this process or one that waits with it was asked to stop
  // (callbacks.stop_requested, asked several times a second). Throws Error for an address that
  // leads nowhere, and if some process does not come in time.
  static std::unique_ptr<ProcessGroup> open(const ProcessOptions& options,
                                            const Callbacks& callbacks = {});

  virtual ~ProcessGroup() = default;
  virtual int rank() const { return 0; }
  virtual int size() const { return 1; }
  bool is_first() const { return rank() == 0; }
  std::string name() const;  // "rank 0 of 2"

  // Sum over all processes, in place; each has the same bits. Contiguous, f32, f64 or int64, and
  // in host memory, as all tensors here.
  virtual void all_reduce_sum(const at::Tensor& /*tensor*/) {}
  // The same for many tensors, contiguous or not, through buckets of 32 MiB.
  void all_reduce_sums(const std::vector<at::Tensor>& tensors);

  // What process `root` has, in place; contiguous, of one size and type everywhere.
  virtual void broadcast(const at::Tensor& /*tensor*/, int /*root*/) {}
  // What rank 0 has, whatever the others pass.
  std::vector<uint8_t> broadcast(std::vector<uint8_t> bytes);

  virtual void barrier() {}

  // Throws Error in all processes unless all pass the same value: "rank 1 and rank 0 differ in
  // `what`".
  void check_equal(uint64_t value, std::string_view what, std::string_view remedy);

  // Leaves word for the others why this process will end; the first word stays. Does nothing once
  // a call has thrown because another process is lost.
  virtual void fail(std::string_view /*reason*/) noexcept {}
};

}  // namespace twofour
