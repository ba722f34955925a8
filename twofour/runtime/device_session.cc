#include "twofour/runtime/device_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "twofour/base/error.h"

namespace twofour {
namespace {

constexpr int64_t kTile = 64;  // tokens to which the longest sequence is rounded up

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
int64_t aligned_numbers(int64_t count) { return (count + 3) / 4 * 4; }

int64_t round_up(const cuda::Buckets& buckets, int64_t rows) {
  if (rows <= buckets.limit()) return buckets.rows(buckets.index_for(rows));
  return (rows + buckets.limit() - 1) / buckets.limit() * buckets.limit();
}

const float* as_floats(const cuda::DeviceBuffer& buffer) {
  return reinterpret_cast<const float*>(buffer.data());
}

}  // namespace

BatchLayout::BatchLayout(const DeviceShape& shape)
    : offsets(4),
      ids(offsets + aligned_numbers(shape.sequences + 1)),
      type_ids(ids + shape.tokens),
      count(type_ids + shape.tokens) {}

DeviceSession::DeviceSession(const Network& network, const DevicePlan& plan,
                             const SessionOptions& options)
    : network_(network),
      plan_(plan),
      device_(*plan.device),
      runtime_(device_.runtime()),
      options_(options),
      stream_(options.stream) {
  const cuda::DeviceGuard guard(runtime_, device_.ordinal());
  done_ = std::make_unique<cuda::Event>(runtime_);
  if (stream_ != nullptr) return;
  own_stream_ = std::make_unique<cuda::Stream>(runtime_);
  stream_ = own_stream_->handle();
}

// Memory of the host must not go while the device still copies from it.
DeviceSession::~DeviceSession() { runtime_.synchronize(stream_); }

DeviceShape DeviceSession::shape_of(int64_t tokens, int64_t sequences, int64_t longest) const {
  return {round_up(device_.buckets(), tokens), round_up(device_.buckets(), sequences),
          (longest + kTile - 1) / kTile * kTile};
}

// The old memory goes first: two of them may not fit. Without memory for the new one the session
// holds none until the next batch.
void DeviceSession::reserve(const DeviceShape& wanted) {
  if (wanted.tokens <= capacity_.tokens && wanted.sequences <= capacity_.sequences) return;
  const DeviceShape larger{std::max(capacity_.tokens, wanted.tokens),
                           std::max(capacity_.sequences, wanted.sequences), 0};
  recent_.clear();
  seen_.clear();
  refused_.clear();
  capacity_ = {};
  arena_ = {};
  try {
    capacity_ = larger;
    lay_out();
  } catch (const Error&) {
    capacity_ = {};
    throw;
  }
}

void DeviceSession::lay_out() {
  const auto numbers = static_cast<size_t>(BatchLayout(capacity_).count) * sizeof(int32_t);
  size_t bytes = aligned(numbers);
  slot_offsets_.clear();
  for (const Slot& slot : plan_.slots) {
    slot_offsets_.push_back(bytes);
    const int64_t rows = slot.rows == Rows::kTokens ? capacity_.tokens : capacity_.sequences;
    bytes += aligned(static_cast<size_t>(slot.row_bytes * rows));
  }
  if (options_.device_memory_limit > 0 && bytes > options_.device_memory_limit) {
    throw Error("Session::run",
                fmt::format("a batch of {} tokens in {} sequences needs {} bytes on {}, the "
                            "session's limit is {}",
                            capacity_.tokens, capacity_.sequences, bytes, device_.name(),
                            options_.device_memory_limit),
                "Use a smaller batch or raise device_memory_limit");
  }
  arena_ = cuda::DeviceBuffer(runtime_, bytes, "Session::run");
  cuda::check(runtime_, runtime_.fill(arena_.data(), 0, bytes, current_.stream), "cudaMemsetAsync");
  staging_ = cuda::PinnedBuffer(runtime_, numbers);
  const int64_t rows = by_token(network_.output) ? capacity_.tokens : capacity_.sequences;
  results_ = cuda::PinnedBuffer(runtime_, static_cast<size_t>(rows * output_row_bytes()));
}

void DeviceSession::begin(const DeviceShape& shape, cuda::StreamHandle stream) {
  current_.shape = shape;
  current_.stream = stream;
  reserve(shape);
  current_.numbers = reinterpret_cast<int32_t*>(arena_.data());
  current_.slots.resize(slot_offsets_.size());
  for (size_t i = 0; i < slot_offsets_.size(); ++i)
    current_.slots[i] = arena_.data() + slot_offsets_[i];
  if (pending_)
    cuda::check(runtime_, runtime_.wait(stream, done_->handle()), "cudaStreamWaitEvent");
  pending_ = false;
}

void DeviceSession::run(const TokenBatch& batch, const Session::Tap& tap, std::span<float> output) {
  const cuda::DeviceGuard guard(runtime_, device_.ordinal());
  const cuda::Range range(runtime_, "twofour::Session::run");
  const auto sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  for (int64_t first = 0; first < sequences;) {
    int64_t count = 1;
    while (first + count < sequences &&
           batch.offsets[first + count + 1] - batch.offsets[first] <= kDeviceTokens)
      ++count;
    try {
      run_part(batch, first, count, tap, output);
    } catch (...) {
      runtime_.synchronize(stream_);  // what was enqueued reads the host's memory
      throw;
    }
    seen_.insert(current_.shape);
    first += count;
  }
}

void DeviceSession::run_part(const TokenBatch& batch, int64_t first, int64_t count,
                             const Session::Tap& tap, std::span<float> output) {
  int64_t longest = 0;
  for (int64_t i = first; i < first + count; ++i)
    longest = std::max<int64_t>(longest, batch.offsets[i + 1] - batch.offsets[i]);
  current_.tokens = batch.offsets[first + count] - batch.offsets[first];
  current_.sequences = count;
  begin(shape_of(current_.tokens, count, longest), stream_);
  stage(batch, first, count);
  execute(tap);
  const int64_t row = by_token(network_.output) ? batch.offsets[first] : first;
  const auto bytes = static_cast<size_t>(rows(network_.output) * output_row_bytes());
  cuda::check(runtime_,
              runtime_.copy(results_.data(), current_.slots[plan_.output_slot], bytes, stream_),
              "cudaMemcpyAsync");
  cuda::check(runtime_, runtime_.synchronize(stream_), "cudaStreamSynchronize");
  std::memcpy(output.data() + row * width(network_.output), results_.data(), bytes);
}

void DeviceSession::stage(const TokenBatch& batch, int64_t first, int64_t count) {
  const BatchLayout layout(current_.shape);
  auto* numbers = reinterpret_cast<int32_t*>(staging_.data());
  const int32_t begin = batch.offsets[first];
  numbers[0] = static_cast<int32_t>(current_.tokens);
  numbers[1] = static_cast<int32_t>(count);
  for (int64_t i = 0; i <= count; ++i)
    numbers[layout.offsets + i] = batch.offsets[first + i] - begin;
  std::copy_n(batch.ids.data() + begin, current_.tokens, numbers + layout.ids);
  std::copy_n(batch.type_ids.data() + begin, current_.tokens, numbers + layout.type_ids);
  const auto bytes = static_cast<size_t>(layout.type_ids + current_.tokens) * sizeof(int32_t);
  cuda::check(runtime_, runtime_.copy(current_.numbers, numbers, bytes, stream_),
              "cudaMemcpyAsync");
}

void DeviceSession::run(const DeviceBatch& batch, float* output, void* stream) {
  const cuda::DeviceGuard guard(runtime_, device_.ordinal());
  const cuda::Range range(runtime_, "twofour::Session::run");
  current_.tokens = batch.tokens;
  current_.sequences = batch.sequences;
  const auto mark_done = [&] {
    const cuda::Status status = runtime_.record(done_->handle(), stream);
    pending_ = pending_ || status == cuda::Status::kSuccess;
    return status;
  };
  try {
    enqueue(batch, output, stream);
  } catch (...) {
    if (!pending_) mark_done();  // another stream may use the buffers next
    throw;
  }
  cuda::check(runtime_, mark_done(), "cudaEventRecord");
  seen_.insert(current_.shape);
}

void DeviceSession::enqueue(const DeviceBatch& batch, float* output, cuda::StreamHandle stream) {
  begin(shape_of(batch.tokens, batch.sequences, batch.longest), stream);
  const BatchLayout layout(current_.shape);
  device_.kernels().take_batch(
      {batch.ids, batch.type_ids, batch.offsets, static_cast<int32_t>(batch.tokens),
       static_cast<int32_t>(batch.sequences), current_.numbers, current_.numbers + layout.ids,
       current_.numbers + layout.type_ids, current_.numbers + layout.offsets},
      stream);
  execute({});
  const auto bytes = static_cast<size_t>(rows(network_.output) * output_row_bytes());
  cuda::check(runtime_, runtime_.copy(output, current_.slots[plan_.output_slot], bytes, stream),
              "cudaMemcpyAsync");
}

void DeviceSession::execute(const Session::Tap& tap) {
  if (!tap) {
    if (const cuda::Graph* found = graph()) {
      found->launch(current_.stream);
      ++graph_use_.launched;
      return;
    }
  }
  execute_steps(tap);
  ++graph_use_.plain;
}

// A shape runs step by step at first; the second time it is captured. The graph holds addresses of
// the arena and of the libraries' workspace: where those move, it goes.
cuda::Graph* DeviceSession::graph() {
  drop_stale_graphs();  // a batch that failed may have left some
  const auto found = std::find_if(recent_.begin(), recent_.end(),
                                  [&](const auto& entry) { return entry.first == current_.shape; });
  if (found != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, found);
    return found->second.get();
  }
  if (!options_.graphs || !seen_.contains(current_.shape) || refused_.contains(current_.shape))
    return nullptr;
  auto made = capture();
  if (made == nullptr) {
    refused_.insert(current_.shape);
    return nullptr;
  }
  if (recent_.size() == kMaximumGraphs) {
    seen_.erase(recent_.back().first);
    recent_.pop_back();
  }
  recent_.emplace_front(current_.shape, std::move(made));
  return recent_.front().second.get();
}

