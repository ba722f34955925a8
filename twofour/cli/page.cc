#include "twofour/cli/page.h"

#include <nlohmann/json.hpp>
#include <string>

#include "twofour/cli/page_assets.h"
#include "twofour/io/json.h"

namespace twofour::cli {
namespace {

// JSON inside a script element must not be able to close it.
std::string embeddable(const nlohmann::ordered_json& json) {
  std::string out;
  for (char c : json_text(json)) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

// The policy forbids every request: what the page shows is inside it.
void write_page(std::string_view title, const nlohmann::ordered_json& data, std::string_view script,
                std::ostream& out, std::string_view content) {
  out << R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>)"
      << html_text(title) << "</title>\n<style>\n"
      << page_css() << "</style>\n</head>\n<body>\n<main>\n<h1>" << html_text(title) << "</h1>\n"
      << content
      << "<noscript><p class=\"note\">This page draws its charts, and more tables, with its own "
         "script; allow it to run.</p></noscript>\n</main>\n"
         "<script type=\"application/json\" id=\"data\">"
      << embeddable(data) << "</script>\n<script>" << chart_js() << "</script>\n<script>\n"
      << page_js() << script << "</script>\n</body>\n</html>\n";
}

}  // namespace twofour::cli
