// A plug-in in the bytes of an engine: canonical 2:4 weights, no layout of cuSPARSELt's.
//
// Little-endian: a header of fixed size, the layer's name, values [n, k / 2], metadata [n, k / 8],
// weight scales [n] of int8, bias [n] unless the epilogue is none, a checksum of all before it.
#pragma once

#include <string>
#include <string_view>

#include "twofour/tensorrt/spmm_definition.h"

namespace twofour::tensorrt {

std::string serialize(const SpmmDefinition& definition);

// Throws Error for bytes that are no plug-in, of another version, cut off, too long or altered.
SpmmDefinition deserialize(std::string_view bytes);

}  // namespace twofour::tensorrt
