#include "twofour/train/yaml_reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "twofour/base/nearest_name.h"
#include "twofour/io/utf8.h"

namespace twofour {
namespace {

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

// As the command's user gave it.
std::string setting(const std::string& path) { return "--set " + path; }

// The elements that an index or "*" means.
std::pair<size_t, size_t> index_range(const std::string& key, const std::string& path, size_t size,
                                      const std::string& where) {
  if (key == "*") return {0, size};
  size_t index = 0;
  const char* end = key.data() + key.size();
  const auto [stopped, error] = std::from_chars(key.data(), end, index);
  if (error != std::errc{} || stopped != end || index >= size) {
    throw Error(where, fmt::format("'{}' is no index of {}, whose length is {}", key, path, size),
                "The first has index 0; * means all.");
  }
  return {index, index + 1};
}

YAML::Node load(const std::string& yaml, const std::string& where, bool has_lines) {
  if (const size_t bad = first_bad_byte(yaml); bad < yaml.size()) {
    const auto line =
        1 + std::count(yaml.begin(), yaml.begin() + static_cast<ptrdiff_t>(bad), '\n');
    throw Error(has_lines ? fmt::format("{}:{}", where, line) : where, "is not UTF-8 text",
                "Convert it to UTF-8, for example with iconv.");
  }
  try {
    return YAML::Load(yaml);
  } catch (const YAML::Exception& error) {
    const bool line = has_lines && !error.mark.is_null();
    throw Error(line ? fmt::format("{}:{}", where, error.mark.line + 1) : where,
                "no YAML: " + error.msg, "Correct it there; docs/recipes.md has examples.");
  }
}

}  // namespace

struct YamlSource::Override {
  const std::string& path;
  YAML::Node value;
};

YamlSource::YamlSource(const std::string& yaml, std::string origin,
                       const std::map<std::string, std::string>& overrides)
    : origin_(std::move(origin)), root_(load(yaml, origin_, /*has_lines=*/true)) {
  for (const auto& [path, value] : overrides) {
    apply(root_, path, "", {path, load(value, setting(path), /*has_lines=*/false)});
  }
}

std::string YamlSource::where(const std::string& path, const YAML::Mark& mark) const {
  if (const std::string* given = override_of(path)) return setting(*given);
  return mark.is_null() ? origin_ : fmt::format("{}:{}", origin_, mark.line + 1);
}

const std::string* YamlSource::override_of(const std::string& path) const {
  for (const auto& [place, given] : overridden_) {
    if (path == place || path.starts_with(place + ".")) return &given;
  }
  return nullptr;
}

void YamlSource::apply(YAML::Node node, const std::string& rest, const std::string& prefix,
                       const Override& change) {
  const size_t dot = rest.find('.');
  const std::string key = rest.substr(0, dot);
  const auto visit = [&](YAML::Node child, const std::string& path) {
    if (dot != std::string::npos) return apply(child, rest.substr(dot + 1), path, change);
    // A clone for each place: nodes are shared handles.
    child = YAML::Clone(change.value);
    overridden_[path] = change.path;
  };
  if (node.IsSequence()) {
    const auto [first, last] = index_range(key, prefix, node.size(), setting(change.path));
    for (size_t i = first; i < last; ++i) visit(node[i], join(prefix, std::to_string(i)));
  } else if (node.IsScalar()) {
    throw Error(setting(change.path), fmt::format("{} is a single value", prefix),
                "Name a key of the recipe, such as seed or stages.0.steps.");
  } else {
    visit(node[key], join(prefix, key));
  }
}

YamlReader::YamlReader(const YamlSource& source, const YAML::Node& node, std::string path)
    : source_(&source), node_(node), path_(std::move(path)) {
  if (!node_.IsMap()) {
    throw Error(source.where(path_, node_.Mark()),
                fmt::format("{} must be a map of keys", path_.empty() ? "the file" : path_));
  }
}

YAML::Node YamlReader::find(const std::string& key) {
  known_.push_back(key);
  return std::as_const(node_)[key];
}

std::vector<YamlReader> YamlReader::read_map(const std::string& key) {
  const YAML::Node node = find(key);
  if (!node) return {};
  return {YamlReader(*source_, node, join(path_, key))};
}

std::vector<YamlReader> YamlReader::read_list(const std::string& key) {
  std::vector<YamlReader> readers;
  const YAML::Node node = find(key);
  if (!node) return readers;
  require(node.IsSequence(), key, "must be a list");
  for (size_t i = 0; i < node.size(); ++i) {
    readers.emplace_back(*source_, node[i], fmt::format("{}.{}", join(path_, key), i));
  }
  return readers;
}

bool YamlReader::overridden(const std::string& key) const {
  return source_->overridden(join(path_, key));
}

void YamlReader::finish() const {
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    const std::string key = entry.first.Scalar();
    const std::string path = join(path_, key);
    const std::string where = source_->where(path, entry.first.Mark());
    if (std::ranges::find(known_, key) == known_.end()) {
      const auto meant = nearest_name(key, known_);
      throw Error(where, fmt::format("unknown key '{}'", path),
                  meant ? fmt::format("Did you mean '{}'?", *meant)
                        : fmt::format("Known are: {}.", fmt::join(known_, ", ")));
    }
    if (!seen.insert(key).second)
      throw Error(where, fmt::format("'{}' stands twice", path), "Keep one.");
  }
}

std::string YamlReader::path_of(const std::string& key) const {
  return key.empty() ? path_ : join(path_, key);
}

std::string YamlReader::where(const std::string& key) const {
  const YAML::Node node = key.empty() ? node_ : std::as_const(node_)[key];
  return source_->where(path_of(key), node ? node.Mark() : node_.Mark());
}

void YamlReader::fail(const std::string& key, const std::string& message,
                      const std::string& remedy) const {
  throw Error(where(key), path_of(key) + " " + message, remedy);
}

void YamlReader::convert(const std::string& key, const YAML::Node& node,
                         std::vector<std::string>& value) const {
  require(node.IsSequence(), key, "must be a list of texts");
  value.clear();
  for (const auto& item : node) {
    require(item.IsScalar(), key, "must be a list of texts");
    value.push_back(item.Scalar());
  }
}

}  // namespace twofour
