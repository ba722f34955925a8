// Which body of which kernel runs over how many blocks: the same for the device's launcher
// (cuda_launcher.cuh) and for that of tests (host_block.h).
#pragma once

#include <algorithm>
#include <optional>

#include "twofour/backend/cuda/attention_mma.h"
#include "twofour/backend/cuda/encoder_kernels.h"
#include "twofour/backend/cuda/epilogue_launch.h"
#include "twofour/backend/cuda/layer_norm.h"
#include "twofour/backend/cuda/sequence_kernels.h"

namespace twofour::cuda {

inline int64_t groups_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

template <class Launcher>
void launch_epilogue(const Launcher& launcher, DType input, DType output,
                     std::optional<ActivationKind> activation, const EpilogueArgs& args) {
  constexpr int64_t kMaximumBlocks = 1 << 16;  // beyond, threads take several packs
  with_epilogue_types(
      input, output, activation, [&]<EpilogueActivation kActivation, class In, class Out>() {
        using Body = EpilogueBody<kActivation, In, Out>;
        const int64_t packs = args.m * (args.n / kEpilogueWidth);
        launcher.run({std::min(groups_of(packs, Body::kThreads), kMaximumBlocks)}, Body{args});
      });
}

// body.template operator()<kPacks>() with room for `width`.
template <class Body>
void with_norm_packs(int64_t width, const Body& body) {
  constexpr int kColumns = kLanes * kNormWidth;
  if (width <= 4 * kColumns) return body.template operator()<4>();
  if (width <= 8 * kColumns) return body.template operator()<8>();
  return body.template operator()<16>();
}

template <class Launcher>
void launch_layer_norm(const Launcher& launcher, DType product, DType stream, int64_t rows,
                       const LayerNormArgs& args) {
  const Grid grid{groups_of(rows, kNormWarps)};
  with_float_type(stream, [&]<class Stream>() {
    with_norm_packs(args.width, [&]<int kPacks>() {
      if (product == DType::kI32)
        launcher.run(grid, LayerNormBody<int32_t, Stream, kPacks>{args});
      else
        launcher.run(grid, LayerNormBody<Stream, Stream, kPacks>{args});
    });
  });
}

template <class Launcher>
void launch_embedding(const Launcher& launcher, DType stream, int64_t rows,
                      const EmbeddingArgs& args) {
  with_float_type(stream, [&]<class Stream>() {
    with_norm_packs(args.width, [&]<int kPacks>() {
      launcher.run({groups_of(rows, kNormWarps)}, EmbeddingBody<Stream, kPacks>{args});
    });
  });
}

// Tiles are copied 16 bytes at a time, results stored 4 bytes at a time.
inline bool suits_tensor_cores(DType type, const DeviceAttentionArgs& args) {
  const bool head =
      args.head_dim == 16 || args.head_dim == 32 || args.head_dim == 64 || args.head_dim == 128;
  const auto aligned = [](const void* address, size_t bytes) {
    return reinterpret_cast<uintptr_t>(address) % bytes == 0;
  };
  return type != DType::kF32 && head && args.stride % 8 == 0 && args.out_stride % 2 == 0 &&
         aligned(args.q, 16) && aligned(args.k, 16) && aligned(args.v, 16) && aligned(args.out, 4);
}

template <class Body, class Launcher>
void run_attention(const Launcher& launcher, int64_t queries, const AttentionExtent& extent,
                   DeviceAttentionArgs args) {
  args.tiles = groups_of(extent.longest, queries);
  launcher.run({args.tiles * extent.sequences, extent.heads}, Body{args});
}

template <class Half, class Launcher>
void launch_attention_mma(const Launcher& launcher, const AttentionExtent& extent,
                          const DeviceAttentionArgs& args) {
  const auto run = [&]<int kHeadDim>() {
    using Body = AttentionMmaBody<Half, kHeadDim>;
    run_attention<Body>(launcher, Body::kQueries, extent, args);
  };
  if (args.head_dim == 16) return run.template operator()<16>();
  if (args.head_dim == 32) return run.template operator()<32>();
  if (args.head_dim == 64) return run.template operator()<64>();
  return run.template operator()<128>();
}

template <class Launcher>
void launch_attention(const Launcher& launcher, DType type, const AttentionExtent& extent,
                      const DeviceAttentionArgs& args) {
  if (suits_tensor_cores(type, args)) {
    if (type == DType::kF16) return launch_attention_mma<F16>(launcher, extent, args);
    return launch_attention_mma<Bf16>(launcher, extent, args);
  }
  with_float_type(type, [&]<class T>() {
    run_attention<AttentionBody<T>>(launcher, kAttentionWarps, extent, args);
  });
}

template <class Launcher>
void launch_pool(const Launcher& launcher, DType type, int64_t sequences, const PoolArgs& args) {
  with_float_type(type, [&]<class T>() {
    launcher.run({sequences, groups_of(args.width, PoolBody<T>::kThreads)}, PoolBody<T>{args});
  });
}

template <class Launcher>
void launch_normalize(const Launcher& launcher, DType type, int64_t rows,
                      const NormalizeArgs& args) {
  with_float_type(type, [&]<class T>() { launcher.run({rows}, NormalizeBody<T>{args}); });
}

template <class Launcher>
void launch_head(const Launcher& launcher, DType type, int64_t rows, const HeadArgs& args) {
  with_float_type(type, [&]<class T>() {
    launcher.run({rows, groups_of(args.n, HeadBody<T>::kThreads / kLanes)}, HeadBody<T>{args});
  });
}

template <class Launcher>
void launch_take_batch(const Launcher& launcher, const TakeBatchArgs& args) {
  const int64_t count = std::max<int64_t>(args.tokens, args.sequences + 1);
  launcher.run({groups_of(count, TakeBatchBody::kThreads)}, TakeBatchBody{args});
}

}  // namespace twofour::cuda
