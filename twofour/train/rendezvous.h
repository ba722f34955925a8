// How processes that train together find each other: all come to a store of keys and values that
// rank 0 keeps, or its launcher.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "twofour/base/progress.h"
#include "twofour/train/process_group.h"

namespace twofour {

struct Meeting {
  c10::intrusive_ptr<c10d::Store> store;
  std::string own_address;  // this machine's, on the way to rank 0
};

// Returns when all have come; nothing, if one of them was asked to stop before. Throws Error in all
// that have come when one has waited for `join_timeout`. See ProcessGroup::open.
std::optional<Meeting> meet(const ProcessOptions& options, const Callbacks& callbacks);

}  // namespace twofour
