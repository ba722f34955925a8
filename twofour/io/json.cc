#include "twofour/io/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "twofour/base/error.h"

namespace twofour {
namespace {

using nlohmann::json;

constexpr int kMaximumDepth = 64;  // copying and printing a value recurse

// Watches a parse: the library itself lets the last of two equal keys win.
class Watch {
 public:
  Watch(std::string_view where, std::string_view remedy) : where_(where), remedy_(remedy) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    if (depth > kMaximumDepth) {
      throw Error(where_, fmt::format("JSON nested deeper than {}", kMaximumDepth), remedy_);
    }
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key) check_new(parsed.get_ref<const std::string&>());
    return true;
  }

 private:
  void check_new(const std::string& key) {
    if (!keys_.back().insert(key).second) {
      throw Error(where_, fmt::format("key \"{}\" stands twice in one JSON object", key), remedy_);
    }
  }

  std::string_view where_, remedy_;
  std::vector<std::set<std::string>> keys_;
};

std::string describe(const json& value) {
  if (value.is_number() || value.is_boolean()) return value.dump();
  return value.type_name();
}

}  // namespace

std::string json_reason(const json::exception& error) {
  std::string text = error.what();
  // The token that was read last may be as long as the file.
  text.resize(std::min(text.size(), text.find("; last read: ")));
  const size_t end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

json parse_json(std::string_view text, std::string_view where, const JsonFault& fault) {
  try {
    return json::parse(text, Watch(where, fault.remedy));
  } catch (const json::exception& error) {
    std::string reason = json_reason(error);
    // The only line of its text, which may be any line of a file that `where` names.
    constexpr std::string_view kLine = "at line 1, ";
    const size_t line = reason.find(kLine);
    if (line != std::string::npos && text.find('\n') == std::string_view::npos) {
      reason.replace(line, kLine.size(), "at ");
    }
    throw Error(where, fmt::format("{}: {}", fault.what, reason), fault.remedy);
  }
}

int64_t checked_integer(const json& value, std::string_view where, std::string_view name,
                        int64_t minimum, int64_t maximum, std::string_view remedy) {
  const bool too_large =
      value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value.is_number_integer() && !too_large) {
    const auto number = value.get<int64_t>();
    if (number >= minimum && number <= maximum) return number;
  }
  throw Error(where,
              fmt::format("{}: expected a whole number from {} to {}, found {}", name, minimum,
                          maximum, describe(value)),
              remedy);
}

JsonObject::JsonObject(json value, std::string where, std::string_view remedy)
    : value_(std::move(value)), where_(std::move(where)), remedy_(remedy) {
  if (!value_.is_object()) {
    throw Error(where_, fmt::format("expected a JSON object, found {}", value_.type_name()),
                remedy_);
  }
}

JsonObject JsonObject::parse(std::string_view text, std::string where, const JsonFault& fault) {
  json value = parse_json(text, where, fault);
  return JsonObject(std::move(value), std::move(where), fault.remedy);
}

const json* JsonObject::find(std::string_view key) const {
  const auto found = value_.find(key);
  return found == value_.end() || found->is_null() ? nullptr : &*found;
}

const json& JsonObject::require(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) throw Error(where_, fmt::format("key \"{}\" is missing", key), remedy_);
  return *value;
}

void JsonObject::fail(std::string_view key, std::string_view expected) const {
  throw Error(where_,
              fmt::format("\"{}\": expected {}, found {}", key, expected, describe(require(key))),
              remedy_);
}

int64_t JsonObject::integer(std::string_view key, int64_t minimum, int64_t maximum) const {
  return checked_integer(require(key), where_, fmt::format("\"{}\"", key), minimum, maximum,
                         remedy_);
}

int64_t JsonObject::integer_or(std::string_view key, int64_t fallback, int64_t minimum,
                               int64_t maximum) const {
  return has(key) ? integer(key, minimum, maximum) : fallback;
}

double JsonObject::number(std::string_view key) const {
  if (!require(key).is_number()) fail(key, "a number");
  return require(key).get<double>();
}

double JsonObject::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

std::string JsonObject::string(std::string_view key) const {
  if (!require(key).is_string()) fail(key, "a string");
  return require(key).get<std::string>();
}

std::string JsonObject::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

bool JsonObject::boolean_or(std::string_view key, bool fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

std::vector<std::string> JsonObject::strings_or_empty(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) fail(key, "a list of strings");
  std::vector<std::string> strings;
  for (const json& item : *value) {
    if (!item.is_string()) fail(key, "a list of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

std::optional<JsonObject> JsonObject::object(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return JsonObject(*value, fmt::format("{}, {}", where_, key), remedy_);
}

JsonObject JsonObject::required_object(std::string_view key) const {
  require(key);
  return *object(key);
}

std::vector<JsonObject> JsonObject::objects(std::string_view key) const {
  require(key);
  return objects_or_empty(key);
}

std::vector<JsonObject> JsonObject::objects_or_empty(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) fail(key, "a list of objects");
  std::vector<JsonObject> objects;
  for (size_t i = 0; i < value->size(); ++i) {
    objects.emplace_back((*value)[i], fmt::format("{}, {}[{}]", where_, key, i), remedy_);
  }
  return objects;
}

}  // namespace twofour
