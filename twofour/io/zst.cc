#include "twofour/io/zst.h"

#include <fmt/format.h>
#include <zstd.h>

#include <memory>
#include <new>

#include "twofour/base/error.h"

namespace twofour {
namespace {

// The files are small and read far more often than written.
constexpr int kLevel = 15;

constexpr const char* kRemedy = "Fetch or write the file again";

struct Free {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

template <class Context>
std::unique_ptr<Context, Free> owned(Context* context) {
  if (context == nullptr) throw std::bad_alloc();
  return std::unique_ptr<Context, Free>(context);
}

}  // namespace

std::string compress_zst(std::string_view text) {
  const auto context = owned(ZSTD_createCCtx());
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const size_t size =
      ZSTD_compress2(context.get(), out.data(), out.size(), text.data(), text.size());
  if (ZSTD_isError(size)) throw std::bad_alloc();  // the buffer has the bound: nothing else is left
  out.resize(size);
  return out;
}

std::string decompress_zst(std::string_view bytes, std::string_view where) {
  const auto context = owned(ZSTD_createDCtx());
  std::string out;
  std::string chunk(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
  size_t wanted = 1;  // 0: a frame has ended and all of it is out
  bool drained = false;
  while (input.pos < input.size || (wanted != 0 && !drained)) {
    ZSTD_outBuffer output{chunk.data(), chunk.size(), 0};
    wanted = ZSTD_decompressStream(context.get(), &output, &input);
    if (ZSTD_isError(wanted)) {
      throw Error(where, fmt::format("damaged zstd data: {}", ZSTD_getErrorName(wanted)), kRemedy);
    }
    out.append(chunk.data(), output.pos);
    drained = output.pos < output.size;
  }
  if (wanted != 0) throw Error(where, "zstd data ends early: the file is truncated", kRemedy);
  return out;
}

}  // namespace twofour
