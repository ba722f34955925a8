#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/quant/calibrator.h"

namespace twofour {
namespace {

constexpr int kMaxBins = 1 << 20;
// Below any width that the smallest positive float asks for.
constexpr int kSmallestExponent = -200;
constexpr char kMagic[8] = {'2', '4', 'h', 'i', 's', 't', '0', '1'};

static_assert(std::endian::native == std::endian::little, "the serialized form is little-endian");
struct Header {
  char magic[8];
  int32_t bins;
  int32_t exponent;
  float max;
  int32_t reserved;
};
static_assert(sizeof(Header) == 24);

uint32_t magnitude_bits(float value) { return std::bit_cast<uint32_t>(value) & 0x7fffffffu; }

// Magnitudes order like their bit patterns, which vectorizes where a float maximum does not.
float largest_magnitude(std::span<const float> values) {
  int32_t largest = 0;
  for (const float value : values) {
    largest = std::max(largest, static_cast<int32_t>(magnitude_bits(value)));
  }
  return std::bit_cast<float>(largest);
}

int exponent_for(float max, int bins) {
  if (max == 0) return kSmallestExponent;
  const int exponent = std::ilogb(max) - std::ilogb(static_cast<double>(bins));
  return std::ldexp(static_cast<double>(max), -exponent) < bins ? exponent : exponent + 1;
}

}  // namespace

Histogram::Histogram(int bins) : exponent_(kSmallestExponent) {
  if (bins < 2 || bins > kMaxBins) {
    throw Error("histogram", fmt::format("{} bins, expected 2 to {}", bins, kMaxBins));
  }
  counts_.assign(bins, 0);
}

void Histogram::add(std::span<const float> values) {
  const float largest = largest_magnitude(values);
  if (!std::isfinite(largest)) {
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    throw Error("histogram", fmt::format("value {} of {} is {}, expected finite values",
                                         bad - values.begin(), values.size(), *bad));
  }
  if (largest > max_) {
    max_ = largest;
    grow(exponent_for(max_, static_cast<int>(counts_.size())));
  }
  const double scale = std::ldexp(1.0, -exponent_);
  for (const float value : values) {
    ++counts_[static_cast<int32_t>(std::fabs(static_cast<double>(value)) * scale)];
  }
}

void Histogram::grow(int exponent) {
  const int shift = std::min(exponent - exponent_, 31);
  exponent_ = exponent;
  if (shift == 0) return;
  for (size_t i = 1; i < counts_.size(); ++i) {
    const int64_t moved = std::exchange(counts_[i], 0);
    counts_[i >> shift] += moved;
  }
}

void Histogram::merge(const Histogram& other) {
  if (counts_.size() != other.counts_.size()) {
    throw Error("histogram",
                fmt::format("cannot merge {} bins with {}", counts_.size(), other.counts_.size()));
  }
  if (count() > std::numeric_limits<int64_t>::max() - other.count()) {
    throw Error("histogram", "more than 2^63 values");
  }
  Histogram widened = other;
  const int exponent = std::max(exponent_, other.exponent_);
  widened.grow(exponent);
  grow(exponent);
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += widened.counts_[i];
  max_ = std::max(max_, other.max_);
}

int64_t Histogram::count() const {
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

double Histogram::bin_width() const { return std::ldexp(1.0, exponent_); }

std::string Histogram::serialize() const {
  Header header{{}, static_cast<int32_t>(counts_.size()), exponent_, max_, 0};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::string bytes(sizeof(header) + counts_.size() * sizeof(int64_t), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), counts_.data(), counts_.size() * sizeof(int64_t));
  return bytes;
}

Histogram Histogram::deserialize(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof(header)) {
    throw Error("histogram", fmt::format("{} bytes are too few", bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    throw Error("histogram", "not a serialized histogram");
  }
  Histogram out(header.bins);
  const size_t expected = sizeof(header) + out.counts_.size() * sizeof(int64_t);
  if (bytes.size() != expected) {
    throw Error("histogram", fmt::format("expected {} bytes, found {}", expected, bytes.size()));
  }
  std::memcpy(out.counts_.data(), bytes.data() + sizeof(header), expected - sizeof(header));
  out.max_ = header.max;
  out.exponent_ = header.exponent;
  const bool max_fits = header.max >= 0 && std::isfinite(header.max) &&
                        header.exponent == exponent_for(header.max, header.bins);
  int64_t total = 0;
  const bool counts_fit = std::all_of(out.counts_.begin(), out.counts_.end(), [&](int64_t count) {
    return count >= 0 && !__builtin_add_overflow(total, count, &total);
  });
  if (!max_fits || !counts_fit) throw Error("histogram", "contradicts itself: damaged");
  return out;
}

}  // namespace twofour
