// Stand-ins for the CUDA runtime and cuSPARSELt, for tests without a GPU: device memory is the
// host's, products are computed plainly, and everything is recorded. They prove logic, not speed,
// and they know of the real libraries only what their documentation says.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/product.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

// Which calls fail, and how: the next one of a name.
template <class StatusType>
class Failures {
 public:
  void next(const std::string& call, StatusType status) { planned_[call] = status; }
  StatusType take(const std::string& call) {
    const auto found = planned_.find(call);
    if (found == planned_.end()) return StatusType::kSuccess;
    const StatusType status = found->second;
    planned_.erase(found);
    return status;
  }

 private:
  std::map<std::string, StatusType> planned_;
};

class FakeRuntime final : public Runtime {
 public:
  struct Copy {
    const void* to = nullptr;
    const void* from = nullptr;
    size_t bytes = 0;
    StreamHandle stream = nullptr;
  };

  std::vector<DeviceProperties> devices = {{"Fake H100", 9, 0, size_t{80} << 30, 132},
                                           {"Fake A100", 8, 0, size_t{40} << 30, 108}};
  size_t free_bytes = size_t{1} << 30;
  int driver = 13000;
  Failures<Status> failures;
  std::vector<Copy> copies;
  int streams = 0, events = 0, graphs = 0, pinned = 0;  // alive
  size_t allocated = 0;             // times that device or pinned memory was asked for
  size_t launches = 0;              // of graphs
  size_t waits = 0;                 // of a stream for an event
  std::vector<std::string> ranges;  // begun
  std::string violations;

  size_t allocations() const { return memory_.size(); }
  // That was current when `memory` was allocated.
  int device_of(const void* memory) const { return memory_.at(const_cast<void*>(memory))->device; }

  std::string status_text(Status status) const override {
    return "status " + std::to_string(static_cast<int>(status));
  }
  Status driver_version(int& version) override {
    version = driver;
    return failures.take("driver_version");
  }
  Status runtime_version(int& version) override {
    version = 13000;
    return Status::kSuccess;
  }
  Status device_count(int& count) override {
    count = static_cast<int>(devices.size());
    return failures.take("device_count");
  }
  Status current_device(int& device) override {
    const std::lock_guard lock(mutex_);
    device = current_[std::this_thread::get_id()];
    return Status::kSuccess;
  }
  Status set_device(int device) override {
    const std::lock_guard lock(mutex_);
    if (device < 0 || device >= static_cast<int>(devices.size())) return Status::kInvalidValue;
    current_[std::this_thread::get_id()] = device;
    return Status::kSuccess;
  }
  Status properties(int device, DeviceProperties& out) override {
    if (device < 0 || device >= static_cast<int>(devices.size())) return Status::kInvalidValue;
    out = devices[device];
    return Status::kSuccess;
  }
  Status memory(size_t& free, size_t& total) override {
    free = free_bytes;
    total = devices[0].memory_bytes;
    return Status::kSuccess;
  }

