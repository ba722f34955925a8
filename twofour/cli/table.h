// Aligned plain tables: the output of every subcommand that lists something.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace twofour::cli {

class Table {
 public:
  // Columns whose header begins with '<' are aligned to the left (the sign is not printed), others
  // to the right.
  explicit Table(std::vector<std::string> headers);

  void add_row(std::vector<std::string> cells);  // missing cells at the end are empty
  void print(std::ostream& out) const;
  void print_markdown(std::ostream& out) const;
  void print_html(std::ostream& out) const;  // a <table>; cells are text, not markup

 private:
  std::vector<std::string> headers_;
  std::vector<bool> left_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace twofour::cli
