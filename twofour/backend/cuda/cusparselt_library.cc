// The interface over NVIDIA's library, opened at run time; compiled only in a build with CUDA.
#include <cusparseLt.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <type_traits>

#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/find_cusparselt.h"
#include "twofour/base/error.h"

namespace twofour::cuda {
namespace {

// The library's objects grow from one version to another; ours hold any of 0.7 to 0.10.
template <class Theirs, class Ours>
constexpr bool kFits = sizeof(Theirs) <= sizeof(Ours) && alignof(Theirs) <= alignof(Ours);
static_assert(kFits<cusparseLtHandle_t, Handle> &&
              kFits<cusparseLtMatDescriptor_t, MatrixDescriptor> &&
              kFits<cusparseLtMatmulDescriptor_t, MatmulDescriptor> &&
              kFits<cusparseLtMatmulAlgSelection_t, AlgSelection> &&
              kFits<cusparseLtMatmulPlan_t, Plan>);
static_assert(static_cast<int>(SparseStatus::kInsufficientResources) ==
              CUSPARSE_STATUS_INSUFFICIENT_RESOURCES);
static_assert(static_cast<int>(SplitKMode::kStreamK) == CUSPARSELT_STREAMK);

template <class Theirs, class Ours>
Theirs* as(Ours& object) {
  return reinterpret_cast<Theirs*>(object.bytes);
}
template <class Theirs, class Ours>
const Theirs* as(const Ours& object) {
  return reinterpret_cast<const Theirs*>(object.bytes);
}
auto* native(Handle& o) { return as<cusparseLtHandle_t>(o); }
auto* native(const Handle& o) { return as<cusparseLtHandle_t>(o); }
auto* native(MatrixDescriptor& o) { return as<cusparseLtMatDescriptor_t>(o); }
auto* native(const MatrixDescriptor& o) { return as<cusparseLtMatDescriptor_t>(o); }
auto* native(MatmulDescriptor& o) { return as<cusparseLtMatmulDescriptor_t>(o); }
auto* native(const MatmulDescriptor& o) { return as<cusparseLtMatmulDescriptor_t>(o); }
auto* native(AlgSelection& o) { return as<cusparseLtMatmulAlgSelection_t>(o); }
auto* native(const AlgSelection& o) { return as<cusparseLtMatmulAlgSelection_t>(o); }
auto* native(Plan& o) { return as<cusparseLtMatmulPlan_t>(o); }
auto* native(const Plan& o) { return as<cusparseLtMatmulPlan_t>(o); }

SparseStatus status_of(cusparseStatus_t status) { return static_cast<SparseStatus>(status); }

// Element types that products use; any other is the library's to reject.
cudaDataType data_type(DType type) {
  switch (type) {
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kI8:
      return CUDA_R_8I;
    case DType::kI32:
      return CUDA_R_32I;
    case DType::kF8E4M3:
      return CUDA_R_8F_E4M3;
    default:
      return CUDA_R_32F;
  }
}

cusparseOrder_t order_of(Order order) {
  return order == Order::kRow ? CUSPARSE_ORDER_ROW : CUSPARSE_ORDER_COL;
}

constexpr uint32_t kAlignment = 16;  // of device pointers, in bytes

// The library's functions, typed by its header.
struct Functions {
  explicit Functions(void* library) {
    load(library, "cusparseLtInit", init);
    load(library, "cusparseLtDestroy", destroy);
    load(library, "cusparseLtGetProperty", get_property);
    load(library, "cusparseLtDenseDescriptorInit", dense_descriptor_init);
    load(library, "cusparseLtStructuredDescriptorInit", structured_descriptor_init);
    load(library, "cusparseLtMatDescriptorDestroy", mat_descriptor_destroy);
    load(library, "cusparseLtMatmulDescriptorInit", matmul_descriptor_init);
    load(library, "cusparseLtMatmulDescSetAttribute", matmul_desc_set_attribute);
    load(library, "cusparseLtMatmulAlgSelectionInit", matmul_alg_selection_init);
    load(library, "cusparseLtMatmulAlgSetAttribute", matmul_alg_set_attribute);
    load(library, "cusparseLtMatmulAlgGetAttribute", matmul_alg_get_attribute);
    load(library, "cusparseLtMatmulPlanInit", matmul_plan_init);
    load(library, "cusparseLtMatmulPlanDestroy", matmul_plan_destroy);
    load(library, "cusparseLtMatmulGetWorkspace", matmul_get_workspace);
    load(library, "cusparseLtSpMMAPruneCheck2", spmma_prune_check2);
    load(library, "cusparseLtSpMMACompressedSize2", spmma_compressed_size2);
    load(library, "cusparseLtSpMMACompress2", spmma_compress2);
    load(library, "cusparseLtMatmul", matmul);
    // 0.7.1 does not export these.
    load_optional(library, "cusparseLtGetErrorName", get_error_name);
    load_optional(library, "cusparseLtGetErrorString", get_error_string);
    load_optional(library, "cusparseLtMatmulAlgSelectionDestroy", matmul_alg_selection_destroy);
  }

