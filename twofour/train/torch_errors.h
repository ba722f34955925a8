// What LibTorch throws, as this library's errors.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

#include "twofour/base/error.h"

namespace twofour {

// The first line, without the place in LibTorch's sources that such texts begin with, without
// stacks and without a full stop. Of other exceptions likewise.
std::string reason_of(const std::exception& error);

// "[LibTorch] reason"; what to do where memory or determinism are the reason.
Error from_torch(const c10::Error& error);

}  // namespace twofour
