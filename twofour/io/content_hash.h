// What tells a model or a data set from another one: hashes of contents, 64-bit FNV-1a in
// hexadecimal. They tell changed files from unchanged ones, no more.
#pragma once

#include <string>

#include "twofour/io/dataset.h"
#include "twofour/io/model_directory.h"

namespace twofour {

// Of configuration, tokenizer and weights.
std::string hash_of(const ModelDirectory& model);
std::string hash_of(const Dataset& data);

}  // namespace twofour
