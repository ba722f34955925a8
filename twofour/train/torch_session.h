// Process-wide settings of LibTorch, for as long as a run takes.
#pragma once

namespace twofour {

// Sets the number of threads and whether operations must be deterministic; puts back what was
// there.
class TorchSession {
 public:
  TorchSession(int threads, bool deterministic);
  ~TorchSession();
  TorchSession(const TorchSession&) = delete;
  TorchSession& operator=(const TorchSession&) = delete;

 private:
  int threads_;
  bool deterministic_, warn_only_, fill_;
};

}  // namespace twofour
