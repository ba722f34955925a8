// Opens a library that nothing here is linked to.
#pragma once

#include <string>

namespace twofour {

struct OptionalLibrary {
  const char* file;            // "libtwofour_train.so"
  const char* variable;        // environment variable that names another path
  const char* what;            // "training library"
  const char* symbol;          // that it exports
  const char* absent_remedy;   // of the library itself
  const char* loading_remedy;  // of what it needs
};

// Looks beside the program that runs, then in ../lib and where the libraries are installed. Throws
// Error with the remedy when the library is absent, cannot be loaded or lacks the symbol. The
// library stays open. Returns the symbol's address.
void* open_library(const OptionalLibrary& library);

}  // namespace twofour
