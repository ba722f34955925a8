#include "twofour/backend/cuda/spmm24_cutlass.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

constexpr int64_t kAlignment = 16;  // bytes that are copied at once
constexpr int kAmpere = 80, kHopper = 90;

[[noreturn]] void fail(const std::string& message) { throw Error("spmm24_cutlass", message); }

bool is_type(DType type) {
  return type == DType::kF16 || type == DType::kBF16 || type == DType::kI8;
}

// The main loop of mma.sp takes whole blocks along k, since what lies outside would have no valid
// metadata; that of wgmma.sp takes whole copies.
int64_t multiple_of_k(CutlassForm form, DType input) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(input));
  return (form == CutlassForm::kSm80 ? 128 : 32) / bytes;
}

// Apart from the device.
std::optional<std::string> rejects_layer(CutlassForm form, DType input, DType output, int64_t n,
                                         int64_t k) {
  if (!is_type(input) || !is_type(output)) {
    return fmt::format("{} to {} is none of its layers, expected F16, BF16 or I8",
                       dtype_name(input), dtype_name(output));
  }
  if (form == CutlassForm::kSm90 && input != DType::kI8 && output != input) {
    return fmt::format("it stores {} as such, not as {}", dtype_name(input), dtype_name(output));
  }
  if (n <= 0 || n % 16 != 0) return fmt::format("n is {}, expected a multiple of 16", n);
  const int64_t multiple = multiple_of_k(form, input);
  if (k <= 0 || k % multiple != 0)
    return fmt::format("k is {}, expected a multiple of {}", k, multiple);
  if (n > std::numeric_limits<int32_t>::max() || k > std::numeric_limits<int32_t>::max())
    return fmt::format("a weight of [{}, {}] is too large", n, k);
  return std::nullopt;
}

void check_aligned(std::string_view name, const void* address, int64_t row_bytes) {
  if (address != nullptr && reinterpret_cast<uintptr_t>(address) % kAlignment == 0 &&
      row_bytes % kAlignment == 0) {
    return;
  }
  fail(fmt::format("{} is at {} with {} bytes from row to row, expected multiples of {}", name,
                   address, row_bytes, kAlignment));
}

void check_stride(std::string_view name, int64_t stride, int64_t width) {
  if (stride < width) {
    fail(
        fmt::format("rows of {} are {} elements apart, expected at least {}", name, stride, width));
  }
}

}  // namespace

std::optional<std::string> spmm24_cutlass_rejects(CutlassForm form, const DeviceProperties& device,
                                                  DType input, DType output, int64_t n, int64_t k) {
  const int capability = device.capability();
  if (form == CutlassForm::kSm80 && capability < kAmpere) {
    return fmt::format("{} has compute capability {}.{}, sparse Tensor Cores need 8.0 or later",
                       device.name, device.major, device.minor);
  }
  if (form == CutlassForm::kSm90 && capability != kHopper) {
    return fmt::format("{} has compute capability {}.{}, wgmma is 9.0's alone", device.name,
                       device.major, device.minor);
  }
  return rejects_layer(form, input, output, n, k);
}

int default_spmm24_cutlass(CutlassForm form, const DeviceProperties& device, int64_t m, int64_t n) {
  int chosen = -1;
  for (int i = 0; i < kSpmm24CutlassVariantCount; ++i) {
    const Spmm24CutlassVariant& variant = kSpmm24CutlassVariants[i];
    if (variant.form != form) continue;
    const int64_t blocks =
        ((n + variant.rows - 1) / variant.rows) * ((m + variant.tokens - 1) / variant.tokens);
    if (chosen < 0 || blocks >= device.multiprocessors) chosen = i;
  }
  return chosen;
}

std::optional<int> find_spmm24_cutlass(std::string_view name) {
  for (int i = 0; i < kSpmm24CutlassVariantCount; ++i) {
    if (kSpmm24CutlassVariants[i].name == name) return i;
  }
  return std::nullopt;
}

void check_spmm24_cutlass(int variant, DType type, DType output, const Spmm24CutlassArgs& args) {
  if (variant < 0 || variant >= kSpmm24CutlassVariantCount)
    fail(fmt::format("variant {}, expected 0 to {}", variant, kSpmm24CutlassVariantCount - 1));
  const CutlassForm form = kSpmm24CutlassVariants[variant].form;
  if (const auto reason = rejects_layer(form, type, output, args.n, args.k)) fail(*reason);
  if (args.m < 0 || args.m > std::numeric_limits<int32_t>::max())
    fail(fmt::format("m is {}, expected 0 or more of an int32", args.m));
  const auto bytes = [](int64_t elements, DType of) {
    return elements * static_cast<int64_t>(dtype_bytes(of));
  };
  check_stride("x", args.x_stride, args.k);
  check_stride("y", args.y_stride, args.n);
  check_aligned("x", args.x, bytes(args.x_stride, type));
  check_aligned("y", args.y, bytes(args.y_stride, output));
  check_aligned("values", args.values, 0);
  check_aligned("metadata", args.metadata, 0);
  if (args.residual != nullptr) {
    if (output == DType::kI8) fail("a residual is added to F16 or BF16, not to I8");
    check_stride("residual", args.residual_stride, args.n);
    check_aligned("residual", args.residual, bytes(args.residual_stride, output));
  }
  if (!(args.output_scale > 0 && std::isfinite(args.output_scale)))
    fail(fmt::format("output_scale is {}, expected a finite value > 0", args.output_scale));
}

}  // namespace twofour::cuda
