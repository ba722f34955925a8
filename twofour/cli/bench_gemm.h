// Every kernel of this machine alone: sparse beside dense and oneDNN's, all beside the peak of
// their instruction.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "twofour/cli/instruction_peak.h"

namespace twofour::cli {

struct GemmShape {
  int64_t n, k;
};

struct GemmOptions {
  std::vector<GemmShape> shapes;
  std::vector<int64_t> rows;  // m
  int repeat = 30;
};

// Layers of MiniLM-L6 and BERT-base as the engine multiplies them, query, key and value at once.
std::vector<GemmShape> encoder_shapes();

struct GemmRow {
  std::string isa, kernel, type;
  int64_t m = 0, n = 0, k = 0;
  int share_rows = 1;
  double gops = 0;        // counted as dense: 2 m n k over the time
  double best_dense = 0;  // gops of the fastest dense one of the type, in the same rounds
  std::string best_dense_kernel;
  double ratio = 0;              // its time over this one's, the median over rounds
  std::optional<double> spread;  // interquartile range of the time over its median
  std::optional<double> peak_share;
};

struct GemmResult {
  std::string onednn;  // its version, empty where it is not there
  std::vector<InstructionPeak> peaks;
  std::vector<GemmRow> rows;
};

// One thread. `progress` hears of every case that is done. Reference kernels run only where the
// machine has no other of their kind. Throws Error where TWOFOUR_ONEDNN names no oneDNN.
GemmResult measure_gemm(const GemmOptions& options,
                        const std::function<void(int64_t done, int64_t total)>& progress);

nlohmann::ordered_json to_json(const GemmResult& result);
void print_gemm(const GemmResult& result, std::ostream& out);

}  // namespace twofour::cli
