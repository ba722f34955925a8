#include "twofour/cli/format.h"

#include <fmt/format.h>

#include <cmath>

namespace twofour::cli {

std::string format_bytes(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (bytes < 1000 * 1000) return fmt::format("{:.1f} kB", value / 1e3);
  if (bytes < 1000 * 1000 * 1000) return fmt::format("{:.1f} MB", value / 1e6);
  return fmt::format("{:.1f} GB", value / 1e9);
}

std::string format_megabytes(uint64_t bytes) {
  return fmt::format("{:.3f}", static_cast<double>(bytes) / 1e6);
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string format_percent(double share) { return fmt::format("{:.1f} %", share * 100); }

std::string counted(int64_t count, std::string_view noun) {
  if (count == 1) return fmt::format("1 {}", noun);
  if (noun.ends_with('y')) return fmt::format("{} {}ies", count, noun.substr(0, noun.size() - 1));
  return fmt::format("{} {}s", count, noun);
}

std::string format_signed(double value, int decimals) {
  if (std::isnan(value)) return "-";
  return value == 0 ? fmt::format("{:.{}f}", 0.0, decimals)
                    : fmt::format("{:+.{}f}", value, decimals);
}

std::string format_difference(double value, int decimals) {
  const std::string text = format_signed(value, decimals);
  const bool zero = text.size() > 1 && text.find_first_not_of("+-0.") == std::string::npos;
  return format_signed(zero ? 0 : value, decimals);
}

std::string format_signed_percent(double share) {
  return std::isfinite(share) ? format_signed(share * 100, 1) + " %" : "-";
}

std::string format_percent_difference(double share) {
  return std::isfinite(share) ? format_difference(share * 100, 1) + " %" : "-";
}

}  // namespace twofour::cli
