#include "twofour/backend/cpu/panels.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "twofour/backend/cpu/row_sharing.h"
#include "twofour/base/dtype.h"

namespace twofour {
namespace {

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

AlignedBuffer zeroed(size_t bytes) {
  AlignedBuffer buffer(bytes);
  std::memset(buffer.data(), 0, bytes);
  return buffer;
}

// Appends a panel whose position (block, lane) holds output row `row_at(block, lane)`, -1 for
// padding.
template <class RowAt>
PackedWeights::Panel& append_panel(PackedWeights& packed, int lanes, int blocks, RowAt row_at) {
  PackedWeights::Panel panel;
  panel.rows = static_cast<int64_t>(packed.row_map.size());
  panel.blocks = blocks;
  int32_t lowest = INT32_MAX, highest = -1, count = 0;
  for (int block = 0; block < blocks; ++block) {
    for (int lane = 0; lane < lanes; ++lane) {
      const int32_t row = row_at(block, lane);
      packed.row_map.push_back(row);
      if (row < 0) continue;
      lowest = std::min(lowest, row);
      highest = std::max(highest, row);
      ++count;
    }
  }
  if (highest - lowest + 1 == count) {
    panel.first_row = lowest;
    panel.row_count = count;
    const auto rows = packed.row_map.begin() + panel.rows;
    panel.in_order = std::is_sorted(rows, rows + count) && rows[0] >= 0;
  }
  packed.panels.push_back(panel);
  return packed.panels.back();
}

// Where in its panel each output row of a panel without gaps stands.
void fill_store_map(PackedWeights& packed) {
  packed.store_map = zeroed(packed.row_map.size() * sizeof(int32_t));
  const size_t end = packed.row_map.size();
  for (size_t p = 0; p < packed.panels.size(); ++p) {
    const auto& panel = packed.panels[p];
    const size_t stop = p + 1 < packed.panels.size() ? packed.panels[p + 1].rows : end;
    for (size_t i = panel.rows; panel.row_count > 0 && i < stop; ++i) {
      const int32_t row = packed.row_map[i];
      if (row < 0) continue;
      packed.store_map.as<int32_t>()[panel.rows + row - panel.first_row] =
          static_cast<int32_t>(i - panel.rows);
    }
  }
}

// Scales, bias and row sums in packed order; padding gets zeros.
void pack_row_data(const WeightSource& source, PackedWeights& packed) {
  fill_store_map(packed);
  const size_t positions = packed.row_map.size();
  packed.scales = zeroed(positions * sizeof(float));
  packed.bias = zeroed(positions * sizeof(float));
  packed.row_sums = zeroed(positions * sizeof(int32_t));
  const int8_t* weight = source.weight.dtype == DType::kI8
                             ? reinterpret_cast<const int8_t*>(source.weight.data)
                             : nullptr;
  for (size_t i = 0; i < positions; ++i) {
    const int32_t row = packed.row_map[i];
    if (row < 0) continue;
    if (!source.bias.empty()) packed.bias.as<float>()[i] = source.bias[row];
    if (!source.scales.empty()) packed.scales.as<float>()[i] = source.scales[row];
    if (weight == nullptr) continue;
    int32_t sum = 0;
    for (int64_t j = 0; j < packed.k; ++j) sum += weight[row * packed.k + j];
    packed.row_sums.as<int32_t>()[i] = sum;
  }
}

// A weight as kernels hold it: bf16 in bits.
template <class Packed>
Packed pack_value(float value) {
  return f32_to_bf16(value);
}
template <>
float pack_value<float>(float value) {
  return value;
}
template <class Packed>
Packed pack_value(int8_t value) {
  return value;
}

template <class Packed, class T>
void copy_dense(const T* weight, PackedWeights& packed, const PackedWeights::Panel& panel,
                int lanes, int step) {
  Packed* out = packed.weights.as<Packed>() + panel.weights;
  for (int64_t j0 = 0; j0 < packed.k_padded; j0 += step) {
    for (int position = 0; position < panel.blocks * lanes; ++position) {
      const int32_t row = packed.row_map[panel.rows + position];
      for (int64_t j = j0; j < j0 + step; ++j) {
        *out++ =
            row >= 0 && j < packed.k ? pack_value<Packed>(weight[row * packed.k + j]) : Packed{0};
      }
    }
  }
}

// Two ascending indices that cover the non-zeros of one group in all rows of a set.
template <class T>
uint8_t group_pattern(const T* weight, int64_t k, const int32_t* rows, int count, int stride,
                      int64_t group) {
  int used = 0;
  for (int r = 0; r < count; ++r) {
    const int32_t row = rows[r * stride];
    if (row < 0) continue;
    for (int i = 0; i < 4; ++i) used |= (weight[row * k + group * 4 + i] != 0) << i;
  }
  for (int i = 0; __builtin_popcount(used) < 2; ++i) used |= 1 << i;
  const int first = __builtin_ctz(used);
  const int second = __builtin_ctz(used & (used - 1));
  return static_cast<uint8_t>(first | second << 2);
}

// What a lane holds of one step: the non-zeros of so many groups, next to each other or a vector
// apart.
template <class Packed>
struct LaneLayout;
template <>
struct LaneLayout<int8_t> {
  static constexpr int kGroups = 2;
  static int64_t at(int, int64_t lane, int i) { return lane * 4 + i; }
};
template <>
struct LaneLayout<uint16_t> {
  static constexpr int kGroups = 1;
  static int64_t at(int, int64_t lane, int i) { return lane * 2 + i; }
};
template <>
struct LaneLayout<float> {
  static constexpr int kGroups = 1;
  static int64_t at(int lanes, int64_t lane, int i) { return i * lanes + lane; }
};

// One step of one lane: its pattern, then the values that it selects in each of the blocks that
// share it.
template <class Packed, class T>
class LanePacker {
 public:
  using Layout = LaneLayout<Packed>;
  static constexpr int kValues = 2 * Layout::kGroups;