  // What every stand-in of something asynchronous does: `work` runs now, or becomes part of the
  // graph that `stream` captures.
  Status enqueue(const std::string& call, StreamHandle stream, std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      if (const Status status = failures.take(call); status != Status::kSuccess) return status;
      if (const auto found = captures_.find(stream); found != captures_.end()) {
        found->second.work.push_back(std::move(work));
        return Status::kSuccess;
      }
    }
    work();
    return Status::kSuccess;
  }

  // Called by what the libraries forbid to a thread that captures.
  void not_in_capture(const std::string& call) {
    const std::lock_guard lock(mutex_);
    for (const auto& [stream, capture] : captures_) {
      if (capture.thread == std::this_thread::get_id()) violations += call + " during a capture; ";
    }
  }

  Status allocate(void*& memory, size_t bytes) override {
    not_in_capture("cudaMalloc");
    const std::lock_guard lock(mutex_);
    ++allocated;
    if (bytes > free_bytes) return Status::kOutOfMemory;
    free_bytes -= bytes;
    auto block = std::make_unique<Block>(bytes, current_[std::this_thread::get_id()]);
    memory = block->data();
    memory_[memory] = std::move(block);
    return Status::kSuccess;
  }
  Status release(void* memory) override {
    not_in_capture("cudaFree");
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(memory);
    if (found == memory_.end()) {
      violations += "released what was not allocated; ";
      return Status::kInvalidValue;
    }
    free_bytes += found->second->bytes;
    memory_.erase(found);
    return Status::kSuccess;
  }
  Status copy(void* to, const void* from, size_t bytes, StreamHandle stream) override {
    {
      const std::lock_guard lock(mutex_);
      copies.push_back({to, from, bytes, stream});
    }
    return enqueue("copy", stream, [=] { std::memcpy(to, from, bytes); });
  }
  Status fill(void* to, int value, size_t bytes, StreamHandle stream) override {
    return enqueue("fill", stream, [=] { std::memset(to, value, bytes); });
  }
  Status allocate_pinned(void*& memory, size_t bytes) override {
    not_in_capture("cudaMallocHost");
    const std::lock_guard lock(mutex_);
    if (const Status status = failures.take("pinned"); status != Status::kSuccess) return status;
    ++allocated;
    ++pinned;
    memory = new std::byte[bytes];
    return Status::kSuccess;
  }
  Status release_pinned(void* memory) override {
    const std::lock_guard lock(mutex_);
    --pinned;
    delete[] static_cast<std::byte*>(memory);
    return Status::kSuccess;
  }

  Status create_stream(StreamHandle& stream) override { return create(stream, streams, "stream"); }
  Status destroy_stream(StreamHandle) override {
    const std::lock_guard lock(mutex_);
    --streams;
    return Status::kSuccess;
  }
  Status synchronize(StreamHandle) override {
    not_in_capture("cudaStreamSynchronize");
    const std::lock_guard lock(mutex_);
    return failures.take("synchronize");
  }
  Status create_event(EventHandle& event) override { return create(event, events, "event"); }
  Status destroy_event(EventHandle) override {
    const std::lock_guard lock(mutex_);
    --events;
    return Status::kSuccess;
  }
  Status record(EventHandle, StreamHandle) override { return Status::kSuccess; }
  Status elapsed(float& ms, EventHandle, EventHandle) override {
    ms = 1.5f;
    return Status::kSuccess;
  }
  Status wait(StreamHandle, EventHandle) override {
    const std::lock_guard lock(mutex_);
    ++waits;
    return failures.take("wait");
  }

  Status begin_capture(StreamHandle stream) override {
    const std::lock_guard lock(mutex_);
    if (const Status status = failures.take("capture"); status != Status::kSuccess) return status;
    if (!captures_.try_emplace(stream, Capture{std::this_thread::get_id(), {}}).second)
      return Status::kInvalidValue;
    return Status::kSuccess;
  }
  Status end_capture(StreamHandle stream, GraphHandle& graph) override {
    const std::lock_guard lock(mutex_);
    auto found = captures_.extract(stream);
    if (const Status status = failures.take("end_capture"); status != Status::kSuccess)
      return status;
    ++graphs;
    graph = new Work(std::move(found.mapped().work));
    return Status::kSuccess;
  }
  Status launch(GraphHandle graph, StreamHandle stream) override {
    {
      const std::lock_guard lock(mutex_);
      ++launches;
    }
    return enqueue("launch", stream, [graph] {
      for (const auto& work : *static_cast<Work*>(graph)) work();
    });
  }
  Status destroy_graph(GraphHandle graph) override {
    const std::lock_guard lock(mutex_);
    --graphs;
    delete static_cast<Work*>(graph);
    return Status::kSuccess;
  }
  void begin_range(const char* name) override {
    const std::lock_guard lock(mutex_);
    ranges.emplace_back(name);
    ++depth_;
  }
  void end_range() override {
    const std::lock_guard lock(mutex_);
    if (--depth_ < 0) violations += "a range ended that did not begin; ";
  }

 private:
  using Work = std::vector<std::function<void()>>;
  struct Capture {
    std::thread::id thread;
    Work work;
  };

  // Aligned as the runtime's memory is.
  struct Block {
    Block(size_t size, int on) : bytes(size), device(on), storage(size + 256) {}
    std::byte* data() {
      const auto address = reinterpret_cast<uintptr_t>(storage.data());
      return storage.data() + (256 - address % 256) % 256;
    }
    size_t bytes;
    int device;
    std::vector<std::byte> storage;
  };

  Status create(void*& handle, int& alive, const char* what) {
    const std::lock_guard lock(mutex_);
    const Status status = failures.take(what);
    if (status != Status::kSuccess) return status;
    ++alive;
    handle = reinterpret_cast<void*>(++handles_);
    return Status::kSuccess;
  }

  std::mutex mutex_;
  int depth_ = 0;                             // of ranges
  uintptr_t handles_ = 0;                     // streams and events made so far
  std::map<StreamHandle, Capture> captures_;  // going on
  std::map<std::thread::id, int> current_;
  std::map<void*, std::unique_ptr<Block>> memory_;
};