// Not on the caller's stream, which may be one that cannot capture.
std::unique_ptr<cuda::Graph> DeviceSession::capture() {
  if (own_stream_ == nullptr) own_stream_ = std::make_unique<cuda::Stream>(runtime_);
  const std::vector<cuda::PreparedLinear> held = prepare();
  struct Restore {
    ~Restore() { stream = before; }
    cuda::StreamHandle& stream;
    cuda::StreamHandle before;
  } restore{current_.stream, current_.stream};
  current_.stream = own_stream_->handle();
  std::string failure;
  auto made = cuda::Graph::capture(
      runtime_, own_stream_->handle(), [&] { execute_steps({}); }, failure);
  if (made == nullptr) graph_use_.failure = failure;
  return made;
}

// Plans belong to a thread and may have been evicted: while a stream captures, none can be made.
std::vector<cuda::PreparedLinear> DeviceSession::prepare() {
  std::vector<cuda::PreparedLinear> held;
  for (const DeviceStep& step : plan_.steps) {
    if (step.linear == nullptr) continue;
    held.push_back(step.linear->prepare(shape_rows(step.output), room(step.output), scratch_));
  }
  drop_stale_graphs();
  return held;
}

// Those with addresses of a workspace that has grown since.
void DeviceSession::drop_stale_graphs() {
  const std::array<const std::byte*, 3> now = {
      scratch_.sparse.workspace.data(), scratch_.dense.workspace.data(), scratch_.sums.data()};
  if (std::exchange(workspaces_, now) != now) recent_.clear();
}

