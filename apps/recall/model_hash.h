// Tells model directories apart, so that an index is never searched with another model's queries.
#pragma once

#include <filesystem>
#include <string>

namespace twofour::recall {

// 64-bit FNV-1a of the names and contents of what decides an embedding: weights, configuration,
// tokenizer and pooling. It protects from mistakes, not from malice. Throws Error if there are
// none.
std::string model_hash(const std::filesystem::path& model);

// The same of one file's content.
std::string file_hash(const std::filesystem::path& file);

}  // namespace twofour::recall
