#include "apps/pictures/picture.h"

#include <fmt/format.h>
#include <png.h>

#include <cstring>

#include "apps/whole_file.h"
#include "twofour/base/error.h"

namespace twofour::pictures {
namespace {

// Closes what libpng has opened, whichever way a function is left.
struct Png {
  png_image image{};
  Png() { image.version = PNG_IMAGE_VERSION; }
  ~Png() { png_image_free(&image); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;
};

[[noreturn]] void fail(const std::filesystem::path& path, const Png& png) {
  throw Error(path.string(), png.image.message);
}

}  // namespace

void Image::paste(const Image& other, int x, int y) {
  for (int row = 0; row < other.height; ++row) {
    std::memcpy(pixels.data() + (static_cast<size_t>(y + row) * width + x) * 3,
                other.pixels.data() + static_cast<size_t>(row) * other.width * 3,
                static_cast<size_t>(other.width) * 3);
  }
}

Image read_png(const std::filesystem::path& path) {
  Png png;
  if (!png_image_begin_read_from_file(&png.image, path.c_str())) fail(path, png);
  png.image.format = PNG_FORMAT_RGB;
  Image image(static_cast<int>(png.image.width), static_cast<int>(png.image.height), 0);
  const png_color white = {255, 255, 255};
  if (!png_image_finish_read(&png.image, &white, image.pixels.data(), 0, nullptr)) fail(path, png);
  return image;
}

void write_png(const std::filesystem::path& path, const Image& image) {
  Png png;
  png.image.width = static_cast<png_uint_32>(image.width);
  png.image.height = static_cast<png_uint_32>(image.height);
  png.image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png.image);
  std::vector<char> data(size);
  const void* pixels = image.pixels.data();
  if (!png_image_write_to_memory(&png.image, data.data(), &size, 0, pixels, 0, nullptr))
    fail(path, png);
  write_whole_file(
      path, [&](std::ostream& out) { out.write(data.data(), static_cast<std::streamsize>(size)); });
}

Image enlarged(const Image& image, int factor) {
  Image result(image.width * factor, image.height * factor, 0);
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      std::memcpy(
          result.pixels.data() + (static_cast<size_t>(y) * result.width + x) * 3,
          image.pixels.data() + (static_cast<size_t>(y / factor) * image.width + x / factor) * 3,
          3);
    }
  }
  return result;
}

Codebook Codebook::read(const std::filesystem::path& path) {
  const Image sheet = read_png(path);
  if (sheet.width % kPatch != 0 || sheet.height % kPatch != 0) {
    throw Error(path.string(), fmt::format("is {} x {} pixels: no codebook of {} x {} patches",
                                           sheet.width, sheet.height, kPatch, kPatch));
  }
  Codebook codebook;
  for (int y = 0; y < sheet.height; y += kPatch) {
    for (int x = 0; x < sheet.width; x += kPatch) {
      Image patch(kPatch, kPatch, 0);
      for (int row = 0; row < kPatch; ++row) {
        std::memcpy(patch.pixels.data() + row * kPatch * 3,
                    sheet.pixels.data() + (static_cast<size_t>(y + row) * sheet.width + x) * 3,
                    kPatch * 3);
      }
      codebook.patches_.push_back(std::move(patch));
    }
  }
  return codebook;
}

Image Codebook::decode(std::span<const int32_t> codes) const {
  Image image(kPixels, kPixels, 0);
  for (int i = 0; i < kTokens; ++i) {
    image.paste(patches_[codes[i]], i % kSide * kPatch, i / kSide * kPatch);
  }
  return image;
}

}  // namespace twofour::pictures
