// Self-contained HTML pages: data, script and style inside, no network.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string_view>

namespace twofour::cli {

// `script` draws `data`, which it finds as pageData, with what page.js offers. `title` is plain
// text.
void write_page(std::string_view title, const nlohmann::ordered_json& data, std::string_view script,
                std::ostream& out);

}  // namespace twofour::cli
