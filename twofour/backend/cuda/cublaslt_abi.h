// What of cuBLASLt's binary interface is used, by our own names: its header comes only with a wheel
// or toolkit of half a gigabyte. cublaslt_library.cc compares all of it with that header where it
// is there. The same in CUDA 12 and 13.
#pragma once

#include <cstddef>
#include <cstdint>

namespace twofour::cuda::cublaslt_abi {

using Status = int;
using Opaque = void*;

struct Algorithm {
  uint64_t data[8];
};

struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

constexpr int kTransposed = 1;  // cublasOperation_t

enum ComputeType : int { kCompute32F = 68, kCompute32I = 72 };

enum DataType : int {
  kR32F = 0,
  kR16F = 2,
  kR8I = 3,
  kR32I = 10,
  kR16BF = 14,
  kR8FE4M3 = 28,
};

enum MatmulAttribute : int { kTransposeA = 3, kEpilogue = 7, kBiasPointer = 8 };

// Bits: an epilogue is their sum.
enum EpilogueBits : uint32_t { kDefault = 1, kRelu = 2, kBias = 4, kGelu = 32 };

enum PreferenceAttribute : int {
  kMaxWorkspaceBytes = 1,
  kMinAlignmentA = 5,
  kMinAlignmentB = 6,
  kMinAlignmentC = 7,
  kMinAlignmentD = 8,
};

using GetVersion = size_t (*)();
using GetStatusText = const char* (*)(Status);
using Create = Status (*)(Opaque* handle);
using Destroy = Status (*)(Opaque object);
using LayoutCreate = Status (*)(Opaque* layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
using MatmulDescCreate = Status (*)(Opaque* matmul, int compute, int scale);
using SetAttribute = Status (*)(Opaque object, int attribute, const void* value, size_t bytes);
using GetHeuristic = Status (*)(Opaque handle, Opaque matmul, Opaque a, Opaque b, Opaque c,
                                Opaque d, Opaque preference, int wanted, HeuristicResult* results,
                                int* found);
using Matmul = Status (*)(Opaque handle, Opaque matmul, const void* alpha, const void* a,
                          Opaque a_layout, const void* b, Opaque b_layout, const void* beta,
                          const void* c, Opaque c_layout, void* d, Opaque d_layout,
                          const Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                          void* stream);

}  // namespace twofour::cuda::cublaslt_abi
