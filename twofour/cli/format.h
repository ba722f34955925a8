// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace twofour::cli {

std::string format_bytes(uint64_t bytes);                   // "87.3 MB" (10^6), "512 B"
std::string format_megabytes(uint64_t bytes);               // "87.302", for a column headed MB
std::string format_duration(double seconds);                // "9 s", "3:12", "1:02:05"
std::string format_percent(double share);                   // "50.0 %"
std::string counted(int64_t count, std::string_view noun);  // "1 tensor", "2 queries"
std::string format_signed_percent(double share);            // "+1.9 %"; "-" where the base is 0

}  // namespace twofour::cli
