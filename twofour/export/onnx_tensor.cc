#include "twofour/export/onnx_tensor.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <map>
#include <string>

#include "twofour/base/error.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;
using onnx::TensorProto;

constexpr const char* kRemedy = "The file is damaged or incomplete: export it again";

std::string where_of(const TensorProto& tensor, const fs::path& model) {
  return fmt::format("{}: {}", model.string(), tensor.name());
}

Shape shape_of(const TensorProto& tensor) {
  return Shape(std::vector<int64_t>(tensor.dims().begin(), tensor.dims().end()));
}

// Throws Error(where) unless memory could hold them.
int64_t expected_bytes(const TensorProto& tensor, DType dtype, const std::string& where) {
  auto bytes = static_cast<int64_t>(dtype_bytes(dtype));
  for (int64_t dim : tensor.dims()) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
      throw Error(where, fmt::format("{} is no shape", shape_of(tensor).to_string()), kRemedy);
    }
  }
  return bytes;
}

template <class Stored, class Values>
std::string packed(const Values& values) {
  std::string bytes;
  for (const auto value : values) {
    const auto stored = static_cast<Stored>(value);
    bytes.append(reinterpret_cast<const char*>(&stored), sizeof stored);
  }
  return bytes;
}

// Of tensors whose values are fields of their own.
std::string packed_fields(const TensorProto& tensor, DType dtype) {
  if (dtype == DType::kF32) return packed<float>(tensor.float_data());
  if (dtype == DType::kF64) return packed<double>(tensor.double_data());
  if (dtype_bytes(dtype) == 2) return packed<uint16_t>(tensor.int32_data());
  return packed<uint8_t>(tensor.int32_data());
}

int64_t parse_offset(const std::string& text, const std::string& where) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw Error(where, fmt::format("\"{}\" is no offset of external data", text), kRemedy);
  }
  return value;
}

// A name that stays inside the model's folder.
fs::path external_file(const std::string& location, const fs::path& model,
                       const std::string& where) {
  const fs::path path(location);
  bool inside = path.is_relative() && !location.empty() && location.find('\0') == location.npos;
  for (const fs::path& part : path) inside = inside && part != "..";
  if (!inside) {
    throw Error(where, fmt::format("external data \"{}\" are not in the model's folder", location));
  }
  return model.parent_path() / path;
}

std::map<std::string, std::string> external_entries(const TensorProto& tensor) {
  std::map<std::string, std::string> entries;
  for (const auto& entry : tensor.external_data()) entries[entry.key()] = entry.value();
  return entries;
}

std::string external_bytes(const TensorProto& tensor, const fs::path& model, int64_t count,
                           const std::string& where) {
  auto entries = external_entries(tensor);
  const fs::path path = external_file(entries["location"], model, where);
  const int64_t offset = entries.contains("offset") ? parse_offset(entries["offset"], where) : 0;
  std::error_code error;
  const auto size = static_cast<int64_t>(fs::file_size(path, error));
  if (error) {
    throw Error(where, fmt::format("{} cannot be read: {}", path.string(), error.message()),
                "Keep the model's files together");
  }
  if (offset > size || count > size - offset) {
    throw Error(where,
                fmt::format("{} bytes are at {} of {}, but its size is {}", count, offset,
                            path.string(), size),
                kRemedy);
  }
  std::string bytes(static_cast<size_t>(count), '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.seekg(offset) || !in.read(bytes.data(), count)) {
    throw Error(where, fmt::format("{} cannot be read", path.string()));
  }
  return bytes;
}

std::string stored_bytes(const TensorProto& tensor, DType dtype, const fs::path& model) {
  const std::string where = where_of(tensor, model);
  const int64_t expected = expected_bytes(tensor, dtype, where);
  if (tensor.data_location() == TensorProto::EXTERNAL) {
    return external_bytes(tensor, model, expected, where);
  }
  std::string bytes = tensor.has_raw_data() ? tensor.raw_data() : packed_fields(tensor, dtype);
  if (std::ssize(bytes) != expected) {
    throw Error(
        where,
        fmt::format("the size of {} {} in bytes is {}, but the file holds {}", dtype_name(dtype),
                    shape_of(tensor).to_string(), expected, bytes.size()),
        kRemedy);
  }
  return bytes;
}

template <class T>
Tensor widened(const std::string& bytes, const Shape& shape) {
  Tensor out(DType::kF32, shape);
  const auto values = out.as<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(bytes[i]);
  return out;
}

}  // namespace

std::optional<DType> tensor_type(const TensorProto& tensor) {
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      return DType::kF32;
    case TensorProto::DOUBLE:
      return DType::kF64;
    case TensorProto::FLOAT16:
      return DType::kF16;
    case TensorProto::BFLOAT16:
      return DType::kBF16;
    case TensorProto::INT8:
      return DType::kI8;
    case TensorProto::UINT8:
      return DType::kU8;
    default:
      return std::nullopt;
  }
}

void take_in(TensorProto& tensor, const fs::path& model) {
  if (tensor.data_location() != TensorProto::EXTERNAL) return;
  const std::string where = where_of(tensor, model);
  const std::optional<DType> dtype = tensor_type(tensor);
  const int64_t count = dtype ? expected_bytes(tensor, *dtype, where)
                              : parse_offset(external_entries(tensor)["length"], where);
  tensor.set_raw_data(external_bytes(tensor, model, count, where));
  tensor.clear_external_data();
  tensor.clear_data_location();
}

Tensor tensor_values(const TensorProto& tensor, const fs::path& model) {
  const std::optional<DType> dtype = tensor_type(tensor);
  if (!dtype) {
    throw Error(where_of(tensor, model),
                fmt::format("ONNX type {} is not read", tensor.data_type()));
  }
  const std::string bytes = stored_bytes(tensor, *dtype, model);
  const Shape shape = shape_of(tensor);
  if (*dtype == DType::kI8) return widened<int8_t>(bytes, shape);
  if (*dtype == DType::kU8) return widened<uint8_t>(bytes, shape);
  return to_f32({*dtype, shape, reinterpret_cast<const std::byte*>(bytes.data())}, tensor.name());
}

}  // namespace twofour
