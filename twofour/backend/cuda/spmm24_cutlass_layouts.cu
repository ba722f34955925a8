// CUTLASS's own functions, on the host, against what this project relies on: where the packer puts
// values and metadata, what the threads of a block read, and which sums a lane holds. Only in
// builds with CUTLASS.
#include <gtest/gtest.h>

#include <cutlass/cutlass.h>
// Its iterators are plain arithmetic, which the host runs as well.
#undef CUTLASS_DEVICE
#define CUTLASS_DEVICE CUTLASS_HOST_DEVICE
#include <cutlass/gemm/warp/mma_tensor_op_tile_iterator.h>
#include <cutlass/transform/threadblock/predicated_tile_access_iterator.h>
#undef CUTLASS_DEVICE
#define CUTLASS_DEVICE __forceinline__ __device__
#include <cutlass/util/host_reorder.h>
#include <cutlass/util/host_uncompress.h>

#include "twofour/backend/cuda/random_weight.h"
#include "twofour/backend/cuda/spmm24_cutlass_sm80.cuh"
#include "twofour/backend/cuda/spmm24_cutlass_sm90_config.h"
#include "twofour/backend/cuda/spmm24_cutlass_weight.h"

namespace twofour::cuda {
namespace {

struct Shape {
  int64_t n, k;
};
constexpr Shape kShapes[] = {{16, 128}, {80, 256}, {128, 384}, {160, 640}};

template <class Element>
constexpr DType kTypeOf = std::is_same_v<Element, int8_t> ? DType::kI8 : DType::kF16;

template <class T>
cutlass::TensorRef<T, cutlass::layout::RowMajor> rows(T* data, int64_t stride) {
  return {data, cutlass::layout::RowMajor(stride)};
}

// Taken apart by CUTLASS: its order of the metadata undone element by element, then uncompress().
template <class Element, class Meta>
void expect_cutlass_uncompresses_sm80(const Shape& shape) {
  const DType type = kTypeOf<Element>;
  const auto [n, k] = shape;
  const auto weight = random_matrix(type, n, k, true, 7);
  auto packed = pack_spmm24_cutlass("w", CutlassForm::kSm80, type, n, k, weight.data());
  const auto metadata_rows = static_cast<int>(spmm24_cutlass_rows(CutlassForm::kSm80, n));
  const int columns = static_cast<int>(k / 2 / (sizeof(Meta) * 8 / 2));
  ASSERT_EQ(packed.metadata.size(), metadata_rows * columns * sizeof(Meta));

  // Each element is marked by its number, so that the order can be read off.
  const cutlass::gemm::GemmCoord problem(metadata_rows, 0, columns);
  using Stored = cutlass::layout::ColumnMajorInterleaved<2>;
  std::vector<uint32_t> number(metadata_rows * columns);
  for (size_t i = 0; i < number.size(); ++i) number[i] = static_cast<uint32_t>(i);
  // reorder_meta() tells its two orders apart by the size of its element.
  std::vector<Meta> plain(number.begin(), number.end()), ordered(number.size());
  ASSERT_LE(number.size(), size_t{1} << 16);
  cutlass::reorder_meta(cutlass::TensorRef<Meta, Stored>(ordered.data(), Stored(metadata_rows * 2)),
                        rows(plain.data(), columns), problem);
  const auto* stored = reinterpret_cast<const Meta*>(packed.metadata.data());
  std::vector<Meta> metadata(number.size());
  for (size_t i = 0; i < number.size(); ++i) metadata[ordered[i]] = stored[i];

  std::vector<Element> found(n * k);
  cutlass::uncompress(rows(found.data(), k),
                      rows(reinterpret_cast<Element*>(packed.values.data()), k / 2),
                      rows(metadata.data(), columns), static_cast<int>(n), static_cast<int>(k));
  EXPECT_EQ(std::memcmp(found.data(), weight.data(), weight.size()), 0)
      << dtype_name(type) << ' ' << n << ' ' << k;
}

TEST(Spmm24CutlassLayouts, CutlassUncompressesWhatIsPackedForMmaSp) {
  for (const Shape& shape : kShapes) {
    expect_cutlass_uncompresses_sm80<cutlass::half_t, uint16_t>(shape);
    expect_cutlass_uncompresses_sm80<int8_t, uint32_t>(shape);
  }
}

// Read through the layouts that the collective is given.
template <class Element>
void expect_cutlass_uncompresses_sm90(const Shape& shape) {
  using Config = CutlassSm90Config<Element>;
  const DType type = kTypeOf<Element>;
  const auto [n, k] = shape;
  const auto weight = random_matrix(type, n, k, true, 7);
  const auto packed = pack_spmm24_cutlass("w", CutlassForm::kSm90, type, n, k, weight.data());
  const auto problem = cute::make_shape(static_cast<int>(n), 64, static_cast<int>(k), 1);
  const auto values = Config::fill_layoutA(problem);
  const auto metadata = Config::fill_layoutE(problem);
  constexpr int64_t kOfByte = 8;  // logical elements that a byte of metadata stands for
  ASSERT_EQ(static_cast<int64_t>(packed.metadata.size()), cute::cosize(metadata) / kOfByte);
  ASSERT_EQ(static_cast<int64_t>(packed.values.size()),
            cute::cosize(values) / 2 * static_cast<int64_t>(sizeof(Element)));
  const auto* stored = reinterpret_cast<const Element*>(packed.values.data());
  std::vector<Element> found(n * k, Element(0));
  for (int row = 0; row < n; ++row) {
    for (int column = 0; column < k; column += 4) {
      const int64_t bit = static_cast<int64_t>(metadata(row, column, 0)) * 8 / kOfByte;
      const auto byte = static_cast<int>(packed.metadata[bit / 8]);
      const int nibble = byte >> (bit % 8) & 15;
      // Two logical elements share one that is stored.
      const int64_t value = static_cast<int64_t>(values(row, column, 0)) / 2;
      if (stored[value] != Element(0)) found[row * k + column + (nibble & 3)] = stored[value];
      if (stored[value + 1] != Element(0))
        found[row * k + column + (nibble >> 2)] = stored[value + 1];
    }
  }
  EXPECT_EQ(std::memcmp(found.data(), weight.data(), weight.size()), 0)
      << dtype_name(type) << ' ' << n << ' ' << k;
}

TEST(Spmm24CutlassLayouts, TheCollectivesLayoutsReadWhatIsPackedForWgmmaSp) {
  for (const Shape& shape : kShapes) {
    expect_cutlass_uncompresses_sm90<cutlass::half_t>(shape);
    expect_cutlass_uncompresses_sm90<int8_t>(shape);
  }
  // Blocks along k that are not whole.
  expect_cutlass_uncompresses_sm90<cutlass::half_t>({48, 16});
  expect_cutlass_uncompresses_sm90<int8_t>({48, 160});
}

// How often each byte of a buffer is read, by 16 and more at once.
class Reads {
 public:
  explicit Reads(size_t bytes) : memory_(bytes), counts_(bytes) {}
  std::byte* data() { return memory_.data(); }

