#include "twofour/backend/cuda/spmm24_mma_weight.h"

#include <fmt/format.h>

#include <cstring>

#include "twofour/base/error.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::cuda {
namespace {

constexpr int kTile = 16;   // rows
constexpr int kBlock = 64;  // elements along k
constexpr int kLanes = 32;
constexpr uint32_t kZeroNibble = 0 | 1 << 2;  // of a group without weights

void check_shape(std::string_view name, DType type, int64_t n, int64_t k) {
  if (type != DType::kF16 && type != DType::kBF16 && type != DType::kI8)
    throw Error(name, fmt::format("{} is no type of spmm24_mma, expected F16, BF16 or I8",
                                  dtype_name(type)));
  const int64_t multiple = 32 / static_cast<int64_t>(dtype_bytes(type));
  if (n <= 0 || n % kTile != 0 || k <= 0 || k % multiple != 0) {
    throw Error(name, fmt::format("the weight is [{}, {}], expected multiples of {} and {}", n, k,
                                  kTile, multiple));
  }
}

class Packer {
 public:
  Packer(const Sparse24Matrix& matrix, DType type)
      : matrix_(matrix), bytes_(static_cast<int>(dtype_bytes(type))), groups_(matrix.cols / 4) {
    out_.type = type;
    out_.n = matrix.rows;
    out_.k = matrix.cols;
    out_.blocks = (matrix.cols + kBlock - 1) / kBlock;
  }

  Spmm24MmaWeight run() {
    const int64_t tiles = out_.n / kTile;
    out_.values.resize(tiles * out_.blocks * kBlock / 2 * kTile * bytes_);
    out_.metadata.resize(tiles * out_.blocks * kLanes);
    std::byte* values = out_.values.data();
    uint32_t* metadata = out_.metadata.data();
    for (int64_t tile = 0; tile < tiles; ++tile) {
      for (int64_t block = 0; block < out_.blocks; ++block) {
        for (int chunk = 0; chunk < bytes_; ++chunk) {
          for (int lane = 0; lane < kLanes; ++lane, values += 16)
            operand(tile, block * bytes_ + chunk, lane, values);
        }
        for (int lane = 0; lane < kLanes; ++lane, ++metadata)
          *metadata =
              bytes_ == 1 ? metadata_of_8(tile, block, lane) : metadata_of_16(tile, block, lane);
      }
    }
    return std::move(out_);
  }

 private:
  int groups_in_chunk() const { return 16 / bytes_; }

  // Group of the weight that is operand group `group` of a chunk.
  int64_t source(int64_t chunk, int group) const {
    return chunk * groups_in_chunk() + spmm24_mma_group(bytes_, group);
  }

  // Four registers of a lane; a register holds the two values of one group or of two.
  void operand(int64_t tile, int64_t chunk, int lane, std::byte* out) const {
    const int t = lane % 4, in_register = 2 / bytes_;
    for (int i = 0; i < 4; ++i) {
      const int64_t row = tile * kTile + lane / 4 + i % 2 * 8;
      for (int g = 0; g < in_register; ++g) {
        const int group = (t + i / 2 * 4) * in_register + g;
        stored_pair(row, source(chunk, group), out + 4 * i + 2 * bytes_ * g);
      }
    }
  }

  void stored_pair(int64_t row, int64_t group, std::byte* out) const {
    if (group >= groups_) return;  // zeros already
    const int64_t at = (row * groups_ + group) * 2 * bytes_;
    std::memcpy(out, matrix_.values.data() + at, 2 * bytes_);
  }

  uint32_t nibble(int64_t row, int64_t group) const {
    if (group >= groups_) return kZeroNibble;
    const int64_t at = row * groups_ + group;
    const auto byte = static_cast<uint32_t>(matrix_.metadata.data()[at / 2]);
    return byte >> (at % 2 * 4) & 15;
  }

  uint32_t metadata_of_8(int64_t tile, int64_t chunk, int lane) const {
    const int t = lane % 4;
    const int64_t row = tile * kTile + lane / 4 + t % 2 * 8;
    uint32_t bits = 0;
    for (int g = 0; g < 8; ++g) bits |= nibble(row, source(chunk, t / 2 * 8 + g)) << (4 * g);
    return bits;
  }

  uint32_t metadata_of_16(int64_t tile, int64_t block, int lane) const {
    const int t = lane % 4;
    const int64_t row = tile * kTile + lane / 4, chunk = block * 2 + t / 2;
    uint32_t bits = 0;
    for (int g = 0; g < 4; ++g) {
      const int64_t group = source(chunk, t % 2 * 4 + g);
      bits |= nibble(row, group) << (4 * g) | nibble(row + 8, group) << (16 + 4 * g);
    }
    return bits;
  }

  const Sparse24Matrix& matrix_;
  int bytes_;
  int64_t groups_;
  Spmm24MmaWeight out_;
};

}  // namespace

Spmm24MmaWeight pack_spmm24_mma(std::string_view name, DType type, int64_t n, int64_t k,
                                const void* weight) {
  check_shape(name, type, n, k);
  const TensorView view{type, {n, k}, static_cast<const std::byte*>(weight)};
  return Packer(compress(name, view), type).run();
}

}  // namespace twofour::cuda
