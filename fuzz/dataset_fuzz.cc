// Datasets from any text. Input: TSV or JSONL; with form feeds the three files of BEIR: qrels,
// queries, corpus.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "twofour/base/error.h"
#include "twofour/io/dataset.h"

namespace {

constexpr char kSeparator = '\f';

void parse(std::string_view input) {
  const size_t first = input.find(kSeparator);
  if (first == input.npos) {
    twofour::parse_dataset(input, "fuzz", {3});
    return;
  }
  const std::string_view rest = input.substr(first + 1);
  const size_t second = rest.find(kSeparator);
  const std::string_view corpus =
      second == rest.npos ? std::string_view() : rest.substr(second + 1);
  twofour::parse_beir({input.substr(0, first), "qrels"}, {rest.substr(0, second), "queries"},
                      {corpus, "corpus"});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    parse({reinterpret_cast<const char*>(data), size});
  } catch (const twofour::Error&) {
  }
  return 0;
}