  LanePacker(const T* weight, PackedWeights& packed, const PackedWeights::Panel& panel, int lanes)
      : weight_(weight),
        packed_(packed),
        panel_(panel),
        lanes_(lanes),
        patterns_(panel.blocks / panel.shared) {}

  void pack(int64_t step, int pattern, int lane) {
    const int first_block = pattern * panel_.shared;
    const int32_t* rows = &packed_.row_map[panel_.rows + first_block * lanes_ + lane];
    uint8_t byte = 0;
    for (int g = 0; g < Layout::kGroups; ++g) {
      byte |=
          group_pattern(weight_, packed_.k, rows, panel_.shared, lanes_, Layout::kGroups * step + g)
          << (4 * g);
    }
    packed_.metadata.as<uint8_t>()[panel_.metadata + (step * patterns_ + pattern) * lanes_ + lane] =
        byte;
    for (int b = 0; b < panel_.shared; ++b) {
      Packed* out = packed_.weights.as<Packed>() + panel_.weights +
                    (step * panel_.blocks + first_block + b) * lanes_ * kValues;
      const int32_t row = rows[b * lanes_];
      for (int i = 0; i < kValues; ++i) {
        const int64_t column = step * 4 * Layout::kGroups + i / 2 * 4 + ((byte >> (2 * i)) & 3);
        out[Layout::at(lanes_, lane, i)] =
            row < 0 ? Packed{0} : pack_value<Packed>(weight_[row * packed_.k + column]);
      }
    }
  }

