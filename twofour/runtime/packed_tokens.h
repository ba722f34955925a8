// The memory of a batch: sequences one after the other, without padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "twofour/runtime/engine.h"

namespace twofour {

struct PackedTokens {
  std::vector<int32_t> ids, type_ids, offsets{0};

  TokenBatch batch() const { return {ids, type_ids, offsets}; }
  void append(std::span<const int32_t> more_ids, std::span<const int32_t> more_type_ids) {
    ids.insert(ids.end(), more_ids.begin(), more_ids.end());
    type_ids.insert(type_ids.end(), more_type_ids.begin(), more_type_ids.end());
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  // The memory stays.
  void clear() {
    ids.clear();
    type_ids.clear();
    offsets.resize(1);
  }
};

}  // namespace twofour
