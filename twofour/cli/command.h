// What a subcommand consists of, and the list of them.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>

#include "twofour/base/progress.h"
#include "twofour/cli/app.h"
#include "twofour/cli/console.h"
#include "twofour/cli/exit_codes.h"

namespace twofour::cli {

struct Command {
  CLI::App* app;
  std::function<int()> run;  // after parsing; an ExitCode
};

// Each adds its subcommand to `root`. The console outlives the command.
Command add_inspect(CLI::App& root, Console& console);
Command add_train(CLI::App& root, Console& console);
Command add_prune(CLI::App& root, Console& console);
Command add_calibrate(CLI::App& root, Console& console);
Command add_export(CLI::App& root, Console& console);
Command add_build_engine(CLI::App& root, Console& console);
Command add_eval(CLI::App& root, Console& console);
Command add_compare(CLI::App& root, Console& console);
Command add_predict(CLI::App& root, Console& console);
Command add_plan(CLI::App& root, Console& console);
Command add_bench(CLI::App& root, Console& console);
Command add_report(CLI::App& root, Console& console);
Command add_doctor(CLI::App& root, Console& console);
Command add_completion(CLI::App& root, Console& console);

}  // namespace twofour::cli
