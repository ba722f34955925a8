// A session on a device: buffers, a stream and the graphs of the batches that come again.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "twofour/backend/cuda/device_linear.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/runtime/device_plan.h"
#include "twofour/runtime/engine.h"

namespace twofour {

// Numbers that stand for all batches of at most so many: what buffers, grids and graphs are made
// for.
struct DeviceShape {
  int64_t tokens = 0, sequences = 0;
  int64_t longest = 0;                                   // tokens of a sequence
  auto operator<=>(const DeviceShape&) const = default;  // NOLINT(modernize-use-nullptr)
};

// Where a batch of a shape lies in the buffer of its int32 numbers: the device's and the host's.
struct BatchLayout {
  explicit BatchLayout(const DeviceShape& shape);
  int64_t offsets, ids, type_ids;  // counts stand at 0: tokens, sequences
  int64_t count;                   // of all numbers
};

class DeviceSession {
 public:
  // Both must outlive it. Throws Error where the runtime fails.
  DeviceSession(const Network& network, const DevicePlan& plan, const SessionOptions& options);
  ~DeviceSession();

  // `batch` is valid, as Session::run() checks it. Waits for the results. After an Error the
  // session goes on with the next batch.
  void run(const TokenBatch& batch, const Session::Tap& tap, std::span<float> output);

  // Enqueues on `stream`; the caller keeps all of it alive until it has run.
  void run(const DeviceBatch& batch, float* output, void* stream);

  const Session::GraphUse& graph_use() const { return graph_use_; }

 private:
  static constexpr size_t kMaximumGraphs = 64;

  // Of the current batch.
  struct Current {
    DeviceShape shape;
    int64_t tokens = 0, sequences = 0;
    cuda::StreamHandle stream = nullptr;
    std::vector<std::byte*> slots;
    int32_t* numbers = nullptr;  // BatchLayout
  };

  DeviceShape shape_of(int64_t tokens, int64_t sequences, int64_t longest) const;
  void reserve(const DeviceShape& wanted);
  void lay_out();
  void run_part(const TokenBatch& batch, int64_t first, int64_t count, const Session::Tap& tap,
                std::span<float> output);
  void stage(const TokenBatch& batch, int64_t first, int64_t count);
  void begin(const DeviceShape& shape, cuda::StreamHandle stream);
  void enqueue(const DeviceBatch& batch, float* output, cuda::StreamHandle stream);
  void execute(const Session::Tap& tap);
  void execute_steps(const Session::Tap& tap);
  cuda::Graph* graph();
  std::unique_ptr<cuda::Graph> capture();
  std::vector<cuda::PreparedLinear> prepare();
  void drop_stale_graphs();

  void run(const DeviceStep& step);
  void embed(const DeviceStep& step);
  void multiply(const DeviceStep& step);
  bool multiply_whole(const DeviceStep& step, const void* x);
  void finish_product(const DeviceStep& step, DType output, void* y, int64_t y_stride,
                      float output_scale);
  void multiply_head(const DeviceStep& step);
  void attend(const DeviceStep& step);
  void normalize_layer(const DeviceStep& step);
  void pool(const DeviceStep& step);
  void normalize(const DeviceStep& step);
  void convert_output();
  void report(const DeviceStep& step, const Session::Tap& tap);

  void fill_norm(cuda::NormArgs& args, const DeviceStep& step, size_t gamma, double epsilon) const;
  std::byte* data(ValueId value) const;
  int8_t* s8(ValueId value) const;
  int64_t width(ValueId value) const { return network_.values[value].width; }
  bool by_token(ValueId value) const { return network_.values[value].rows == Rows::kTokens; }
  int64_t shape_rows(ValueId value) const;  // of the shape
  int64_t rows(ValueId value) const;        // of the batch
  int64_t room(ValueId value) const;        // rows that the buffers hold
  const int32_t* count_of(ValueId value) const;
  const int32_t* offsets() const;
  int64_t output_row_bytes() const { return width(network_.output) * int64_t{sizeof(float)}; }

  const Network& network_;
  const DevicePlan& plan_;
  cuda::Device& device_;
  cuda::Runtime& runtime_;
  SessionOptions options_;
  std::unique_ptr<cuda::Stream> own_stream_;  // null until needed where the caller gave one
  cuda::StreamHandle stream_ = nullptr;
  std::unique_ptr<cuda::Event> done_;  // of the last batch that was not waited for
  bool pending_ = false;               // there is one
  Session::GraphUse graph_use_;

  DeviceShape capacity_;
  cuda::DeviceBuffer arena_;
  std::vector<size_t> slot_offsets_;
  cuda::PinnedBuffer staging_, results_;
  cuda::LinearScratch scratch_;
  std::array<const std::byte*, 3> workspaces_{};  // that the graphs hold
  std::set<DeviceShape> seen_;                    // ran step by step without an error
  std::set<DeviceShape> refused_;                 // cannot be captured
  std::list<std::pair<DeviceShape, std::unique_ptr<cuda::Graph>>> recent_;  // last used first
  Current current_;
};

}  // namespace twofour
