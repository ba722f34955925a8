#include "twofour/backend/cuda/plan_meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "twofour/backend/cuda/dense.h"
#include "twofour/backend/cuda/device.h"
#include "twofour/backend/cuda/plan_cache.h"
#include "twofour/backend/cuda/random_weight.h"
#include "twofour/backend/cuda/reference_product.h"
#include "twofour/backend/cuda/spmm24_cutlass_weight.h"
#include "twofour/backend/cuda/spmm24_mma_weight.h"

namespace twofour::cuda {
namespace {

constexpr float kOne = 1, kZero = 0;
constexpr int kDenseAlgorithms = 8;
constexpr size_t kDenseWorkspace = size_t{32} << 20;
constexpr float kInputScale = 0.01f, kOutputScale = 30;
constexpr double kMostTimes = 50;  // that a round grows by

// Whether cuSPARSELt scales int8 sums and adds the bias itself, as the engine then lets it.
bool scales(const ProductDesc& product) { return dense_part(product) != product; }

CutlassForm form_of(const PlanChoice& choice) {
  return kSpmm24CutlassVariants[choice.variant].form;
}

// The layer that a product is measured as; int8 sums alone are none.
DeviceLinearDesc layer_of(const PlanTask& task, bool epilogue) {
  const ProductDesc& p = task.product;
  const DType output = epilogue && p.output == DType::kI32 ? DType::kI8 : p.output;
  return {p.n, p.k, p.input, output, std::nullopt, task.sparse};
}

}  // namespace

// A product's weight in the forms of the kernels, each made when first asked for, in as many
// copies that take turns as keep it from staying in the cache.
class DeviceMeter::Weights {
 public:
  Weights(DeviceMeter& meter, const PlanTask& task) : meter_(meter), task_(task) {
    const ProductDesc& p = task.product;
    host_ = random_matrix(p.input, p.n, p.k, task.sparse, 1);
  }

  bool serve(const PlanTask& task) const {
    return task.product == task_.product && task.sparse == task_.sparse;
  }
  const std::vector<std::byte>& host() const { return host_; }

  const std::vector<DeviceBuffer>& sparse() {
    if (sparse_.empty()) sparse_ = copies(compressed());
    return sparse_;
  }
  const std::vector<DeviceBuffer>& dense() {
    if (dense_.empty()) dense_ = copies(meter_.upload(host_.data(), host_.size(), "weight"));
    return dense_;
  }
  const std::vector<DeviceBuffer>& own_values() {
    if (own_values_.empty()) pack_own();
    return own_values_;
  }
  const std::vector<DeviceBuffer>& own_metadata() const { return own_metadata_; }

  struct Cutlass {
    std::vector<DeviceBuffer> values, metadata;
  };
  const Cutlass& cutlass(CutlassForm form) {
    Cutlass& packed = cutlass_[static_cast<int>(form)];
    if (packed.values.empty()) pack_cutlass(form, packed);
    return packed;
  }

  size_t copies_of(const PlanChoice& choice) {
    switch (choice.use) {
      case PlanUse::kSparse:
        return sparse_.size();
      case PlanUse::kDense:
        return dense_.size();
      case PlanUse::kOwn:
        return own_values_.size();
      case PlanUse::kCutlass:
        return cutlass(form_of(choice)).values.size();
    }
    __builtin_unreachable();
  }

 private:
  Runtime& runtime() const { return meter_.runtime_; }
  StreamHandle stream() const { return meter_.stream_->handle(); }

