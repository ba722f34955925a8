// The log of a run as JSON Lines, one object a line:
//
//   {"kind": "stage", "step", "stage", "steps", "sparsity", "int8"}        a stage begins
//   {"kind": "step", "step", "stage", "loss", "losses": {name: value}, "lr", "grad_norm",
//   "pairs_per_second", "sparsity"}
//   {"kind": "evaluation", "step", "stage", "metrics": {name: value}, "best"}
//   {"kind": "result", "step", "model", "metrics", "best_step"}   best_step equal to step: dev was
//   still improving
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>

namespace twofour {

class RunLog {
 public:
  // Writes nothing: for processes other than the one whose log it is.
  RunLog() = default;

  // Keeps the first `keep_bytes` of an existing file: what a killed process wrote after its last
  // checkpoint goes. Of a file that has lost some of them, the whole lines.
  RunLog(const std::filesystem::path& path, int64_t keep_bytes);

  // Throws Error if the line cannot be written.
  void write(const nlohmann::ordered_json& row);

  int64_t bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  int64_t bytes_ = 0;
};

}  // namespace twofour
