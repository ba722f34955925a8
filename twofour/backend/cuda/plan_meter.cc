#include "twofour/backend/cuda/plan_meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "twofour/backend/cuda/dense.h"
#include "twofour/backend/cuda/plan_cache.h"
#include "twofour/backend/cuda/random_weight.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/backend/cuda/spmm24_mma_weight.h"

namespace twofour::cuda {
namespace {

constexpr float kOne = 1, kZero = 0;
constexpr int kDenseAlgorithms = 8;
constexpr size_t kDenseWorkspace = size_t{32} << 20;
constexpr float kInputScale = 0.01f, kOutputScale = 30;

// The layer that a product is measured as; int8 sums alone are none.
DeviceLinearDesc layer_of(const PlanTask& task, bool epilogue) {
  const ProductDesc& p = task.product;
  const DType output = epilogue && p.output == DType::kI32 ? DType::kI8 : p.output;
  return {p.n, p.k, p.input, output, std::nullopt, task.sparse};
}

}  // namespace

// Weights of the three forms are made when a candidate first needs them.
class DeviceMeter::Case {
 public:
  Case(DeviceMeter& meter, const PlanTask& task)
      : task_(task), layer_(layer_of(task, meter.options_.epilogue)), meter_(meter) {
    const ProductDesc& p = task.product;
    weight_ = random_matrix(p.input, p.n, p.k, task.sparse, 1);
    x_host_ = random_matrix(p.input, task.rows, p.k, false, 2);
    bias_host_.resize(p.n);
    for (int64_t i = 0; i < p.n; ++i) bias_host_[i] = static_cast<float>(i % 7) - 3;
    x_ = upload(x_host_.data(), x_host_.size());
    bias_ = upload(bias_host_.data(), bias_host_.size() * sizeof(float));
    y_ = DeviceBuffer(runtime(), rows_bytes(task.rows, layer_.output), "y");
    sums_ = DeviceBuffer(runtime(), rows_bytes(task.rows, p.output), "sums");
  }

  const PlanTask& task() const { return task_; }
  const DeviceLinearDesc& layer() const { return layer_; }

  std::function<void(int copy)> sparse(const Algorithm& algorithm) {
    auto plan = std::make_shared<MatmulPlan>(*meter_.sparse_, meter_.sparse_handle_, task_.product,
                                             task_.rows, &algorithm);
    if (plan->algorithm_refused()) throw Error("plan", "the library refuses this algorithm");
    workspace(plan->workspace_bytes());
    if (sparse_.empty()) sparse_ = copies(compressed());
    return [this, plan](int copy) {
      void* out = product_output();
      plan->run({&kOne, sparse_[copy % sparse_.size()].data(), x_.data(), &kZero, out, out,
                 workspace_.data()},
                stream());
      finish(out);
    };
  }

  std::function<void(int copy)> dense(int rank) {
    if (dense_plan_ == nullptr) {
      dense_plan_ = std::make_unique<DensePlan>(meter_.dense_handle_, task_.product, task_.rows,
                                                kDenseWorkspace, kDenseAlgorithms);
    }
    workspace(dense_plan_->algorithm(rank).workspace_bytes);
    if (dense_.empty()) dense_ = copies(upload(weight_.data(), weight_.size()));
    return [this, rank](int copy) {
      void* out = product_output();
      dense_plan_->run(rank, 1, dense_[copy % dense_.size()].data(), x_.data(), out,
                       workspace_.data(), stream());
      finish(out);
    };
  }

  std::function<void(int copy)> own() {
    if (own_values_.empty()) {
      const ProductDesc& p = task_.product;
      const Spmm24MmaWeight packed = pack_spmm24_mma("plan", p.input, p.n, p.k, weight_.data());
      own_values_ = copies(upload(packed.values.data(), packed.values.size()));
      own_metadata_ =
          copies(upload(packed.metadata.data(), packed.metadata.size() * sizeof(uint32_t)),
                 own_values_.size());
    }
    return [this](int copy) {
      const size_t i = copy % own_values_.size();
      Spmm24MmaArgs args;
      args.x = x_.data();
      args.values = own_values_[i].data();
      args.metadata = reinterpret_cast<const uint32_t*>(own_metadata_[i].data());
      args.m = task_.rows;
      args.n = args.y_stride = task_.product.n;
      args.k = args.x_stride = task_.product.k;
      args.y = y_.data();
      args.input_scale = input_scale();
      args.bias = bias();
      args.output_scale = kOutputScale;
      meter_.kernels_.spmm24_mma(layer_.input, layer_.output, std::nullopt, args, stream());
    };
  }

  int copies_of(PlanUse use) const {
    return static_cast<int>(use == PlanUse::kSparse  ? sparse_.size()
                            : use == PlanUse::kDense ? dense_.size()
                                                     : own_values_.size());
  }

