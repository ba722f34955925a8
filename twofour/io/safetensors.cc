#include "twofour/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"
#include "twofour/io/posix_file.h"

namespace twofour {

struct Safetensors::State {
  std::string origin;
  std::vector<std::string> names;
  std::map<std::string, TensorView, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> shards;  // of an index: tensor -> shard's origin
  std::map<std::string, std::string> metadata;
  uint64_t file_bytes = 0;
  std::vector<std::shared_ptr<const void>>
      owners;  // of the bytes: a mapping, or the states of shards
};

namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaximumHeader = 100'000'000;  // as in the reference implementation
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kRemedy = "The file is damaged or incomplete: fetch it again";
constexpr std::string_view kIndexRemedy =
    "Index and shards are of different models, or the index is damaged: fetch all of them again";

struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string_view name;
};

std::string place(std::string_view origin, std::string_view tensor) {
  return fmt::format("{}: {}", origin, tensor);
}

// The JSON text between the length and the data.
std::string_view header_text(std::span<const std::byte> bytes, const std::string& origin) {
  if (bytes.size() < kLengthBytes) {
    throw Error(
        origin,
        fmt::format(
            "is too short for a safetensors file: its size is {}, expected {} bytes or more",
            bytes.size(), kLengthBytes),
        kRemedy);
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaximumHeader) {
    throw Error(origin,
                fmt::format("a header of {} bytes is claimed, at most {} are allowed", length,
                            kMaximumHeader),
                "It is no safetensors file, or it is damaged");
  }
  if (length > bytes.size() - kLengthBytes) {
    throw Error(origin,
                fmt::format("a header of {} bytes is claimed, but the file has room for {}", length,
                            bytes.size() - kLengthBytes),
                kRemedy);
  }
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length};
}

const json& member(const json& entry, const char* key, const std::string& where) {
  const auto found = entry.find(key);
  if (found == entry.end()) throw Error(where, fmt::format("\"{}\" is missing", key), kRemedy);
  return *found;
}

DType parse_type(const json& value, const std::string& where) {
  if (!value.is_string()) throw Error(where, "dtype is no string", kRemedy);
  const auto& name = value.get_ref<const std::string&>();
  const std::optional<DType> dtype = parse_dtype(name);
  if (!dtype) {
    throw Error(where, fmt::format("dtype \"{}\" is not supported", name),
                "Save the tensor in another type, such as F32");
  }
  return *dtype;
}

// Dimensions whose product in bytes, multiplied in order, fits int64.
Shape parse_shape(const json& value, DType dtype, const std::string& where) {
  if (!value.is_array()) throw Error(where, "shape is no list", kRemedy);
  std::vector<int64_t> dims;
  auto bytes = static_cast<int64_t>(dtype_bytes(dtype));
  for (const json& item : value) {
    dims.push_back(
        checked_integer(item, where, "dimension", 0, std::numeric_limits<int64_t>::max(), kRemedy));
    if (__builtin_mul_overflow(bytes, dims.back(), &bytes)) {
      throw Error(where, "shape has more elements than memory can hold", kRemedy);
    }
  }
  return Shape(std::move(dims));
}

Extent parse_extent(const json& value, std::string_view name, const std::string& where) {
  if (!value.is_array() || value.size() != 2) {
    throw Error(where, "data_offsets are no two numbers", kRemedy);
  }
  constexpr int64_t kMaximum = std::numeric_limits<int64_t>::max();
  const int64_t begin = checked_integer(value[0], where, "data_offsets[0]", 0, kMaximum, kRemedy);
  const int64_t end = checked_integer(value[1], where, "data_offsets[1]", begin, kMaximum, kRemedy);
  return {static_cast<uint64_t>(begin), static_cast<uint64_t>(end), name};
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& origin) {
  if (!value.is_object()) throw Error(origin, "__metadata__ is no object", kRemedy);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      throw Error(origin, fmt::format("__metadata__: \"{}\" is no string", key), kRemedy);
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

// The extents must cover the data exactly, one after the other.
void check_layout(std::vector<Extent> extents, uint64_t data_bytes, const std::string& origin) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t position = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != position) {
      throw Error(place(origin, extent.name),
                  fmt::format("data begins at {}, but {} ends at {}: the tensors {}", extent.begin,
                              position == 0 ? "nothing" : "the one before", position,
                              extent.begin < position ? "overlap" : "leave a gap"),
                  kRemedy);
    }
    if (extent.end > data_bytes) {
      throw Error(place(origin, extent.name),
                  fmt::format("data ends at {}, but what the file holds ends at {}", extent.end,
                              data_bytes),
                  kRemedy);
    }
    position = extent.end;
  }
  if (position != data_bytes) {
    throw Error(origin,
                fmt::format("the last tensor ends at {}, but what the file holds ends at {}",
                            position, data_bytes),
                kRemedy);
  }
}

struct Entry {
  TensorView view;
  Extent extent;
};

Entry parse_entry(const std::string& name, const json& value, const std::string& origin) {
  const std::string where = place(origin, name);
  if (!value.is_object()) throw Error(where, "the header's entry is no object", kRemedy);
  Entry entry;
  entry.view.dtype = parse_type(member(value, "dtype", where), where);
  entry.view.shape = parse_shape(member(value, "shape", where), entry.view.dtype, where);
  entry.extent = parse_extent(member(value, "data_offsets", where), name, where);
  const uint64_t claimed = entry.extent.end - entry.extent.begin;
  if (claimed != entry.view.bytes()) {
    throw Error(where,
                fmt::format("the size of {} {} in bytes is {}, but data_offsets span {}",
                            dtype_name(entry.view.dtype), entry.view.shape.to_string(),
                            entry.view.bytes(), claimed),
                kRemedy);
  }
  return entry;
}

