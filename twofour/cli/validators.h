// Values that options refuse, in short words: the validators of CLI11 print the largest double.
#pragma once

#include <CLI/CLI.hpp>

namespace twofour::cli {

CLI::Validator positive_number();                        // above 0
CLI::Validator non_negative_number();                    // from 0
CLI::Validator number_between(double low, double high);  // both included; CLI::Range takes NaN
CLI::Validator finite_number();                          // as a float
CLI::Validator whole_number();  // from 0: CLI11 reads -1 as the largest of an unsigned type
CLI::Validator path_name();     // not empty, which an option that was not given is
CLI::Validator some_text();     // the same of a text

}  // namespace twofour::cli
