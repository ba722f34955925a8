// docs/recipes.md: its tables against the reader of recipes and the shipped files, its example, its
// links.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/train/recipe.h"

namespace twofour {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;
using testing::UnorderedElementsAreArray;

namespace fs = std::filesystem;

const fs::path kSource = TWOFOUR_SOURCE_DIR;

std::string page() { return read_file(kSource / "docs/recipes.md"); }

using Row = std::vector<std::string>;

// The cells of "| a | b |".
Row cells(const std::string& line) {
  Row row;
  for (size_t begin = 2, end = 0; (end = line.find(" |", begin)) != std::string::npos;
       begin = end + 3)
    row.push_back(line.substr(begin, end - begin));
  return row;
}

// The rows of the table with this first column, below a heading; the code quotes of their first
// cells are gone.
std::vector<Row> table(const std::string& heading, const std::string& first_column) {
  std::istringstream text(page());
  std::vector<Row> rows;
  bool below = false, inside = false;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("## ")) below = line == "## " + heading;
    inside = line.starts_with("|") &&
             (inside || (below && line.starts_with("| " + first_column + " |")));
    if (!inside || !line.starts_with("| `")) continue;
    Row row = cells(line);
    row[0] = row[0].substr(1, row[0].size() - 2);
    rows.push_back(std::move(row));
  }
  return rows;
}

// The maps of a recipe, the page's tables of their keys, and a recipe that has such a map.
struct KeyMap {
  std::string heading;
  std::string prefix;  // of its keys in the table
  std::string path;    // of the map in the recipe
  std::string yaml;
};

std::vector<KeyMap> key_maps() {
  const std::string prunes = "name: t\nstages: [{name: a}]\n";
  const std::string trains = "name: t\nstages: [{name: a, steps: 1, losses: [{kind: logits}]}]\n";
  return {{"The file", "", "", prunes},
          {"The file", "masking.", "", "head: token_classification\n" + prunes},
          {"A stage", "", "stages.0.", prunes},
          {"A stage", "learning_rate.", "stages.0.", prunes},
          {"A stage", "losses.*.", "stages.0.", trains}};
}

struct Key {
  std::string path;  // as of an override
  std::string name, type, standard, meaning;
};

std::vector<Key> keys_of(const KeyMap& map) {
  std::vector<Key> keys;
  for (const Row& row : table(map.heading, "key")) {
    const std::string& path = row[0];
    const size_t name = path.rfind('.') + 1;  // 0 without a dot
    if (path.substr(0, name) == map.prefix)
      keys.push_back({map.path + path, path.substr(name), row.at(1), row.at(2), row.at(3)});
  }
  return keys;
}

// The recipe with every value written out, or why it is refused.
std::string outcome(const std::string& yaml, const RecipeOverrides& overrides = {}) {
  try {
    return to_yaml(parse_recipe(yaml, "r", overrides));
  } catch (const Error& error) {
    return error.what();
  }
}

// "a, b" of "... BEFORE a, b."
std::vector<std::string> names_after(const std::string& before, const std::string& message) {
  std::vector<std::string> names;
  const size_t found = message.find(before);
  if (found == std::string::npos) return names;
  std::istringstream list(message.substr(found + before.size()));
  for (std::string name; list >> name;) names.push_back(name.substr(0, name.size() - 1));
  return names;
}

std::vector<double> numbers(const std::string& cell) {
  static const std::regex number(R"([0-9.]+(e-?[0-9]+)?)");
  std::vector<double> result;
  for (std::sregex_iterator it(cell.begin(), cell.end(), number), end; it != end; ++it)
    result.push_back(std::stod(it->str()));
  return result;
}

// to_yaml writes no others, or its text would not read back (recipe_test.cc).
TEST(RecipePage, ListsTheKeysThatTheReaderKnows) {
  for (const KeyMap& map : key_maps()) {
    std::vector<std::string> listed;
    for (const Key& key : keys_of(map)) listed.push_back(key.name);
    const std::string message = outcome(map.yaml, {{map.path + map.prefix + "zzzzzzzz", "1"}});
    const std::vector<std::string> known = names_after("Known are: ", message);
    EXPECT_GE(known.size(), 3u) << message;
    EXPECT_THAT(listed, UnorderedElementsAreArray(known)) << map.prefix;
  }
}

// A key that is given its default changes nothing.
TEST(RecipePage, DefaultsAreThoseOfTheReader) {
  std::set<std::string> others;
  for (const KeyMap& map : key_maps()) {
    for (const Key& key : keys_of(map)) {
      if (key.standard == "required") {
        EXPECT_THAT(map.yaml, HasSubstr(key.name + ": ")) << key.path;
      } else if (!key.standard.starts_with('`')) {
        others.insert(key.name);
      } else {
        RecipeOverrides overrides;
        if (key.name == "momentum") overrides["optimizer"] = "sgd";
        const std::string without = outcome(map.yaml, overrides);
        ASSERT_THAT(without, StartsWith("name: t\n"));
        overrides[key.path] = key.standard.substr(1, key.standard.size() - 2);
        EXPECT_EQ(outcome(map.yaml, overrides), without) << key.path;
      }
    }
  }
  EXPECT_EQ(others, (std::set<std::string>{"calibrate", "learning_rate", "masking", "write_int8"}));
}

