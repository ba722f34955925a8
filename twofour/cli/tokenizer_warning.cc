#include "twofour/cli/tokenizer_warning.h"

#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/io/tokenizer.h"

namespace twofour::cli {

void warn_of_tokenizer(const ModelDirectory& model, Console& console) {
  try {
    Tokenizer::open(model);
  } catch (const Error& error) {
    console.log(LogLevel::kWarning, fmt::format("the result will read no text: {}", error.what()));
  }
}

}  // namespace twofour::cli