void DeviceSession::execute_steps(const Session::Tap& tap) {
  for (const DeviceStep& step : plan_.steps) {
    const cuda::Range range(runtime_, step.op->name.c_str());
    run(step);
    report(step, tap);
  }
  convert_output();
  drop_stale_graphs();
}

void DeviceSession::run(const DeviceStep& step) {
  switch (step.op->kind) {
    case OpKind::kEmbedding:
      return embed(step);
    case OpKind::kLinear:
      return step.linear ? multiply(step) : multiply_head(step);
    case OpKind::kAttention:
      return attend(step);
    case OpKind::kLayerNorm:
      return normalize_layer(step);
    case OpKind::kPool:
      return pool(step);
    case OpKind::kNormalize:
      return normalize(step);
    case OpKind::kActivation:
    case OpKind::kAdd:
      return;  // make_device_plan() refuses them
  }
}

std::byte* DeviceSession::data(ValueId value) const {
  const DeviceValue& placed = plan_.values[value];
  if (placed.slot < 0) return nullptr;
  return current_.slots[placed.slot] +
         placed.column * static_cast<int64_t>(dtype_bytes(placed.type));
}

int8_t* DeviceSession::s8(ValueId value) const {
  const int slot = plan_.values[value].s8_slot;
  return slot < 0 ? nullptr : reinterpret_cast<int8_t*>(current_.slots[slot]);
}

