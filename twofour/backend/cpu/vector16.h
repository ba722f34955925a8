// Vectors of 16 floats, one register, two or four: the same operations in the same order whatever
// the instruction set. Everything here has internal linkage, since files compile it for different
// ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace twofour {
namespace {

#define TWOFOUR_INLINE inline __attribute__((always_inline))
#define TWOFOUR_LAMBDA __attribute__((always_inline))

constexpr int kVector = 16;
constexpr int32_t kSignBit = INT32_MIN;
typedef int8_t I8x16 __attribute__((vector_size(16)));

// body(0), ..., body(N - 1), each with its index constant: GCC 12 leaves loops of a single round,
// and with them the registers that they index, in memory.
template <int N, class Body>
TWOFOUR_INLINE void for_each_index(Body body) {
  [&]<int... I>(std::integer_sequence<int, I...>) TWOFOUR_LAMBDA { (body(I), ...); }
  (std::make_integer_sequence<int, N>());
}

#if defined(__AVX512F__)

typedef float F32x16 __attribute__((vector_size(64)));
typedef int32_t I32x16 __attribute__((vector_size(64)));

TWOFOUR_INLINE F32x16 splat(float value) { return value - F32x16{}; }

TWOFOUR_INLINE F32x16 load(const float* p) {
  F32x16 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
TWOFOUR_INLINE void store(float* p, const F32x16& v) { std::memcpy(p, &v, sizeof v); }

// Of values, not of references: a vector in memory must not be read as one of another type.
TWOFOUR_INLINE I32x16 as_int(const F32x16& v) { return reinterpret_cast<I32x16>(v); }
TWOFOUR_INLINE F32x16 as_float(const I32x16& v) { return reinterpret_cast<F32x16>(v); }

// a > b ? a : b, and a < b ? a : b. GCC 12 makes two instructions of a comparison and a choice.
TWOFOUR_INLINE F32x16 larger(const F32x16& a, const F32x16& b) { return _mm512_max_ps(a, b); }
TWOFOUR_INLINE F32x16 smaller(const F32x16& a, const F32x16& b) { return _mm512_min_ps(a, b); }

// a * b + c, rounded once whatever the instruction set: the compiler is not left to choose.
TWOFOUR_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  return _mm512_fmadd_ps(a, b, c);
}

// Low bytes. GCC 12 takes its conversion through general registers, here and below.
TWOFOUR_INLINE I8x16 to_bytes(const I32x16& v) {
  return reinterpret_cast<I8x16>(_mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
}

#else

// GCC keeps a vector that is longer than a register in memory, which costs an AVX2 machine most of
// its speed. Parts of a register's size stay in registers.
#if defined(__AVX2__)
constexpr int kPartBytes = 32;
#else
constexpr int kPartBytes = 16;
#endif
constexpr int kParts = 64 / kPartBytes;
constexpr int kPartLanes = kPartBytes / 4;

template <class T>
struct Vector16 {
  typedef T Part __attribute__((vector_size(kPartBytes)));
  Part part[kParts];
};
using F32x16 = Vector16<float>;
using I32x16 = Vector16<int32_t>;

// function(i) for each part.
template <class T, class Function>
TWOFOUR_INLINE Vector16<T> by_part(Function function) {
  Vector16<T> v;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) v.part[i] = function(i);
  return v;
}

TWOFOUR_INLINE F32x16 splat(float value) {
  return by_part<float>([&](int) TWOFOUR_LAMBDA { return value - F32x16::Part{}; });
}

#define TWOFOUR_OPERATOR(op)                                                                \
  template <class T>                                                                        \
  TWOFOUR_INLINE Vector16<T> operator op(const Vector16<T>& a, const Vector16<T>& b) {      \
    return by_part<T>([&](int i) TWOFOUR_LAMBDA { return a.part[i] op b.part[i]; });        \
  }                                                                                         \
  template <class T>                                                                        \
  TWOFOUR_INLINE Vector16<T> operator op(const Vector16<T>& a, std::type_identity_t<T> b) { \
    return by_part<T>([&](int i) TWOFOUR_LAMBDA { return a.part[i] op b; });                \
  }                                                                                         \
  template <class T>                                                                        \
  TWOFOUR_INLINE Vector16<T> operator op(std::type_identity_t<T> a, const Vector16<T>& b) { \
    return by_part<T>([&](int i) TWOFOUR_LAMBDA { return a op b.part[i]; });                \
  }
TWOFOUR_OPERATOR(+)
TWOFOUR_OPERATOR(-)
TWOFOUR_OPERATOR(*)
TWOFOUR_OPERATOR(/)
TWOFOUR_OPERATOR(&)
TWOFOUR_OPERATOR(|)
TWOFOUR_OPERATOR(^)
TWOFOUR_OPERATOR(<<)
#undef TWOFOUR_OPERATOR

TWOFOUR_INLINE F32x16 operator-(const F32x16& v) {
  return by_part<float>([&](int i) TWOFOUR_LAMBDA { return -v.part[i]; });
}
template <class T>
TWOFOUR_INLINE Vector16<T>& operator+=(Vector16<T>& a, const Vector16<T>& b) {
  return a = a + b;
}
TWOFOUR_INLINE F32x16& operator*=(F32x16& a, float b) { return a = a * b; }

TWOFOUR_INLINE F32x16 load(const float* p) {
  return by_part<float>([&](int i) TWOFOUR_LAMBDA {
    F32x16::Part part;
    std::memcpy(&part, p + i * kPartLanes, sizeof part);
    return part;
  });
}
TWOFOUR_INLINE void store(float* p, const F32x16& v) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) std::memcpy(p + i * kPartLanes, &v.part[i], sizeof v.part[i]);
}

