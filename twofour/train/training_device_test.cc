// Of what a run on a GPU needs, over stand-ins. Names of tests in this folder are without "Gpu":
// scripts/gpu-check packs programs by it, and LibTorch is too large for that.
#include "twofour/train/training_device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/version.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "twofour/base/cpu_features.h"
#include "twofour/base/testing.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::StartsWith;

Environment variables(std::map<std::string, std::string> values) {
  return [values](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : found->second.c_str();
  };
}

// Not set while it lives, then as before.
class Unset {
 public:
  explicit Unset(const char* name) : name_(name) {
    if (const char* value = std::getenv(name)) before_ = value;
    unsetenv(name);
  }
  ~Unset() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Unset(const Unset&) = delete;
  Unset& operator=(const Unset&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// A folder of LibTorch with a library that can be opened, and two devices.
class TrainingDeviceTest : public FolderTest {
 protected:
  TrainingDeviceTest() {
    std::filesystem::create_symlink(cuda_system().libraries / "libc10.so", library_);
  }

  const Unset cublas_{"CUBLAS_WORKSPACE_CONFIG"};  // a run on a GPU sets it

  TrainingDevice open(const std::string& name, bool several = false,
                      const Environment& environment = variables({})) {
    return open_training_device(name, several, environment, system_);
  }
  std::string refusal(const std::string& name) {
    return error_of([&] { open(name); });
  }

  void spoil_library() {
    std::filesystem::remove(library_);  // the link, not what it leads to
    write_file_atomically(library_, "no library");
  }

  const std::filesystem::path library_ = folder_ / "libtorch_cuda.so";
  CudaSystem system_ = {folder_,
                        [] {
                          return std::vector<CudaDevice>{{"Tesla T4", 7, 5}, {"NVIDIA H100", 9, 0}};
                        },
                        [] {}};
};

TEST_F(TrainingDeviceTest, CpuNeedsNothing) {
  const TrainingDevice device = open_training_device("cpu", true, variables({}), {});
  EXPECT_EQ(device.torch, at::Device(at::kCPU));
  EXPECT_EQ(device.gpu, "");
  EXPECT_EQ(device.bf16, cpu_features().avx512_bf16 || cpu_features().amx_bf16);
}

TEST_F(TrainingDeviceTest, NameAndLocalRankChoose) {
  EXPECT_EQ(open("cuda").torch, at::Device(at::kCUDA, 0));
  EXPECT_EQ(open("cuda").gpu, "Tesla T4");
  EXPECT_FALSE(open("cuda").bf16);
  EXPECT_EQ(open("cuda:1").torch, at::Device(at::kCUDA, 1));
  EXPECT_EQ(open("cuda:1").gpu, "NVIDIA H100");
  EXPECT_TRUE(open("cuda:1").bf16);
  const Environment second = variables({{"LOCAL_RANK", "1"}});
  EXPECT_EQ(open("cuda", false, second).gpu, "Tesla T4");
  EXPECT_EQ(open("cuda", true, second).gpu, "NVIDIA H100");
  EXPECT_EQ(open("cuda:0", true, second).gpu, "Tesla T4");
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
  EXPECT_EQ(describe_cuda(system_), "cuda:0 Tesla T4 (7.5), cuda:1 NVIDIA H100 (9.0)");
}

TEST_F(TrainingDeviceTest, NamesWithoutMeaningAreRefused) {
  for (const std::string name : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x"}) {
    EXPECT_EQ(refusal(name), fmt::format("[--device] no device is named '{}'. There are: cpu, "
                                         "cuda, cuda:0, cuda:1, ...",
                                         name));
  }
  EXPECT_EQ(error_of([&] {
              open("cuda", true, variables({{"LOCAL_RANK", "1st"}}));
            }),
            "[--device] no device is named 'cuda:1st'. There are: cpu, cuda, cuda:0, cuda:1, ...");
  EXPECT_EQ(error_of([&] { open("cuda", true); }),
            "[LOCAL_RANK] is not set: it chooses the GPU of each of several processes. Set it as "
            "torchrun does, or name the GPU: --device cuda:0.");
}

TEST_F(TrainingDeviceTest, DevicesThatAreNotThereAreRefused) {
  for (const std::string name : {"cuda:2", "cuda:300"}) {
    EXPECT_EQ(refusal(name), fmt::format("[--device {}] is not there: GPUs here: 2. They are "
                                         "numbered from cuda:0 on; CUDA_VISIBLE_DEVICES may hide "
                                         "some.",
                                         name));
  }
}

TEST_F(TrainingDeviceTest, LibrariesThatAreNotThereAreNamedWithTheRemedy) {
  system_.check = [] { ADD_FAILURE() << "LibTorch is asked before its library is open"; };
  std::filesystem::remove(library_);
  const std::string absent = fmt::format(
      "[{}] is not there: this LibTorch is for CPUs alone. Build twofour with one for "
      "CUDA, as PyPI has it, or train with --device cpu.",
      library_.string());
  EXPECT_EQ(refusal("cuda"), absent);
  EXPECT_EQ(describe_cuda(system_), absent);
  spoil_library();
  EXPECT_EQ(refusal("cuda"),
            fmt::format("[{0}] cannot be loaded: {0}: file too short. What it needs comes with "
                        "'pip install torch=={1}' in the environment of this LibTorch; or train "
                        "with --device cpu.",
                        library_.string(), TORCH_VERSION));
}

TEST_F(TrainingDeviceTest, WhatTheMachineLacksIsToldBeforeAnythingIsOpened) {
  spoil_library();
  system_.devices = []() -> std::vector<CudaDevice> { throw Error("driver", "is too old"); };
  EXPECT_EQ(refusal("cuda"), "[driver] is too old");
}

TEST_F(TrainingDeviceTest, LibTorchIsAskedOnceItsLibraryIsOpen) {
  int asked = 0;
  system_.check = [&] { ++asked; };
  open("cpu");
  EXPECT_EQ(asked, 0);
  open("cuda:1");
  EXPECT_EQ(asked, 1);
  system_.check = [] { throw Error("LibTorch", "finds no GPU"); };
  EXPECT_EQ(refusal("cuda"), "[LibTorch] finds no GPU");
}

// It looks for its library once.
TEST_F(TrainingDeviceTest, LibTorchOfAProcessThatHasUsedItRefuses) {
  const CudaSystem real = cuda_system();
  EXPECT_TRUE(std::filesystem::exists(real.libraries / "libtorch_cpu.so")) << real.libraries;
  if (at::detail::getCUDAHooks().hasCUDART()) GTEST_SKIP() << "LibTorch is linked with it";
  EXPECT_EQ(error_of(real.check),
            "[LibTorch] has looked for GPUs in this process before its library was opened. Train "
            "on a GPU in a process of its own.");
}

TEST_F(TrainingDeviceTest, RealDriverThatIsMissedIsToldWithTheRemedy) {
  const std::string message = error_of([] { cuda_system().devices(); });
  if (message == "no error") GTEST_SKIP() << "this machine has a GPU";
  EXPECT_THAT(message, AllOf(StartsWith("[NVIDIA driver] "), EndsWith("train with --device cpu.")));
}

TEST_F(TrainingDeviceTest, RealDriverNamesItsDevices) {
  std::vector<CudaDevice> devices;
  const std::string message = error_of([&] { devices = cuda_system().devices(); });
  if (message != "no error") GTEST_SKIP() << message;
  EXPECT_FALSE(devices.empty());
  for (const CudaDevice& device : devices) {
    EXPECT_NE(device.name, "");
    EXPECT_GE(device.major, 3) << device.name;
  }
}

}  // namespace
}  // namespace twofour
