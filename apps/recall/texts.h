// Documents and queries: JSON Lines with the keys _id, text and, for documents, title.
#pragma once

#include <istream>
#include <string>
#include <vector>

namespace twofour::recall {

struct Texts {
  std::vector<std::string> ids, texts;
};

// A text is "title text". Throws Error naming `name` and the line: damaged JSON, a missing key, an
// id that is empty, holds white space (TREC runs could not hold it) or stands twice, an empty text,
// no lines.
Texts read_texts(std::istream& in, const std::string& name);

}  // namespace twofour::recall
