// Safetensors from any bytes; every tensor that the header lets through must lie inside them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "twofour/base/error.h"
#include "twofour/io/safetensors.h"

namespace {

// Reads each byte, so that the address sanitizer sees a view that leaves the file.
unsigned touch(const twofour::Safetensors& file) {
  unsigned sum = 0;
  for (const std::string& name : file.names()) {
    const twofour::TensorView view = file.get(name);
    for (size_t i = 0; i < view.bytes(); ++i) sum += static_cast<unsigned>(view.data[i]);
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    volatile unsigned sum = touch(twofour::Safetensors::from_memory(bytes, "fuzz"));
    (void)sum;
  } catch (const twofour::Error&) {
  }
  return 0;
}