  decltype(&cusparseLtInit) init = nullptr;
  decltype(&cusparseLtDestroy) destroy = nullptr;
  decltype(&cusparseLtGetProperty) get_property = nullptr;
  decltype(&cusparseLtGetErrorName) get_error_name = nullptr;
  decltype(&cusparseLtGetErrorString) get_error_string = nullptr;
  decltype(&cusparseLtDenseDescriptorInit) dense_descriptor_init = nullptr;
  decltype(&cusparseLtStructuredDescriptorInit) structured_descriptor_init = nullptr;
  decltype(&cusparseLtMatDescriptorDestroy) mat_descriptor_destroy = nullptr;
  decltype(&cusparseLtMatmulDescriptorInit) matmul_descriptor_init = nullptr;
  decltype(&cusparseLtMatmulDescSetAttribute) matmul_desc_set_attribute = nullptr;
  decltype(&cusparseLtMatmulAlgSelectionInit) matmul_alg_selection_init = nullptr;
  decltype(&cusparseLtMatmulAlgSelectionDestroy) matmul_alg_selection_destroy = nullptr;
  decltype(&cusparseLtMatmulAlgSetAttribute) matmul_alg_set_attribute = nullptr;
  decltype(&cusparseLtMatmulAlgGetAttribute) matmul_alg_get_attribute = nullptr;
  decltype(&cusparseLtMatmulPlanInit) matmul_plan_init = nullptr;
  decltype(&cusparseLtMatmulPlanDestroy) matmul_plan_destroy = nullptr;
  decltype(&cusparseLtMatmulGetWorkspace) matmul_get_workspace = nullptr;
  decltype(&cusparseLtSpMMAPruneCheck2) spmma_prune_check2 = nullptr;
  decltype(&cusparseLtSpMMACompressedSize2) spmma_compressed_size2 = nullptr;
  decltype(&cusparseLtSpMMACompress2) spmma_compress2 = nullptr;
  decltype(&cusparseLtMatmul) matmul = nullptr;

  std::string missing;  // the first name that the library lacks; empty when it has all

 private:
  template <class Function>
  static void load_optional(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
  }
  template <class Function>
  void load(void* library, const char* name, Function& function) {
    load_optional(library, name, function);
    if (function == nullptr && missing.empty()) missing = name;
  }
};

class NvidiaCusparseLt final : public CusparseLt {
 public:
  // The library stays open for as long as the process lives: it registers code with the driver.
  NvidiaCusparseLt(const Functions& functions, int version, std::string origin)
      : lt_(functions), version_(version), origin_(std::move(origin)) {}

  int version() const override { return version_; }
  std::string origin() const override { return origin_; }
  std::string status_text(SparseStatus status) const override {
    const auto value = static_cast<cusparseStatus_t>(status);
    if (lt_.get_error_string == nullptr || lt_.get_error_name == nullptr)
      return fmt::format("status {}", static_cast<int>(status));
    return fmt::format("{} ({})", lt_.get_error_string(value), lt_.get_error_name(value));
  }

  SparseStatus init(Handle& handle) override { return status_of(lt_.init(native(handle))); }
  SparseStatus destroy(Handle& handle) override { return status_of(lt_.destroy(native(handle))); }

  SparseStatus init_dense(const Handle& handle, MatrixDescriptor& matrix,
                          const MatrixLayout& l) override {
    return status_of(lt_.dense_descriptor_init(native(handle), native(matrix), l.rows, l.cols, l.ld,
                                               kAlignment, data_type(l.type), order_of(l.order)));
  }
  SparseStatus init_structured(const Handle& handle, MatrixDescriptor& matrix,
                               const MatrixLayout& l) override {
    return status_of(lt_.structured_descriptor_init(
        native(handle), native(matrix), l.rows, l.cols, l.ld, kAlignment, data_type(l.type),
        order_of(l.order), CUSPARSELT_SPARSITY_50_PERCENT));
  }
  SparseStatus destroy(MatrixDescriptor& matrix) override {
    return status_of(lt_.mat_descriptor_destroy(native(matrix)));
  }

