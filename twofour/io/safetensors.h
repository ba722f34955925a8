// Reader and writer of the safetensors format, memory-mapped; one file or an index with shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/tensor.h"

namespace twofour {

struct NamedTensor {
  std::string name;
  TensorView view;
};

// Tensors by name. Views stay valid while the object (or a copy of it) lives.
class Safetensors {
 public:
  Safetensors();  // no tensors

  // `path` is a .safetensors file or a *.safetensors.index.json. The header is validated in full:
  // size, JSON, types, shapes, offsets in range, not overlapping, without gaps, duplicates refused.
  // Throws Error naming file and tensor.
  static Safetensors open(const std::filesystem::path& path);

  // The same over bytes in memory; `origin` names them in errors. The bytes must outlive the
  // object.
  static Safetensors from_memory(std::span<const std::byte> bytes, std::string origin);

  // Tensors that are at hand. Their bytes must outlive the object; names must differ.
  static Safetensors of(const std::vector<NamedTensor>& tensors, std::string origin);

  // The shards that the text of an index names, each opened once by `open_shard`, as one. Index and
  // shards must name the same tensors; a shard's name must be that of a file beside the index.
  static Safetensors from_index(std::string_view index, const std::string& origin,
                                const std::function<Safetensors(const std::string&)>& open_shard);

  const std::vector<std::string>& names() const;  // sorted
  bool contains(std::string_view name) const;
  TensorView get(std::string_view name) const;  // throws Error if absent
  // "file: tensor" for messages. The file is the shard that holds the tensor; the index or the only
  // file where none does.
  std::string where(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const;
  uint64_t file_bytes() const;  // of all files, headers included

 private:
  struct State;
  explicit Safetensors(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  static Safetensors open_file(const std::filesystem::path& path);
  static std::shared_ptr<State> parse(std::span<const std::byte> bytes, std::string origin);

  std::shared_ptr<const State> state_;
};

// Writes beside `path`, syncs, renames. Tensors are laid out by falling element size, then by name,
// from an offset that is a multiple of 64: each is aligned for its type, and equal tensors give
// equal bytes. Throws Error.
void write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace twofour
