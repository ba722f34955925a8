#include <fmt/format.h>

#include <cmath>

#include "twofour/backend/cuda/epilogue_launch.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr std::string_view kWhere = "epilogue";

[[noreturn]] void fail(const std::string& message) { throw Error(kWhere, message); }

void check_multiple(std::string_view name, int64_t value) {
  if (value < 0 || value % kEpilogueWidth != 0) {
    fail(fmt::format("{} is {}, expected a multiple of {}", name, value, kEpilogueWidth));
  }
}

void check_address(std::string_view name, const void* address, DType type) {
  const size_t alignment = dtype_bytes(type) * kEpilogueWidth;
  if (address == nullptr || reinterpret_cast<uintptr_t>(address) % alignment != 0)
    fail(fmt::format("{} is at {}, expected a multiple of {}", name, address, alignment));
}

bool is_float(DType type) {
  return type == DType::kF16 || type == DType::kBF16 || type == DType::kF32;
}

void check_types(DType input, DType output) {
  if (input != DType::kI32 && !is_float(input))
    fail(fmt::format("the input is {}, expected I32, F16, BF16 or F32", dtype_name(input)));
  if (output != DType::kI8 && output != DType::kF8E4M3 && !is_float(output))
    fail(fmt::format("the output is {}, expected I8, F8_E4M3, F16, BF16 or F32",
                     dtype_name(output)));
}

}  // namespace

void check_epilogue(DType input, DType output, const EpilogueArgs& args) {
  check_types(input, output);
  if (args.m < 0) fail(fmt::format("m is {}, expected 0 or more", args.m));
  check_multiple("n", args.n);
  check_multiple("x_stride", args.x_stride);
  check_multiple("y_stride", args.y_stride);
  if (args.x_stride < args.n || args.y_stride < args.n) {
    fail(fmt::format("rows are {} and {} elements apart, expected at least n, {}", args.x_stride,
                     args.y_stride, args.n));
  }
  check_address("x", args.x, input);
  check_address("y", args.y, output);
  if (!(args.output_scale > 0 && std::isfinite(args.output_scale)))
    fail(fmt::format("output_scale is {}, expected a finite value > 0", args.output_scale));
}

}  // namespace twofour::cuda
