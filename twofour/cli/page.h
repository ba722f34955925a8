// Self-contained HTML pages: data, script and style inside, no network.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string>
#include <string_view>

namespace twofour::cli {

// `script` draws `data`, which it finds as pageData, with what page.js offers. Where it does not
// run the page shows `title`, which is plain text, and `content`, which is HTML.
void write_page(std::string_view title, const nlohmann::ordered_json& data, std::string_view script,
                std::ostream& out, std::string_view content = {});

// Text as markup that shows it.
std::string html_text(std::string_view text);

}  // namespace twofour::cli
