// Pictures as tokens, and tokens as pixels. See scripts/build-emoji-pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace twofour::pictures {

inline constexpr int kSide = 8;                // patches in a row or column of a picture
inline constexpr int kTokens = kSide * kSide;  // row by row
inline constexpr int kPatch = 4;               // pixels in a row or column of a patch
inline constexpr int kPixels = kSide * kPatch;

// A code's token in a model's vocabulary is the character kFirstCharacter + code.
inline constexpr char32_t kFirstCharacter = 0x3400;

// 8-bit RGB, rows from the top.
struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]

  Image() = default;
  Image(int columns, int rows, uint8_t value)
      : width(columns),
        height(rows),
        pixels(static_cast<size_t>(columns) * static_cast<size_t>(rows) * 3, value) {}

  // Copies `other` so that its upper left corner comes to (x, y); it must lie inside.
  void paste(const Image& other, int x, int y);
};

// Throws Error naming the file: missing, no PNG.
Image read_png(const std::filesystem::path& path);
// Written beside and renamed.
void write_png(const std::filesystem::path& path, const Image& image);

// Each pixel becomes a square of `factor` x `factor`.
Image enlarged(const Image& image, int factor);

class Codebook {
 public:
  // A PNG of patches in reading order. Throws Error if its sides are no multiples of kPatch.
  static Codebook read(const std::filesystem::path& path);

  int size() const { return static_cast<int>(patches_.size()); }
  // `codes` has kTokens entries in [0, size).
  Image decode(std::span<const int32_t> codes) const;

 private:
  std::vector<Image> patches_;
};

}  // namespace twofour::pictures