// A name that stays inside the folder of the index.
void check_shard_name(const std::string& shard, const std::string& origin) {
  const bool plain = !shard.empty() && shard != "." && shard != ".." &&
                     shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain) {
    throw Error(origin,
                fmt::format("shard \"{}\" is not the name of a file beside the index", shard),
                kIndexRemedy);
  }
}

std::map<std::string, std::string> parse_weight_map(std::string_view text,
                                                    const std::string& origin) {
  const JsonObject index = JsonObject::parse(text, origin);
  const json* map = index.find("weight_map");
  if (map == nullptr || !map->is_object()) {
    throw Error(origin, "\"weight_map\" is missing", kIndexRemedy);
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) {
      throw Error(place(origin, name), "the shard's name is no string", kIndexRemedy);
    }
    check_shard_name(shard.get_ref<const std::string&>(), origin);
    shards[name] = shard.get<std::string>();
  }
  return shards;
}

void check_shard(const std::string& shard, const Safetensors& content,
                 const std::map<std::string, std::string>& weight_map, const std::string& origin) {
  for (const std::string& name : content.names()) {
    const auto mapped = weight_map.find(name);
    if (mapped == weight_map.end() || mapped->second != shard) {
      throw Error(place(origin, name),
                  fmt::format("shard {} holds it, but the index does not say so", shard),
                  kIndexRemedy);
    }
  }
}

}  // namespace

Safetensors::Safetensors() : state_(std::make_shared<State>()) {}

std::shared_ptr<Safetensors::State> Safetensors::parse(std::span<const std::byte> bytes,
                                                       std::string origin) {
  const std::string_view text = header_text(bytes, origin);
  const auto data = bytes.subspan(kLengthBytes + text.size());
  const std::string fault = fmt::format("the header of size {} is no JSON", text.size());
  const json header = parse_json(text, origin, {fault, kRemedy});
  if (!header.is_object()) throw Error(origin, "the header is no JSON object", kRemedy);
  auto state = std::make_shared<State>();
  state->origin = std::move(origin);
  state->file_bytes = bytes.size();
  std::vector<Extent> extents;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      state->metadata = parse_metadata(value, state->origin);
      continue;
    }
    const Entry entry = parse_entry(name, value, state->origin);
    const auto placed = state->tensors.emplace(name, entry.view).first;
    extents.push_back({entry.extent.begin, entry.extent.end, placed->first});
    state->names.push_back(name);
  }
  check_layout(extents, data.size(), state->origin);
  for (const Extent& extent : extents) {
    state->tensors.find(extent.name)->second.data = data.data() + extent.begin;
  }
  return state;
}

Safetensors Safetensors::open(const std::filesystem::path& path) {
  if (path.extension() != ".json") return open_file(path);
  return from_index(read_file(path), path.string(), [&path](const std::string& shard) {
    return open_file(path.parent_path() / shard);
  });
}

Safetensors Safetensors::open_file(const std::filesystem::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  auto state = parse(file->bytes(), path.string());
  state->owners.push_back(std::move(file));
  return Safetensors(std::move(state));
}

Safetensors Safetensors::from_memory(std::span<const std::byte> bytes, std::string origin) {
  return Safetensors(parse(bytes, std::move(origin)));
}

Safetensors Safetensors::of(const std::vector<NamedTensor>& tensors, std::string origin) {
  auto state = std::make_shared<State>();
  state->origin = std::move(origin);
  for (const auto& [name, view] : tensors) state->tensors.emplace(name, view);
  for (const auto& [name, view] : state->tensors) state->names.push_back(name);
  return Safetensors(std::move(state));
}

Safetensors Safetensors::from_index(
    std::string_view index, const std::string& origin,
    const std::function<Safetensors(const std::string&)>& open_shard) {
  const auto weight_map = parse_weight_map(index, origin);
  std::map<std::string, Safetensors> shards;
  auto state = std::make_shared<State>();
  state->origin = origin;
  for (const auto& [name, shard] : weight_map) {
    if (!shards.contains(shard)) {
      const Safetensors& opened = shards.emplace(shard, open_shard(shard)).first->second;
      check_shard(shard, opened, weight_map, origin);
      state->file_bytes += opened.file_bytes();
      state->metadata.insert(opened.metadata().begin(), opened.metadata().end());
      state->owners.push_back(opened.state_);
    }
    const Safetensors& content = shards.at(shard);
    state->tensors.emplace(name, content.get(name));
    state->shards.emplace(name, content.state_->origin);
    state->names.push_back(name);
  }
  return Safetensors(std::move(state));
}

const std::vector<std::string>& Safetensors::names() const { return state_->names; }

bool Safetensors::contains(std::string_view name) const { return state_->tensors.contains(name); }

TensorView Safetensors::get(std::string_view name) const {
  const auto found = state_->tensors.find(name);
  if (found == state_->tensors.end()) {
    throw Error(where(name), "no such tensor", "The file is incomplete, or of another model");
  }
  return found->second;
}

std::string Safetensors::where(std::string_view name) const {
  const auto shard = state_->shards.find(name);
  return place(shard == state_->shards.end() ? state_->origin : shard->second, name);
}

const std::map<std::string, std::string>& Safetensors::metadata() const { return state_->metadata; }

uint64_t Safetensors::file_bytes() const { return state_->file_bytes; }

}  // namespace twofour
