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

// With its sign, which of the end of an interval tells on which side of 0 it lies, even where it
// is "-0.0"; 0 itself has none. "-" of NaN.
std::string format_signed(double value, int decimals);  // "+1.90"
std::string format_signed_percent(double share);        // "+1.9 %"; "-" where the base is 0

// The same of a difference itself, without a sign where it reads as 0.
std::string format_difference(double value, int decimals);
std::string format_percent_difference(double share);

}  // namespace twofour::cli
