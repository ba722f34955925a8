#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "twofour/backend/vector_ops.h"
#include "twofour/base/error.h"
#include "twofour/runtime/engine_state.h"
#include "twofour/runtime/pooling.h"

namespace twofour {
namespace {

constexpr int64_t kRowsPerTask = 16;  // of LayerNorm and embedding

size_t round_up(size_t value) { return (value + 63) / 64 * 64; }

[[noreturn]] void fail(const std::string& message, std::string_view remedy = {}) {
  throw Error("Session::run", message, remedy);
}

void check_ids(std::span<const int32_t> ids, int64_t limit, std::string_view what) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    fail(fmt::format("{} {} of token {} is outside [0, {})", what, ids[i], i, limit));
  }
}

void check_offsets(const TokenBatch& batch, int64_t max_positions) {
  if (batch.offsets[0] != 0)
    fail(fmt::format("offsets start at {}: must start at 0", batch.offsets[0]));
  for (size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
    const int64_t length = int64_t{batch.offsets[i + 1]} - batch.offsets[i];
    if (length == 0) fail(fmt::format("sequence {} is empty", i));
    if (length < 0)
      fail(fmt::format("offsets descend from {} to {}", batch.offsets[i], batch.offsets[i + 1]));
    if (length > max_positions) {
      fail(fmt::format("sequence {} has {} tokens, the model has {} positions", i, length,
                       max_positions),
           "Cut it to the model's length");
    }
  }
  if (static_cast<size_t>(batch.offsets.back()) != batch.ids.size()) {
    fail(fmt::format("offsets end at {} but there are {} ids", batch.offsets.back(),
                     batch.ids.size()));
  }
}

void check_batch(const TokenBatch& batch, const Network& network) {
  check_offsets(batch, network.max_positions);
  if (batch.type_ids.size() != batch.ids.size()) {
    fail(fmt::format("there are {} ids but {} type ids", batch.ids.size(), batch.type_ids.size()));
  }
  check_ids(batch.ids, network.vocab_size, "id");
  check_ids(batch.type_ids, network.type_vocab_size, "type id");
}

}  // namespace

struct Session::State {
  State(std::shared_ptr<const Engine> shared, int threads)
      : engine(std::move(shared)),
        network(engine->state().network),
        plan(engine->state().plan),
        pool(threads),
        slots(plan.slots.size()) {}

  // Grows the arena to the largest batch seen. Without memory for it the session stays as it was.
  void reserve(int64_t tokens, int64_t sequences, int64_t longest) {
    if (tokens <= max_tokens && sequences <= max_sequences && longest <= max_length) return;
    tokens = std::max(max_tokens, tokens);
    sequences = std::max(max_sequences, sequences);
    longest = std::max(max_length, longest);
    size_t bytes = 0;
    std::vector<size_t> offsets;
    for (const Slot& slot : plan.slots) {
      offsets.push_back(bytes);
      bytes += round_up(slot.row_bytes * (slot.rows == Rows::kTokens ? tokens : sequences));
    }
    const size_t scratch_offset = bytes;
    arena = AlignedBuffer(bytes + scratch_bytes(std::max(tokens, sequences), longest));
    for (size_t i = 0; i < offsets.size(); ++i) slots[i] = arena.data() + offsets[i];
    scratch = arena.data() + scratch_offset;
    max_tokens = tokens;
    max_sequences = sequences;
    max_length = longest;
  }

  size_t scratch_bytes(int64_t largest_m, int64_t longest) const {
    size_t bytes = 0;
    const int threads = pool.threads();
    for (const Step& step : plan.steps) {
      if (step.linear) bytes = std::max(bytes, step.linear->scratch_bytes(largest_m, threads));
      if (step.op->kind == OpKind::kAttention) {
        bytes = std::max(bytes, threads * attention_bytes(longest, step.op->head_dim));
      }
    }
    return bytes;
  }

  static size_t attention_bytes(int64_t length, int64_t head_dim) {
    return round_up(attention_scratch_bytes(length, head_dim));
  }