  SparseStatus init_matmul(const Handle& handle, MatmulDescriptor& matmul,
                           const MatmulOperands& o) override {
    return status_of(lt_.matmul_descriptor_init(
        native(handle), native(matmul), CUSPARSE_OPERATION_NON_TRANSPOSE,
        o.transpose_b ? CUSPARSE_OPERATION_TRANSPOSE : CUSPARSE_OPERATION_NON_TRANSPOSE,
        native(*o.a), native(*o.b), native(*o.c), native(*o.d),
        o.sum == DType::kI32 ? CUSPARSE_COMPUTE_32I : CUSPARSE_COMPUTE_32F));
  }
  SparseStatus set_bias(const Handle& handle, MatmulDescriptor& matmul, const void* bias) override {
    return set(handle, matmul, CUSPARSELT_MATMUL_BIAS_POINTER, bias);
  }
  SparseStatus set_activation(const Handle& handle, MatmulDescriptor& matmul,
                              ActivationKind activation) override {
    if (activation == ActivationKind::kRelu)
      return set(handle, matmul, CUSPARSELT_MATMUL_ACTIVATION_RELU, 1);
    if (activation == ActivationKind::kGeluTanh)
      return set(handle, matmul, CUSPARSELT_MATMUL_ACTIVATION_GELU, 1);
    return SparseStatus::kNotSupported;
  }
  SparseStatus set_channel_scales(const Handle& handle, MatmulDescriptor& matmul) override {
    return set(handle, matmul, CUSPARSELT_MATMUL_ALPHA_VECTOR_SCALING, 1);
  }

  SparseStatus init_selection(const Handle& handle, AlgSelection& selection,
                              const MatmulDescriptor& matmul) override {
    return status_of(lt_.matmul_alg_selection_init(native(handle), native(selection),
                                                   native(matmul), CUSPARSELT_MATMUL_ALG_DEFAULT));
  }
  SparseStatus set_algorithm(const Handle& handle, AlgSelection& selection,
                             const Algorithm& algorithm) override {
    SparseStatus status = set(handle, selection, CUSPARSELT_MATMUL_ALG_CONFIG_ID, algorithm.id);
    if (status == SparseStatus::kSuccess)
      status = set_split_k(handle, selection, algorithm.split_k);
    if (status == SparseStatus::kSuccess && algorithm.mode != SplitKMode::kDefault) {
      status = set(handle, selection, CUSPARSELT_MATMUL_SPLIT_K_MODE,
                   static_cast<cusparseLtSplitKMode_t>(algorithm.mode));
    }
    if (status == SparseStatus::kSuccess && algorithm.buffers != 0)
      status = set(handle, selection, CUSPARSELT_MATMUL_SPLIT_K_BUFFERS, algorithm.buffers);
    return status;
  }
  SparseStatus get_algorithm(const Handle& handle, const AlgSelection& selection,
                             Algorithm& algorithm) override {
    cusparseLtSplitKMode_t mode = CUSPARSELT_INVALID_MODE;
    SparseStatus status = get(handle, selection, CUSPARSELT_MATMUL_ALG_CONFIG_ID, algorithm.id);
    if (status == SparseStatus::kSuccess)
      status = get(handle, selection, CUSPARSELT_MATMUL_SPLIT_K, algorithm.split_k);
    if (status == SparseStatus::kSuccess)
      status = get(handle, selection, CUSPARSELT_MATMUL_SPLIT_K_MODE, mode);
    if (status == SparseStatus::kSuccess)
      status = get(handle, selection, CUSPARSELT_MATMUL_SPLIT_K_BUFFERS, algorithm.buffers);
    algorithm.mode = static_cast<SplitKMode>(mode);
    return status;
  }
  SparseStatus algorithm_count(const Handle& handle, const AlgSelection& selection,
                               int& count) override {
    return get(handle, selection, CUSPARSELT_MATMUL_ALG_CONFIG_MAX_ID, count);
  }
  SparseStatus destroy(AlgSelection& selection) override {
    if (lt_.matmul_alg_selection_destroy == nullptr) return SparseStatus::kSuccess;
    return status_of(lt_.matmul_alg_selection_destroy(native(selection)));
  }

  SparseStatus init_plan(const Handle& handle, Plan& plan, const MatmulDescriptor& matmul,
                         const AlgSelection& selection) override {
    return status_of(
        lt_.matmul_plan_init(native(handle), native(plan), native(matmul), native(selection)));
  }
  SparseStatus destroy(Plan& plan) override {
    return status_of(lt_.matmul_plan_destroy(native(plan)));
  }
  SparseStatus workspace_bytes(const Handle& handle, const Plan& plan, size_t& bytes) override {
    return status_of(lt_.matmul_get_workspace(native(handle), native(plan), &bytes));
  }

