// Kernels as bodies that the device and the host both run. A body is a function object
//
//   template <class Block> void operator()(Block& block, const BlockIndex& index) const;
//
// that says what the threads of one block do, in phases: block.each_thread() and block.each_warp()
// run a function for every thread or warp and end with a barrier; inside, a warp's lanes meet in
// the functions of Block::Warp. On the device each thread does its own share; on the host
// (host_block.h) one thread plays all of them in turn, so that tests without a GPU run the very
// code of the device. What a thread keeps from phase to phase stands in Warp::PerLane, what a warp
// keeps in Block::PerWarp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "twofour/backend/cuda/device_math.h"

#if defined(__CUDACC__)
#define TWOFOUR_DEVICE __device__ __forceinline__
#define TWOFOUR_UNROLL _Pragma("unroll")
#else
#define TWOFOUR_DEVICE inline
#define TWOFOUR_UNROLL
#endif

namespace twofour::cuda {

constexpr int kLanes = 32;

// Blocks of a launch.
struct Grid {
  int64_t x = 1, y = 1, z = 1;
  int64_t blocks() const { return x * y * z; }
};

struct BlockIndex {
  int64_t x = 0, y = 0, z = 0;
  int64_t blocks_x = 1;  // of the grid
};

// Operands of a tensor core's 16 x 8 x 16 product, as its lanes hold them. With row = lane / 4 and
// column = lane % 4 * 2, each register holds two neighbours of 16 bits:
//
//   MmaA [16, 16]  (row, column), (row + 8, column), (row, column + 8), (row + 8, column + 8)
//   MmaB [16, 8]   transposed: element (k, n) with n = lane / 4 and k = column, column + 8
//   MmaC [16, 8]   f32 (row, column), (row, column + 1), (row + 8, column), (row + 8, column + 1)
//
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
struct MmaA {
  uint32_t registers[4];
};
struct MmaB {
  uint32_t registers[2];
};
struct MmaC {
  float values[4];
};

// Two numbers of 16 bits in a register, the first in the low half.
TWOFOUR_HOST_DEVICE uint32_t pack_pair(uint16_t first, uint16_t second) {
  return first | static_cast<uint32_t>(second) << 16;
}

template <class Half>
TWOFOUR_HOST_DEVICE uint32_t pack_rounded(float first, float second) {
  Half a, b;
  store(first, 1.0f, a);
  store(second, 1.0f, b);
  return pack_pair(a.bits, b.bits);
}

#if defined(__CUDACC__)

class DeviceWarp {
 public:
  template <class T>
  class PerLane {
   public:
    TWOFOUR_DEVICE T& operator[](int) { return value_; }
    TWOFOUR_DEVICE const T& operator[](int) const { return value_; }

   private:
    T value_;
  };

  template <class Function>
  TWOFOUR_DEVICE void each(Function function) const {
    function(static_cast<int>(threadIdx.x) % kLanes);
  }

  // Over all lanes, the same result in each: pairs 16, 8, 4, 2 and 1 lanes apart are joined in
  // turn.
  template <class T>
  TWOFOUR_DEVICE T sum(const PerLane<T>& values) const {
    T total = values[0];
    TWOFOUR_UNROLL
    for (int distance = 16; distance > 0; distance /= 2)
      total += __shfl_xor_sync(0xffffffff, total, distance);
    return total;
  }
  TWOFOUR_DEVICE float largest(const PerLane<float>& values) const {
    float top = values[0];
    TWOFOUR_UNROLL
    for (int distance = 16; distance > 0; distance /= 2)
      top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, distance));
    return top;
  }
  TWOFOUR_DEVICE float from_lane(const PerLane<float>& values, int lane) const {
    return __shfl_sync(0xffffffff, values[0], lane);
  }

  // In place, over each four neighbouring lanes.
  TWOFOUR_DEVICE void sum_quads(PerLane<float>& values) const {
    values[0] += __shfl_xor_sync(0xffffffff, values[0], 1);
    values[0] += __shfl_xor_sync(0xffffffff, values[0], 2);
  }
  TWOFOUR_DEVICE void largest_of_quads(PerLane<float>& values) const {
    values[0] = fmaxf(values[0], __shfl_xor_sync(0xffffffff, values[0], 1));
    values[0] = fmaxf(values[0], __shfl_xor_sync(0xffffffff, values[0], 2));
  }

  // c += a b.
  template <class Half>
  TWOFOUR_DEVICE void multiply_add(const PerLane<MmaA>& a, const PerLane<MmaB>& b,
                                   PerLane<MmaC>& c) const {
    const uint32_t* x = a[0].registers;
    const uint32_t* y = b[0].registers;
    float* z = c[0].values;
    if constexpr (Half::kIsBf16) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
          "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(z[0]), "+f"(z[1]), "+f"(z[2]), "+f"(z[3])
          : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    } else {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
          "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(z[0]), "+f"(z[1]), "+f"(z[2]), "+f"(z[3])
          : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    }
  }

  // Four 8 x 8 matrices of 16-bit elements in shared memory, each transposed: lane i gives the
  // address of row i % 8 of matrix i / 8, 16 bytes, aligned to 16. Register r of a lane gets
  // elements (column, row) and (column + 1, row) of matrix r, row and column as above.
  TWOFOUR_DEVICE void load_transposed(const PerLane<const void*>& rows, PerLane<MmaA>& out) const {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(rows[0]));
    uint32_t* r = out[0].registers;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
};

class DeviceBlock {
 public:
  using Warp = DeviceWarp;
  template <class T>
  class PerWarp {
   public:
    TWOFOUR_DEVICE T& operator[](int) { return value_; }

   private:
    T value_;
  };

  __device__ explicit DeviceBlock(std::byte* shared) : shared_(shared) {}

  TWOFOUR_DEVICE std::byte* shared() const { return shared_; }

  template <class Function>
  TWOFOUR_DEVICE void each_thread(Function function) const {
    function(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  template <class Function>
  TWOFOUR_DEVICE void each_warp(Function function) const {
    function(DeviceWarp{}, static_cast<int>(threadIdx.x) / kLanes);
    __syncthreads();
  }

 private:
  std::byte* shared_;
};

#endif

}  // namespace twofour::cuda