  // So that results of an earlier candidate do not pass for those of this one.
  void clear() {
    check(runtime(), runtime().fill(y_.data(), 0x55, y_.size(), stream()), "cudaMemsetAsync");
  }

  // Throws Error unless the first and the last row in y are right.
  void check_results() {
    const int64_t rows[] = {0, task_.rows - 1};
    if (want_.empty()) {
      for (const int64_t row : rows) want_.push_back(expected_row(row));
    }
    for (size_t i = 0; i < want_.size(); ++i) check_row(rows[i], want_[i]);
  }

 private:
  Runtime& runtime() const { return meter_.runtime_; }
  StreamHandle stream() const { return meter_.stream_->handle(); }
  const float* bias() const {
    return meter_.options_.epilogue ? reinterpret_cast<const float*>(bias_.data()) : nullptr;
  }
  float input_scale() const { return meter_.options_.epilogue ? kInputScale : 1; }
  size_t rows_bytes(int64_t rows, DType type) const {
    return static_cast<size_t>(rows) * task_.product.n * dtype_bytes(type);
  }

  DeviceBuffer upload(const void* data, size_t bytes) const {
    DeviceBuffer buffer(runtime(), bytes, task_.to_string());
    check(runtime(), runtime().copy(buffer.data(), data, bytes, stream()), "cudaMemcpyAsync");
    check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
    return buffer;
  }

  // `count` of them, or as many as MeterOptions asks for.
  std::vector<DeviceBuffer> copies(DeviceBuffer first, size_t count = 0) const {
    if (count == 0) {
      count = std::clamp<size_t>(meter_.options_.weight_bytes / std::max<size_t>(1, first.size()),
                                 1, static_cast<size_t>(meter_.options_.most_copies));
    }
    std::vector<DeviceBuffer> all;
    all.push_back(std::move(first));
    while (all.size() < count) {
      DeviceBuffer copy(runtime(), all[0].size(), task_.to_string());
      check(runtime(), runtime().copy(copy.data(), all[0].data(), copy.size(), stream()),
            "cudaMemcpyAsync");
      all.push_back(std::move(copy));
    }
    return all;
  }

  void workspace(size_t bytes) {
    if (workspace_.size() < bytes) {
      workspace_.reset();
      workspace_ = DeviceBuffer(runtime(), bytes, "workspace");
    }
  }

  DeviceBuffer compressed() const {
    CusparseLt& library = *meter_.sparse_;
    const Handle& handle = meter_.sparse_handle_->get();
    const Owned<MatrixDescriptor> matrix(
        library, "cusparseLtStructuredDescriptorInit", [&](MatrixDescriptor& made) {
          return library.init_structured(handle, made, weight_layout(task_.product));
        });
    const DeviceBuffer dense = upload(weight_.data(), weight_.size());
    size_t bytes = 0, buffer_bytes = 0;
    check(library, library.compressed_bytes(handle, matrix.get(), bytes, buffer_bytes),
          "cusparseLtSpMMACompressedSize2");
    DeviceBuffer out(runtime(), bytes, "compressed weight");
    const DeviceBuffer buffer(runtime(), buffer_bytes, "compression");
    check(library,
          library.compress(handle, matrix.get(), dense.data(), out.data(), buffer.data(), stream()),
          "cusparseLtSpMMACompress2");
    check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
    return out;
  }

  void* product_output() {
    return task_.product.output == layer_.output ? y_.data() : sums_.data();
  }

  void finish(const void* sums) {
    if (!meter_.options_.epilogue) return;
    EpilogueArgs args;
    args.x = sums;
    args.y = y_.data();
    args.m = task_.rows;
    args.n = args.x_stride = args.y_stride = task_.product.n;
    args.input_scale = input_scale();
    args.bias = bias();
    args.output_scale = kOutputScale;
    meter_.kernels_.epilogue(task_.product.output, layer_.output, std::nullopt, args, stream());
  }

  std::vector<std::byte> expected_row(int64_t row) const {
    std::vector<std::byte> want(rows_bytes(1, layer_.output));
    ReferenceProduct p;
    p.m = 1;
    p.n = task_.product.n;
    p.k = task_.product.k;
    p.input = layer_.input;
    p.output = layer_.output;
    p.x = x_host_.data() + row * p.k * dtype_bytes(p.input);
    p.weight = weight_.data();
    p.alpha = input_scale();
    if (meter_.options_.epilogue) p.bias = bias_host_.data();
    p.output_scale = kOutputScale;
    p.y = want.data();
    reference_product(p);
    return want;
  }

  void check_row(int64_t row, const std::vector<std::byte>& want) {
    std::vector<std::byte> found(want.size());
    check(runtime(),
          runtime().copy(found.data(), y_.data() + row * want.size(), want.size(), stream()),
          "cudaMemcpyAsync");
    check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
    for (int64_t i = 0; i < task_.product.n; ++i) {
      const double a = element(layer_.output, found.data(), i);
      const double b = element(layer_.output, want.data(), i);
      if (!(std::abs(a - b) <= tolerance(b))) {
        throw Error("plan", fmt::format("wrong result: row {}, column {} is {}, expected {}", row,
                                        i, a, b));
      }
    }
  }

