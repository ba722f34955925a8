// What `twofour doctor` says of NVIDIA GPUs.
#pragma once

#include <string>
#include <vector>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

struct Diagnosis {
  bool built = false;
  std::string toolkit;               // "13.0.88": what the build was made with; the next too
  std::string architectures;         // "80-real, 90a-real"
  std::string driver;                // newest CUDA that the driver serves: "13.0"; or "no driver"
  std::string runtime;               // "13.0"
  std::string cusparselt;            // "0.10.0 (<file>)"; or why it was not found
  std::string cublaslt;              // "13.1.0 (<file>)"; or why it was not found
  std::vector<std::string> devices;  // "NVIDIA H100 80GB HBM3, sm_90, 79 GiB"
  std::string problem;               // why no device can be used; empty where one can

  // One line: "none: built without CUDA", "none: no driver", or the devices.
  std::string summary() const;
};

// Never throws for what it may find.
Diagnosis diagnose();

// The parts that a stand-in can answer.
void diagnose_runtime(Runtime& runtime, Diagnosis& out);
std::string describe_cusparselt(const CusparseLt& library);
std::string describe_cublaslt(const CublasLt& library);

}  // namespace twofour::cuda
