// Writes an ONNX model, its weights inside or in a file beside it.
#pragma once

#include <onnx/onnx.pb.h>

#include <cstdint>
#include <filesystem>

namespace twofour {

struct WrittenModel {
  uint64_t bytes = 0;          // of all files
  std::filesystem::path data;  // empty: everything is in the one file
};

// What protobuf reads.
inline constexpr uint64_t kProtobufLimit = (uint64_t{1} << 31) - 1;

// Moves the weights to `path`.data if `external_data` or if the file would have more bytes than
// `limit`; `model` keeps only references to them then. Neither file is ever half-written, and both
// are written beside their places before the first is replaced, the data: a failure until then
// leaves an earlier model as it was. Data of an earlier model at `path` go when nothing refers to
// them any more. Throws Error.
WrittenModel write_onnx(const std::filesystem::path& path, onnx::ModelProto& model,
                        bool external_data, uint64_t limit = kProtobufLimit);

}  // namespace twofour
