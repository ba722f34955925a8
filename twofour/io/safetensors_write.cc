#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/io/safetensors.h"

namespace twofour {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kLengthBytes = 8;

void sort_for_alignment(std::vector<NamedTensor>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    const size_t a_bytes = dtype_bytes(a.view.dtype);
    const size_t b_bytes = dtype_bytes(b.view.dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a.name < b.name;
  });
}

nlohmann::json header_of(const std::vector<NamedTensor>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    if (header.contains(tensor.name) || tensor.name == "__metadata__") {
      throw Error(tensor.name, "two tensors of one file have this name");
    }
    const size_t end = offset + tensor.view.bytes();
    header[tensor.name] = {{"dtype", dtype_name(tensor.view.dtype)},
                           {"shape", tensor.view.shape.dims()},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  return header;
}

// Length and JSON, padded with spaces so that the data are aligned.
std::string header_bytes(const nlohmann::json& header) {
  std::string text = header.dump();
  text.append((kAlignment - (kLengthBytes + text.size()) % kAlignment) % kAlignment, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), kLengthBytes) + text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  sort_for_alignment(tensors);
  write_file_atomically(path, [&](std::ostream& stream) {
    stream << header_bytes(header_of(tensors, metadata));
    for (const NamedTensor& tensor : tensors) {
      stream.write(reinterpret_cast<const char*>(tensor.view.data),
                   static_cast<std::streamsize>(tensor.view.bytes()));
    }
  });
}

}  // namespace twofour
