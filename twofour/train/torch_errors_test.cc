#include "twofour/train/torch_errors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace twofour {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string translated(const std::string& message) {
  try {
    TORCH_CHECK(false, message);
  } catch (const c10::Error& error) {
    return from_torch(error).what();
  }
  return "no error";
}

TEST(TorchErrors, AreOneLineWithoutStacks) {
  EXPECT_EQ(translated("CUDA error: unspecified launch failure\nKernel errors might come late."),
            "[LibTorch] CUDA error: unspecified launch failure");
  EXPECT_EQ(translated("[gloo/transport/tcp/pair.cc:547] Connection closed."),
            "[LibTorch] Connection closed");
  EXPECT_EQ(reason_of(std::runtime_error("[store.cpp:1] no answer.")), "no answer");
}

TEST(TorchErrors, OfOperatorsAreToo) {
  std::string message = "no error";
  try {
    at::ones({2, 3}).matmul(at::ones({2, 3}));
  } catch (const c10::Error& error) {
    message = from_torch(error).what();
  }
  EXPECT_THAT(message, HasSubstr("[LibTorch] mat1 and mat2 shapes cannot be multiplied"));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

TEST(TorchErrors, OfMemoryAndDeterminismSayWhatToDo) {
  EXPECT_EQ(translated("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "[LibTorch] CUDA out of memory. Tried to allocate 2.00 GiB. Lower batch_pairs; in "
            "training, a higher accumulate makes up for it.");
  EXPECT_EQ(translated("cumsum_cuda_kernel does not have a deterministic implementation, but you "
                       "set 'torch.use_deterministic_algorithms(True)'. You can turn it off."),
            "[LibTorch] cumsum_cuda_kernel does not have a deterministic implementation. Train "
            "with --no-deterministic.");
}

}  // namespace
}  // namespace twofour
