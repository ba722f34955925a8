#include "apps/recall/texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "twofour/base/error.h"

namespace twofour::recall {
namespace {

using nlohmann::json;

constexpr const char* kRemedy =
    "Write one object a line: {\"_id\": \"1\", \"text\": \"...\"}, with a title if there is one";
constexpr const char* kSpace = " \t\r\n\v\f";

std::string field(const json& object, const char* key, bool required, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) {
    if (required) throw Error(where, fmt::format("key \"{}\" is missing", key), kRemedy);
    return "";
  }
  if (found->is_number_integer()) return found->dump();
  if (!found->is_string()) {
    throw Error(where, fmt::format("\"{}\": expected a string, found {}", key, found->type_name()),
                kRemedy);
  }
  return found->get<std::string>();
}

json parse(const std::string& line, const std::string& where) {
  json object = json::parse(line, nullptr, false);
  if (!object.is_object()) throw Error(where, "expected a JSON object", kRemedy);
  return object;
}

void check_id(const std::string& id, const std::string& where) {
  if (!id.empty() && id.find_first_of(kSpace) == std::string::npos) return;
  throw Error(where, fmt::format("_id \"{}\" is empty or holds white space", id),
              "TREC runs separate ids by spaces: rename it");
}

std::string text_of(const json& object, const std::string& where) {
  std::string text = field(object, "title", false, where);
  const std::string body = field(object, "text", true, where);
  if (!text.empty() && !body.empty()) text += ' ';
  text += body;
  if (text.find_first_not_of(kSpace) == std::string::npos) {
    throw Error(where, "the text is empty", "Leave texts without content out");
  }
  return text;
}

}  // namespace

Texts read_texts(std::istream& in, const std::string& name) {
  Texts texts;
  std::unordered_set<std::string> seen;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = fmt::format("{}:{}", name, ++number);
    if (line.find_first_not_of(kSpace) == std::string::npos) continue;
    const json object = parse(line, where);
    std::string id = field(object, "_id", true, where);
    check_id(id, where);
    if (!seen.insert(id).second)
      throw Error(where, fmt::format("_id \"{}\" stands twice", id),
                  "Give each text one of its own");
    texts.texts.push_back(text_of(object, where));
    texts.ids.push_back(std::move(id));
  }
  if (texts.ids.empty()) throw Error(name, "holds no texts", kRemedy);
  return texts;
}

}  // namespace twofour::recall
