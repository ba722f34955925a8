// For commands that copy a model's tokenizer and do not use it.
#pragma once

#include "twofour/cli/console.h"
#include "twofour/io/model_directory.h"

namespace twofour::cli {

// Logs why the model's tokenizer is refused where texts are to be read, if it is.
void warn_of_tokenizer(const ModelDirectory& model, Console& console);

}  // namespace twofour::cli
