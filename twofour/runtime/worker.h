// The steps of a plan over some sequences of a batch, with the buffers that they need.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "twofour/backend/vector_ops.h"
#include "twofour/base/aligned_buffer.h"
#include "twofour/base/thread_pool.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/plan.h"

namespace twofour {

// What buffers must hold.
struct Extent {
  int64_t tokens = 0, sequences = 0;
  int64_t longest = 0;  // tokens of a sequence
};

// Sequences [first, first + count) of a batch.
struct Chunk {
  int64_t first = 0, count = 0;
};

class Worker {
 public:
  // Both must outlive it.
  Worker(const Network& network, const Plan& plan, ThreadPool& pool);

  // Grows the buffers to hold `extent`. Without memory for it the worker stays as it was.
  void reserve(const Extent& extent);

  // `output` is that of the whole batch: the chunk's rows are written. The batch is valid and the
  // chunk within what was reserved; does not throw without a tap.
  void run(const TokenBatch& batch, const Chunk& chunk, const Session::Tap& tap,
           std::span<float> output);

 private:
  void run(const Step& step);
  void embed(const Step& step);
  void multiply(const Step& step);
  void attend(const Step& step);
  void normalize_layer(const Step& step);
  void activate(const Step& step);
  void add(const Step& step);
  void pool_tokens(const Step& step);
  void normalize(const Step& step);
  void quantize_rows(ValueId value, int64_t begin, int64_t end);
  void report(const Step& step, const Session::Tap& tap);

  size_t scratch_bytes(const Extent& extent) const;
  float* f32(ValueId value) const;
  int8_t* s8(ValueId value) const;
  float* row_scales(ValueId value) const;  // null: one scale for all rows
  int64_t width(ValueId value) const { return network_.values[value].width; }
  int64_t rows(ValueId value) const;

  // Tokens of the chunk's sequence i are [begin(i), begin(i + 1)) of its tokens.
  int64_t begin(int64_t i) const {
    return batch_.offsets[chunk_.first + i] - batch_.offsets[chunk_.first];
  }
  int64_t length(int64_t i) const { return begin(i + 1) - begin(i); }

  // body(first row, end row) on all threads.
  template <class Body>
  void for_rows(int64_t count, Body body);

  const Network& network_;
  const Plan& plan_;
  ThreadPool& pool_;
  const VectorOps& ops_ = vector_ops();
  TokenBatch batch_;
  Chunk chunk_;

  AlignedBuffer arena_;
  std::vector<std::byte*> slots_;
  std::byte* scratch_ = nullptr;
  Extent extent_;
};

}  // namespace twofour
