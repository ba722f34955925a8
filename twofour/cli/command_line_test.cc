#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "twofour/cli/testing/run_command.h"

namespace twofour::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::StartsWith;

// What the command's own help lists.
std::vector<std::string> commands() {
  const std::string help = run_command({"--help"}).out, heading = "Subcommands:\n";
  const size_t begin = help.find(heading);
  std::vector<std::string> names;
  if (begin == std::string::npos) return names;
  for (const std::string& line : lines(help.substr(begin + heading.size()))) {
    if (!line.starts_with("  ")) break;
    if (line[2] != ' ') names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

TEST(CommandLine, HelpListsTheSubcommands) {
  EXPECT_THAT(commands(), AllOf(Contains("inspect"), Contains("build-engine"), Contains("plan"),
                                Contains("completion")));
}

TEST(CommandLine, HelpThatCannotBeWrittenIsAnError) {
  std::istringstream in;
  std::ofstream full("/dev/full");
  std::ostringstream err;
  EXPECT_EQ(run({"train", "--help"}, {in, full, err}), 1);
  EXPECT_EQ(err.str(), "twofour: [stdout] cannot be written\n");
}

TEST(CommandLine, HelpOfEachSubcommandHasExamples) {
  const Outcome root = run_command({"--help"});
  EXPECT_EQ(root.code, 0);
  EXPECT_THAT(root.out, HasSubstr("Exit codes: 0 done; 1 bad input"));
  for (const std::string& name : commands()) {
    const Outcome outcome = run_command({name, "--help"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("\n  twofour " + name)) << name;
  }
}

std::set<std::string> options_in(const std::string& text) {
  static const std::regex option("[ ,](--[a-z][a-z0-9-]*)");
  std::set<std::string> options;
  for (std::sregex_iterator it(text.begin(), text.end(), option), end; it != end; ++it)
    options.insert((*it)[1]);
  return options;
}

TEST(CommandLine, ExamplesNameOptionsThatThereAre) {
  std::map<std::string, std::set<std::string>> known;
  std::string helps;
  for (const std::string& name : commands()) {
    const std::string help = run_command({name, "--help"}).out;
    for (const std::string& line : lines(help)) {
      if (line.starts_with("  -")) known[name].merge(options_in(line));
    }
    helps += std::regex_replace(help, std::regex("\\\\\n"), " ");
  }
  int examples = 0;
  const std::regex example("(?:^  |\\| )twofour ([a-z-]+)( .*)?$");
  for (const std::string& line : lines(helps)) {
    std::smatch match;
    if (!std::regex_search(line, match, example)) continue;
    ++examples;
    ASSERT_TRUE(known.contains(match[1])) << line;
    EXPECT_THAT(options_in(match[2]), IsSubsetOf(known[match[1]])) << line;
  }
  EXPECT_GE(examples, 40);
}

TEST(CommandLine, AnOutputWithoutANameIsWrongUsage) {
  int found = 0;
  for (const std::string& name : commands()) {
    const std::string help = run_command({name, "--help"}).out;
    for (const std::string option :
         {"--out", "--output", "--plot", "--report", "--run", "--scores", "--timing-cache"}) {
      if (!std::regex_search(help, std::regex("\n  " + option + "[ ,]"))) continue;
      ++found;
      const Outcome outcome = run_command({name, option, ""});
      EXPECT_EQ(outcome.code, 2) << name;
      EXPECT_THAT(outcome.err,
                  StartsWith("twofour: " + option + ": expected a name, found nothing"))
          << name;
    }
  }
  EXPECT_GE(found, 16);
}

TEST(CommandLine, VersionIsPrinted) {
  const Outcome outcome = run_command({"--version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, StartsWith("twofour "));
}

TEST(CommandLine, WrongUsageIsExitCodeTwo) {
  EXPECT_EQ(run_command({}).code, 2);
  EXPECT_EQ(run_command({"sparsify"}).code, 2);
  EXPECT_EQ(run_command({"inspect"}).code, 2);
  EXPECT_EQ(run_command({"inspect", "model", "--jsno"}).code, 2);
  EXPECT_EQ(run_command({"doctor", "-q", "-v"}).code, 2);
}

TEST(CommandLine, UnknownWordIsNamedWithTheNearestCommand) {
  EXPECT_THAT(run_command({"trian", "recipe.yaml", "--model", "m"}).err,
              StartsWith("twofour: unknown command 'trian'. Did you mean 'train'?\n"));
  EXPECT_THAT(
      run_command({"-q", "sparsify"}).err,
      StartsWith("twofour: unknown command 'sparsify'. Known are: inspect, train, prune, "));
  EXPECT_THAT(run_command({"--models"}).err, StartsWith("twofour: unknown option '--models'.\n"));
  EXPECT_THAT(run_command({}).err, StartsWith("twofour: A subcommand is required\n"));
  EXPECT_THAT(run_command({"doctor", "patient"}).err, HasSubstr("not expected: patient"));
}

TEST(CommandLine, UnknownOptionIsNamedBeforeWhatIsMissing) {
  EXPECT_THAT(run_command({"train", "--hepl"}).err,
              StartsWith("twofour: unknown option '--hepl'. Did you mean '--help'?\n"));
  EXPECT_THAT(run_command({"train", "recipe.yaml", "--modle=m", "--out", "x"}).err,
              StartsWith("twofour: unknown option '--modle'. Did you mean '--model'?\n"));
  EXPECT_THAT(run_command({"doctor", "--queit"}).err,
              StartsWith("twofour: unknown option '--queit'. Did you mean '--quiet'?\n"));
  EXPECT_THAT(run_command({"train"}).err, StartsWith("twofour: recipe is required\n"));
}

TEST(CommandLine, QuietIsAboutStderr) {
  EXPECT_THAT(run_command({"--help"}).out, HasSubstr("results still go to stdout"));
  const auto out = scratch("quiet") / "model";
  const Outcome outcome = run_command({"-q", "prune", model("cross-encoder"), "--out", out});
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("encoder.layer.0.output.dense"));
}

// The kernels that doctor marks as chosen for a kind of layer.
std::vector<std::string> chosen_for(const std::string& kind, const std::string& diagnosis) {
  std::vector<std::string> names;
  const auto json = nlohmann::json::parse(diagnosis);
  for (const auto& kernel : json["kernels"]) {
    if (kernel["kind"] == kind && kernel["chosen"].get<bool>()) names.push_back(kernel["name"]);
  }
  return names;
}

TEST(Doctor, MarksTheForcedKernelAsChosen) {
  setenv("TWOFOUR_FORCE_KERNEL", "spmm24_s8_reference", 1);
  const Outcome sparse = run_command({"doctor", "--json"});
  setenv("TWOFOUR_FORCE_KERNEL", "matmul_s8_reference", 1);
  const Outcome dense = run_command({"doctor", "--json"});
  unsetenv("TWOFOUR_FORCE_KERNEL");
  EXPECT_EQ(sparse.code, 0) << sparse.err;
  EXPECT_THAT(chosen_for("2:4 int8", sparse.out), ElementsAre("spmm24_s8_reference"));
  EXPECT_EQ(chosen_for("dense int8", sparse.out).size(), 1u);
  EXPECT_THAT(chosen_for("dense int8", dense.out), ElementsAre("matmul_s8_reference"));
  EXPECT_THAT(chosen_for("2:4 int8", dense.out), ElementsAre());
  EXPECT_EQ(chosen_for("dense f32", dense.out).size(), 1u);
}

TEST(Doctor, TellsWhatVariablesGotWrongAfterTheRest) {
  setenv("TWOFOUR_FORCE_KERNEL", "foo", 1);
  const Outcome kernel = run_command({"doctor"});
  unsetenv("TWOFOUR_FORCE_KERNEL");
  EXPECT_EQ(kernel.code, 1);
  EXPECT_THAT(kernel.err, StartsWith("twofour: [TWOFOUR_FORCE_KERNEL] no kernel is named 'foo'"));
  EXPECT_THAT(kernel.out, HasSubstr("matmul_s8_reference"));
  setenv("TWOFOUR_MAX_ISA", "foo", 1);
  const Outcome limit = run_command({"doctor"});
  unsetenv("TWOFOUR_MAX_ISA");
  EXPECT_EQ(limit.code, 1);
  EXPECT_THAT(limit.err, StartsWith("twofour: [TWOFOUR_MAX_ISA] no instruction set is named"));
  EXPECT_THAT(limit.out, HasSubstr("memory"));
}

TEST(Doctor, TellsWhichVariablesNoEngineTakes) {
  for (const char* name : {"TWOFOUR_PRECISION", "TWOFOUR_ATTENTION", "TWOFOUR_ACTIVATION_SCALES",
                           "TWOFOUR_DEVICE", "TWOFOUR_BACKEND"}) {
    setenv(name, "foo", 1);
    const Outcome outcome = run_command({"doctor"});
    unsetenv(name);
    EXPECT_EQ(outcome.code, 1) << name;
    EXPECT_THAT(outcome.err, HasSubstr("foo")) << name;
    EXPECT_THAT(outcome.out, HasSubstr("matmul_s8_reference"));
  }
}

TEST(Doctor, TellsWhichVariablesExcludeEachOther) {
  setenv("TWOFOUR_BACKEND", "tensorrt", 1);
  EXPECT_EQ(run_command({"doctor"}).code, 0);
  setenv("TWOFOUR_DEVICE", "cpu", 1);
  const Outcome outcome = run_command({"doctor"});
  unsetenv("TWOFOUR_BACKEND");
  unsetenv("TWOFOUR_DEVICE");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("[TWOFOUR_DEVICE] the backend tensorrt runs on a GPU"));
}

TEST(CommandLine, GlobalFlagsMayFollowTheSubcommand) {
  EXPECT_EQ(run_command({"doctor", "-q"}).code, 0);
  EXPECT_EQ(run_command({"-v", "doctor"}).code, 0);
}

class Completion : public ::testing::TestWithParam<const char*> {};

TEST_P(Completion, ScriptNamesEveryCommandAndPassesItsShell) {
  const std::string shell = GetParam();
  const Outcome outcome = run_command({"completion", shell});
  ASSERT_EQ(outcome.code, 0);
  for (const std::string& name : commands()) EXPECT_THAT(outcome.out, HasSubstr(name));
  EXPECT_THAT(outcome.out, HasSubstr("least_energy"));
  if (std::system(("command -v " + shell + " >/dev/null").c_str()) != 0)
    GTEST_SKIP() << shell << " is not installed";
  const auto path = scratch("completion-" + shell) / "script";
  spill(path, outcome.out);
  EXPECT_EQ(std::system((shell + " -n " + path.string()).c_str()), 0);
}

INSTANTIATE_TEST_SUITE_P(Shells, Completion, ::testing::Values("bash", "zsh", "fish"),
                         [](const auto& info) { return std::string(info.param); });

// What bash offers for a line whose last word is being typed.
std::string complete(const std::string& words) {
  const auto folder = scratch("complete");
  spill(folder / "script", run_command({"completion", "bash"}).out);
  spill(folder / "ask",
        "source " + (folder / "script").string() + "\nCOMP_WORDS=(" + words +
            ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_twofour\necho \"${COMPREPLY[@]}\"\n");
  std::system(("bash " + (folder / "ask").string() + " > " + (folder / "answer").string()).c_str());
  return slurp(folder / "answer");
}

TEST(Completion, BashOffersCommandsOptionsAndValues) {
  EXPECT_EQ(complete("twofour ins"), "inspect\n");
  EXPECT_EQ(complete("twofour prune --pair"), "--pairing\n");
  EXPECT_EQ(complete("twofour prune --pairing ''"), "adjacent least_energy nearby\n");
  EXPECT_EQ(complete("twofour completion z"), "zsh\n");
  for (const std::string verb : {"calibrate", "prune", "report"})
    EXPECT_EQ(complete("twofour " + verb + " --js"), "--json\n");
  EXPECT_EQ(complete("twofour prune --out ''"),
            "\n");  // a file name: bash's own completion follows
}

TEST(Completion, RefusesAnUnknownShell) { EXPECT_EQ(run_command({"completion", "tcsh"}).code, 2); }

}  // namespace
}  // namespace twofour::cli
