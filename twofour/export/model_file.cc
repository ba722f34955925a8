#include "twofour/export/model_file.h"

#include <fmt/format.h>

#include <vector>

#include "twofour/base/error.h"
#include "twofour/io/file.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSmall = 1024;   // bytes of a tensor that stays in the file
constexpr uint64_t kPage = 4096;  // engines map data that starts at a page

void add_reference(onnx::TensorProto& tensor, const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto& entry = *tensor.add_external_data();
  entry.set_key(key);
  entry.set_value(value);
}

void move_out(onnx::TensorProto& tensor, const std::string& file, uint64_t offset) {
  add_reference(tensor, "location", file);
  add_reference(tensor, "offset", std::to_string(offset));
  add_reference(tensor, "length", std::to_string(tensor.raw_data().size()));
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  tensor.clear_raw_data();
}

// Initializers, and weights that are attributes of a plug-in's node.
std::vector<onnx::TensorProto*> tensors_of(onnx::GraphProto& graph) {
  std::vector<onnx::TensorProto*> tensors;
  for (onnx::TensorProto& tensor : *graph.mutable_initializer()) tensors.push_back(&tensor);
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) tensors.push_back(attribute.mutable_t());
    }
  }
  return tensors;
}

// The number of bytes.
uint64_t write_data(const std::string& file, onnx::GraphProto& graph, std::ostream& out) {
  uint64_t offset = 0;
  for (onnx::TensorProto* tensor : tensors_of(graph)) {
    const std::string& bytes = tensor->raw_data();
    if (bytes.size() < kSmall) continue;
    const std::string padding((kPage - offset % kPage) % kPage, '\0');
    out << padding << bytes;
    const uint64_t begin = offset + padding.size();
    offset = begin + bytes.size();
    move_out(*tensor, file, begin);
  }
  return offset;
}

void check_name(const fs::path& path) {
  if (path.extension() != ".onnx") {
    throw Error(path.string(), "the name of an ONNX file must end in .onnx");
  }
  if (fs::is_directory(path)) throw Error(path.string(), "cannot be written: it is a folder");
}

// The model at `path` has its weights in `data`, whose name stands in it as it is.
bool has_data(const fs::path& path, const fs::path& data) {
  return fs::exists(data) && fs::is_regular_file(path) &&
         read_file(path).find(data.filename().string()) != std::string::npos;
}

void remove_old(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw Error(path.string(), fmt::format("cannot be replaced: {}", error.message()));
}

}  // namespace

WrittenModel write_onnx(const fs::path& path, onnx::ModelProto& model, bool external_data,
                        uint64_t limit) {
  check_name(path);
  const fs::path data = path.string() + ".data";
  WrittenModel written;
  const auto write_moved = [&](std::ostream& out) {
    written.bytes = write_data(data.filename().string(), *model.mutable_graph(), out);
  };
  const auto write_model = [&](std::ostream& out) {
    written.bytes += model.ByteSizeLong();
    if (!model.SerializeToOstream(&out)) throw Error(path.string(), "cannot be serialized");
  };
  if (external_data || model.ByteSizeLong() > limit) {
    written.data = data;
    write_files_atomically({{data, write_moved}, {path, write_model}});
    return written;
  }
  const bool old_data = has_data(path, data);  // that nothing will refer to
  write_file_atomically(path, write_model);
  if (old_data) remove_old(data);
  return written;
}

}  // namespace twofour
