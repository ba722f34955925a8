#include "twofour/runtime/worker.h"

#include <cstring>

#include "twofour/runtime/pooling.h"

namespace twofour {
namespace {

constexpr int64_t kRowsPerTask = 16;  // of LayerNorm and embedding

size_t round_up(size_t value) { return (value + 63) / 64 * 64; }

size_t attention_bytes(int64_t length, int64_t head_dim) {
  return round_up(attention_scratch_bytes(length, head_dim));
}

// A row of the word embeddings: somewhere in a table that no cache holds.
void prefetch(const float* row, int64_t width) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (int64_t i = 0; i < width; i += kLine) __builtin_prefetch(row + i);
}

}  // namespace

Worker::Worker(const Network& network, const Plan& plan, ThreadPool& pool)
    : network_(network), plan_(plan), pool_(pool), slots_(plan.slots.size()) {}

void Worker::reserve(const Extent& wanted) {
  if (wanted.tokens <= extent_.tokens && wanted.sequences <= extent_.sequences &&
      wanted.longest <= extent_.longest)
    return;
  const Extent extent{std::max(extent_.tokens, wanted.tokens),
                      std::max(extent_.sequences, wanted.sequences),
                      std::max(extent_.longest, wanted.longest)};
  size_t bytes = 0;
  std::vector<size_t> offsets;
  for (const Slot& slot : plan_.slots) {
    offsets.push_back(bytes);
    const int64_t rows = slot.rows == Rows::kTokens ? extent.tokens : extent.sequences;
    bytes += round_up(slot.row_bytes * rows);
  }
  const size_t scratch_offset = bytes;
  arena_ = AlignedBuffer(bytes + scratch_bytes(extent));
  for (size_t i = 0; i < offsets.size(); ++i) slots_[i] = arena_.data() + offsets[i];
  scratch_ = arena_.data() + scratch_offset;
  extent_ = extent;
}

size_t Worker::scratch_bytes(const Extent& extent) const {
  size_t bytes = 0;
  const int threads = pool_.threads();
  for (const Step& step : plan_.steps) {
    if (step.linear) {
      const int64_t largest_m = std::max(extent.tokens, extent.sequences);
      bytes = std::max(bytes, step.linear->scratch_bytes(largest_m, threads));
    }
    if (step.op->kind == OpKind::kAttention) {
      bytes = std::max(bytes, threads * attention_bytes(extent.longest, step.op->head_dim));
    }
  }
  return bytes;
}

float* Worker::f32(ValueId value) const {
  const PlannedValue& planned = plan_.values[value];
  return reinterpret_cast<float*>(slots_[planned.f32_slot]) + planned.column;
}

int8_t* Worker::s8(ValueId value) const {
  const int slot = plan_.values[value].s8_slot;
  return slot < 0 ? nullptr : reinterpret_cast<int8_t*>(slots_[slot]);
}

float* Worker::row_scales(ValueId value) const {
  const int slot = plan_.values[value].scales_slot;
  return slot < 0 ? nullptr : reinterpret_cast<float*>(slots_[slot]);
}

int64_t Worker::rows(ValueId value) const {
  return network_.values[value].rows == Rows::kTokens ? begin(chunk_.count) : chunk_.count;
}

template <class Body>
void Worker::for_rows(int64_t count, Body body) {
  pool_.parallel_for((count + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    body(task * kRowsPerTask, std::min(count, (task + 1) * kRowsPerTask));
  });
}

void Worker::run(const TokenBatch& batch, const Chunk& chunk, const Session::Tap& tap,
                 std::span<float> output) {
  batch_ = batch;
  chunk_ = chunk;
  for (const Step& step : plan_.steps) {
    run(step);
    report(step, tap);
  }
  const ValueId result = network_.output;
  const int64_t first =
      network_.values[result].rows == Rows::kTokens ? batch.offsets[chunk.first] : chunk.first;
  std::memcpy(output.data() + first * width(result), f32(result),
              rows(result) * width(result) * sizeof(float));
}

void Worker::run(const Step& step) {
  switch (step.op->kind) {
    case OpKind::kEmbedding:
      return embed(step);
    case OpKind::kLinear:
      return multiply(step);
    case OpKind::kAttention:
      return attend(step);
    case OpKind::kLayerNorm:
      return normalize_layer(step);
    case OpKind::kActivation:
      return activate(step);
    case OpKind::kAdd:
      return add(step);
    case OpKind::kPool:
      return pool_tokens(step);
    case OpKind::kNormalize:
      return normalize(step);
  }
}

void Worker::embed(const Step& step) {
  const int64_t width = this->width(step.output);
  const float* word = step.parameters[0].as<float>().data();
  const float* position = step.parameters[1].as<float>().data();
  const float* type = step.parameters[2].as<float>().data();
  const int64_t base = batch_.offsets[chunk_.first];
  pool_.parallel_for(chunk_.count, [&](int64_t sequence, int) {
    const int64_t first = begin(sequence);
    for (int64_t t = 0; t < length(sequence); ++t) {
      const int64_t token = base + first + t;
      if (t + 1 < length(sequence)) prefetch(word + batch_.ids[token + 1] * width, width);
      float* out = f32(step.output) + (first + t) * width;
      ops_.add(word + batch_.ids[token] * width, type + batch_.type_ids[token] * width, width, out);
      ops_.add(out, position + t * width, width, out);
    }
  });
}

