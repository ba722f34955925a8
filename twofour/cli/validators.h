// Values that options refuse, in short words: the validators of CLI11 print the largest double.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace twofour::cli {

CLI::Validator positive_number();                        // above 0
CLI::Validator non_negative_number();                    // from 0
CLI::Validator number_between(double low, double high);  // both included; CLI::Range takes NaN
CLI::Validator finite_number();                          // as a float
CLI::Validator whole_number();  // from 0: CLI11 reads -1 as the largest of an unsigned type
CLI::Validator path_name();     // not empty, which an option that was not given is
CLI::Validator some_text();     // the same of a text
CLI::Validator dashes_as_underscores();  // takes least-energy for a recipe's least_energy

// What `check` throws as Error, without its place, for which CLI11 names the option; empty if it
// throws none.
std::string refusal_of(const std::function<void()>& check);
CLI::Validator accepted_by(std::function<void(const std::string&)> check);

}  // namespace twofour::cli
