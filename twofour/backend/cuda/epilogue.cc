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

void check_types(DType input, DType output, std::optional<ActivationKind> activation) {
  if (input != DType::kI32 && input != DType::kF16 && input != DType::kBF16)
    fail(fmt::format("the input is {}, expected I32, F16 or BF16", dtype_name(input)));
  if (output != DType::kI8 && output != DType::kF16 && output != DType::kBF16)
    fail(fmt::format("the output is {}, expected I8, F16 or BF16", dtype_name(output)));
  if (activation && *activation != ActivationKind::kRelu && *activation != ActivationKind::kGelu)
    fail(fmt::format("the activation is {}, expected gelu, relu or none",
                     activation_name(*activation)));
}

}  // namespace

void check_epilogue(DType input, DType output, std::optional<ActivationKind> activation,
                    const EpilogueArgs& args) {
  check_types(input, output, activation);
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