int64_t DeviceSession::shape_rows(ValueId value) const {
  return by_token(value) ? current_.shape.tokens : current_.shape.sequences;
}

int64_t DeviceSession::room(ValueId value) const {
  return by_token(value) ? capacity_.tokens : capacity_.sequences;
}

int64_t DeviceSession::rows(ValueId value) const {
  return by_token(value) ? current_.tokens : current_.sequences;
}

const int32_t* DeviceSession::count_of(ValueId value) const {
  return current_.numbers + (by_token(value) ? 0 : 1);
}

const int32_t* DeviceSession::offsets() const {
  return current_.numbers + BatchLayout(current_.shape).offsets;
}

void DeviceSession::fill_norm(cuda::NormArgs& args, const DeviceStep& step, size_t gamma,
                              double epsilon) const {
  args.rows = count_of(step.output);
  args.width = width(step.output);
  args.gamma = as_floats(step.parameters[gamma]);
  args.beta = as_floats(step.parameters[gamma + 1]);
  args.epsilon = static_cast<float>(epsilon);
  args.y = data(step.output);
  args.quantized = s8(step.output);
  args.output_scale = plan_.values[step.output].scale;
  args.e4m3 = plan_.quantized_type == DType::kF8E4M3;
}

void DeviceSession::embed(const DeviceStep& step) {
  const BatchLayout layout(current_.shape);
  cuda::EmbeddingArgs args;
  fill_norm(args, step, 3, step.norm->epsilon);
  args.sequences = current_.numbers + 1;
  args.ids = current_.numbers + layout.ids;
  args.type_ids = current_.numbers + layout.type_ids;
  args.offsets = offsets();
  args.word = step.parameters[0].data();
  args.position = step.parameters[1].data();
  args.type = step.parameters[2].data();
  args.words = static_cast<int32_t>(network_.vocab_size);
  args.types = static_cast<int32_t>(network_.type_vocab_size);
  args.positions = static_cast<int32_t>(network_.max_positions);
  device_.kernels().embed(plan_.float_type, current_.shape.tokens, args, current_.stream);
}

void DeviceSession::multiply(const DeviceStep& step) {
  const void* x = step.int8 ? static_cast<const void*>(s8(step.input)) : data(step.input);
  const DeviceValue& value = plan_.values[step.output];
  if (step.linear->runs_own(shape_rows(step.output)) && multiply_whole(step, x)) return;
  void* product = step.product_slot >= 0 ? static_cast<void*>(current_.slots[step.product_slot])
                                         : data(step.output);
  step.linear->multiply(x, product, shape_rows(step.output), room(step.output), current_.stream,
                        scratch_);
  if (step.product_slot < 0) return;
  // The floats last: they may take the product's place.
  if (value.s8_slot >= 0)
    finish_product(step, plan_.quantized_type, s8(step.output), width(step.output), value.scale);
  if (value.slot >= 0) finish_product(step, value.type, data(step.output), value.stride, 1);
}

// By the kernel that leaves no sums behind, where the layer has one result that it can write.
bool DeviceSession::multiply_whole(const DeviceStep& step, const void* x) {
  const DeviceValue& value = plan_.values[step.output];
  cuda::DeviceLinear::OwnArgs args;
  args.x = x;
  if (step.product_slot < 0) {
    args.y = data(step.output);
    args.y_stride = step.linear->spec().n;
    args.output = step.linear->product_type();
    // Where a LayerNorm reads the product, it adds the bias.
    args.with_bias = step.linear->bias() == nullptr;
    if (step.linear->spec().relu_in_product) args.activation = ActivationKind::kRelu;
  } else if (value.slot >= 0 && value.s8_slot >= 0) {
    return false;
  } else {
    const bool quantized = value.s8_slot >= 0;
    args.y = quantized ? static_cast<void*>(s8(step.output)) : data(step.output);
    args.y_stride = quantized ? width(step.output) : value.stride;
    args.output = quantized ? DType::kI8 : value.type;
    args.output_scale = quantized ? value.scale : 1;
    args.activation = step.activation;
  }
  const bool writes = step.linear->own_stores(args.output, shape_rows(step.output));
  if (writes) step.linear->run_own(args, shape_rows(step.output), current_.stream);
  return writes;
}