  float* f32(ValueId value) { return reinterpret_cast<float*>(slots[plan.values[value].f32_slot]); }
  int8_t* s8(ValueId value) {
    const int slot = plan.values[value].s8_slot;
    return slot < 0 ? nullptr : reinterpret_cast<int8_t*>(slots[slot]);
  }
  int64_t width(ValueId value) const { return network.values[value].width; }
  int64_t rows(ValueId value) const {
    return network.values[value].rows == Rows::kTokens ? tokens() : sequences();
  }
  int64_t tokens() const { return static_cast<int64_t>(batch.ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(batch.offsets.size()) - 1; }

  // body(first row, end row) on all threads.
  template <class Body>
  void for_rows(int64_t count, Body body) {
    pool.parallel_for((count + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      body(task * kRowsPerTask, std::min(count, (task + 1) * kRowsPerTask));
    });
  }

  void run(const Step& step) {
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

  void embed(const Step& step) {
    const int64_t width = this->width(step.output);
    const float* word = step.parameters[0].as<float>().data();
    const float* position = step.parameters[1].as<float>().data();
    const float* type = step.parameters[2].as<float>().data();
    pool.parallel_for(sequences(), [&](int64_t sequence, int) {
      for (int32_t t = batch.offsets[sequence]; t < batch.offsets[sequence + 1]; ++t) {
        float* out = f32(step.output) + t * width;
        ops.add(word + batch.ids[t] * width, type + batch.type_ids[t] * width, width, out);
        ops.add(out, position + (t - batch.offsets[sequence]) * width, width, out);
      }
    });
  }

  void multiply(const Step& step) {
    const PlannedValue& in = plan.values[step.input];
    const PlannedValue& out = plan.values[step.output];
    LinearArgs args;
    args.m = rows(step.input);
    args.x = step.int8 ? static_cast<const void*>(s8(step.input)) : f32(step.input);
    args.input_scale = in.scale;
    args.y = out.f32_slot < 0 ? nullptr : f32(step.output);
    args.quantized = s8(step.output);
    args.output_scale = out.scale;
    args.scratch = scratch;
    step.linear->run(pool, args);
  }

  void attend(const Step& step) {
    const Op& op = *step.op;
    const int64_t width = this->width(step.output);
    int8_t* quantized = s8(step.output);
    const float scale = plan.values[step.output].scale;
    const size_t stride = attention_bytes(max_length, op.head_dim);
    pool.parallel_for(sequences() * op.heads, [&](int64_t task, int thread) {
      const int64_t first = batch.offsets[task / op.heads];
      const int64_t at = first * width + task % op.heads * op.head_dim;
      AttentionArgs args;
      args.q = f32(op.inputs[0]) + at;
      args.k = f32(op.inputs[1]) + at;
      args.v = f32(op.inputs[2]) + at;
      args.out = f32(step.output) + at;
      args.length = batch.offsets[task / op.heads + 1] - first;
      args.head_dim = op.head_dim;
      args.stride = width;
      args.scratch = reinterpret_cast<float*>(scratch + thread * stride);
      ops.attention(args);
      if (quantized == nullptr) return;
      for (int64_t i = 0; i < args.length; ++i) {
        ops.quantize(args.out + i * width, op.head_dim, scale, quantized + at + i * width);
      }
    });
  }

  void quantize_rows(ValueId value, int64_t begin, int64_t end) {
    int8_t* quantized = s8(value);
    if (quantized == nullptr) return;
    const int64_t width = this->width(value);
    ops.quantize(f32(value) + begin * width, (end - begin) * width, plan.values[value].scale,
                 quantized + begin * width);
  }

  void normalize_layer(const Step& step) {
    const int64_t width = this->width(step.output);
    const float* gamma = step.parameters[0].as<float>().data();
    const float* beta = step.parameters[1].as<float>().data();
    const auto epsilon = static_cast<float>(step.op->epsilon);
    for_rows(rows(step.output), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* residual =
            step.residual == kNoValue ? nullptr : f32(step.residual) + i * width;
        ops.layer_norm(f32(step.input) + i * width, residual, gamma, beta, width, epsilon,
                       f32(step.output) + i * width);
      }
      quantize_rows(step.output, begin, end);
    });
  }