TWOFOUR_INLINE I32x16 as_int(const F32x16& v) {
  return by_part<int32_t>([&](int i)
                              TWOFOUR_LAMBDA { return reinterpret_cast<I32x16::Part>(v.part[i]); });
}
TWOFOUR_INLINE F32x16 as_float(const I32x16& v) {
  return by_part<float>([&](int i)
                            TWOFOUR_LAMBDA { return reinterpret_cast<F32x16::Part>(v.part[i]); });
}

TWOFOUR_INLINE F32x16 larger(const F32x16& a, const F32x16& b) {
  return by_part<float>([&](int i) TWOFOUR_LAMBDA {
#if defined(__AVX2__)
    return _mm256_max_ps(a.part[i], b.part[i]);
#else
    return a.part[i] > b.part[i] ? a.part[i] : b.part[i];
#endif
  });
}
TWOFOUR_INLINE F32x16 smaller(const F32x16& a, const F32x16& b) {
  return by_part<float>([&](int i) TWOFOUR_LAMBDA {
#if defined(__AVX2__)
    return _mm256_min_ps(a.part[i], b.part[i]);
#else
    return a.part[i] < b.part[i] ? a.part[i] : b.part[i];
#endif
  });
}

TWOFOUR_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  return by_part<float>([&](int i) TWOFOUR_LAMBDA {
#if defined(__FMA__)
    return _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#else
    F32x16::Part sum;
    for (int lane = 0; lane < kPartLanes; ++lane)
      sum[lane] = __builtin_fmaf(a.part[i][lane], b.part[i][lane], c.part[i][lane]);
    return sum;
#endif
  });
}

#if defined(__AVX2__)
TWOFOUR_INLINE I8x16 to_bytes(const I32x16& v) {
  const __m256i low = _mm256_set_epi32(-1, -1, -1, 0x0C080400, -1, -1, -1, 0x0C080400);
  const __m256i high = _mm256_set_epi32(-1, -1, 0x0C080400, -1, -1, -1, 0x0C080400, -1);
  const __m256i bytes =
      _mm256_or_si256(_mm256_shuffle_epi8(reinterpret_cast<__m256i>(v.part[0]), low),
                      _mm256_shuffle_epi8(reinterpret_cast<__m256i>(v.part[1]), high));
  const __m256i order = _mm256_set_epi32(0, 0, 0, 0, 5, 1, 4, 0);
  const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, order);
  return reinterpret_cast<I8x16>(_mm256_castsi256_si128(ordered));
}
#else
TWOFOUR_INLINE I8x16 to_bytes(const I32x16& v) {
  typedef int8_t Bytes __attribute__((vector_size(kPartLanes)));
  I8x16 out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    const Bytes bytes = __builtin_convertvector(v.part[i], Bytes);
    std::memcpy(reinterpret_cast<int8_t*>(&out) + i * kPartLanes, &bytes, sizeof bytes);
  }
  return out;
}
#endif

#endif

TWOFOUR_INLINE F32x16 fma(const F32x16& a, const F32x16& b, float c) { return fma(a, b, splat(c)); }
TWOFOUR_INLINE F32x16 fma(const F32x16& a, float b, float c) { return fma(a, splat(b), splat(c)); }
TWOFOUR_INLINE F32x16 fma(const F32x16& a, float b, const F32x16& c) { return fma(a, splat(b), c); }
TWOFOUR_INLINE F32x16 at_least(const F32x16& v, float low) { return larger(splat(low), v); }
TWOFOUR_INLINE F32x16 at_most(const F32x16& v, float high) { return smaller(splat(high), v); }
TWOFOUR_INLINE F32x16 absolute(const F32x16& v) { return as_float(as_int(v) & ~kSignBit); }