// Keeps count of every object, and complains of one that is made or destroyed twice, used while it
// does not live, destroyed before what points to it, or used by a thread other than its handle's.
class FakeCusparseLt final : public CusparseLt {
 public:
  struct PlanRecord {
    MatrixLayout weight, input, output;
    const void* bias = nullptr;
    std::optional<ActivationKind> activation;
    bool channel_scales = false;
    Algorithm algorithm;
    std::thread::id thread;
    int device = 0;
  };

  explicit FakeCusparseLt(FakeRuntime& runtime) : runtime_(runtime) {}

  int version_number = 1000;
  size_t workspace = 0;
  size_t workspace_per_row = 0;  // added for each row of a plan
  int known_algorithms = 8;
  int own_split_k = 0;         // what becomes of any split_k; 0: it is taken as it is
  bool wrong_results = false;  // of products
  bool idle = false;           // products compute nothing
  Failures<SparseStatus> failures;
  std::vector<PlanRecord> plans_made;          // in order
  std::vector<PlanRecord> plans_destroyed;     // in order
  std::vector<int64_t> products;               // rows, in order
  std::vector<const void*> workspaces;         // given to products
  std::map<std::string, int> made, destroyed;  // objects by kind
  std::string violations;

  // Objects that live now.
  size_t alive() const { return kinds_.size(); }

  int version() const override { return version_number; }
  std::string origin() const override { return "stand-in"; }
  std::string status_text(SparseStatus status) const override {
    return "status " + std::to_string(static_cast<int>(status));
  }

  SparseStatus init(Handle& handle) override {
    runtime_.not_in_capture("cusparseLtInit");
    const std::lock_guard lock(mutex_);
    const SparseStatus status = make(&handle, "handle");
    if (status != SparseStatus::kSuccess) return status;
    int device = 0;
    runtime_.current_device(device);
    owners_[&handle] = {std::this_thread::get_id(), device};
    return status;
  }
  SparseStatus destroy(Handle& handle) override {
    const std::lock_guard lock(mutex_);
    for (const auto& [object, owner] : handle_of_) {
      if (owner == &handle) violations += "a handle went before its " + kinds_[object] + "; ";
    }
    owners_.erase(&handle);
    return drop(&handle, "handle");
  }

  SparseStatus init_dense(const Handle& handle, MatrixDescriptor& matrix,
                          const MatrixLayout& layout) override {
    return init_matrix(handle, matrix, layout, "dense matrix");
  }
  SparseStatus init_structured(const Handle& handle, MatrixDescriptor& matrix,
                               const MatrixLayout& layout) override {
    return init_matrix(handle, matrix, layout, "structured matrix");
  }
  SparseStatus destroy(MatrixDescriptor& matrix) override {
    const std::lock_guard lock(mutex_);
    check_unused(&matrix);
    return drop(&matrix, "matrix");
  }

  SparseStatus init_matmul(const Handle& handle, MatmulDescriptor& matmul,
                           const MatmulOperands& operands) override {
    const std::lock_guard lock(mutex_);
    use(handle);
    const SparseStatus status = failures.take("init_matmul");
    if (status != SparseStatus::kSuccess) return status;
    Matmul made;
    made.record.weight = layouts_.at(operands.a);
    made.record.input = layouts_.at(operands.b);
    made.record.output = layouts_.at(operands.d);
    made.parts = {operands.a, operands.b, operands.c, operands.d};
    matmuls_[&matmul] = made;
    return status;
  }
  SparseStatus set_bias(const Handle&, MatmulDescriptor& matmul, const void* bias) override {
    const std::lock_guard lock(mutex_);
    matmuls_.at(&matmul).record.bias = bias;
    return SparseStatus::kSuccess;
  }
  SparseStatus set_activation(const Handle&, MatmulDescriptor& matmul,
                              ActivationKind activation) override {
    const std::lock_guard lock(mutex_);
    matmuls_.at(&matmul).record.activation = activation;
    return failures.take("set_activation");
  }
  SparseStatus set_channel_scales(const Handle&, MatmulDescriptor& matmul) override {
    const std::lock_guard lock(mutex_);
    matmuls_.at(&matmul).record.channel_scales = true;
    return SparseStatus::kSuccess;
  }

