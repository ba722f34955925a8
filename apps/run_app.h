// From a command line to an exit status, in the ways of the command `twofour`.
#pragma once

#include <CLI/CLI.hpp>
#include <iostream>

namespace twofour {

// Subcommands work in their callbacks. 0: done or helped, 1: an error, 2: a wrong command line.
inline int run_app(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << app.get_name() << ": " << error.what() << '\n';
    return 1;
  }
  return 0;
}

}  // namespace twofour
