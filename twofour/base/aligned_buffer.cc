#include "twofour/base/aligned_buffer.h"

#include <new>

namespace twofour {

AlignedBuffer::AlignedBuffer(size_t bytes)
    : data_(static_cast<std::byte*>(
          ::operator new (bytes == 0 ? kAlignment : bytes, std::align_val_t{kAlignment}))),
      size_(bytes) {}

void AlignedBuffer::Free::operator()(std::byte* memory) const {
  ::operator delete (memory, std::align_val_t{kAlignment});
}

}  // namespace twofour