  SparseStatus init_selection(const Handle& handle, AlgSelection& selection,
                              const MatmulDescriptor& matmul) override {
    const std::lock_guard lock(mutex_);
    const SparseStatus status = make(&selection, "selection");
    if (status != SparseStatus::kSuccess) return status;
    handle_of_[&selection] = &handle;
    algorithms_[&selection] = {};
    return status;
  }
  SparseStatus set_algorithm(const Handle&, AlgSelection& selection,
                             const Algorithm& algorithm) override {
    const std::lock_guard lock(mutex_);
    if (algorithm.id >= known_algorithms) return SparseStatus::kInvalidValue;
    algorithms_.at(&selection) = algorithm;
    if (own_split_k != 0) algorithms_.at(&selection).split_k = own_split_k;
    return SparseStatus::kSuccess;
  }
  SparseStatus get_algorithm(const Handle&, const AlgSelection& selection,
                             Algorithm& algorithm) override {
    const std::lock_guard lock(mutex_);
    algorithm = algorithms_.at(&selection);
    return failures.take("get_algorithm");
  }
  SparseStatus algorithm_count(const Handle&, const AlgSelection&, int& count) override {
    count = known_algorithms;
    return SparseStatus::kSuccess;
  }
  SparseStatus destroy(AlgSelection& selection) override {
    const std::lock_guard lock(mutex_);
    check_unused(&selection);
    return drop(&selection, "selection");
  }

  SparseStatus init_plan(const Handle& handle, Plan& plan, const MatmulDescriptor& matmul,
                         const AlgSelection& selection) override {
    runtime_.not_in_capture("cusparseLtMatmulPlanInit");
    const std::lock_guard lock(mutex_);
    use(handle);
    const SparseStatus status = make(&plan, "plan");
    if (status != SparseStatus::kSuccess) return status;
    PlanRecord record = matmuls_.at(&matmul).record;
    record.algorithm = algorithms_.at(&selection);
    record.thread = std::this_thread::get_id();
    record.device = owners_.at(&handle).device;
    plans_made.push_back(record);
    plans_[&plan] = record;
    plan_parts_[&plan] = matmuls_.at(&matmul).parts;
    plan_parts_[&plan].push_back(&selection);
    handle_of_[&plan] = &handle;
    return status;
  }
  SparseStatus destroy(Plan& plan) override {
    const std::lock_guard lock(mutex_);
    plan_parts_.erase(&plan);
    if (plans_.contains(&plan)) plans_destroyed.push_back(plans_.at(&plan));
    plans_.erase(&plan);
    return drop(&plan, "plan");
  }
  SparseStatus workspace_bytes(const Handle&, const Plan& plan, size_t& bytes) override {
    const std::lock_guard lock(mutex_);
    bytes = workspace + workspace_per_row * static_cast<size_t>(plans_.at(&plan).input.rows);
    return SparseStatus::kSuccess;
  }

  SparseStatus check_pruned(const Handle&, const MatrixDescriptor& weight, const void* d_weight,
                            int* d_valid, StreamHandle) override {
    const std::lock_guard lock(mutex_);
    const MatrixLayout& layout = layouts_.at(&weight);
    const auto* bytes = static_cast<const std::byte*>(d_weight);
    const size_t size = dtype_bytes(layout.type);
    *d_valid = 0;
    for (int64_t group = 0; group < layout.rows * layout.cols / 4; ++group) {
      int nonzero = 0;
      for (int64_t i = 4 * group; i < 4 * group + 4; ++i) {
        const auto* element = bytes + i * size;
        nonzero +=
            std::any_of(element, element + size, [](std::byte b) { return b != std::byte{}; });
      }
      if (nonzero > 2) *d_valid = 1;
    }
    return failures.take("check_pruned");
  }
  // "Compressed" weights are a copy, so that products can be computed.
  SparseStatus compressed_bytes(const Handle&, const MatrixDescriptor& weight, size_t& bytes,
                                size_t& buffer_bytes) override {
    const std::lock_guard lock(mutex_);
    bytes = size_of(layouts_.at(&weight));
    buffer_bytes = 64;
    return SparseStatus::kSuccess;
  }
  SparseStatus compress(const Handle&, const MatrixDescriptor& weight, const void* d_weight,
                        void* compressed, void*, StreamHandle) override {
    const std::lock_guard lock(mutex_);
    const SparseStatus status = failures.take("compress");
    if (status == SparseStatus::kSuccess)
      std::memcpy(compressed, d_weight, size_of(layouts_.at(&weight)));
    return status;
  }

