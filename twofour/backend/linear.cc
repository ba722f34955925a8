#include "twofour/backend/linear.h"

#include <algorithm>

#include "twofour/backend/vector_ops.h"

namespace twofour {
namespace {

// Multiples of the tiles of vector kernels (6 and 8 tokens); what a tile of 48 rows produces stays
// in the second-level cache.
constexpr int64_t kRowGranule = 24;
constexpr int64_t kMaxRows = 48;

size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Too few rows to occupy the threads: they divide the panels instead.
bool split_by_panels(int64_t m, int threads) { return threads > 1 && m < kRowGranule * threads; }

// What a kernel prepares for each panel is prepared once for a task; without threads to share the
// rows with, and with results that are finished in registers, all rows are one task.
int64_t rows_per_task(int64_t m, int threads, bool fused) {
  if (threads == 1 && fused) return m;
  if (m > kRowGranule * 2 * threads || threads == 1) return std::min(m, kMaxRows);
  return kRowGranule;
}

}  // namespace

PackedLinear::PackedLinear(const Kernel& kernel, const MatmulDesc& desc, const WeightSource& source,
                           std::optional<ActivationKind> activation, bool scales_by_row)
    : kernel_(kernel), desc_(desc), activation_(activation), scales_by_row_(scales_by_row) {
  WeightSource packed = source;
  if (scales_input_rows()) {
    bias_.assign(source.bias.begin(), source.bias.end());
    packed.bias = {};
  }
  weights_ = kernel.pack(desc, packed);
}

// The kernel's own, then, where it does not fuse the epilogue, a tile of f32 results for those that
// are only kept quantized.
size_t PackedLinear::thread_scratch_bytes(int64_t m, int threads) const {
  if (split_by_panels(m, threads)) return round_up(kernel_.scratch_bytes(weights_, m), 64);
  const int64_t rows = rows_per_task(m, threads, fused());
  const size_t own = fused() ? 0 : rows * desc_.n * sizeof(float);
  return round_up(kernel_.scratch_bytes(weights_, rows), 64) + round_up(own, 64);
}

size_t PackedLinear::scratch_bytes(int64_t max_m, int threads) const {
  const size_t by_rows = threads * thread_scratch_bytes(max_m, threads);
  const int64_t few = std::min(max_m, kRowGranule * threads - 1);
  if (!split_by_panels(few, threads)) return by_rows;
  const size_t results = fused() ? 0 : round_up(few * desc_.n * sizeof(float), 64);
  return std::max(by_rows, results + threads * thread_scratch_bytes(few, threads));
}

void PackedLinear::run(ThreadPool& pool, const LinearArgs& args) const {
  if (split_by_panels(args.m, pool.threads())) {
    run_by_panels(pool, args);
  } else {
    run_by_rows(pool, args);
  }
}

// Empty where results are finished behind the kernel.
Epilogue PackedLinear::epilogue(const LinearArgs& args, int64_t first) const {
  if (!fused()) return {};
  return {activation_, args.quantized == nullptr ? nullptr : args.quantized + first * desc_.n,
          args.output_scale, args.output_offset};
}

void PackedLinear::run_by_rows(ThreadPool& pool, const LinearArgs& args) const {
  const int threads = pool.threads();
  const int64_t step = rows_per_task(args.m, threads, fused());
  const size_t stride = thread_scratch_bytes(args.m, threads);
  pool.parallel_for((args.m + step - 1) / step, [&](int64_t task, int thread) {
    const int64_t first = task * step;
    MatmulArgs tile;
    tile.m = std::min(step, args.m - first);
    tile.x = static_cast<const std::byte*>(args.x) + first * desc_.k * input_bytes(desc_.type);
    tile.input_scale = scales_input_rows() ? 1.0f : args.input_scale;
    tile.scratch = args.scratch + thread * stride;
    tile.panel_end = static_cast<int64_t>(weights_.panels.size());
    tile.epilogue = epilogue(args, first);
    if (args.y != nullptr) {
      tile.y = args.y + first * desc_.n;
    } else if (!fused()) {
      tile.y = reinterpret_cast<float*>(tile.scratch +
                                        round_up(kernel_.scratch_bytes(weights_, step), 64));
    }
    kernel_.run(weights_, tile);
    if (!fused()) finish_rows(args, first, tile.y, tile.m);
  });
}

void PackedLinear::run_by_panels(ThreadPool& pool, const LinearArgs& args) const {
  const int threads = pool.threads();
  const size_t stride = thread_scratch_bytes(args.m, threads);
  float* y = args.y;
  if (y == nullptr && !fused()) y = reinterpret_cast<float*>(args.scratch + threads * stride);
  const auto panels = static_cast<int64_t>(weights_.panels.size());
  const int64_t step = (panels + 4 * threads - 1) / (4 * threads);
  pool.parallel_for((panels + step - 1) / step, [&](int64_t task, int thread) {
    MatmulArgs tile;
    tile.m = args.m;
    tile.x = args.x;
    tile.input_scale = scales_input_rows() ? 1.0f : args.input_scale;
    tile.y = y;
    tile.epilogue = epilogue(args, 0);
    tile.panel_begin = task * step;
    tile.panel_end = std::min(panels, tile.panel_begin + step);
    tile.scratch = args.scratch + thread * stride;
    kernel_.run(weights_, tile);
  });
  if (fused() || (!scales_input_rows() && !activation_ && args.quantized == nullptr)) return;
  pool.parallel_for(args.m,
                    [&](int64_t row, int) { finish_rows(args, row, y + row * desc_.n, 1); });
}

void PackedLinear::finish_rows(const LinearArgs& args, int64_t first, float* y,
                               int64_t rows) const {
  const VectorOps& ops = vector_ops();
  const int64_t count = rows * desc_.n;
  if (scales_input_rows()) {
    const float* bias = bias_.empty() ? nullptr : bias_.data();
    for (int64_t i = 0; i < rows; ++i)
      ops.scale_row(y + i * desc_.n, args.input_scales[first + i], bias, desc_.n);
  }
  if (activation_) ops.activate(*activation_, y, count);
  if (args.quantized == nullptr) return;
  int8_t* quantized = args.quantized + first * desc_.n;
  if (args.output_scales == nullptr)
    return ops.quantize(y, count, args.output_scale, args.output_offset, quantized);
  for (int64_t i = 0; i < rows; ++i) {
    args.output_scales[first + i] =
        ops.quantize_row(y + i * desc_.n, desc_.n, quantized + i * desc_.n);
  }
}

}  // namespace twofour
