#include "twofour/cli/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "twofour/base/error.h"
#include "twofour/base/nearest_name.h"
#include "twofour/cli/command.h"

namespace twofour::cli {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done; 1 bad input or a failure, told on stderr; 2 wrong usage;\n"
    "3 release gate not met (compare); 130 interrupted: saved and resumable (train, plan),\n"
    "or nothing written but for outputs that are named (predict --output, prune, calibrate,\n"
    "export); with the last one written these end with 0.";

struct CommandLine {
  CLI::App root{
      "2:4 structured sparsity for BERT-family encoders: from a dense checkpoint to a "
      "sparse int8 model that runs on this machine.",
      "twofour"};
  std::vector<Command> commands;
  bool quiet = false, verbose = false;
};

std::string unknown_word(const char* kind, const std::string& word,
                         const std::vector<std::string>& names, const std::string& otherwise = "") {
  const auto meant = nearest_name(word, names);
  return fmt::format("twofour: unknown {} '{}'.{}\nRun with --help for more information.\n", kind,
                     word, meant ? fmt::format(" Did you mean '{}'?", *meant) : otherwise);
}

std::vector<std::string> command_names(const CLI::App& root) {
  std::vector<std::string> names;
  for (const CLI::App* command : root.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

// Its own, and those of every command.
std::vector<std::string> option_names(const CLI::App& root, const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* app : {&command, &root}) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

bool is_option(const std::string& word) {
  return word.starts_with('-') && word != "-" && word != "--";
}

// CLI11 says of an unknown command only that one is required, and of an unknown option nothing
// where something else is missing.
std::string failure_message(const CLI::App* app, const CLI::Error& error) {
  const std::vector<std::string> unknown = app->remaining();
  const auto chosen = app->get_subcommands();
  if (chosen.empty() && !unknown.empty()) {
    const std::string& word = unknown.front();
    const std::vector<std::string> commands = command_names(*app);
    if (is_option(word)) return unknown_word("option", word, commands);
    return unknown_word("command", word, commands,
                        fmt::format(" Known are: {}.", fmt::join(commands, ", ")));
  }
  const auto option = std::find_if(unknown.begin(), unknown.end(), is_option);
  if (option != unknown.end()) {
    return unknown_word("option", option->substr(0, option->find('=')),
                        option_names(*app, *chosen.front()));
  }
  return "twofour: " + CLI::FailureMessage::simple(app, error);
}

void add_commands(CommandLine& line, Console& console) {
  CLI::App& root = line.root;
  root.require_subcommand(1);
  root.failure_message(failure_message);
  root.set_version_flag("--version", std::string("twofour ") + TWOFOUR_VERSION);
  root.footer(kExitCodes);
  root.fallthrough();  // -q and -v may stand after the subcommand; inherited by subcommands
  auto* quiet = root.add_flag("-q,--quiet", line.quiet,
                              "On stderr warnings and errors only; results still go to stdout");
  root.add_flag("-v,--verbose", line.verbose,
                "On stderr also which kernel the engine chose for each layer")
      ->excludes(quiet);
  for (auto add :
       {add_inspect, add_train, add_prune, add_calibrate, add_export, add_build_engine, add_eval,
        add_compare, add_predict, add_plan, add_bench, add_report, add_doctor, add_completion}) {
    line.commands.push_back(add(root, console));
  }
}

Verbosity verbosity(const CommandLine& line) {
  if (line.quiet) return Verbosity::kQuiet;
  return line.verbose ? Verbosity::kVerbose : Verbosity::kNormal;
}

int finish(int code, Console& console) {
  if (console.out().flush()) return code;
  console.error("[stdout] cannot be written");
  return kFailure;
}

int run_command(const CommandLine& line, Console& console) {
  const auto chosen = std::find_if(line.commands.begin(), line.commands.end(),
                                   [](const Command& command) { return command.app->parsed(); });
  try {
    const int code = chosen->run();
    console.end_progress();
    return finish(code, console);
  } catch (const std::bad_alloc&) {
    console.error("out of memory");
  } catch (const std::exception& error) {
    console.error(error.what());
  }
  return kFailure;
}

}  // namespace

int run(const std::vector<std::string>& arguments, const Streams& streams) {
  Console console(streams);
  CommandLine line;
  add_commands(line, console);
  try {
    // CLI11 takes the arguments from the back.
    line.root.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    const int code = line.root.exit(error, streams.out, streams.err);
    return code == 0 ? finish(kOk, console) : kUsage;
  }
  console.set_verbosity(verbosity(line));
  return run_command(line, console);
}

}  // namespace twofour::cli
