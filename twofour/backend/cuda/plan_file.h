// What a search found on one GPU: for each product and bucket the fastest kernel and by which
// algorithm. Kept as readable JSON:
//
//   {
//     "format": "twofour-plan-1",
//     "made_on": {"gpu": "NVIDIA H100 80GB HBM3", "driver": "13.0", "runtime": "13.0",
//                 "cusparselt": "0.10.0", "cublaslt": "13.1.0"},
//     "plans": [
//       {"n": 3072, "k": 768, "input": "I8", "output": "F16", "m": 64, "sparse": true,
//        "use": "sparse", "algorithm": 3, "split_k": 1, "split_k_mode": "one-kernel",
//        "split_k_buffers": 0, "us": 7.1, "dense_us": 9.4},
//       {"n": 768, "k": 768, "input": "I8", "output": "F16", "m": 128, "sparse": true,
//        "use": "dense", "rank": 2},
//       {"n": 768, "k": 768, "input": "I8", "output": "F16", "m": 16, "sparse": true,
//        "use": "own"},
//       {"n": 768, "k": 768, "input": "I8", "output": "F16", "m": 256, "sparse": true,
//        "use": "cutlass", "variant": "sm90-128x64"}
//     ],
//     "buckets": [16, 64, 128, 1024],
//     "failed": [
//       {"n": 768, "k": 768, "input": "I8", "output": "I32", "m": 16, "sparse": true,
//        "use": "sparse", "algorithm": 4, "split_k": 8, "split_k_mode": "two-kernels",
//        "split_k_buffers": 0, "reason": "crashed"}
//     ]
//   }
//
// "sparse" says whether the weight is 2:4, "use" whose kernel computes it. The times of a choice,
// "buckets" and "failed" may be missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/backend/cuda/cublaslt.h"
#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/product.h"
#include "twofour/backend/cuda/runtime.h"
#include "twofour/backend/cuda/spmm24_cutlass.h"

namespace twofour::cuda {

// What the figures of a search depend on.
struct PlanEnvironment {
  std::string gpu;         // DeviceProperties::name
  std::string driver;      // "13.0"
  std::string runtime;     // "13.0"
  std::string cusparselt;  // "0.10.0", or "none"
  std::string cublaslt;    // "13.1.0", or "none": nothing was measured against it

  bool operator==(const PlanEnvironment&) const = default;
  std::string to_string() const;
};

// A library that is null is "none".
PlanEnvironment plan_environment(Runtime& runtime, const CusparseLt* sparse, const CublasLt* dense,
                                 int device);

std::string cuda_version_text(int version);  // "13.0" for 13000

// By whose kernel a product runs: cuSPARSELt's, cuBLASLt's, the 2:4 one of this project for few
// rows or one of those on CUTLASS.
enum class PlanUse { kSparse, kDense, kOwn, kCutlass };

struct PlanChoice {
  PlanUse use = PlanUse::kSparse;
  Algorithm algorithm;  // kSparse
  int dense_rank = 0;   // kDense: in the list of algorithms that cuBLASLt proposes
  double us = 0;        // microseconds, with the epilogue; 0: not known
  double dense_us = 0;  // of the best dense product; 0: not known
  int variant = 0;      // kCutlass: in kSpmm24CutlassVariants

  std::string to_string() const;  // "sparse, algorithm 3, split-k 2 two-kernels"
  bool same_kernel(const PlanChoice& other) const;
  bool operator==(const PlanChoice&) const = default;
};

// Choices by product and bucket. A choice holds for every epilogue of the product.
class PlanTable {
 public:
  struct Key {
    int64_t n = 0, k = 0;
    DType input = DType::kF16, output = DType::kF16;
    int64_t bucket = 0;
    bool sparse = true;                            // whether the weight is 2:4
    auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr)
  };

  static Key key(const ProductDesc& product, int64_t bucket, bool sparse = true);
  void set(const ProductDesc& product, int64_t bucket, const PlanChoice& choice,
           bool sparse = true);
  // Null if unknown.
  const PlanChoice* find(const ProductDesc& product, int64_t bucket, bool sparse = true) const;
  const std::map<Key, PlanChoice>& all() const { return choices_; }
  // Whether it chooses `use` for the product in some bucket.
  bool uses(const ProductDesc& product, PlanUse use, bool sparse = true) const;
  // The same of a form of CUTLASS's kernels.
  bool uses(const ProductDesc& product, CutlassForm form) const;
  bool operator==(const PlanTable&) const = default;

 private:
  std::map<Key, PlanChoice> choices_;
};

// A kernel that must not be tried again: it crashed or hung.
struct PlanFailure {
  PlanTable::Key key;
  PlanChoice choice;
  std::string reason;  // "crashed by signal 6", "no answer within 5 s"
  bool operator==(const PlanFailure&) const = default;
};

struct PlanContents {
  PlanTable table;
  std::vector<int64_t> buckets;  // a coarser list than the table's, found by measuring; or empty
  std::vector<PlanFailure> failed;
  bool operator==(const PlanContents&) const = default;
};

// Written beside and renamed. Throws Error naming the file.
void write_plan_file(const std::filesystem::path& path, const PlanEnvironment& made_on,
                     const PlanContents& contents);

struct PlanFile : PlanContents {  // empty where the file is from elsewhere
  std::string warning;            // says so then, else empty
};

// Throws Error naming file, entry and key unless the file is exactly of the form above. A file made
// for another environment than `here` is not an error: it is ignored with a warning.
PlanFile read_plan_file(const std::filesystem::path& path, const PlanEnvironment& here);

}  // namespace twofour::cuda
