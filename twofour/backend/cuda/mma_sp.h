// The sparse product of a warp's tensor core, mma.sp, and what its lanes hold. With row = lane / 4
// and t = lane % 4, registers hold bytes from low to high:
//
//   A [16, 64 bytes]  without its zeros [16, 32 bytes]: register i is row + i % 2 * 8, bytes
//                     4 t + i / 2 * 16 and three more along k
//   B [64 bytes, 8]   register i is column `row`, bytes 4 t + 16 i and three more along k
//   D [16, 8]         (row, 2 t), (row, 2 t + 1), (row + 8, 2 t), (row + 8, 2 t + 1)
//
// 64 bytes are 32 elements of 16 bits (m16n8k32) or 64 of 8 bits (m16n8k64). Of each group of four
// elements A holds two; a nibble of the metadata says which, i0 | i1 << 2 with i0 < i1:
//
//   16 bits  8 groups: lanes t = 2 s and 2 s + 1 of each four give the metadata of selector s, the
//            first of groups 0 to 3, the second of 4 to 7: low half `row`, high half row + 8
//   8 bits   16 groups: lane t gives those of row + t % 2 * 8, groups t / 2 * 8 and seven more
//
// Source: PTX ISA, "Matrix fragments for multiply-accumulate operation with sparse matrix A".
#pragma once

#include <cstdint>

#include "twofour/backend/cuda/warp.h"

namespace twofour::cuda {

struct MmaSpA {
  uint32_t registers[4];
};
struct MmaSpB {
  uint32_t registers[4];
};
template <class Sum>
struct MmaSpD {
  Sum values[4];
};

// Element types of A and B.
struct SparseF16 {
  using Sum = float;
  static constexpr int kBytes = 2;
};
struct SparseBf16 {
  using Sum = float;
  static constexpr int kBytes = 2;
};
struct SparseS8 {
  using Sum = int32_t;
  static constexpr int kBytes = 1;
};

#if defined(__CUDACC__)

// The order of indices in a nibble is a promise to the hardware, which older compilers cannot make.
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 5)
#define TWOFOUR_MMA_SP "mma.sp::ordered_metadata.sync.aligned."
#else
#define TWOFOUR_MMA_SP "mma.sp.sync.aligned."
#endif
#define TWOFOUR_MMA_SP_OPERANDS \
  " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, "

// d += a b. `kSelector` is 0 for 8-bit elements.
template <class Type, int kSelector>
TWOFOUR_DEVICE void multiply_add_sparse(const DeviceWarp&, const DeviceWarp::PerLane<MmaSpA>& a,
                                        const DeviceWarp::PerLane<uint32_t>& metadata,
                                        const DeviceWarp::PerLane<MmaSpB>& b,
                                        DeviceWarp::PerLane<MmaSpD<typename Type::Sum>>& d) {
  const uint32_t* x = a[0].registers;
  const uint32_t* y = b[0].registers;
  auto* z = d[0].values;
  if constexpr (std::is_same_v<Type, SparseS8>) {
    static_assert(kSelector == 0);
    asm volatile(TWOFOUR_MMA_SP "m16n8k64.row.col.s32.s8.s8.s32" TWOFOUR_MMA_SP_OPERANDS "0x0;"
                 : "+r"(z[0]), "+r"(z[1]), "+r"(z[2]), "+r"(z[3])
                 : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]), "r"(y[2]),
                   "r"(y[3]), "r"(metadata[0]));
  } else if constexpr (std::is_same_v<Type, SparseF16>) {
    asm volatile(TWOFOUR_MMA_SP "m16n8k32.row.col.f32.f16.f16.f32" TWOFOUR_MMA_SP_OPERANDS "%13;"
                 : "+f"(z[0]), "+f"(z[1]), "+f"(z[2]), "+f"(z[3])
                 : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]), "r"(y[2]),
                   "r"(y[3]), "r"(metadata[0]), "n"(kSelector));
  } else {
    asm volatile(TWOFOUR_MMA_SP "m16n8k32.row.col.f32.bf16.bf16.f32" TWOFOUR_MMA_SP_OPERANDS "%13;"
                 : "+f"(z[0]), "+f"(z[1]), "+f"(z[2]), "+f"(z[3])
                 : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]), "r"(y[2]),
                   "r"(y[3]), "r"(metadata[0]), "n"(kSelector));
  }
}

// What the other lane of each pair (0 and 1, 2 and 3, ...) holds.
TWOFOUR_DEVICE void swap_pairs(const DeviceWarp&, DeviceWarp::PerLane<uint32_t>& value) {
  value[0] = __shfl_xor_sync(0xffffffff, value[0], 1);
}

#undef TWOFOUR_MMA_SP_OPERANDS
#undef TWOFOUR_MMA_SP

#endif

}  // namespace twofour::cuda