  // All that an iterator gives a thread for `steps` along k, as SparseMmaMultistage takes it.
  template <class Iterator>
  void add(Iterator iterator, int steps, const cutlass::MatrixCoord& step) {
    constexpr size_t kBytes = sizeof(typename Iterator::AccessType);
    for (int i = 0; i < steps; ++i) {
      iterator.set_iteration_index(0);
      for (int j = 0; j < Iterator::ThreadMap::Iterations::kCount; ++j) {
        if (iterator.valid()) {
          const auto at = reinterpret_cast<std::byte*>(iterator.get()) - memory_.data();
          ASSERT_TRUE(at >= 0 && at + kBytes <= memory_.size()) << at;
          for (size_t byte = 0; byte < kBytes; ++byte) ++counts_[at + byte];
        }
        ++iterator;
      }
      iterator.add_tile_offset(step);
    }
  }

  // Rows of `width` bytes are read `count` times, what lies between never.
  void expect(int count, size_t width, size_t stride) const {
    for (size_t i = 0; i < counts_.size(); ++i)
      ASSERT_EQ(counts_[i], i % stride < width ? count : 0) << i;
  }

 private:
  std::vector<std::byte> memory_;
  std::vector<int> counts_;
};

template <class Kernel>
void expect_every_byte_is_read(int64_t m, int64_t n, int64_t k) {
  using Mma = typename Kernel::Mma;
  constexpr size_t kBytes = sizeof(typename Kernel::Element);
  const int64_t rows = spmm24_cutlass_rows(CutlassForm::kSm80, n), x_stride = k + 64;
  Reads values(n * k / 2 * kBytes), x(m * x_stride * kBytes), metadata(rows * k / 8);
  Spmm24CutlassLaunch launch;
  launch.args.values = values.data();
  launch.args.x = x.data();
  launch.args.metadata = metadata.data();
  launch.args.m = m;
  launch.args.n = n;
  launch.args.k = k;
  launch.args.x_stride = x_stride;
  const auto params = Kernel::params(launch);
  const auto steps = static_cast<int>(k / Kernel::kDepth);
  for (int row = 0; row < n; row += Mma::Shape::kM) {
    for (int thread = 0; thread < Kernel::Tile::kThreads; ++thread) {
      values.add(Kernel::values(params, thread, row), steps, {0, 1});
      if (thread / kLanes < Mma::Detail::kValidWarps)
        metadata.add(Kernel::metadata(params, thread, row), steps, {0, 1});
    }
  }
  for (int token = 0; token < m; token += Mma::Shape::kN) {
    for (int thread = 0; thread < Kernel::Tile::kThreads; ++thread)
      x.add(Kernel::x(params, thread, token), steps, {1, 0});
  }
  values.expect(1, 1, 1);
  metadata.expect(1, 1, 1);
  x.expect(1, k * kBytes, x_stride * kBytes);
}

template <class Kernel>
void expect_sums_where_cutlass_has_them() {
  using Tile = typename Kernel::Tile;
  using Mma = typename Kernel::Mma;
  using Sum = typename Tile::Sum;
  constexpr int kTokens = Mma::Shape::kN;
  for (int warp = 0; warp < Tile::kWarps; ++warp) {
    for (int lane = 0; lane < kLanes; ++lane) {
      std::vector<Sum> block(Mma::Shape::kMN, -1);
      typename Mma::Operator::IteratorC iterator({block.data(), cutlass::layout::RowMajor(kTokens)},
                                                 lane);
      // As SparseMmaMultistage places its warps.
      iterator.add_tile_offset({warp % Mma::WarpCount::kM, warp / Mma::WarpCount::kM});
      typename Mma::FragmentC sums;
      for (int i = 0; i < Tile::kSums; ++i) sums[i] = static_cast<Sum>(i);
      iterator.store(sums);
      for (int i = 0; i < Tile::kSums; ++i) {
        const int place = Tile::place(warp, lane, i);
        ASSERT_EQ(block[place % Tile::kStride * kTokens + place / Tile::kStride], Sum(i))
            << warp << ' ' << lane << ' ' << i;
      }
    }
  }
}

template <class Kernel>
class MmaSpKernels : public testing::Test {};
using Kernels = testing::Types<
    sm80::Kernel<SparseF16, 64, 64, 32, 32>, sm80::Kernel<SparseF16, 128, 64, 64, 32>,
    sm80::Kernel<SparseBf16, 128, 128, 64, 64>, sm80::Kernel<SparseS8, 64, 64, 32, 32>,
    sm80::Kernel<SparseS8, 128, 64, 64, 32>, sm80::Kernel<SparseS8, 128, 128, 64, 64>>;
TYPED_TEST_SUITE(MmaSpKernels, Kernels);

TYPED_TEST(MmaSpKernels, ReadEveryByteOnceAndNoOther) {
  expect_every_byte_is_read<TypeParam>(1, 16, 128);
  expect_every_byte_is_read<TypeParam>(70, 80, 256);
  expect_every_byte_is_read<TypeParam>(200, 272, 640);
}

TYPED_TEST(MmaSpKernels, HaveTheSumsWhereTheTileExpectsThem) {
  expect_sums_where_cutlass_has_them<TypeParam>();
}

}  // namespace
}  // namespace twofour::cuda
