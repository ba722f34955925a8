// Blocks of warp.h on the host, for tests: one thread plays all threads of a block in turn. Memory
// shared by the block holds NaN at first, so that what was not stored there shows.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

class HostWarp {
 public:
  template <class T>
  class PerLane {
   public:
    T& operator[](int lane) { return values_[lane]; }
    const T& operator[](int lane) const { return values_[lane]; }

   private:
    T values_[kLanes];
  };

  template <class Function>
  void each(Function function) const {
    for (int lane = 0; lane < kLanes; ++lane) function(lane);
  }

  template <class T>
  T sum(const PerLane<T>& values) const {
    return joined(values, [](T a, T b) { return a + b; });
  }
  float largest(const PerLane<float>& values) const {
    return joined(values, [](float a, float b) { return std::max(a, b); });
  }
  float from_lane(const PerLane<float>& values, int lane) const { return values[lane]; }

  void sum_quads(PerLane<float>& values) const {
    join(values, 1, [](float a, float b) { return a + b; });
    join(values, 2, [](float a, float b) { return a + b; });
  }
  void largest_of_quads(PerLane<float>& values) const {
    join(values, 1, [](float a, float b) { return std::max(a, b); });
    join(values, 2, [](float a, float b) { return std::max(a, b); });
  }

  template <class Half>
  void multiply_add(const PerLane<MmaA>& a, const PerLane<MmaB>& b, PerLane<MmaC>& c) const {
    float x[16][16], y[16][8];
    for (int lane = 0; lane < kLanes; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      for (int r = 0; r < 4; ++r) {
        x[row + r % 2 * 8][column + r / 2 * 8] = half_of<Half>(a[lane].registers[r], 0);
        x[row + r % 2 * 8][column + r / 2 * 8 + 1] = half_of<Half>(a[lane].registers[r], 1);
      }
      for (int r = 0; r < 2; ++r) {
        y[column + 8 * r][row] = half_of<Half>(b[lane].registers[r], 0);
        y[column + 8 * r + 1][row] = half_of<Half>(b[lane].registers[r], 1);
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) c[lane].values[i] += x[row][k] * y[k][column];
      }
    }
  }

  void load_transposed(const PerLane<const void*>& rows, PerLane<MmaA>& out) const {
    for (int lane = 0; lane < kLanes; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      for (int r = 0; r < 4; ++r) {
        const auto element = [&](int i) {
          uint16_t bits;
          std::memcpy(&bits, static_cast<const std::byte*>(rows[8 * r + i]) + 2 * row, 2);
          return bits;
        };
        out[lane].registers[r] = pack_pair(element(column), element(column + 1));
      }
    }
  }

 private:
  template <class T, class Join>
  static void join(PerLane<T>& values, int distance, Join function) {
    const PerLane<T> before = values;
    for (int lane = 0; lane < kLanes; ++lane)
      values[lane] = function(before[lane], before[lane ^ distance]);
  }
  template <class T, class Join>
  static T joined(PerLane<T> values, Join function) {
    for (int distance = 16; distance > 0; distance /= 2) join(values, distance, function);
    return values[0];
  }
  template <class Half>
  static float half_of(uint32_t pair, int index) {
    return to_float(Half{static_cast<uint16_t>(pair >> (16 * index))});
  }
};

class HostBlock {
 public:
  using Warp = HostWarp;
  template <class T>
  class PerWarp {
   public:
    T& operator[](int warp) { return values_[warp]; }

   private:
    T values_[8];
  };

  HostBlock(int threads, size_t shared_bytes)
      : threads_(threads), shared_(shared_bytes / 16 + 1, kNotStored) {}

  std::byte* shared() { return reinterpret_cast<std::byte*>(shared_.data()); }

  template <class Function>
  void each_thread(Function function) const {
    for (int thread = 0; thread < threads_; ++thread) function(thread);
  }
  template <class Function>
  void each_warp(Function function) const {
    for (int warp = 0; warp < threads_ / kLanes; ++warp) function(HostWarp{}, warp);
  }

 private:
  struct alignas(16) Chunk {
    uint64_t halves[2];
  };
  static constexpr Chunk kNotStored = {{~0ull, ~0ull}};

  int threads_;
  std::vector<Chunk> shared_;
};

// What cuda_launcher.cuh does on a device. Blocks run from the last to the first: their order must
// not matter.
struct HostLauncher {
  template <class Body>
  static void run(const Grid& grid, const Body& body) {
    for (int64_t block = grid.blocks() - 1; block >= 0; --block) {
      HostBlock host(Body::kThreads, Body::kSharedBytes);
      body(host, {block % grid.x, block / grid.x % grid.y, block / (grid.x * grid.y), grid.x});
    }
  }
};

}  // namespace twofour::cuda
