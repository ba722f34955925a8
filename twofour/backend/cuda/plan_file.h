// What a search found on one GPU: for each product and bucket, sparse or dense and by which
// algorithm. Kept as readable JSON:
//
//   {
//     "format": "twofour-plan-1",
//     "made_on": {"gpu": "NVIDIA H100 80GB HBM3", "driver": "13.0", "runtime": "13.0",
//                 "cusparselt": "0.10.0"},
//     "plans": [
//       {"n": 3072, "k": 768, "input": "I8", "output": "F16", "m": 64, "use": "sparse",
//        "algorithm": 3, "split_k": 1, "split_k_mode": "one-kernel", "split_k_buffers": 0},
//       {"n": 768, "k": 768, "input": "I8", "output": "F16", "m": 16, "use": "dense"}
//     ]
//   }
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "twofour/backend/cuda/cusparselt.h"
#include "twofour/backend/cuda/product.h"
#include "twofour/backend/cuda/runtime.h"

namespace twofour::cuda {

// What the figures of a search depend on.
struct PlanEnvironment {
  std::string gpu;         // DeviceProperties::name
  std::string driver;      // "13.0"
  std::string runtime;     // "13.0"
  std::string cusparselt;  // "0.10.0"

  bool operator==(const PlanEnvironment&) const = default;
  std::string to_string() const;
};

PlanEnvironment plan_environment(Runtime& runtime, const CusparseLt& library, int device);

std::string cuda_version_text(int version);  // "13.0" for 13000

struct PlanChoice {
  bool sparse = true;   // false: the dense product was the faster one
  Algorithm algorithm;  // of the sparse product
  bool operator==(const PlanChoice&) const = default;
};

// Choices by product and bucket. A choice holds for every epilogue of the product.
class PlanTable {
 public:
  struct Key {
    int64_t n = 0, k = 0;
    DType input = DType::kF16, output = DType::kF16;
    int64_t bucket = 0;
    auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr)
  };

  void set(const ProductDesc& product, int64_t bucket, const PlanChoice& choice);
  const PlanChoice* find(const ProductDesc& product, int64_t bucket) const;  // null if unknown
  const std::map<Key, PlanChoice>& all() const { return choices_; }
  bool operator==(const PlanTable&) const = default;

 private:
  std::map<Key, PlanChoice> choices_;
};

// Written beside and renamed. Throws Error naming the file.
void write_plan_file(const std::filesystem::path& path, const PlanEnvironment& made_on,
                     const PlanTable& table);

struct PlanFile {
  PlanTable table;      // empty where the file is from elsewhere
  std::string warning;  // says so then, else empty
};

// Throws Error naming file, entry and key unless the file is exactly of the form above. A file made
// for another environment than `here` is not an error: it is ignored with a warning.
PlanFile read_plan_file(const std::filesystem::path& path, const PlanEnvironment& here);

}  // namespace twofour::cuda
