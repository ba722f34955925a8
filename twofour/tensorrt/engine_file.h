// An engine on disk: the plan that TensorRT serialized, and beside it a key that says what it was
// built from and for. TensorRT runs a plan on the GPU and with the version that built it, and
// nowhere else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "twofour/tensorrt/profile.h"

namespace twofour::tensorrt {

// What runs an engine.
struct EnginePlace {
  std::string gpu;         // "NVIDIA H100 80GB HBM3"
  std::string capability;  // "9.0"
  std::string tensorrt;    // "10.3.0"
  bool operator==(const EnginePlace&) const = default;
};

struct EngineKey {
  EnginePlace place;
  std::string onnx;   // checksum of the file and of its external data
  std::string model;  // that the file was exported from (onnx_origin.h)
  DimensionRange batch, length;
  bool sparse = true;
  bool operator==(const EngineKey&) const = default;
};

// FILE.plan.json
std::filesystem::path key_path(const std::filesystem::path& plan);

// The checksum of `onnx` and of FILE.onnx.data where it is there. Throws Error where it cannot be
// read.
std::string onnx_checksum(const std::filesystem::path& onnx);

// Both files, or, where that fails, neither that claims to be an engine: a key always belongs to
// the plan beside it. Throws Error as write_file_atomically() does.
void write_engine(const std::filesystem::path& plan, std::string_view bytes, const EngineKey& key);

// Why the engine on disk is not what `wanted` asks for: it is absent, cut off, of another GPU, ...;
// nothing where it is.
std::optional<std::string> why_stale(const std::filesystem::path& plan, const EngineKey& wanted);

// The plan's bytes. Throws Error with the remedy unless it was built at `place`, from an export of
// `model` (io/content_hash.h).
std::string read_engine(const std::filesystem::path& plan, const EnginePlace& place,
                        const std::string& model);

}  // namespace twofour::tensorrt
