// Where each inference engine wants its quantization nodes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace twofour {

struct ExportTarget {
  std::string_view name;
  // A DequantizeLinear of its own for each product that reads a quantized value; otherwise they
  // share one.
  bool dequantize_per_reader;
};

// Throws Error listing the known targets.
const ExportTarget& export_target(std::string_view name);
std::vector<std::string> export_target_names();

}  // namespace twofour
