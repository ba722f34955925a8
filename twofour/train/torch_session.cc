#include "twofour/train/torch_session.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace twofour {

TorchSession::TorchSession(int threads, bool deterministic)
    : threads_(at::get_num_threads()),
      deterministic_(at::globalContext().deterministicAlgorithms()),
      warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
      fill_(at::globalContext().deterministicFillUninitializedMemory()) {
  at::set_num_threads(threads);
  at::globalContext().setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  // Filling fresh memory finds bugs of operators; it costs a pass over every tensor.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

TorchSession::~TorchSession() {
  at::globalContext().setDeterministicFillUninitializedMemory(fill_);
  at::globalContext().setDeterministicAlgorithms(deterministic_, warn_only_);
  at::set_num_threads(threads_);
}

}  // namespace twofour
