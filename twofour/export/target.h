// Where each inference engine wants its quantization nodes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace twofour {

struct ExportTarget {
  std::string_view name;
  // Activations as uint8 with zero point 128 instead of int8 with zero point 0: the same values,
  // for engines whose products want an unsigned side.
  bool unsigned_activations;
  // A DequantizeLinear of its own for each product that reads a quantized value; otherwise they
  // share one.
  bool dequantize_per_reader;
};

// Throws Error listing the known targets.
const ExportTarget& export_target(std::string_view name);
std::vector<std::string> export_target_names();

}  // namespace twofour