void DeviceSession::finish_product(const DeviceStep& step, DType output, void* y, int64_t y_stride,
                                   float output_scale) {
  const cuda::DeviceLinear& linear = *step.linear;
  cuda::EpilogueArgs args;
  args.x = current_.slots[step.product_slot];
  args.y = y;
  args.m = shape_rows(step.output);
  args.n = linear.spec().n;
  args.x_stride = args.n;
  args.y_stride = y_stride;
  args.input_scale = linear.input_scale();
  args.weight_scales = linear.weight_scales();
  args.bias = linear.bias();
  args.output_scale = output_scale;
  const auto activation =
      linear.spec().relu_in_product ? std::optional<ActivationKind>() : step.activation;
  device_.kernels().epilogue(linear.product_type(), output, activation, args, current_.stream);
}

void DeviceSession::multiply_head(const DeviceStep& step) {
  cuda::HeadArgs args;
  args.rows = count_of(step.output);
  args.x = data(step.input);
  args.weight = as_floats(step.parameters[0]);
  args.bias = as_floats(step.parameters[1]);
  args.n = plan_.values[step.output].stride;
  args.k = width(step.input);
  args.activated = step.activation.has_value();
  if (step.activation) args.activation = *step.activation;
  args.y = reinterpret_cast<float*>(data(step.output));
  device_.kernels().head(plan_.values[step.input].type, shape_rows(step.output), args,
                         current_.stream);
}

void DeviceSession::attend(const DeviceStep& step) {
  const Op& op = *step.op;
  cuda::DeviceAttentionArgs args;
  args.sequences = current_.numbers + 1;
  args.offsets = offsets();
  args.q = data(op.inputs[0]);
  args.k = data(op.inputs[1]);
  args.v = data(op.inputs[2]);
  args.stride = plan_.values[op.inputs[0]].stride;
  args.head_dim = op.head_dim;
  args.scale = cuda::kLog2E / std::sqrt(static_cast<float>(op.head_dim));
  args.out = data(step.output);
  args.quantized = s8(step.output);
  args.out_stride = width(step.output);
  args.output_scale = plan_.values[step.output].scale;
  args.e4m3 = plan_.quantized_type == DType::kF8E4M3;
  device_.kernels().attend(plan_.float_type,
                           {current_.shape.sequences, op.heads, current_.shape.longest}, args,
                           current_.stream);
}

void DeviceSession::normalize_layer(const DeviceStep& step) {
  cuda::LayerNormArgs args;
  fill_norm(args, step, 0, step.op->epsilon);
  args.product = data(step.input);
  if (step.producer != nullptr) {
    args.input_scale = step.producer->input_scale();
    args.weight_scales = step.producer->weight_scales();
    args.bias = step.producer->bias();
  }
  if (step.residual != kNoValue) args.residual = data(step.residual);
  device_.kernels().layer_norm(plan_.values[step.input].type, plan_.float_type,
                               shape_rows(step.output), args, current_.stream);
}

void DeviceSession::pool(const DeviceStep& step) {
  device_.kernels().pool(plan_.float_type, current_.shape.sequences,
                         {current_.numbers + 1, offsets(), step.op->pooling, data(step.input),
                          width(step.input), data(step.output)},
                         current_.stream);
}

void DeviceSession::normalize(const DeviceStep& step) {
  device_.kernels().normalize(plan_.values[step.input].type, shape_rows(step.output),
                              {count_of(step.output), data(step.input), width(step.input),
                               reinterpret_cast<float*>(data(step.output))},
                              current_.stream);
}

void DeviceSession::convert_output() {
  const DeviceValue& value = plan_.values[network_.output];
  if (value.slot == plan_.output_slot) return;
  cuda::EpilogueArgs args;
  args.x = data(network_.output);
  args.y = current_.slots[plan_.output_slot];
  args.m = shape_rows(network_.output);
  args.n = args.y_stride = width(network_.output);
  args.x_stride = value.stride;
  device_.kernels().epilogue(value.type, DType::kF32, {}, args, current_.stream);
}

void DeviceSession::report(const DeviceStep& step, const Session::Tap& tap) {
  const int8_t* quantized = s8(step.output);
  if (!tap || quantized == nullptr || plan_.quantized_type != DType::kI8) return;
  std::vector<int8_t> values(rows(step.output) * width(step.output));
  cuda::check(runtime_, runtime_.copy(values.data(), quantized, values.size(), current_.stream),
              "cudaMemcpyAsync");
  cuda::check(runtime_, runtime_.synchronize(current_.stream), "cudaStreamSynchronize");
  tap(network_.values[step.output].name, values);
}

}  // namespace twofour