void Worker::multiply(const Step& step) {
  const PlannedValue& in = plan_.values[step.input];
  const PlannedValue& out = plan_.values[step.output];
  LinearArgs args;
  args.m = rows(step.input);
  args.x = step.int8 ? static_cast<const void*>(s8(step.input)) : f32(step.input);
  args.input_scale = in.scale;
  args.input_scales = row_scales(step.input);
  args.y = out.f32_slot < 0 ? nullptr : f32(step.output);
  args.quantized = s8(step.output);
  args.output_scale = out.scale;
  args.output_offset = out.offset;
  args.output_scales = row_scales(step.output);
  args.scratch = scratch_;
  step.linear->run(pool_, args);
}

void Worker::attend(const Step& step) {
  const Op& op = *step.op;
  const PlannedValue& out = plan_.values[step.output];
  const int64_t width = this->width(step.output);
  const int64_t in_stride = plan_.values[op.inputs[0]].stride;
  const size_t stride = attention_bytes(extent_.longest, op.head_dim);
  pool_.parallel_for(chunk_.count * op.heads, [&](int64_t task, int thread) {
    const int64_t sequence = task / op.heads;
    const int64_t column = task % op.heads * op.head_dim;
    const int64_t in = begin(sequence) * in_stride + column;
    const int64_t at = begin(sequence) * width + column;
    AttentionArgs args;
    args.q = f32(op.inputs[0]) + in;
    args.k = f32(op.inputs[1]) + in;
    args.v = f32(op.inputs[2]) + in;
    args.length = length(sequence);
    args.head_dim = op.head_dim;
    args.stride = in_stride;
    args.out_stride = width;
    if (out.f32_slot >= 0) args.out = f32(step.output) + at;
    if (out.s8_slot >= 0 && out.scales_slot < 0) args.quantized = s8(step.output) + at;
    args.output_scale = out.scale;
    args.scratch = reinterpret_cast<float*>(scratch_ + thread * stride);
    plan_.attention.run(args);
  });
  if (out.scales_slot < 0) return;
  for_rows(rows(step.output),
           [&](int64_t begin, int64_t end) { quantize_rows(step.output, begin, end); });
}

void Worker::quantize_rows(ValueId value, int64_t begin, int64_t end) {
  int8_t* quantized = s8(value);
  if (quantized == nullptr) return;
  const int64_t width = this->width(value);
  if (float* scales = row_scales(value)) {
    for (int64_t i = begin; i < end; ++i)
      scales[i] = ops_.quantize_row(f32(value) + i * width, width, quantized + i * width);
    return;
  }
  ops_.quantize(f32(value) + begin * width, (end - begin) * width, plan_.values[value].scale,
                plan_.values[value].offset, quantized + begin * width);
}

void Worker::normalize_layer(const Step& step) {
  const int64_t width = this->width(step.output);
  const float* gamma = step.parameters[0].as<float>().data();
  const float* beta = step.parameters[1].as<float>().data();
  const auto epsilon = static_cast<float>(step.op->epsilon);
  const PlannedValue& planned = plan_.values[step.output];
  const bool by_row = planned.scales_slot >= 0;
  int8_t* quantized = by_row ? nullptr : s8(step.output);
  for_rows(rows(step.output), [&](int64_t begin, int64_t end) {
    LayerNormRows args{.rows = end - begin,
                       .width = width,
                       .a = f32(step.input) + begin * width,
                       .gamma = gamma,
                       .beta = beta,
                       .epsilon = epsilon,
                       .out = f32(step.output) + begin * width,
                       .output_scale = planned.scale};
    if (step.residual != kNoValue) args.b = f32(step.residual) + begin * width;
    if (quantized != nullptr) args.quantized = quantized + begin * width;
    ops_.layer_norm(args);
    if (by_row) quantize_rows(step.output, begin, end);
  });
}

void Worker::activate(const Step& step) {
  const int64_t width = this->width(step.output);
  for_rows(rows(step.output), [&](int64_t begin, int64_t end) {
    float* out = f32(step.output) + begin * width;
    std::copy_n(f32(step.input) + begin * width, (end - begin) * width, out);
    ops_.activate(step.op->activation, out, (end - begin) * width);
    quantize_rows(step.output, begin, end);
  });
}

void Worker::add(const Step& step) {
  const int64_t width = this->width(step.output);
  for_rows(rows(step.output), [&](int64_t begin, int64_t end) {
    ops_.add(f32(step.op->inputs[0]) + begin * width, f32(step.op->inputs[1]) + begin * width,
             (end - begin) * width, f32(step.output) + begin * width);
    quantize_rows(step.output, begin, end);
  });
}

void Worker::pool_tokens(const Step& step) {
  const int64_t width = this->width(step.output);
  pool_.parallel_for(chunk_.count, [&](int64_t i, int) {
    pool_rows(step.op->pooling, f32(step.input) + begin(i) * width, length(i), width,
              f32(step.output) + i * width);
  });
}

void Worker::normalize(const Step& step) {
  const int64_t width = this->width(step.output);
  pool_.parallel_for(chunk_.count, [&](int64_t i, int) {
    normalize_row(f32(step.input) + i * width, width, f32(step.output) + i * width);
  });
}

void Worker::report(const Step& step, const Session::Tap& tap) {
  const Value& value = network_.values[step.output];
  const int8_t* quantized = s8(step.output);
  if (!tap || quantized == nullptr) return;
  tap(value.name, {quantized, static_cast<size_t>(rows(step.output) * value.width)});
}

}  // namespace twofour
