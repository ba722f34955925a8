#include "twofour/backend/cpu/cpu_kernels.h"

#include <fmt/format.h>

#include "twofour/backend/cpu/panels.h"
#include "twofour/base/cpu_features.h"

namespace twofour {
namespace {

struct Packing {
  int lanes = 0;
  int blocks = 0;  // vectors in a panel; dense only
  int step = 0;    // elements of k in a lane; dense only
  int k_multiple = step;
  bool tiles = false;  // of AMX; sparse only
};

struct Spec {
  std::string_view name;
  MatmulType type;
  bool sparse;
  bool CpuFeatures::*feature;
  std::string_view feature_name;
  Packing packing;
  void (*run)(const PackedWeights&, const MatmulArgs&);
  size_t (*scratch)(const PackedWeights&, int64_t);
  bool fuses_epilogue = false;
};

class CpuKernel : public Kernel {
 public:
  explicit CpuKernel(const Spec& spec) : spec_(spec) {}

  std::string_view name() const override { return spec_.name; }
  MatmulType type() const override { return spec_.type; }
  bool sparse() const override { return spec_.sparse; }
  bool fuses_epilogue() const override { return spec_.fuses_epilogue; }

  std::optional<std::string> unavailable() const override {
    if (cpu_features().*spec_.feature) return std::nullopt;
    return fmt::format("the processor lacks {}", spec_.feature_name);
  }

  PackedWeights pack(const MatmulDesc& desc, const WeightSource& source) const override {
    const Packing& p = spec_.packing;
    if (p.tiles) return pack_sparse24_tiles(desc, source);
    if (spec_.sparse) return pack_sparse24(desc, source, p.lanes);
    return pack_dense(desc, source, p.lanes, p.blocks, p.step, p.k_multiple);
  }

  size_t scratch_bytes(const PackedWeights& weights, int64_t m) const override {
    return spec_.scratch == nullptr ? 0 : spec_.scratch(weights, m);
  }

  void run(const PackedWeights& weights, const MatmulArgs& args) const override {
    spec_.run(weights, args);
  }

 private:
  const Spec& spec_;
};

#if defined(__x86_64__)
constexpr Spec kSpecs[] = {
    {"spmm24_s8_amx",
     MatmulType::kS8,
     true,
     &CpuFeatures::amx_int8,
     "AMX, or the system's permission for it",
     {.tiles = true},
     spmm24_s8_amx,
     spmm24_s8_amx_scratch,
     true},
    {"spmm24_s8_avx512vbmi",
     MatmulType::kS8,
     true,
     &CpuFeatures::avx512_vbmi,
     "AVX-512 VBMI and VNNI",
     {.lanes = 16},
     spmm24_s8_avx512vbmi,
     spmm24_s8_avx512vbmi_scratch,
     true},
    {"spmm24_s8_avx512vnni",
     MatmulType::kS8,
     true,
     &CpuFeatures::avx512_vnni,
     "AVX-512 VNNI",
     {.lanes = 16},
     spmm24_s8_avx512vnni,
     spmm24_s8_avx512vnni_scratch,
     true},
    {"matmul_s8_amx",
     MatmulType::kS8,
     false,
     &CpuFeatures::amx_int8,
     "AMX, or the system's permission for it",
     {16, 2, 4, 64},
     matmul_s8_amx,
     matmul_s8_amx_scratch,
     true},
    {"matmul_s8_avx512vnni",
     MatmulType::kS8,
     false,
     &CpuFeatures::avx512_vnni,
     "AVX-512 VNNI",
     {16, 3, 4},
     matmul_s8_avx512vnni,
     matmul_s8_avx512vnni_scratch,
     true},
    {"spmm24_s8_avxvnni",
     MatmulType::kS8,
     true,
     &CpuFeatures::avx_vnni,
     "AVX-VNNI",
     {.lanes = 8},
     spmm24_s8_avxvnni,
     spmm24_s8_avxvnni_scratch,
     true},
    {"matmul_s8_avxvnni",
     MatmulType::kS8,
     false,
     &CpuFeatures::avx_vnni,
     "AVX-VNNI",
     {8, 2, 4},
     matmul_s8_avxvnni,
     matmul_s8_avxvnni_scratch,
     true},
    {"spmm24_s8_avx2",
     MatmulType::kS8,
     true,
     &CpuFeatures::avx2,
     "AVX2",
     {.lanes = 8},
     spmm24_s8_avx2,
     spmm24_s8_avx2_scratch,
     true},
    {"matmul_s8_avx2",
     MatmulType::kS8,
     false,
     &CpuFeatures::avx2,
     "AVX2",
     {8, 2, 4},
     matmul_s8_avx2,
     matmul_s8_avx2_scratch,
     true},
    {"spmm24_bf16_amx",
     MatmulType::kBf16,
     true,
     &CpuFeatures::amx_bf16,
     "AMX, or the system's permission for it",
     {.tiles = true},
     spmm24_bf16_amx,
     spmm24_bf16_amx_scratch,
     true},
    {"spmm24_bf16_avx512bf16",
     MatmulType::kBf16,
     true,
     &CpuFeatures::avx512_bf16,
     "AVX-512 BF16",
     {.lanes = 16},
     spmm24_bf16_avx512bf16,
     spmm24_bf16_avx512bf16_scratch,
     true},
    {"matmul_bf16_amx",
     MatmulType::kBf16,
     false,
     &CpuFeatures::amx_bf16,
     "AMX, or the system's permission for it",
     {16, 2, 2, 32},
     matmul_bf16_amx,
     matmul_bf16_amx_scratch,
     true},
    {"matmul_bf16_avx512bf16",
     MatmulType::kBf16,
     false,
     &CpuFeatures::avx512_bf16,
     "AVX-512 BF16",
     {16, 3, 2},
     matmul_bf16_avx512bf16,
     matmul_bf16_avx512bf16_scratch,
     true},
    {"spmm24_f32_avx512",
     MatmulType::kF32,
     true,
     &CpuFeatures::avx512,
     "AVX-512",
     {.lanes = 16},
     spmm24_f32_avx512,
     nullptr,
     true},
    {"matmul_f32_avx512",
     MatmulType::kF32,
     false,
     &CpuFeatures::avx512,
     "AVX-512",
     {16, 3, 1},
     matmul_f32_avx512,
     nullptr},
    {"spmm24_f32_avx2",
     MatmulType::kF32,
     true,
     &CpuFeatures::avx2,
     "AVX2",
     {.lanes = 8},
     spmm24_f32_avx2,
     nullptr,
     true},
    {"matmul_f32_avx2",
     MatmulType::kF32,
     false,
     &CpuFeatures::avx2,
     "AVX2",
     {8, 2, 1},
     matmul_f32_avx2,
     nullptr},
};
#endif

std::vector<CpuKernel> make_kernels() {
  std::vector<CpuKernel> kernels;
#if defined(__x86_64__)
  for (const Spec& spec : kSpecs) kernels.emplace_back(spec);
#endif
  return kernels;
}

}  // namespace

std::vector<const Kernel*> cpu_kernels() {
  static const std::vector<CpuKernel> kernels = make_kernels();
  std::vector<const Kernel*> list;
  for (const CpuKernel& kernel : kernels) list.push_back(&kernel);
  return list;
}

}  // namespace twofour