  // Integers: exact. Floats: products rounded before and after the epilogue, sums of k terms.
  double tolerance(double value) const {
    if (layer_.input == DType::kI8) return 0;
    const double epsilon = layer_.output == DType::kF16 ? 1.0 / 1024 : 1.0 / 128;
    return 4 * epsilon *
           (std::abs(value) + std::sqrt(static_cast<double>(task_.product.k)) * kInputScale);
  }

  PlanTask task_;
  DeviceLinearDesc layer_;
  DeviceMeter& meter_;
  std::vector<std::byte> weight_, x_host_;
  std::vector<std::vector<std::byte>> want_;  // rows of y
  std::vector<float> bias_host_;
  DeviceBuffer x_, y_, bias_, sums_, workspace_;
  std::vector<DeviceBuffer> sparse_, dense_, own_values_, own_metadata_;
  std::unique_ptr<DensePlan> dense_plan_;
};

DeviceMeter::DeviceMeter(Runtime& runtime, CusparseLt* sparse, CublasLt* dense,
                         EncoderKernels& kernels, int device, const MeterOptions& options)
    : runtime_(runtime),
      sparse_(sparse),
      dense_(dense),
      kernels_(kernels),
      device_(device),
      options_(options) {
  check(runtime, runtime.set_device(device), "cudaSetDevice");
  check(runtime, runtime.properties(device, properties_), "cudaGetDeviceProperties");
  stream_.emplace(runtime);
  if (sparse != nullptr) {
    sparse_handle_ = std::make_shared<Owned<Handle>>(
        *sparse, "cusparseLtInit", [&](Handle& handle) { return sparse->init(handle); });
  }
  if (dense != nullptr) dense_handle_ = std::make_shared<const DenseHandle>(*dense, device);
}

DeviceMeter::~DeviceMeter() = default;

PlanEnvironment DeviceMeter::environment() {
  return plan_environment(runtime_, sparse_, dense_, device_);
}

DeviceMeter::Case& DeviceMeter::case_of(const PlanTask& task) {
  if (case_ == nullptr || case_->task().product != task.product ||
      case_->task().rows != task.rows || case_->task().sparse != task.sparse) {
    case_.reset();
    case_ = std::make_unique<Case>(*this, task);
  }
  return *case_;
}

TaskFacts DeviceMeter::facts(const PlanTask& task) {
  TaskFacts facts;
  facts.capability = properties_.capability();
  if (sparse_ != nullptr && task.sparse && !rejects(task.product, properties_)) {
    const MatmulPlan plan(*sparse_, sparse_handle_, task.product, task.rows, nullptr);
    facts.sparse_algorithms = plan.algorithm_count();
  }
  if (dense_ != nullptr && !dense_rejects(task.product, properties_)) {
    const DensePlan plan(dense_handle_, task.product, task.rows, kDenseWorkspace, kDenseAlgorithms);
    facts.dense_algorithms = static_cast<int>(plan.algorithms().size());
  }
  DeviceContext context;
  context.properties = properties_;
  facts.own = !spmm24_mma_kernel().supports(context, layer_of(task, options_.epilogue), task.rows);
  return facts;
}

double DeviceMeter::measure(const PlanTask& task, const PlanChoice& candidate) {
  try {
    Case& c = case_of(task);
    const std::function<void(int)> run =
        candidate.use == PlanUse::kSparse  ? c.sparse(candidate.algorithm)
        : candidate.use == PlanUse::kDense ? c.dense(candidate.dense_rank)
                                           : c.own();
    c.clear();
    run(0);
    c.check_results();
    return timed(run, c.copies_of(candidate.use));
  } catch (const Error& error) {
    throw_if_lost(error);
    throw;
  }
}

// An error of a kernel stays with the process: every later call fails too.
void DeviceMeter::throw_if_lost(const Error& cause) {
  if (runtime_.synchronize(stream_->handle()) == Status::kSuccess) return;
  throw DeviceLost("plan", cause.what());
}

double DeviceMeter::timed(const std::function<void(int copy)>& run, int copies) {
  for (int i = 0; i < options_.warm_up; ++i) run(i);
  Event begin(runtime_), end(runtime_);
  std::vector<double> us;
  int next = 0;
  for (int round = 0; round < options_.rounds; ++round) {
    begin.record(stream_->handle());
    for (int i = 0; i < options_.runs; ++i) run(next++ % std::max(1, copies));
    end.record(stream_->handle());
    stream_->synchronize();
    us.push_back(end.ms_since(begin) * 1000.0 / options_.runs);
  }
  std::nth_element(us.begin(), us.begin() + us.size() / 2, us.end());
  return us[us.size() / 2];
}

}  // namespace twofour::cuda
