#include "twofour/tensorrt/spmm_state.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

#include "twofour/base/checksum.h"
#include "twofour/base/error.h"
#include "twofour/sparse/sparse24.h"

namespace twofour::tensorrt {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kWhere = "stored plug-in";
constexpr std::string_view kRemedy = "Build the engine again from its ONNX file";
constexpr std::array<char, 8> kMagic{'2', '4', 'S', 'P', 'M', 'M', '\r', '\n'};
constexpr uint32_t kVersion = 1;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t type = 0;  // DType
  uint32_t epilogue = 0;
  uint32_t name_bytes = 0;
  int64_t n = 0, k = 0, max_m = 0, bucket_step = 0;
  float input_scale = 1;
  uint32_t unused = 0;
};
static_assert(sizeof(Header) == 64);

[[noreturn]] void fail(const std::string& message) { throw Error(kWhere, message, kRemedy); }

struct Sizes {
  uint64_t values = 0, metadata = 0, weight_scale = 0, bias = 0;
  uint64_t total(const Header& header) const {
    return sizeof(Header) + header.name_bytes + values + metadata + weight_scale + bias +
           sizeof(uint64_t);
  }
};

// The definition's n and k are checked: no product overflows.
Sizes sizes_of(const SpmmDefinition& d) {
  const auto n = static_cast<uint64_t>(d.n), k = static_cast<uint64_t>(d.k);
  Sizes sizes;
  sizes.values = n * k / 2 * dtype_bytes(d.type);
  sizes.metadata = n * k / 8;
  sizes.weight_scale = d.type == DType::kI8 ? n * sizeof(float) : 0;
  sizes.bias = d.epilogue == Epilogue::kNone ? 0 : n * sizeof(float);
  return sizes;
}

Header header_of(const SpmmDefinition& d) {
  Header header;
  header.type = static_cast<uint32_t>(d.type);
  header.epilogue = static_cast<uint32_t>(d.epilogue);
  header.name_bytes = static_cast<uint32_t>(d.name.size());
  header.n = d.n;
  header.k = d.k;
  header.max_m = d.max_m;
  header.bucket_step = d.bucket_step;
  header.input_scale = d.input_scale;
  return header;
}

void append(std::string& out, const void* data, size_t bytes) {
  out.append(static_cast<const char*>(data), bytes);
}

Header read_header(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header + sizeof(uint64_t))
    fail(fmt::format("has {} bytes, fewer than a header", bytes.size()));
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) fail("is not one of twofour's");
  if (header.version != kVersion)
    fail(fmt::format("has version {}, expected {}", header.version, kVersion));
  return header;
}

void check_sum(std::string_view bytes) {
  uint64_t stored = 0;
  const std::string_view body = bytes.substr(0, bytes.size() - sizeof stored);
  std::memcpy(&stored, bytes.data() + body.size(), sizeof stored);
  if (checksum64(body) != stored) fail("is cut off or altered: its checksum differs");
}

SpmmDefinition definition_of(const Header& header) {
  SpmmDefinition d;
  d.name = kWhere;
  d.type = static_cast<DType>(header.type);
  d.epilogue = static_cast<Epilogue>(header.epilogue);
  if (d.epilogue > Epilogue::kBiasGelu) fail(fmt::format("has epilogue {}", header.epilogue));
  const bool known = d.type == DType::kF16 || d.type == DType::kBF16 || d.type == DType::kI8;
  if (!known || static_cast<uint32_t>(d.type) != header.type)
    fail(fmt::format("has type {}", header.type));
  d.n = header.n;
  d.k = header.k;
  d.max_m = header.max_m;
  d.bucket_step = header.bucket_step;
  d.input_scale = header.input_scale;
  check_definition(d);
  return d;
}

// Takes parts from the front.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  void read(void* to, size_t bytes) {
    if (bytes == 0) return;  // of an empty tensor, whose data is null
    std::memcpy(to, bytes_.data(), bytes);
    bytes_.remove_prefix(bytes);
  }
  Tensor tensor(DType type, Shape shape) {
    Tensor out(type, std::move(shape));
    read(out.data(), out.bytes());
    return out;
  }
  std::vector<float> floats(size_t bytes) {
    std::vector<float> out(bytes / sizeof(float));
    read(out.data(), bytes);
    return out;
  }

 private:
  std::string_view bytes_;
};

}  // namespace

std::string serialize(const SpmmDefinition& d) {
  const Header header = header_of(d);
  std::string out;
  out.reserve(sizes_of(d).total(header));
  append(out, &header, sizeof header);
  out += d.name;
  append(out, d.weight.values.data(), d.weight.values.bytes());
  append(out, d.weight.metadata.data(), d.weight.metadata.bytes());
  append(out, d.weight_scale.data(), d.weight_scale.size() * sizeof(float));
  append(out, d.bias.data(), d.bias.size() * sizeof(float));
  const uint64_t sum = checksum64(out);
  append(out, &sum, sizeof sum);
  return out;
}

SpmmDefinition deserialize(std::string_view bytes) {
  const Header header = read_header(bytes);
  check_sum(bytes);
  SpmmDefinition d = definition_of(header);
  const Sizes sizes = sizes_of(d);
  if (sizes.total(header) != bytes.size()) {
    fail(fmt::format("has {} bytes, expected {}", bytes.size(), sizes.total(header)));
  }
  Reader reader(bytes.substr(sizeof header));
  d.name.resize(header.name_bytes);
  reader.read(d.name.data(), d.name.size());
  d.weight.rows = d.n;
  d.weight.cols = d.k;
  d.weight.values = reader.tensor(d.type, {d.n, d.k / 2});
  d.weight.metadata = reader.tensor(DType::kU8, {d.n, d.k / 8});
  d.weight_scale = reader.floats(sizes.weight_scale);
  d.bias = reader.floats(sizes.bias);
  check_definition(d);
  return d;
}

}  // namespace twofour::tensorrt