TEST(RecipePage, TypesAreThoseThatTheReaderAsksFor) {
  for (const KeyMap& map : key_maps()) {
    for (const Key& key : keys_of(map)) {
      const std::string other = key.type == "a map" ? "3" : "{a: 1}";
      EXPECT_THAT(
          outcome(map.yaml, {{key.path, other}}),
          AnyOf(HasSubstr(": " + key.type + " is expected"), HasSubstr("must be " + key.type)))
          << key.path;
    }
  }
}

TEST(RecipePage, NamesTheValuesThatTheReaderKnows) {
  std::vector<std::string> kinds;
  for (const Row& row : table("A stage", "kind")) kinds.push_back(row[0]);
  int enumerations = 0;
  for (const KeyMap& map : key_maps()) {
    for (const Key& key : keys_of(map)) {
      if (key.type != "text") continue;
      const auto values = names_after("Use one of: ", outcome(map.yaml, {{key.path, "zzzzzzzz"}}));
      enumerations += values.empty() ? 0 : 1;
      if (key.name == "kind") {
        EXPECT_EQ(kinds, values);
        continue;
      }
      for (const std::string& value : values)
        EXPECT_THAT(key.standard + key.meaning, HasSubstr("`" + value + "`")) << key.path;
    }
  }
  EXPECT_EQ(enumerations, 9);
}

TEST(RecipePage, HeadsOfLossesAreThoseThatTheReaderTakes) {
  const std::vector<Row> kinds = table("A stage", "kind");
  ASSERT_FALSE(kinds.empty());
  for (const Row& row : kinds) {
    for (const char* head : {"classification", "embedding", "token_classification"}) {
      const std::string message =
          outcome(fmt::format("name: t\nhead: {}\n"
                              "stages: [{{name: a, steps: 1, losses: [{{kind: {}}}]}}]\n",
                              head, row[0]));
      const bool listed =
          row.at(1) == "any" || row.at(1).find(fmt::format("`{}`", head)) != std::string::npos;
      EXPECT_EQ(message.find("which wants 'head: ") == std::string::npos, listed)
          << row[0] << ": " << message;
    }
  }
}

TEST(RecipePage, ItsExampleIsARecipe) {
  const std::string text = page(), begin = "```yaml\n";
  const size_t first = text.find(begin) + begin.size();
  const Recipe recipe = parse_recipe(text.substr(first, text.find("```", first) - first), "page");
  ASSERT_EQ(recipe.stages.size(), 3u);
  EXPECT_EQ(recipe.stages[0].sparsity, 0.25);
  EXPECT_EQ(recipe.stages[0].epochs, 1);
  EXPECT_EQ(recipe.stages[2].sparsity, 0.5);
  EXPECT_EQ(recipe.stages[2].share_rows, 2);
  EXPECT_TRUE(recipe.stages[2].write_int8);
}

TEST(RecipePage, TellsTheShippedRecipesAsTheyAre) {
  std::set<std::string> shipped, listed;
  for (const auto& entry : fs::directory_iterator(kSource / "recipes"))
    shipped.insert(entry.path().stem().string());
  for (const Row& row : table("The shipped recipes", "recipe")) {
    ASSERT_TRUE(listed.insert(row[0]).second) << row[0];
    const Recipe recipe = read_recipe(kSource / "recipes" / (row[0] + ".yaml"));
    std::vector<double> epochs, sparsities, peaks;
    for (const Stage& stage : recipe.stages) {
      epochs.push_back(stage.epochs);
      sparsities.push_back(stage.sparsity);
      if (stage.epochs > 0) peaks.push_back(stage.learning_rate.peak);
    }
    EXPECT_EQ(numbers(row.at(1)), epochs) << row[0];
    EXPECT_EQ(numbers(row.at(2)), sparsities) << row[0];
    EXPECT_EQ(numbers(row.at(3)), peaks) << row[0];
    EXPECT_EQ(row.at(4), recipe.stages.back().write_int8 ? "yes" : "no") << row[0];
    EXPECT_EQ(row.at(5), needs_teacher(recipe) ? "yes" : "no") << row[0];
  }
  EXPECT_EQ(listed, shipped);
}

// What the page says of anchors.
TEST(RecipePage, OverridesReachAllAliasesOfAnAnchor) {
  const Recipe recipe = read_recipe(kSource / "recipes/sparse-qat.yaml",
                                    {{"stages.2.losses", "[{kind: cross_entropy, weight: 3}]"}});
  for (size_t i = 1; i <= 3; ++i) {
    ASSERT_EQ(recipe.stages[i].losses.size(), 1u) << i;
    EXPECT_EQ(recipe.stages[i].losses[0].weight, 3) << i;
  }
  EXPECT_EQ(recipe.stages[4].losses.size(), 4u);
}

TEST(RecipePage, ItsLinksLeadSomewhere) {
  static const std::regex link(R"(\]\(([^)#]+))");
  const std::string text = page();
  int links = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it, ++links)
    EXPECT_TRUE(fs::exists(kSource / "docs" / (*it)[1].str())) << (*it)[1];
  EXPECT_GE(links, 5);
}

}  // namespace
}  // namespace twofour
