// mma_sp.h's product on the host, for tests: operands are taken apart as the PTX ISA describes
// them.
#pragma once

#include <type_traits>

#include "twofour/backend/cuda/host_block.h"
#include "twofour/backend/cuda/mma_sp.h"

namespace twofour::cuda {

// Element `index` of a register, as a number.
template <class Type>
float host_element(uint32_t bits, int index) {
  if constexpr (std::is_same_v<Type, SparseS8>)
    return static_cast<int8_t>(bits >> (8 * index));
  else if constexpr (std::is_same_v<Type, SparseF16>)
    return f16_to_f32(static_cast<uint16_t>(bits >> (16 * index)));
  else
    return bf16_to_f32(static_cast<uint16_t>(bits >> (16 * index)));
}

// The nibble of a row's group.
template <class Type, int kSelector>
uint32_t host_nibble(const HostWarp::PerLane<uint32_t>& metadata, int row, int group) {
  const int quad = row % 8 * 4, upper = row / 8;
  if constexpr (std::is_same_v<Type, SparseS8>)
    return metadata[quad + group / 8 * 2 + upper] >> (4 * (group % 8)) & 15;
  return metadata[quad + 2 * kSelector + group / 4] >> (16 * upper + 4 * (group % 4)) & 15;
}

template <class Type, int kSelector>
void multiply_add_sparse(const HostWarp&, const HostWarp::PerLane<MmaSpA>& a,
                         const HostWarp::PerLane<uint32_t>& metadata,
                         const HostWarp::PerLane<MmaSpB>& b,
                         HostWarp::PerLane<MmaSpD<typename Type::Sum>>& d) {
  constexpr int kInRegister = 4 / Type::kBytes;
  constexpr int kDepth = 64 / Type::kBytes;
  float x[16][kDepth] = {}, y[kDepth][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int row = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int e = 0; e < kInRegister; ++e) {
        const int stored = (4 * t + i / 2 * 16) / Type::kBytes + e;
        const int group = stored / 2, a_row = row + i % 2 * 8;
        const uint32_t nibble = host_nibble<Type, kSelector>(metadata, a_row, group);
        const int position = static_cast<int>(stored % 2 == 0 ? nibble & 3 : nibble >> 2);
        x[a_row][4 * group + position] = host_element<Type>(a[lane].registers[i], e);
        y[(4 * t + 16 * i) / Type::kBytes + e][row] = host_element<Type>(b[lane].registers[i], e);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (int k = 0; k < kDepth; ++k)
        d[lane].values[i] += static_cast<typename Type::Sum>(x[row][k] * y[k][column]);
    }
  }
}

inline void swap_pairs(const HostWarp&, HostWarp::PerLane<uint32_t>& value) {
  const HostWarp::PerLane<uint32_t> before = value;
  for (int lane = 0; lane < kLanes; ++lane) value[lane] = before[lane ^ 1];
}

}  // namespace twofour::cuda
