// Where training computes: the CPU, or an NVIDIA GPU through LibTorch.
//
// Nothing is linked to libtorch_cuda, LibTorch's library for GPUs: it is opened when a run asks for
// one, so that one training library serves both, also where libtorch_cuda is not there.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/train/process_group.h"

namespace twofour {

struct TrainingDevice {
  at::Device torch = at::kCPU;
  std::string gpu = {};  // "NVIDIA H100 80GB HBM3"; empty: the CPU
  bool bf16 = false;     // it has instructions for products in bf16
};

struct CudaDevice {
  std::string name;
  int major = 0, minor = 0;  // compute capability
};

// What a run on a GPU needs of the machine; tests bring their own.
struct CudaSystem {
  std::filesystem::path libraries;                   // LibTorch's folder
  std::function<std::vector<CudaDevice>()> devices;  // the driver's; throws Error without one
  std::function<void()> check;  // throws Error if LibTorch, now open, finds none
};
CudaSystem cuda_system();

// `name` is "cpu", "cuda:1", or "cuda": cuda:0, but where `several` processes train together the
// one of LOCAL_RANK. Call it before anything else of LibTorch in the process: it looks for its
// library for GPUs once. Throws Error that says what is missing, and what to do.
TrainingDevice open_training_device(std::string_view name, bool several,
                                    const Environment& environment = std::getenv,
                                    const CudaSystem& system = cuda_system());

// The GPUs that training can use, "cuda:0 NVIDIA H100 80GB HBM3 (9.0)", or why it can use none.
std::string describe_cuda(const CudaSystem& system = cuda_system());

}  // namespace twofour