// `count` < 16 lanes, the others 0.
TWOFOUR_INLINE F32x16 load_some(const float* p, int64_t count) {
  float lanes[kVector] = {};
  std::memcpy(lanes, p, count * sizeof(float));
  return load(lanes);
}
TWOFOUR_INLINE void store_some(float* p, int64_t count, const F32x16& v) {
  std::memcpy(p, &v, count * sizeof(float));
}

// All lanes of `p`, or its first `lanes`.
TWOFOUR_INLINE F32x16 load_lanes(const float* p, int64_t lanes) {
  return lanes == kVector ? load(p) : load_some(p, lanes);
}
TWOFOUR_INLINE void store_lanes(float* p, int64_t lanes, const F32x16& v) {
  lanes == kVector ? store(p, v) : store_some(p, lanes, v);
}
TWOFOUR_INLINE void store_lanes(int8_t* p, int64_t lanes, const I8x16& v) {
  std::memcpy(p, &v, lanes == kVector ? kVector : lanes);
}

// In a fixed order: halves, quarters and so on.
TWOFOUR_INLINE float sum_lanes(const F32x16& v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(v);
#else
  float s[kVector];
  store(s, v);
  for (int width = kVector / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) s[i] += s[i + width];
  }
  return s[0];
#endif
}

TWOFOUR_INLINE float max_lanes(const F32x16& v) {
  float m[kVector];
  store(m, v);
  for (int width = kVector / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) m[i] = m[i] > m[i + width] ? m[i] : m[i + width];
  }
  return m[0];
}

// N vectors that go through a computation side by side, one instruction of each after another.
// Instructions enter the scheduler in order and wait there for what they need: where they come
// chain after chain it holds three chains of thirty, and most of the processor waits.
template <class T, int N>
struct Several {
  T v[N];
};

template <int N, class Function>
TWOFOUR_INLINE auto side_by_side(Function function) {
  Several<decltype(function(0)), N> all;
  for_each_index<N>([&](int i) TWOFOUR_LAMBDA { all.v[i] = function(i); });
  return all;
}

#define TWOFOUR_OPERATOR(op)                                                                      \
  template <class T, int N>                                                                       \
  TWOFOUR_INLINE auto operator op(const Several<T, N>& a, const Several<T, N>& b) {               \
    return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return a.v[i] op b.v[i]; });               \
  }                                                                                               \
  template <class T, int N, class Scalar>                                                         \
  requires std::is_arithmetic_v<Scalar> TWOFOUR_INLINE auto operator op(const Several<T, N>& a,   \
                                                                        Scalar b) {               \
    return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return a.v[i] op b; });                    \
  }                                                                                               \
  template <class T, int N, class Scalar>                                                         \
  requires std::is_arithmetic_v<Scalar> TWOFOUR_INLINE auto operator op(Scalar a,                 \
                                                                        const Several<T, N>& b) { \
    return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return a op b.v[i]; });                    \
  }
TWOFOUR_OPERATOR(+)
TWOFOUR_OPERATOR(-)
TWOFOUR_OPERATOR(*)
TWOFOUR_OPERATOR(/)
TWOFOUR_OPERATOR(&)
TWOFOUR_OPERATOR(|)
TWOFOUR_OPERATOR(<<)
#undef TWOFOUR_OPERATOR

#define TWOFOUR_FUNCTION(name)                                                  \
  template <class T, int N>                                                     \
  TWOFOUR_INLINE auto name(const Several<T, N>& v) {                            \
    return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return name(v.v[i]); }); \
  }
TWOFOUR_FUNCTION(as_int)
TWOFOUR_FUNCTION(as_float)
TWOFOUR_FUNCTION(absolute)
TWOFOUR_FUNCTION(to_bytes)
#undef TWOFOUR_FUNCTION

template <class T, int N>
TWOFOUR_INLINE auto operator-(const Several<T, N>& v) {
  return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return -v.v[i]; });
}
template <int N>
TWOFOUR_INLINE auto at_least(const Several<F32x16, N>& v, float low) {
  return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return at_least(v.v[i], low); });
}
template <int N>
TWOFOUR_INLINE auto at_most(const Several<F32x16, N>& v, float high) {
  return side_by_side<N>([&](int i) TWOFOUR_LAMBDA { return at_most(v.v[i], high); });
}

// One number or one vector for all of them.
TWOFOUR_INLINE const F32x16& of_several(const F32x16& v, int) { return v; }
TWOFOUR_INLINE F32x16 of_several(float v, int) { return splat(v); }
template <int N>
TWOFOUR_INLINE const F32x16& of_several(const Several<F32x16, N>& v, int i) {
  return v.v[i];
}
template <int N, class B, class C>
TWOFOUR_INLINE auto fma(const Several<F32x16, N>& a, const B& b, const C& c) {
  return side_by_side<N>(
      [&](int i) TWOFOUR_LAMBDA { return fma(a.v[i], of_several(b, i), of_several(c, i)); });
}

}  // namespace
}  // namespace twofour
