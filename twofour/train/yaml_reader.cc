#include "twofour/train/yaml_reader.h"

#include <fmt/ranges.h>

#include <charconv>

#include "twofour/base/nearest_name.h"

namespace twofour {
namespace {

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

// The elements that an index or "*" means.
std::pair<size_t, size_t> index_range(const std::string& key, const std::string& path,
                                      size_t size) {
  if (key == "*") return {0, size};
  size_t index = 0;
  const char* end = key.data() + key.size();
  const auto [stopped, error] = std::from_chars(key.data(), end, index);
  if (error != std::errc{} || stopped != end || index >= size) {
    throw Error("override " + join(path, key),
                fmt::format("'{}' is no index of {}, which has {} elements", key, path, size));
  }
  return {index, index + 1};
}

YAML::Node load(const std::string& yaml, const std::string& where) {
  try {
    return YAML::Load(yaml);
  } catch (const YAML::Exception& error) {
    throw Error(error.mark.is_null() ? where : fmt::format("{}:{}", where, error.mark.line + 1),
                "no YAML: " + error.msg);
  }
}

}  // namespace

YamlSource::YamlSource(const std::string& yaml, std::string origin,
                       const std::map<std::string, std::string>& overrides)
    : origin_(std::move(origin)), root_(load(yaml, origin_)) {
  for (const auto& [path, value] : overrides) {
    apply(root_, path, "", load(value, "override " + path));
  }
}

std::string YamlSource::where(const std::string& path, const YAML::Mark& mark) const {
  for (const std::string& prefix : overridden_) {
    if (path == prefix || path.starts_with(prefix + ".")) return "override " + prefix;
  }
  return mark.is_null() ? origin_ : fmt::format("{}:{}", origin_, mark.line + 1);
}

void YamlSource::apply(YAML::Node node, const std::string& rest, const std::string& prefix,
                       const YAML::Node& value) {
  const size_t dot = rest.find('.');
  const std::string key = rest.substr(0, dot);
  const auto visit = [&](YAML::Node child, const std::string& path) {
    if (dot != std::string::npos) return apply(child, rest.substr(dot + 1), path, value);
    // A clone for each place: nodes are shared handles.
    child = YAML::Clone(value);
    overridden_.insert(path);
  };
  if (node.IsSequence()) {
    const auto [first, last] = index_range(key, prefix, node.size());
    for (size_t i = first; i < last; ++i) visit(node[i], join(prefix, std::to_string(i)));
  } else if (node.IsScalar()) {
    throw Error("override " + join(prefix, key), fmt::format("{} is a single value", prefix));
  } else {
    visit(node[key], join(prefix, key));
  }
}

YamlReader::YamlReader(const YamlSource& source, YAML::Node node, std::string path)
    : source_(&source), node_(std::move(node)), path_(std::move(path)) {
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
    if (!seen.insert(key).second) throw Error(where, fmt::format("'{}' stands twice", path));
  }
}

void YamlReader::fail(const std::string& key, const std::string& message,
                      const std::string& remedy) const {
  const YAML::Node node = key.empty() ? node_ : std::as_const(node_)[key];
  const std::string path = key.empty() ? path_ : join(path_, key);
  throw Error(source_->where(path, node ? node.Mark() : node_.Mark()), path + " " + message,
              remedy);
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
