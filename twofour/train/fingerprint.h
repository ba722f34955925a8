// Whether a run that goes on reads what it read before.
#pragma once

#include <map>
#include <string>

#include "twofour/io/content_hash.h"

namespace twofour {

// What must be equal, by name: "recipe" as YAML, contents as hash_of() has them, everything else as
// one line.
using Fingerprint = std::map<std::string, std::string>;

// Where the contents are now of which it holds hashes, by the same names; empty: there are none.
using Sources = std::map<std::string, std::string>;

// Throws Error(where) naming the first difference: for recipes the first line that differs, for
// contents their source.
void check_same(const Fingerprint& before, const Fingerprint& now, const Sources& sources,
                const std::string& where);

}  // namespace twofour