 private:
  const T* weight_;
  PackedWeights& packed_;
  const PackedWeights::Panel& panel_;
  int lanes_;
  int patterns_;
};

template <class Packed, class T>
void pack_lanes(const T* weight, PackedWeights& packed, int lanes) {
  const int64_t steps = packed.k / (4 * LaneLayout<Packed>::kGroups);
  int64_t elements = 0, metadata = 0;
  for (auto& panel : packed.panels) {
    panel.weights = elements;
    panel.metadata = metadata;
    elements += steps * panel.blocks * lanes * LanePacker<Packed, T>::kValues;
    metadata += steps * (panel.blocks / panel.shared) * lanes;
  }
  packed.weights = AlignedBuffer(elements * sizeof(Packed));
  packed.metadata = AlignedBuffer(metadata);
  for (const auto& panel : packed.panels) {
    LanePacker<Packed, T> lane_packer(weight, packed, panel, lanes);
    for (int64_t step = 0; step < steps; ++step) {
      for (int pattern = 0; pattern < panel.blocks / panel.shared; ++pattern) {
        for (int lane = 0; lane < lanes; ++lane) lane_packer.pack(step, pattern, lane);
      }
    }
  }
}

constexpr int kTileLanes = 16, kTileRows = 16, kTileBlocks = 2;

template <class Packed>
constexpr int kRowsPerMask = 8 * sizeof(Packed);  // rows of a tile whose masks a vector holds

// One tile: step `step` of the 16 rows from `rows` on.
template <class Packed, class T>
void pack_tile(const T* weight, int64_t k, const int32_t* rows, int64_t step, std::byte* out) {
  constexpr int kElements = 4 / sizeof(Packed);  // of one output row in a row of the tile
  using Mask = std::conditional_t<sizeof(Packed) == 1, uint8_t, uint16_t>;
  auto* values = reinterpret_cast<Packed*>(out);
  auto* masks = reinterpret_cast<Mask*>(out + kTileValueBytes);
  for (int r = 0; r < kTileRows; ++r) {
    Mask* mask = masks + r / kRowsPerMask<Packed> * kTileLanes * kElements;
    const auto bit = static_cast<Mask>(1u << (kRowsPerMask<Packed> - 1 - r % kRowsPerMask<Packed>));
    for (int lane = 0; lane < kTileLanes; ++lane) {
      const int64_t first = (step * kTileRows + r) * kElements;
      const bool padding = first >= k || rows[lane] < 0;
      const uint8_t pattern =
          padding ? 0 | 1 << 2 : group_pattern(weight, k, rows + lane, 1, 1, first / 4);
      for (int i = 0; i < kElements; ++i) {
        const int position = static_cast<int>((first + i) % 4);
        if (position != (pattern & 3) && position != pattern >> 2) continue;
        mask[lane * kElements + i] |= bit;
        *values++ = padding ? Packed{0} : pack_value<Packed>(weight[rows[lane] * k + first + i]);
      }
    }
  }
}

template <class Packed, class T>
void pack_tiles(const T* weight, PackedWeights& packed) {
  const int64_t steps = packed.k_padded * sizeof(Packed) / 64;
  int64_t bytes = 0;
  for (auto& panel : packed.panels) {
    panel.weights = bytes;
    bytes += steps * panel.blocks * kPackedTileBytes<sizeof(Packed)>;
  }
  packed.weights = zeroed(bytes);
  for (const auto& panel : packed.panels) {
    std::byte* out = packed.weights.data() + panel.weights;
    for (int64_t step = 0; step < steps; ++step) {
      for (int block = 0; block < panel.blocks; ++block, out += kPackedTileBytes<sizeof(Packed)>) {
        pack_tile<Packed>(weight, packed.k, &packed.row_map[panel.rows + block * kTileLanes], step,
                          out);
      }
    }
  }
}

void append_shared(PackedWeights& packed, const std::vector<std::vector<int32_t>>& sets, int lanes,
                   int shared) {
  for (size_t begin = 0; begin < sets.size(); begin += lanes) {
    append_panel(packed, lanes, shared, [&](int block, int lane) {
      return begin + lane < sets.size() ? sets[begin + lane][block] : -1;
    }).shared = shared;
  }
}

void append_singles(PackedWeights& packed, const std::vector<std::vector<int32_t>>& singles,
                    int lanes) {
  for (size_t begin = 0; begin < singles.size(); begin += 2 * lanes) {
    const int blocks = begin + lanes < singles.size() ? 2 : 1;
    append_panel(packed, lanes, blocks, [&](int block, int lane) {
      const size_t i = begin + block * lanes + lane;
      return i < singles.size() ? singles[i][0] : -1;
    });
  }
}

// Panels of up to `blocks` blocks, all rows in their own order.
PackedWeights rows_in_order(const MatmulDesc& desc, int lanes, int blocks, int k_multiple) {
  PackedWeights packed;
  packed.n = desc.n;
  packed.k = desc.k;
  packed.k_padded = round_up(desc.k, k_multiple);
  for (int64_t row = 0; row < desc.n; row += blocks * lanes) {
    const int needed = static_cast<int>((desc.n - row + lanes - 1) / lanes);
    append_panel(packed, lanes, std::min(blocks, needed), [&](int block, int lane) {
      const int64_t r = row + block * lanes + lane;
      return r < desc.n ? static_cast<int32_t>(r) : -1;
    });
  }
  return packed;
}

}  // namespace

PackedWeights pack_dense(const MatmulDesc& desc, const WeightSource& source, int lanes, int blocks,
                         int step, int k_multiple) {
  PackedWeights packed = rows_in_order(desc, lanes, blocks, k_multiple);
  int64_t elements = 0;
  for (PackedWeights::Panel& panel : packed.panels) {
    panel.weights = elements;
    elements += panel.blocks * lanes * packed.k_padded;
  }
  pack_row_data(source, packed);
  packed.weights = AlignedBuffer(elements * element_bytes(desc.type));
  for (const auto& panel : packed.panels) {
    switch (desc.type) {
      case MatmulType::kF32:
        copy_dense<float>(source.weight.as<float>().data(), packed, panel, lanes, step);
        break;
      case MatmulType::kBf16:
        copy_dense<uint16_t>(source.weight.as<float>().data(), packed, panel, lanes, step);
        break;
      case MatmulType::kS8:
        copy_dense<int8_t>(source.weight.as<int8_t>().data(), packed, panel, lanes, step);
        break;
    }
  }
  return packed;
}

PackedWeights pack_sparse24(const MatmulDesc& desc, const WeightSource& source, int lanes) {
  PackedWeights packed;
  packed.n = desc.n;
  packed.k = packed.k_padded = desc.k;
  const SharingPlan plan = plan_sharing(source.weight);
  append_shared(packed, plan.quads, lanes, 4);
  append_shared(packed, plan.pairs, lanes, 2);
  append_singles(packed, plan.singles, lanes);
  packed.share_rows = plan.singles.empty() ? (plan.pairs.empty() ? 4 : 2) : 1;
  pack_row_data(source, packed);
  switch (desc.type) {
    case MatmulType::kF32:
      pack_lanes<float>(source.weight.as<float>().data(), packed, lanes);
      break;
    case MatmulType::kBf16:
      pack_lanes<uint16_t>(source.weight.as<float>().data(), packed, lanes);
      break;
    case MatmulType::kS8:
      pack_lanes<int8_t>(source.weight.as<int8_t>().data(), packed, lanes);
      break;
  }
  return packed;
}

PackedWeights pack_sparse24_tiles(const MatmulDesc& desc, const WeightSource& source) {
  const bool s8 = desc.type == MatmulType::kS8;
  PackedWeights packed = rows_in_order(desc, kTileLanes, kTileBlocks, s8 ? 64 : 32);
  pack_row_data(source, packed);
  if (s8) {
    pack_tiles<int8_t>(source.weight.as<int8_t>().data(), packed);
  } else {
    pack_tiles<uint16_t>(source.weight.as<float>().data(), packed);
  }
  return packed;
}

}  // namespace twofour
