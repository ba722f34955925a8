#include "twofour/cli/table.h"

#include <algorithm>
#include <ostream>

#include "twofour/cli/page.h"

namespace twofour::cli {
namespace {

// Code points, which is what a terminal shows for the names and numbers that stand in tables.
size_t display_width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

Table::Table(std::vector<std::string> headers) : headers_(std::move(headers)) {
  for (std::string& header : headers_) {
    left_.push_back(header.starts_with('<'));
    if (left_.back()) header.erase(0, 1);
  }
}

void Table::add_row(std::vector<std::string> cells) {
  cells.resize(headers_.size());
  rows_.push_back(std::move(cells));
}

void Table::print(std::ostream& out) const {
  std::vector<size_t> widths;
  for (const std::string& header : headers_) widths.push_back(display_width(header));
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  const auto print_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - display_width(row[c]), ' ');
      if (c > 0) line += "  ";
      line += left_[c] ? row[c] + pad : pad + row[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  print_row(headers_);
  std::vector<std::string> rule;
  for (size_t width : widths) rule.emplace_back(width, '-');
  print_row(rule);
  for (const auto& row : rows_) print_row(row);
}

void Table::print_markdown(std::ostream& out) const {
  const auto print_row = [&](const std::vector<std::string>& row) {
    for (const std::string& cell : row) out << "| " << cell << ' ';
    out << "|\n";
  };
  print_row(headers_);
  for (const bool left : left_) out << (left ? "|---" : "|---:");
  out << "|\n";
  for (const auto& row : rows_) print_row(row);
}

void Table::print_html(std::ostream& out) const {
  const auto print_row = [&](const std::vector<std::string>& row, const std::string& tag) {
    out << "<tr>";
    for (size_t c = 0; c < row.size(); ++c) {
      out << '<' << tag << (left_[c] ? " class=\"left\">" : ">") << html_text(row[c]) << "</" << tag
          << '>';
    }
    out << "</tr>\n";
  };
  out << "<table>\n<thead>\n";
  print_row(headers_, "th");
  out << "</thead>\n<tbody>\n";
  for (const auto& row : rows_) print_row(row, "td");
  out << "</tbody>\n</table>";
}

}  // namespace twofour::cli