  SparseStatus matmul(const Handle& handle, const Plan& plan, const MatmulPointers& pointers,
                      StreamHandle stream) override {
    PlanRecord record;
    {
      const std::lock_guard lock(mutex_);
      use(handle);
      if (!plans_.contains(&plan)) violations += "a plan that does not live was run; ";
      record = plans_.at(&plan);
      products.push_back(record.input.rows);
      workspaces.push_back(pointers.workspace);
      const SparseStatus status = failures.take("matmul");
      if (status != SparseStatus::kSuccess) return status;
    }
    // Alpha on the host is read now, on the device when the product runs.
    const float alpha = record.channel_scales ? 1 : *static_cast<const float*>(pointers.alpha);
    const bool wrong = wrong_results;
    runtime_.enqueue("product", stream, [=, idle = idle] {
      if (idle) return;
      multiply(record, pointers, alpha);
      const size_t size = dtype_bytes(record.output.type);
      if (wrong) static_cast<uint8_t*>(pointers.d)[size - 1] ^= 0x40;
    });
    return SparseStatus::kSuccess;
  }

 private:
  struct Owner {
    std::thread::id thread;
    int device = 0;
  };
  struct Matmul {
    PlanRecord record;
    std::vector<const void*> parts;
  };

  static size_t size_of(const MatrixLayout& layout) {
    return static_cast<size_t>(layout.rows * layout.cols) * dtype_bytes(layout.type);
  }

  static void multiply(const PlanRecord& record, const MatmulPointers& p, float alpha) {
    ProductDesc types;
    types.input = record.input.type;
    types.output = record.output.type;
    std::vector<float> bias;
    for (int64_t i = 0; record.bias != nullptr && i < record.weight.rows; ++i)
      bias.push_back(static_cast<float>(element(bias_type(types), record.bias, i)));
    ReferenceProduct product;
    product.m = record.input.rows;
    product.n = record.weight.rows;
    product.k = record.weight.cols;
    product.input = record.input.type;
    product.output = record.output.type;
    product.x = p.b;
    product.weight = p.a;
    product.alpha = alpha;
    if (record.channel_scales) product.scales = static_cast<const float*>(p.alpha);
    product.bias = bias.empty() ? nullptr : bias.data();
    product.activation = record.activation;
    product.y = p.d;
    reference_product(product);
  }

  SparseStatus init_matrix(const Handle& handle, MatrixDescriptor& matrix,
                           const MatrixLayout& layout, const std::string& kind) {
    const std::lock_guard lock(mutex_);
    use(handle);
    const SparseStatus status = failures.take(kind);
    if (status != SparseStatus::kSuccess) return status;
    layouts_[&matrix] = layout;
    handle_of_[&matrix] = &handle;
    return make(&matrix, "matrix");
  }

  SparseStatus make(const void* object, const std::string& kind) {
    const SparseStatus status = failures.take(kind);
    if (status != SparseStatus::kSuccess) return status;
    if (!kinds_.emplace(object, kind).second) violations += "a " + kind + " was made twice; ";
    ++made[kind];
    return status;
  }
  SparseStatus drop(const void* object, const std::string& kind) {
    handle_of_.erase(object);
    if (kinds_.erase(object) == 0) violations += "a " + kind + " was destroyed twice; ";
    ++destroyed[kind];
    return SparseStatus::kSuccess;
  }
  void check_unused(const void* object) {
    for (const auto& [plan, parts] : plan_parts_) {
      if (std::find(parts.begin(), parts.end(), object) != parts.end())
        violations += "a " + kinds_[object] + " went before its plan; ";
    }
  }
  void use(const Handle& handle) {
    const auto found = owners_.find(&handle);
    if (found == owners_.end())
      violations += "a handle that does not live was used; ";
    else if (found->second.thread != std::this_thread::get_id())
      violations += "a handle was used by another thread; ";
  }

  FakeRuntime& runtime_;
  std::mutex mutex_;
  std::map<const void*, std::string> kinds_;  // of all that lives
  std::map<const void*, const Handle*> handle_of_;
  std::map<const Handle*, Owner> owners_;
  std::map<const void*, MatrixLayout> layouts_;
  std::map<const MatmulDescriptor*, Matmul> matmuls_;
  std::map<const AlgSelection*, Algorithm> algorithms_;
  std::map<const Plan*, PlanRecord> plans_;
  std::map<const Plan*, std::vector<const void*>> plan_parts_;
};

}  // namespace twofour::cuda
