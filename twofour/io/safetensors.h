// Reader and writer of the safetensors format, memory-mapped; one file or an index with shards.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "twofour/base/tensor.h"

namespace twofour {

// Tensors by name. Views stay valid while the object (or a copy of it) lives.
class Safetensors {
 public:
  // `path` is a .safetensors file or a *.safetensors.index.json. The header is validated in full: size, JSON, types,
  // shapes, offsets in range, not overlapping, without gaps, duplicates refused. Throws Error naming file and tensor.
  static Safetensors open(const std::filesystem::path& path);

  // The same over bytes in memory; `origin` names them in errors. The bytes must outlive the object.
  static Safetensors from_memory(std::span<const std::byte> bytes, std::string origin);

  const std::vector<std::string>& names() const;  // sorted
  bool contains(std::string_view name) const;
  TensorView get(std::string_view name) const;  // throws Error if absent
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

struct NamedTensor {
  std::string name;
  TensorView view;
};

// Writes beside `path`, syncs, renames. Tensors are laid out in the order of their names. Throws Error.
void write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace twofour
