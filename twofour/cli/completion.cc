#include <fmt/format.h>

#include <algorithm>

#include "twofour/cli/command.h"

namespace twofour::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  source <(twofour completion bash)
  twofour completion zsh > ~/.zfunc/_twofour
  twofour completion fish > ~/.config/fish/completions/twofour.fish)";

// What a shell has to know of an option, read from the parser itself.
struct OptionWords {
  std::vector<std::string> names;    // "--model", "-q"
  std::vector<std::string> choices;  // values it takes, if they are known
  std::string description;
  bool takes_value = false;
};

struct CommandWords {
  std::string name, description;
  std::vector<OptionWords> options{};
  std::vector<std::string> choices{};  // of its positional argument
};

// CLI11 shows the members of a set as "{a,b}" in the type's name.
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  return CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
}

CommandWords words_of(const CLI::App& app) {
  CommandWords words{app.get_name(), app.get_description()};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      if (words.choices.empty()) words.choices = choices_of(*option);
      continue;
    }
    OptionWords entry{
        {}, choices_of(*option), option->get_description(), option->get_items_expected_max() > 0};
    for (const auto& name : option->get_lnames()) entry.names.push_back("--" + name);
    for (const auto& name : option->get_snames()) entry.names.push_back("-" + name);
    words.options.push_back(std::move(entry));
  }
  return words;
}

std::vector<CommandWords> commands_of(const CLI::App& root) {
  std::vector<CommandWords> commands;
  for (const CLI::App* app : root.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(words_of(*app));
  }
  return commands;
}

std::string names_of(const CommandWords& command) {
  std::vector<std::string> names = command.choices;
  for (const OptionWords& option : command.options)
    names.insert(names.end(), option.names.begin(), option.names.end());
  return fmt::format("{}", fmt::join(names, " "));
}

std::vector<std::string> command_names(const std::vector<CommandWords>& commands) {
  std::vector<std::string> names;
  for (const CommandWords& command : commands) names.push_back(command.name);
  return names;
}

// In single quotes for any of the three shells; `escape` are further characters to put a backslash
// before.
std::string quoted(const std::string& text, const std::string& escape = "") {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (escape.find(c) != std::string::npos)
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out + "'";
}

std::string bash_values(const std::vector<CommandWords>& commands) {
  std::string cases;
  for (const CommandWords& command : commands) {
    for (const OptionWords& option : command.options) {
      if (!option.takes_value) continue;
      std::vector<std::string> patterns;
      for (const auto& name : option.names)
        patterns.push_back(fmt::format("'{} {}'", command.name, name));
      cases += fmt::format("    {}) words='{}'; values=1 ;;\n", fmt::join(patterns, "|"),
                           fmt::join(option.choices, " "));
    }
  }
  return cases;
}

std::string bash_script(const CommandWords& root, const std::vector<CommandWords>& commands) {
  std::string options;
  for (const CommandWords& command : commands) {
    options += fmt::format("      {}) words='{}' ;;\n", command.name, names_of(command));
  }
  return fmt::format(R"(# bash completion for twofour
_twofour() {{
  local word command='' words='' values=''
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in {}) command=$word; break ;; esac
  done
  case "$command $previous" in
{}  esac
  if [[ -z $values ]]; then
    case $command in
      '') words='{} {}' ;;
{}    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o bashdefault -o default -F _twofour twofour
)",
                     fmt::join(command_names(commands), "|"), bash_values(commands),
                     fmt::join(command_names(commands), " "), names_of(root), options);
}

std::string zsh_option(const OptionWords& option) {
  const std::string description = quoted(option.description, "[]:");
  const std::string inner = description.substr(1, description.size() - 2);
  std::string value;
  if (option.takes_value) {
    value = option.choices.empty() ? ":value:_files"
                                   : fmt::format(":value:({})", fmt::join(option.choices, " "));
  }
  std::string lines;
  for (const auto& name : option.names) lines += fmt::format(" '*{}[{}]{}'", name, inner, value);
  return lines;
}

std::string zsh_script(const CommandWords&, const std::vector<CommandWords>& commands) {
  std::string list, cases;
  for (const CommandWords& command : commands) {
    list += "    " + quoted(command.name + ":" + command.description) + "\n";
    cases += fmt::format("        {}) _arguments", command.name);
    for (const OptionWords& option : command.options) cases += zsh_option(option);
    cases += command.choices.empty()
                 ? " '*:file:_files' ;;\n"
                 : fmt::format(" '1:value:({})' ;;\n", fmt::join(command.choices, " "));
  }
  return fmt::format(R"(#compdef twofour
_twofour() {{
  local state
  local -a commands=(
{}  )
  _arguments -C '1:command:->command' '*::argument:->arguments'
  case $state in
    command) _describe command commands ;;
    arguments)
      case $words[1] in
{}      esac ;;
  esac
}}
if [ "$funcstack[1]" = _twofour ]; then _twofour "$@"; else compdef _twofour twofour; fi
)",
                     list, cases);
}

std::string fish_option(const std::string& command, const OptionWords& option) {
  std::string line =
      fmt::format("complete -c twofour -n '__fish_seen_subcommand_from {}'", command);
  for (const auto& name : option.names) {
    line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  line += " -d " + quoted(option.description);
  if (!option.choices.empty())
    line += fmt::format(" -x -a '{}'", fmt::join(option.choices, " "));
  else if (option.takes_value)
    line += " -r";
  return line + "\n";
}

std::string fish_script(const CommandWords&, const std::vector<CommandWords>& commands) {
  std::string script = "# fish completion for twofour\n";
  for (const CommandWords& command : commands) {
    script += fmt::format("complete -c twofour -n __fish_use_subcommand -f -a {} -d {}\n",
                          command.name, quoted(command.description));
    for (const OptionWords& option : command.options) script += fish_option(command.name, option);
    if (!command.choices.empty()) {
      script += fmt::format("complete -c twofour -n '__fish_seen_subcommand_from {}' -f -a '{}'\n",
                            command.name, fmt::join(command.choices, " "));
    }
  }
  return script;
}

int run_completion(const CLI::App& root, const std::string& shell, Console& console) {
  const auto script = shell == "bash" ? bash_script : shell == "zsh" ? zsh_script : fish_script;
  console.out() << script(words_of(root), commands_of(root));
  return kOk;
}

}  // namespace

Command add_completion(CLI::App& root, Console& console) {
  auto shell = std::make_shared<std::string>();
  CLI::App* app = root.add_subcommand("completion", "Print a completion script for a shell");
  app->footer(kExamples);
  app->add_option("shell", *shell, "Whose script")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return {app, [shell, &root, &console] { return run_completion(root, *shell, console); }};
}

}  // namespace twofour::cli
