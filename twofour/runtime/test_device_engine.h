// The engine on a device, over stand-ins of NVIDIA's runtime and libraries and with our kernels run
// on the host: what its tests share. What they cannot show is whether NVIDIA's libraries do what
// their stand-ins do: device_gpu_test.cc compares on a GPU.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "twofour/runtime/device_stand_in.h"
#include "twofour/runtime/test_models.h"

namespace twofour {

inline PackedTokens uniform_tokens(int sequences, int length) {
  PackedTokens tokens;
  for (int i = 0; i < sequences; ++i)
    tokens.append(std::vector<int32_t>(length, 5 + i % 80), std::vector<int32_t>(length, 0));
  return tokens;
}

inline double tolerance(const std::string& precision) {
  return precision == "f32" ? 1e-4 : precision == "fp16" ? 0.01 : 0.06;
}

// How far int8 values may be from the CPU engine's. With an f32 stream only sums run in another
// order. Where the stream is rounded, a value that falls to the next step moves many in the layers
// behind it, the more so with scales that were not calibrated.
struct Apart {
  int most;      // steps of quantization
  double share;  // of values that differ at all
  double output;
};
struct AllowedApart {
  Apart first, all;  // at the embeddings' output; anywhere
};
inline AllowedApart allowed_apart(const std::string& precision) {
  if (precision == "f32") return {{0, 0, 0}, {1, 0.001, 2e-3}};
  if (precision == "fp16") return {{1, 0.03, 0}, {16, 0.25, 0.1}};
  return {{1, 0.2, 0}, {16, 0.35, 0.2}};
}

class DeviceEngine : public testing::Test {
 protected:
  // Nothing that the stand-ins saw may have been against the libraries' rules.
  void TearDown() override {
    EXPECT_EQ(stand_in_.runtime.violations, "");
    EXPECT_EQ(stand_in_.runtime.allocations(), 0u);
    EXPECT_EQ(stand_in_.runtime.pinned + stand_in_.runtime.graphs, 0);
    EXPECT_EQ(stand_in_.runtime.streams + stand_in_.runtime.events, 0);
  }

  DeviceStandIn stand_in_;
};

}  // namespace twofour
