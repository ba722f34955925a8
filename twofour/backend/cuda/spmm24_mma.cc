#include "twofour/backend/cuda/spmm24_mma.h"

#include <fmt/format.h>

#include <cmath>

#include "twofour/backend/cuda/spmm24_mma_launch.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error("spmm24_mma", message); }

bool is_type(DType type) {
  return type == DType::kF16 || type == DType::kBF16 || type == DType::kI8;
}

void check_shape(DType type, const Spmm24MmaArgs& args) {
  if (args.m < 0 || args.m > kSpmm24MmaRows)
    fail(fmt::format("m is {}, expected 0 to {}", args.m, kSpmm24MmaRows));
  if (args.n < 0 || args.n % 16 != 0)
    fail(fmt::format("n is {}, expected a multiple of 16", args.n));
  const int64_t multiple = 32 / static_cast<int64_t>(dtype_bytes(type));
  if (args.k <= 0 || args.k % multiple != 0)
    fail(fmt::format("k is {}, expected a multiple of {}", args.k, multiple));
  if (args.x_stride < args.k || args.y_stride < args.n) {
    fail(fmt::format("rows of x and y are {} and {} elements apart, expected at least {} and {}",
                     args.x_stride, args.y_stride, args.k, args.n));
  }
}

void check_aligned(std::string_view name, const void* address, int64_t row_bytes,
                   size_t alignment) {
  if (address != nullptr && reinterpret_cast<uintptr_t>(address) % alignment == 0 &&
      row_bytes % static_cast<int64_t>(alignment) == 0) {
    return;
  }
  fail(fmt::format("{} is at {} with {} bytes from row to row, expected multiples of {}", name,
                   address, row_bytes, alignment));
}

}  // namespace

void check_spmm24_mma(DType type, DType output, const Spmm24MmaArgs& args) {
  if (!is_type(type))
    fail(fmt::format("the input is {}, expected F16, BF16 or I8", dtype_name(type)));
  if (!is_type(output))
    fail(fmt::format("the output is {}, expected I8, F16 or BF16", dtype_name(output)));
  check_shape(type, args);
  const auto bytes = [](int64_t elements, DType of) {
    return elements * static_cast<int64_t>(dtype_bytes(of));
  };
  check_aligned("x", args.x, bytes(args.x_stride, type), 16);
  check_aligned("y", args.y, bytes(args.y_stride, output), dtype_bytes(output) * kEpilogueWidth);
  check_aligned("values", args.values, 0, 16);
  check_aligned("metadata", args.metadata, 0, 4);
  if (!(args.output_scale > 0 && std::isfinite(args.output_scale)))
    fail(fmt::format("output_scale is {}, expected a finite value > 0", args.output_scale));
}

}  // namespace twofour::cuda