  // `count` of them; 0: four times the cache.
  std::vector<DeviceBuffer> copies(DeviceBuffer first, size_t count = 0) const {
    const size_t size = std::max<size_t>(1, first.size());
    if (count == 0)
      count = std::max<size_t>(2, (4 * meter_.properties_.l2_bytes + size - 1) / size);
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

  void pack_own() {
    const ProductDesc& p = task_.product;
    const Spmm24MmaWeight packed = pack_spmm24_mma("plan", p.input, p.n, p.k, host_.data());
    auto values = copies(meter_.upload(packed.values.data(), packed.values.size(), "values"));
    own_metadata_ = copies(meter_.upload(packed.metadata.data(),
                                         packed.metadata.size() * sizeof(uint32_t), "metadata"),
                           values.size());
    own_values_ = std::move(values);
  }

  void pack_cutlass(CutlassForm form, Cutlass& out) {
    const ProductDesc& p = task_.product;
    const Spmm24CutlassWeight packed =
        pack_spmm24_cutlass("plan", form, p.input, p.n, p.k, host_.data());
    auto values = copies(meter_.upload(packed.values.data(), packed.values.size(), "values"));
    out.metadata = copies(meter_.upload(packed.metadata.data(), packed.metadata.size(), "metadata"),
                          values.size());
    out.values = std::move(values);
  }

  DeviceBuffer compressed() const {
    CusparseLt& library = *meter_.sparse_;
    const Handle& handle = meter_.sparse_handle_->get();
    const Owned<MatrixDescriptor> matrix(
        library, "cusparseLtStructuredDescriptorInit", [&](MatrixDescriptor& made) {
          return library.init_structured(handle, made, weight_layout(task_.product));
        });
    const DeviceBuffer dense = meter_.upload(host_.data(), host_.size(), "weight");
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

  DeviceMeter& meter_;
  PlanTask task_;
  std::vector<std::byte> host_;
  std::vector<DeviceBuffer> sparse_, dense_, own_values_, own_metadata_;
  Cutlass cutlass_[2];  // by form
};

// One product of one number of rows.
class DeviceMeter::Case {
 public:
  Case(DeviceMeter& meter, const PlanTask& task, Weights& weights)
      : task_(task),
        layer_(layer_of(task, meter.options_.epilogue)),
        meter_(meter),
        weights_(weights),
        finished_(meter.options_.epilogue || scales(task.product)) {
    const ProductDesc& p = task.product;
    x_host_ = random_matrix(p.input, task.rows, p.k, false, 2);
    bias_host_.resize(p.n);
    for (int64_t i = 0; i < p.n; ++i) bias_host_[i] = static_cast<float>(i % 7) - 3;
    x_ = meter.upload(x_host_.data(), x_host_.size(), "x");
    bias_ = meter.upload(bias_host_.data(), bias_host_.size() * sizeof(float), "bias");
    if (scales(p)) {
      const std::vector<float> alpha(p.n, kInputScale);
      alpha_ = meter.upload(alpha.data(), alpha.size() * sizeof(float), "scales");
    }
    y_ = DeviceBuffer(runtime(), rows_bytes(task.rows, layer_.output), "y");
    sums_ = DeviceBuffer(runtime(), rows_bytes(task.rows, dense_part(p).output), "sums");
    expect_rows();
  }

  const PlanTask& task() const { return task_; }
  int split_k() const { return split_k_; }  // of the last candidate of cuSPARSELt

  // As cuSPARSELt is asked for it.
  ProductDesc sparse_product() const {
    ProductDesc product = task_.product;
    if (!scales(product)) return product;
    product.channel_scales = true;
    product.bias = bias_.data();
    return product;
  }

  std::function<void(size_t copy)> sparse(const Algorithm& algorithm) {
    auto plan = std::make_shared<MatmulPlan>(*meter_.sparse_, meter_.sparse_handle_,
                                             sparse_product(), task_.rows, &algorithm);
    if (plan->algorithm_refused()) throw Error("plan", "the library refuses this algorithm");
    split_k_ = plan->split_k();
    workspace(plan->workspace_bytes());
    return [this, plan, &weights = weights_.sparse()](size_t copy) {
      void* out = product_output(task_.product);
      const void* alpha = scales(task_.product) ? static_cast<const void*>(alpha_.data()) : &kOne;
      plan->run({alpha, weights[copy % weights.size()].data(), x_.data(), &kZero, out, out,
                 workspace_.data()},
                stream());
      if (!scales(task_.product)) finish(out, task_.product.output);
    };
  }

  std::function<void(size_t copy)> dense(int rank) {
    if (dense_plan_ == nullptr) {
      dense_plan_ = std::make_unique<DensePlan>(meter_.dense_handle_, dense_part(task_.product),
                                                task_.rows, kDenseWorkspace, kDenseAlgorithms);
    }
    workspace(dense_plan_->algorithm(rank).workspace_bytes);
    return [this, rank, &weights = weights_.dense()](size_t copy) {
      const ProductDesc product = dense_part(task_.product);
      void* out = product_output(product);
      dense_plan_->run(rank, 1, weights[copy % weights.size()].data(), x_.data(), out,
                       workspace_.data(), stream());
      finish(out, product.output);
    };
  }

  std::function<void(size_t copy)> own() {
    return [this, &values = weights_.own_values()](size_t copy) {
      const size_t i = copy % values.size();
      Spmm24MmaArgs args;
      args.x = x_.data();
      args.values = values[i].data();
      args.metadata = reinterpret_cast<const uint32_t*>(weights_.own_metadata()[i].data());
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

  std::function<void(size_t copy)> cutlass(int variant) {
    const Weights::Cutlass& weight = weights_.cutlass(kSpmm24CutlassVariants[variant].form);
    return [this, variant, &weight](size_t copy) {
      const size_t i = copy % weight.values.size();
      Spmm24CutlassArgs args;
      args.x = x_.data();
      args.values = weight.values[i].data();
      args.metadata = weight.metadata[i].data();
      args.m = task_.rows;
      args.n = args.y_stride = task_.product.n;
      args.k = args.x_stride = task_.product.k;
      args.y = y_.data();
      args.input_scale = input_scale();
      args.bias = bias();
      args.output_scale = kOutputScale;
      meter_.kernels_.spmm24_cutlass(variant, layer_.input, layer_.output, std::nullopt, args,
                                     stream());
    };
  }

  // So that results of an earlier candidate do not pass for those of this one.
  void clear() {
    for (const DeviceBuffer* buffer : {&y_, &sums_}) {
      check(runtime(), runtime().fill(buffer->data(), 0x55, buffer->size(), stream()),
            "cudaMemsetAsync");
    }
  }

  // Throws Error unless the first and the last row in y are right.
  void check_results() {
    check_row(0, want_.data());
    check_row(task_.rows - 1, want_.data() + rows_bytes(1, layer_.output));
  }

 private:
  Runtime& runtime() const { return meter_.runtime_; }
  StreamHandle stream() const { return meter_.stream_->handle(); }
  const float* bias() const {
    return finished_ ? reinterpret_cast<const float*>(bias_.data()) : nullptr;
  }
  float input_scale() const { return finished_ ? kInputScale : 1; }
  size_t rows_bytes(int64_t rows, DType type) const {
    return static_cast<size_t>(rows) * task_.product.n * dtype_bytes(type);
  }

  void workspace(size_t bytes) {
    if (workspace_.size() < bytes) {
      workspace_.reset();
      workspace_ = DeviceBuffer(runtime(), bytes, "workspace");
    }
  }

  void* product_output(const ProductDesc& product) {
    return product.output == layer_.output ? y_.data() : sums_.data();
  }

  void finish(const void* sums, DType type) {
    if (!finished_) return;
    EpilogueArgs args;
    args.x = sums;
    args.y = y_.data();
    args.m = task_.rows;
    args.n = args.x_stride = args.y_stride = task_.product.n;
    args.input_scale = input_scale();
    args.bias = bias();
    args.output_scale = kOutputScale;
    meter_.kernels_.epilogue(type, layer_.output, std::nullopt, args, stream());
  }

  // The first and the last.
  void expect_rows() {
    const size_t row_bytes = static_cast<size_t>(task_.product.k) * dtype_bytes(layer_.input);
    std::vector<std::byte> x(x_host_.begin(), x_host_.begin() + row_bytes);
    x.insert(x.end(), x_host_.end() - row_bytes, x_host_.end());
    want_.resize(rows_bytes(2, layer_.output));
    ReferenceProduct p;
    p.m = 2;
    p.n = task_.product.n;
    p.k = task_.product.k;
    p.input = layer_.input;
    p.output = layer_.output;
    p.x = x.data();
    p.weight = weights_.host().data();
    p.alpha = input_scale();
    if (finished_) p.bias = bias_host_.data();
    p.output_scale = kOutputScale;
    p.y = want_.data();
    reference_product(p);
  }

  void check_row(int64_t row, const std::byte* want) {
    std::vector<std::byte> found(rows_bytes(1, layer_.output));
    check(runtime(),
          runtime().copy(found.data(), y_.data() + row * found.size(), found.size(), stream()),
          "cudaMemcpyAsync");
    check(runtime(), runtime().synchronize(stream()), "cudaStreamSynchronize");
    for (int64_t i = 0; i < task_.product.n; ++i) {
      const double a = element(layer_.output, found.data(), i);
      const double b = element(layer_.output, want, i);
      if (!(std::abs(a - b) <= tolerance(b))) {
        throw Error("plan", fmt::format("wrong result: row {}, column {} is {}, expected {}", row,
                                        i, a, b));
      }
    }
  }

  // Integers: exact. Floats: products rounded before and after the epilogue, sums of k terms.
  double tolerance(double value) const {
    if (layer_.output == DType::kI8 || layer_.output == DType::kI32) return 0;
    // Tensor cores may keep sums of E4M3 products with fewer bits than floats have.
    const bool fine = layer_.output == DType::kF16 && layer_.input != DType::kF8E4M3;
    const double epsilon = fine ? 1.0 / 1024 : 1.0 / 128;
    return 4 * epsilon *
           (std::abs(value) + std::sqrt(static_cast<double>(task_.product.k)) * kInputScale);
  }

  PlanTask task_;
  DeviceLinearDesc layer_;
  DeviceMeter& meter_;
  Weights& weights_;
  bool finished_;                         // the bias counts, and scales of int8 sums
  std::vector<std::byte> x_host_, want_;  // want_: two rows of y
  std::vector<float> bias_host_;
  DeviceBuffer x_, y_, bias_, alpha_, sums_, workspace_;
  std::unique_ptr<DensePlan> dense_plan_;
  int split_k_ = 0;
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

DeviceBuffer DeviceMeter::upload(const void* data, size_t bytes, std::string_view what) const {
  return copy_to_device(runtime_, data, bytes, stream_->handle(), what);
}

// Weights serve all rows of a product.
DeviceMeter::Case& DeviceMeter::case_of(const PlanTask& task) {
  if (case_ != nullptr && weights_->serve(task) && case_->task().rows == task.rows) return *case_;
  case_.reset();
  if (weights_ == nullptr || !weights_->serve(task)) {
    weights_.reset();
    weights_ = std::make_unique<Weights>(*this, task);
  }
  case_ = std::make_unique<Case>(*this, task, *weights_);
  return *case_;
}

// Makes all that candidates need, which takes longer than they do.
TaskFacts DeviceMeter::facts(const PlanTask& task) {
  TaskFacts facts;
  facts.capability = properties_.capability();
  const Case& c = case_of(task);
  const auto unless_it_fails = [&](const std::function<void()>& look) {
    try {
      look();
    } catch (const Error& error) {
      throw_if_lost(error);
      facts.missing += fmt::format("{}{}", facts.missing.empty() ? "" : "; ", error.what());
    }
  };
  if (sparse_ != nullptr && task.sparse && !rejects(task.product, properties_)) {
    unless_it_fails([&] {
      const MatmulPlan plan(*sparse_, sparse_handle_, c.sparse_product(), task.rows, nullptr);
      weights_->sparse();
      facts.sparse_algorithms = plan.algorithm_count();
    });
  }
  if (dense_ != nullptr && !dense_rejects(dense_part(task.product), properties_)) {
    unless_it_fails([&] {
      const DensePlan plan(dense_handle_, dense_part(task.product), task.rows, kDenseWorkspace,
                           kDenseAlgorithms);
      weights_->dense();
      facts.dense_algorithms = static_cast<int>(plan.algorithms().size());
    });
  }
  DeviceContext context;
  context.properties = properties_;
  context.kernels = &kernels_;
  const DeviceLinearDesc layer = layer_of(task, options_.epilogue);
  if (!spmm24_mma_kernel().supports(context, layer, task.rows)) {
    unless_it_fails([&] {
      weights_->own_values();
      facts.own = true;
    });
  }
  for (const CutlassForm form : {CutlassForm::kSm80, CutlassForm::kSm90}) {
    if (spmm24_cutlass_kernel(form).supports(context, layer, task.rows)) continue;
    unless_it_fails([&] {
      weights_->cutlass(form);
      for (int i = 0; i < kSpmm24CutlassVariantCount; ++i) {
        if (kSpmm24CutlassVariants[i].form == form) facts.cutlass.push_back(i);
      }
    });
  }
  return facts;
}

PlanTime DeviceMeter::measure(const PlanTask& task, const PlanChoice& candidate) {
  try {
    Case& c = case_of(task);
    const std::function<void(size_t)> run =
        candidate.use == PlanUse::kSparse    ? c.sparse(candidate.algorithm)
        : candidate.use == PlanUse::kDense   ? c.dense(candidate.dense_rank)
        : candidate.use == PlanUse::kCutlass ? c.cutlass(candidate.variant)
                                             : c.own();
    c.clear();
    run(0);
    c.check_results();
    PlanTime time = timed(run, weights_->copies_of(candidate));
    if (candidate.use == PlanUse::kSparse) time.split_k = c.split_k();
    return time;
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

double DeviceMeter::round_us(const std::function<void()>& round) {
  Event begin(runtime_), end(runtime_);
  begin.record(stream_->handle());
  round();
  end.record(stream_->handle());
  stream_->synchronize();
  return end.ms_since(begin) * 1000.0;
}

// A round is a graph, since enqueueing the runs of a small product takes longer than the runs; all
// copies of the weight have their turn in it.
PlanTime DeviceMeter::timed(const std::function<void(size_t copy)>& run, size_t copies) {
  const auto runs_of = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) run(i);
  };
  runs_of(static_cast<size_t>(options_.warm_up));
  size_t runs = std::max<size_t>(static_cast<size_t>(options_.runs), copies);
  const double first_us = round_us([&] { runs_of(runs); });
  if (first_us > 0 && first_us < options_.round_ms * 1000) {
    const double factor = std::ceil(options_.round_ms * 1000 / first_us);
    runs *= static_cast<size_t>(std::min(factor, kMostTimes));
  }
  PlanTime time;
  const auto graph = Graph::capture(
      runtime_, stream_->handle(), [&] { runs_of(runs); }, time.no_graph);
  const std::function<void()> round = [&] {
    graph != nullptr ? graph->launch(stream_->handle()) : runs_of(runs);
  };
  round_us(round);  // a graph's first launch prepares it
  std::vector<double> us;
  for (int i = 0; i < options_.rounds; ++i)
    us.push_back(round_us(round) / static_cast<double>(runs));
  std::nth_element(us.begin(), us.begin() + us.size() / 2, us.end());
  time.us = us[us.size() / 2];
  return time;
}

}  // namespace twofour::cuda