  void activate(const Step& step) {
    const int64_t width = this->width(step.output);
    for_rows(rows(step.output), [&](int64_t begin, int64_t end) {
      float* out = f32(step.output) + begin * width;
      std::copy_n(f32(step.input) + begin * width, (end - begin) * width, out);
      ops.activate(step.op->activation, out, (end - begin) * width);
      quantize_rows(step.output, begin, end);
    });
  }

  void add(const Step& step) {
    const int64_t width = this->width(step.output);
    for_rows(rows(step.output), [&](int64_t begin, int64_t end) {
      ops.add(f32(step.op->inputs[0]) + begin * width, f32(step.op->inputs[1]) + begin * width,
              (end - begin) * width, f32(step.output) + begin * width);
      quantize_rows(step.output, begin, end);
    });
  }

  void pool_tokens(const Step& step) {
    const int64_t width = this->width(step.output);
    pool.parallel_for(sequences(), [&](int64_t i, int) {
      const int64_t first = batch.offsets[i];
      pool_rows(step.op->pooling, f32(step.input) + first * width, batch.offsets[i + 1] - first,
                width, f32(step.output) + i * width);
    });
  }

  void normalize(const Step& step) {
    const int64_t width = this->width(step.output);
    pool.parallel_for(sequences(), [&](int64_t i, int) {
      normalize_row(f32(step.input) + i * width, width, f32(step.output) + i * width);
    });
  }

  void report(const Step& step) {
    const Value& value = network.values[step.output];
    const int8_t* quantized = s8(step.output);
    if (!tap || quantized == nullptr) return;
    tap(value.name, {quantized, static_cast<size_t>(rows(step.output) * value.width)});
  }

  std::shared_ptr<const Engine> engine;
  const Network& network;
  const Plan& plan;
  const VectorOps& ops = vector_ops();
  ThreadPool pool;
  Tap tap;
  TokenBatch batch;

  AlignedBuffer arena;
  std::vector<std::byte*> slots;
  std::byte* scratch = nullptr;
  int64_t max_tokens = 0, max_sequences = 0, max_length = 0;
};

Session::Session(std::shared_ptr<const Engine> engine, const SessionOptions& options)
    : state_(std::make_unique<State>(std::move(engine), options.threads)) {}
Session::~Session() = default;

void Session::set_tap(Tap tap) { state_->tap = std::move(tap); }

void Session::run(const TokenBatch& batch, std::span<float> output) {
  State& s = *state_;
  const int64_t sequences = std::max<int64_t>(0, static_cast<int64_t>(batch.offsets.size()) - 1);
  const ValueId result = s.network.output;
  const bool by_token = s.network.values[result].rows == Rows::kTokens;
  const int64_t rows = by_token ? static_cast<int64_t>(batch.ids.size()) : sequences;
  if (static_cast<int64_t>(output.size()) != rows * s.width(result)) {
    fail(fmt::format("output has {} floats: expected [{}, {}]", output.size(), rows,
                     s.width(result)));
  }
  if (sequences == 0) {
    if (!batch.ids.empty()) fail(fmt::format("there are {} ids but no sequence", batch.ids.size()));
    return;
  }
  check_batch(batch, s.network);
  int64_t longest = 0;
  for (int64_t i = 0; i < sequences; ++i) {
    longest = std::max<int64_t>(longest, batch.offsets[i + 1] - batch.offsets[i]);
  }
  s.batch = batch;
  s.reserve(static_cast<int64_t>(batch.ids.size()), sequences, longest);
  for (const Step& step : s.plan.steps) {
    s.run(step);
    s.report(step);
  }
  std::memcpy(output.data(), s.f32(result), output.size_bytes());
}

}  // namespace twofour
