// The interface over NVIDIA's library, opened at run time; compiled only in a build with CUDA.
#include <dlfcn.h>
#include <fmt/format.h>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/cublaslt_abi.h"
#include "twofour/backend/cuda/find_cublaslt.h"
#include "twofour/base/error.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#endif

namespace twofour::cuda {
namespace {

namespace abi = cublaslt_abi;

#if __has_include(<cublasLt.h>)
static_assert(sizeof(abi::HeuristicResult) == sizeof(cublasLtMatmulHeuristicResult_t) &&
              sizeof(abi::Algorithm) == sizeof(cublasLtMatmulAlgo_t) &&
              offsetof(abi::HeuristicResult, state) ==
                  offsetof(cublasLtMatmulHeuristicResult_t, state) &&
              offsetof(abi::HeuristicResult, workspace_bytes) ==
                  offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(sizeof(cublasStatus_t) == sizeof(abi::Status) &&
              sizeof(cudaDataType_t) == sizeof(int) && sizeof(cublasComputeType_t) == sizeof(int));
static_assert(abi::kTransposed == CUBLAS_OP_T &&
              static_cast<int>(abi::kCompute32F) == CUBLAS_COMPUTE_32F &&
              static_cast<int>(abi::kCompute32I) == CUBLAS_COMPUTE_32I);
static_assert(static_cast<int>(abi::kR32F) == CUDA_R_32F &&
              static_cast<int>(abi::kR16F) == CUDA_R_16F &&
              static_cast<int>(abi::kR8I) == CUDA_R_8I &&
              static_cast<int>(abi::kR32I) == CUDA_R_32I &&
              static_cast<int>(abi::kR16BF) == CUDA_R_16BF &&
              static_cast<int>(abi::kR8FE4M3) == CUDA_R_8F_E4M3);
static_assert(static_cast<int>(abi::kTransposeA) == CUBLASLT_MATMUL_DESC_TRANSA &&
              static_cast<int>(abi::kEpilogue) == CUBLASLT_MATMUL_DESC_EPILOGUE &&
              static_cast<int>(abi::kBiasPointer) == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(static_cast<int>(abi::kDefault) == CUBLASLT_EPILOGUE_DEFAULT &&
              static_cast<int>(abi::kRelu) == CUBLASLT_EPILOGUE_RELU &&
              static_cast<int>(abi::kBias) == CUBLASLT_EPILOGUE_BIAS &&
              static_cast<int>(abi::kGelu) == CUBLASLT_EPILOGUE_GELU &&
              static_cast<int>(abi::kGelu | abi::kBias) == CUBLASLT_EPILOGUE_GELU_BIAS &&
              static_cast<int>(abi::kRelu | abi::kBias) == CUBLASLT_EPILOGUE_RELU_BIAS);
static_assert(static_cast<int>(abi::kMaxWorkspaceBytes) ==
                  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              static_cast<int>(abi::kMinAlignmentA) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              static_cast<int>(abi::kMinAlignmentB) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              static_cast<int>(abi::kMinAlignmentC) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              static_cast<int>(abi::kMinAlignmentD) == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(static_cast<int>(BlasStatus::kNotSupported) == CUBLAS_STATUS_NOT_SUPPORTED &&
              static_cast<int>(BlasStatus::kArchMismatch) == CUBLAS_STATUS_ARCH_MISMATCH);
#endif

BlasStatus status_of(abi::Status status) { return static_cast<BlasStatus>(status); }

// Element types that products use; any other is the library's to reject.
int data_type(DType type) {
  switch (type) {
    case DType::kF16:
      return abi::kR16F;
    case DType::kBF16:
      return abi::kR16BF;
    case DType::kI8:
      return abi::kR8I;
    case DType::kI32:
      return abi::kR32I;
    case DType::kF8E4M3:
      return abi::kR8FE4M3;
    default:
      return abi::kR32F;
  }
}

constexpr uint32_t kAlignment = 16;  // of device pointers, in bytes

struct Functions {
  explicit Functions(void* library) {
    load(library, "cublasLtGetVersion", get_version);
    load(library, "cublasLtGetStatusName", get_status_name);
    load(library, "cublasLtCreate", create);
    load(library, "cublasLtDestroy", destroy);
    load(library, "cublasLtMatrixLayoutCreate", layout_create);
    load(library, "cublasLtMatrixLayoutDestroy", layout_destroy);
    load(library, "cublasLtMatmulDescCreate", matmul_create);
    load(library, "cublasLtMatmulDescDestroy", matmul_destroy);
    load(library, "cublasLtMatmulDescSetAttribute", matmul_set);
    load(library, "cublasLtMatmulPreferenceCreate", preference_create);
    load(library, "cublasLtMatmulPreferenceDestroy", preference_destroy);
    load(library, "cublasLtMatmulPreferenceSetAttribute", preference_set);
    load(library, "cublasLtMatmulAlgoGetHeuristic", get_heuristic);
    load(library, "cublasLtMatmul", matmul);
  }

  abi::GetVersion get_version = nullptr;
  abi::GetStatusText get_status_name = nullptr;
  abi::Create create = nullptr;
  abi::Destroy destroy = nullptr;
  abi::LayoutCreate layout_create = nullptr;
  abi::Destroy layout_destroy = nullptr;
  abi::MatmulDescCreate matmul_create = nullptr;
  abi::Destroy matmul_destroy = nullptr;
  abi::SetAttribute matmul_set = nullptr;
  abi::Create preference_create = nullptr;
  abi::Destroy preference_destroy = nullptr;
  abi::SetAttribute preference_set = nullptr;
  abi::GetHeuristic get_heuristic = nullptr;
  abi::Matmul matmul = nullptr;

  std::string missing;  // the first name that the library lacks; empty when it has all

 private:
  template <class Function>
  void load(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr && missing.empty()) missing = name;
  }
};

// What the heuristics are told, destroyed at the end of the scope.
class Preference {
 public:
  Preference(const Functions& lt, size_t workspace_limit) : lt_(lt) {
    set_status(lt.preference_create(&made_));
    set(abi::kMaxWorkspaceBytes, workspace_limit);
    for (const int attribute :
         {abi::kMinAlignmentA, abi::kMinAlignmentB, abi::kMinAlignmentC, abi::kMinAlignmentD}) {
      set(attribute, kAlignment);
    }
  }
  ~Preference() {
    if (made_ != nullptr) lt_.preference_destroy(made_);
  }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  abi::Status status() const { return status_; }
  abi::Opaque get() const { return made_; }

 private:
  template <class Value>
  void set(int attribute, const Value& value) {
    if (status_ == 0) set_status(lt_.preference_set(made_, attribute, &value, sizeof value));
  }
  void set_status(abi::Status status) { status_ = status; }

  const Functions& lt_;
  abi::Opaque made_ = nullptr;
  abi::Status status_ = 0;
};

class NvidiaCublasLt final : public CublasLt {
 public:
  // The library stays open for as long as the process lives: it registers code with the driver.
  NvidiaCublasLt(const Functions& functions, std::string origin)
      : lt_(functions), origin_(std::move(origin)) {}

  int version() const override { return static_cast<int>(lt_.get_version()); }
  std::string origin() const override { return origin_; }
  std::string status_text(BlasStatus status) const override {
    return lt_.get_status_name(static_cast<abi::Status>(status));
  }

  BlasStatus create(BlasHandle& handle) override { return status_of(lt_.create(&handle)); }
  BlasStatus destroy(BlasHandle handle) override { return status_of(lt_.destroy(handle)); }

  BlasStatus create_layout(BlasLayout& made, const MatrixLayout& l) override {
    return status_of(lt_.layout_create(&made, data_type(l.type), static_cast<uint64_t>(l.rows),
                                       static_cast<uint64_t>(l.cols), l.ld));
  }
  BlasStatus destroy_layout(BlasLayout layout) override {
    return status_of(lt_.layout_destroy(layout));
  }

  BlasStatus create_matmul(BlasMatmul& made, DType sum, DType scale) override {
    const int compute = sum == DType::kI32 ? abi::kCompute32I : abi::kCompute32F;
    const BlasStatus status = status_of(lt_.matmul_create(&made, compute, data_type(scale)));
    if (status != BlasStatus::kSuccess) return status;
    const BlasStatus transposed = set(made, abi::kTransposeA, abi::kTransposed);
    if (transposed != BlasStatus::kSuccess) lt_.matmul_destroy(made);
    return transposed;
  }
  BlasStatus destroy_matmul(BlasMatmul matmul) override {
    return status_of(lt_.matmul_destroy(matmul));
  }
  BlasStatus set_epilogue(BlasMatmul matmul, std::optional<ActivationKind> activation,
                          const void* bias) override {
    uint32_t bits = 0;
    if (bias != nullptr) bits |= abi::kBias;
    if (activation == ActivationKind::kRelu) bits |= abi::kRelu;
    if (activation == ActivationKind::kGeluTanh) bits |= abi::kGelu;
    if (bits == 0) bits = abi::kDefault;
    const BlasStatus status = set(matmul, abi::kEpilogue, bits);
    if (status != BlasStatus::kSuccess || bias == nullptr) return status;
    return set(matmul, abi::kBiasPointer, bias);
  }

  BlasStatus algorithms(BlasHandle handle, BlasMatmul matmul, const BlasLayouts& l,
                        size_t workspace_limit, int wanted,
                        std::vector<DenseAlgorithm>& found) override {
    found.clear();
    const Preference preference(lt_, workspace_limit);
    if (preference.status() != 0) return status_of(preference.status());
    std::vector<abi::HeuristicResult> results(wanted);
    int count = 0;
    const BlasStatus status = status_of(lt_.get_heuristic(
        handle, matmul, l.a, l.b, l.d, l.d, preference.get(), wanted, results.data(), &count));
    if (status != BlasStatus::kSuccess) return status;
    for (int i = 0; i < count; ++i) {
      const abi::HeuristicResult& result = results[i];
      if (result.state != 0) continue;
      DenseAlgorithm& algorithm = found.emplace_back();
      std::copy(std::begin(result.algorithm.data), std::end(result.algorithm.data),
                algorithm.data.begin());
      algorithm.workspace_bytes = result.workspace_bytes;
    }
    return BlasStatus::kSuccess;
  }

  BlasStatus matmul(BlasHandle handle, BlasMatmul matmul, const BlasLayouts& l,
                    const DenseAlgorithm& algorithm, const MatmulPointers& p,
                    StreamHandle stream) override {
    abi::Algorithm chosen;
    std::copy(algorithm.data.begin(), algorithm.data.end(), std::begin(chosen.data));
    return status_of(lt_.matmul(handle, matmul, p.alpha, p.a, l.a, p.b, l.b, p.beta, p.c, l.d, p.d,
                                l.d, &chosen, p.workspace, algorithm.workspace_bytes, stream));
  }

 private:
  template <class Value>
  BlasStatus set(BlasMatmul matmul, int attribute, const Value& value) {
    return status_of(lt_.matmul_set(matmul, attribute, &value, sizeof value));
  }

  Functions lt_;
  std::string origin_;
};

// Null, and the reason, where the file cannot serve.
std::unique_ptr<CublasLt> open_file(const std::string& path, std::string& reason) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    reason = dlerror();
    return nullptr;
  }
  const Functions functions(library);
  if (functions.get_version == nullptr) {
    reason = "it does not export cublasLtGetVersion: no cuBLASLt";
    return nullptr;
  }
  if (const auto rejected = rejects_cublaslt_version(static_cast<int>(functions.get_version()))) {
    reason = *rejected;
    return nullptr;
  }
  if (!functions.missing.empty()) {
    reason = fmt::format("it does not export {}", functions.missing);
    return nullptr;
  }
  Dl_info info{};
  const bool located = dladdr(reinterpret_cast<void*>(functions.create), &info) != 0;
  return std::make_unique<NvidiaCublasLt>(functions, located ? info.dli_fname : path);
}

}  // namespace

std::unique_ptr<CublasLt> open_cublaslt(std::string_view path) {
  std::string tried;
  for (const std::string& candidate : cublaslt_candidates(cublaslt_places(path))) {
    std::string reason;
    if (auto library = open_file(candidate, reason)) return library;
    tried += fmt::format("{}{}: {}", tried.empty() ? "" : "; ", candidate, reason);
  }
  throw Error("cuBLASLt", fmt::format("not found: {}", tried),
              "Install a CUDA toolkit or the package nvidia-cublas, or set TWOFOUR_CUBLASLT to "
              "libcublasLt.so.13");
}

}  // namespace twofour::cuda