  SparseStatus check_pruned(const Handle& handle, const MatrixDescriptor& weight,
                            const void* d_weight, int* d_valid, StreamHandle stream) override {
    return status_of(lt_.spmma_prune_check2(native(handle), native(weight), kSparseA,
                                            CUSPARSE_OPERATION_NON_TRANSPOSE, d_weight, d_valid,
                                            static_cast<cudaStream_t>(stream)));
  }
  SparseStatus compressed_bytes(const Handle& handle, const MatrixDescriptor& weight, size_t& bytes,
                                size_t& buffer_bytes) override {
    return status_of(
        lt_.spmma_compressed_size2(native(handle), native(weight), &bytes, &buffer_bytes));
  }
  SparseStatus compress(const Handle& handle, const MatrixDescriptor& weight, const void* d_weight,
                        void* compressed, void* buffer, StreamHandle stream) override {
    return status_of(lt_.spmma_compress2(native(handle), native(weight), kSparseA,
                                         CUSPARSE_OPERATION_NON_TRANSPOSE, d_weight, compressed,
                                         buffer, static_cast<cudaStream_t>(stream)));
  }

  SparseStatus matmul(const Handle& handle, const Plan& plan, const MatmulPointers& p,
                      StreamHandle stream) override {
    auto on = static_cast<cudaStream_t>(stream);
    return status_of(lt_.matmul(native(handle), native(plan), p.alpha, p.a, p.b, p.beta, p.c, p.d,
                                p.workspace, &on, 1));
  }

 private:
  static constexpr int kSparseA = 1;

  // What the selection has already is not set: kernels that cannot split may refuse to be told.
  SparseStatus set_split_k(const Handle& handle, AlgSelection& selection, int wanted) {
    int parts = 0;
    const SparseStatus status = get(handle, selection, CUSPARSELT_MATMUL_SPLIT_K, parts);
    if (status == SparseStatus::kSuccess && parts == wanted) return status;
    const SparseStatus told = set(handle, selection, CUSPARSELT_MATMUL_SPLIT_K, wanted);
    return wanted == 1 ? SparseStatus::kSuccess : told;
  }

  template <class Value>
  SparseStatus set(const Handle& handle, MatmulDescriptor& matmul,
                   cusparseLtMatmulDescAttribute_t attribute, const Value& value) {
    return status_of(lt_.matmul_desc_set_attribute(native(handle), native(matmul), attribute,
                                                   &value, sizeof value));
  }
  template <class Value>
  SparseStatus set(const Handle& handle, AlgSelection& selection,
                   cusparseLtMatmulAlgAttribute_t attribute, const Value& value) {
    return status_of(lt_.matmul_alg_set_attribute(native(handle), native(selection), attribute,
                                                  &value, sizeof value));
  }
  template <class Value>
  SparseStatus get(const Handle& handle, const AlgSelection& selection,
                   cusparseLtMatmulAlgAttribute_t attribute, Value& value) {
    return status_of(lt_.matmul_alg_get_attribute(native(handle), native(selection), attribute,
                                                  &value, sizeof value));
  }

  Functions lt_;
  int version_;
  std::string origin_;
};

// Needs neither a handle nor a driver.
int version_of(const Functions& lt) {
  int major = 0, minor = 0, patch = 0;
  lt.get_property(MAJOR_VERSION, &major);
  lt.get_property(MINOR_VERSION, &minor);
  lt.get_property(PATCH_LEVEL, &patch);
  return major * 1000000 + minor * 100 + patch;
}

// Null, and the reason, where the file cannot serve.
std::unique_ptr<CusparseLt> open_file(const std::string& path, std::string& reason) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    reason = dlerror();
    return nullptr;
  }
  const Functions functions(library);
  if (functions.get_property == nullptr) {
    reason = "it does not export cusparseLtGetProperty: no cuSPARSELt, or a very old one";
    return nullptr;
  }
  const int version = version_of(functions);
  if (const auto rejected = rejects_cusparselt_version(version)) {
    reason = *rejected;
    return nullptr;
  }
  if (!functions.missing.empty()) {
    reason = fmt::format("it does not export {}", functions.missing);
    return nullptr;
  }
  Dl_info info{};
  const bool located = dladdr(reinterpret_cast<void*>(functions.init), &info) != 0;
  return std::make_unique<NvidiaCusparseLt>(functions, version, located ? info.dli_fname : path);
}

}  // namespace

std::unique_ptr<CusparseLt> open_cusparselt(std::string_view path) {
  std::string tried;
  for (const std::string& candidate : cusparselt_candidates(cusparselt_places(path))) {
    std::string reason;
    if (auto library = open_file(candidate, reason)) return library;
    tried += fmt::format("{}{}: {}", tried.empty() ? "" : "; ", candidate, reason);
  }
  throw Error("cuSPARSELt", fmt::format("not found: {}", tried),
              "Install the package nvidia-cusparselt-cu13 (scripts/setup --cuda) or set "
              "TWOFOUR_CUSPARSELT to libcusparseLt.so.0");
}

}  // namespace twofour::cuda
