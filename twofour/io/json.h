// JSON from strangers: parsed with more checks than the library makes, read with errors that name
// file and key; and JSON for them. For this library's own sources: it is not installed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace twofour {

inline constexpr std::string_view kJsonRemedy = "Correct it there, or fetch the file again";

// What is said of text that is no JSON, and what to do about it.
struct JsonFault {
  std::string_view what = "damaged JSON";
  std::string_view remedy = kJsonRemedy;
};

// Throws Error(where) for anything that is not one JSON value in UTF-8, for a key that stands twice
// in one object and for nesting deeper than 64.
nlohmann::json parse_json(std::string_view text, std::string_view where,
                          const JsonFault& fault = {});

// What the library says of a value that is not as expected, in short: without the name of its
// exception and the text that it read.
std::string json_reason(const nlohmann::json::exception& error);

// A value as text. Bytes that are no UTF-8, which names of files may hold, become U+FFFD; dump()
// would throw.
template <class Json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// An object whose members are asked for by type. A member that is null counts as absent.
class JsonObject {
 public:
  // Throws Error unless `value` is an object. Errors of members have `remedy`.
  JsonObject(nlohmann::json value, std::string where, std::string_view remedy = kJsonRemedy);
  static JsonObject parse(std::string_view text, std::string where, const JsonFault& fault = {});

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const nlohmann::json* find(std::string_view key) const;  // nullptr when absent
  const std::string& where() const { return where_; }

  // Each throws Error for another type or, where there is no fallback, for an absent member.
  int64_t integer(std::string_view key, int64_t minimum, int64_t maximum) const;
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t minimum,
                     int64_t maximum) const;
  double number(std::string_view key) const;
  double number_or(std::string_view key, double fallback) const;
  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::vector<std::string> strings_or_empty(std::string_view key) const;
  std::optional<JsonObject> object(std::string_view key) const;  // nothing when absent
  JsonObject required_object(std::string_view key) const;
  std::vector<JsonObject> objects_or_empty(std::string_view key) const;
  std::vector<JsonObject> objects(std::string_view key) const;
  const nlohmann::json& members() const { return value_; }

 private:
  const nlohmann::json& require(std::string_view key) const;
  [[noreturn]] void fail(std::string_view key, std::string_view expected) const;

  nlohmann::json value_;
  std::string where_, remedy_;
};

// Throws Error(where) unless `value` is a whole number in [minimum, maximum].
int64_t checked_integer(const nlohmann::json& value, std::string_view where, std::string_view name,
                        int64_t minimum, int64_t maximum, std::string_view remedy = {});

}  // namespace twofour
