// Which model a file of twofour export was made from.
#pragma once

#include <filesystem>
#include <string>

namespace twofour::tensorrt {

// The hash in the file's property "twofour" (io/content_hash.h); "unknown" where it has none.
// Reads no more of ONNX than that. Throws Error where the file cannot be read.
std::string exported_model(const std::filesystem::path& onnx);

}  // namespace twofour::tensorrt
