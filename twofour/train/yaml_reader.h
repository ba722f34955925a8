// Strict reading of YAML maps: unknown keys, wrong types and doubled keys are errors that name line
// and key.
#pragma once

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "twofour/base/error.h"

namespace twofour {

// An enumeration as texts.
template <class T>
using YamlNames = std::vector<std::pair<std::string_view, T>>;

template <class T>
std::string_view name_of(const YamlNames<T>& names, const T& value) {
  return std::ranges::find(names, value, &std::pair<std::string_view, T>::second)->first;
}

// A file's tree, with values replaced by the caller's overrides; knows where messages point.
class YamlSource {
 public:
  // Throws Error for text that is no YAML and for overrides whose path leads nowhere.
  YamlSource(const std::string& yaml, std::string origin,
             const std::map<std::string, std::string>& overrides);

  const YAML::Node& root() const { return root_; }

  // "recipe.yaml:12", or "--set KEY" of the override that brought the value.
  std::string where(const std::string& path, const YAML::Mark& mark) const;

  bool overridden(const std::string& path) const { return override_of(path) != nullptr; }

 private:
  struct Override;
  void apply(YAML::Node node, const std::string& rest, const std::string& prefix,
             const Override& change);
  const std::string* override_of(const std::string& path) const;

  std::string origin_;
  YAML::Node root_;
  std::map<std::string, std::string> overridden_;  // place -> path as the caller gave it
};

// Reads the keys of one map; finish() refuses what nobody asked for. Whether a key is there is
// asked after it: where one is missing, an unknown one may be it, mistyped.
class YamlReader {
 public:
  YamlReader(const YamlSource& source, const YAML::Node& node, std::string path);

  // False, and `value` as it was, where the key is absent.
  template <class T>
  bool read(const std::string& key, T& value) {
    const YAML::Node node = find(key);
    if (!node) return false;
    convert(key, node, value);
    return true;
  }

  template <class T>
  bool read(const std::string& key, T& value, const YamlNames<T>& names) {
    std::string text;
    if (!read(key, text)) return false;
    const auto found = std::ranges::find(names, text, &std::pair<std::string_view, T>::first);
    if (found == names.end()) {
      std::string known;
      for (const auto& [name, unused] : names) known += fmt::format(" {},", name);
      known.back() = '.';
      fail(key, fmt::format("is '{}'", text), "Use one of:" + known);
    }
    value = found->second;
    return true;
  }

  bool has(const std::string& key) const { return std::as_const(node_)[key].IsDefined(); }
  bool overridden(const std::string& key) const;

  // The map under `key`: one or none.
  std::vector<YamlReader> read_map(const std::string& key);
  // The maps of the list under `key`.
  std::vector<YamlReader> read_list(const std::string& key);

  void finish() const;

  // An empty key means the map itself.
  std::string where(const std::string& key) const;
  [[noreturn]] void fail(const std::string& key, const std::string& message,
                         const std::string& remedy = {}) const;
  void require(bool condition, const std::string& key, const std::string& message,
               const std::string& remedy = {}) const {
    if (!condition) fail(key, message, remedy);
  }

 private:
  YAML::Node find(const std::string& key);
  std::string path_of(const std::string& key) const;

  template <class T>
  static constexpr const char* type_name() {
    if constexpr (std::is_same_v<T, bool>) return "true or false";
    if constexpr (std::is_integral_v<T>) return "a whole number";
    if constexpr (std::is_floating_point_v<T>) return "a number";
    return "text";
  }

  template <class T>
  void convert(const std::string& key, const YAML::Node& node, T& value) const {
    if (!node.IsScalar() || !YAML::convert<T>::decode(node, value)) {
      const std::string found = node.IsScalar() ? "'" + node.Scalar() + "'"
                                : node.IsNull() ? "empty"
                                                : "a list or map";
      fail(key, fmt::format("is {}: {} is expected", found, type_name<T>()));
    }
    if constexpr (std::is_floating_point_v<T>) require(std::isfinite(value), key, "must be finite");
  }
  void convert(const std::string& key, const YAML::Node& node,
               std::vector<std::string>& value) const;

  const YamlSource* source_;
  YAML::Node node_;
  std::string path_;
  std::vector<std::string> known_;
};

}  // namespace twofour
