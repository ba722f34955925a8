// A plug-in as it is stored in a TensorRT engine, from any bytes. Their last eight become the right
// checksum, or nothing behind it would be reached. What is read must be the same once it is written
// and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "twofour/base/checksum.h"
#include "twofour/base/error.h"
#include "twofour/sparse/sparse24.h"
#include "twofour/tensorrt/spmm_state.h"

namespace {

std::string with_checksum(std::string bytes) {
  uint64_t sum = 0;
  if (bytes.size() < sizeof sum) return bytes;
  bytes.resize(bytes.size() - sizeof sum);
  sum = twofour::checksum64(bytes);
  return bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
}

void check(const std::string& bytes) {
  const auto definition = twofour::tensorrt::deserialize(bytes);
  const std::string written = twofour::tensorrt::serialize(definition);
  if (twofour::tensorrt::serialize(twofour::tensorrt::deserialize(written)) != written)
    std::abort();
  twofour::expand(definition.weight);  // refuses metadata that compress() does not write
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(with_checksum({reinterpret_cast<const char*>(data), size}));
  } catch (const twofour::Error&) {
  }
  return 0;
}
