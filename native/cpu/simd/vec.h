// One vector of f32 lanes, for the instruction set that this file is compiled for.
//
// Everything in simd/ lives in a namespace named after the instruction set, and in an unnamed one inside it: code of
// external linkage that is compiled several times would be merged by the linker, which may keep the copy that an older
// CPU cannot run. For the same reason nothing here uses templates or inline functions of the standard library.
// Products and sums are contracted only where `fma` says so (-ffp-contract=off), so that a value computed twice by
// the same expression has the same bits.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define GHOSTBATCH_JOIN_(a, b) a##b
#define GHOSTBATCH_JOIN(a, b) GHOSTBATCH_JOIN_(a, b)
#define GHOSTBATCH_SIMD GHOSTBATCH_JOIN(simd_, GHOSTBATCH_ISA)
#define GHOSTBATCH_INLINE inline __attribute__((always_inline))

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

/// The upper half of a float.
struct bf16 {
  uint16_t bits;
};

// clang-format off
// A line an operation.

GHOSTBATCH_INLINE float to_float(float value) { return value; }
GHOSTBATCH_INLINE float to_float(bf16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}
GHOSTBATCH_INLINE void put(float* dst, float value) { *dst = value; }
/// Rounds to nearest, ties to even; NaN stays NaN.
GHOSTBATCH_INLINE void put(bf16* dst, float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits & 0x7FFFFFFFu) > 0x7F800000u ? bits | 0x400000u : bits + 0x7FFFu + ((bits >> 16) & 1u);
  dst->bits = static_cast<uint16_t>(rounded >> 16);
}

template <typename T>
GHOSTBATCH_INLINE T smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
GHOSTBATCH_INLINE T larger(T a, T b) {
  return a < b ? b : a;
}

// Vectors: `vf` of kLanes floats, `vp` two of them, `vm` a mask of as many, `vd` of kDoubles doubles. Loads and stores with a count touch
// the first n lanes only, n in [0, kLanes]; the other lanes are loaded as zero. +, -, * and / are the compiler's own.

#if defined(__AVX512F__)

constexpr int64_t kLanes = 16;
constexpr int64_t kDoubles = 8;
using vf = __m512;
using vd = __m512d;
using vm = __mmask16;
struct vp {
  vf a, b;
};
constexpr int64_t kPair = 2 * kLanes;

GHOSTBATCH_INLINE vm first(int64_t n) { return static_cast<vm>((1u << static_cast<uint32_t>(n)) - 1u); }
GHOSTBATCH_INLINE vf set(float value) { return _mm512_set1_ps(value); }
/// A load of its own. Folded into a masked operation it would wait for the mask, and so memory for arithmetic.
template <typename V>
GHOSTBATCH_INLINE V loaded(V v) {
  asm("" : "+v"(v));
  return v;
}
GHOSTBATCH_INLINE vf load(const float* p) { return loaded(_mm512_loadu_ps(p)); }
GHOSTBATCH_INLINE vf load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
GHOSTBATCH_INLINE void store(float* p, vf v) { _mm512_storeu_ps(p, v); }
GHOSTBATCH_INLINE void store(float* p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
GHOSTBATCH_INLINE vf widen(__m256i v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
#if defined(__AVX512BF16__)
GHOSTBATCH_INLINE __m256i narrow(vf v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)); }
GHOSTBATCH_INLINE __m512i narrow_pair(vf even, vf odd) {
  const __m512i neighbours = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(neighbours, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even)));
}
#else
/// Rounded to bf16: the upper halves.
GHOSTBATCH_INLINE __m512i round_upper(vf v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
}
GHOSTBATCH_INLINE __m256i narrow(vf v) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_upper(v), 16)); }
GHOSTBATCH_INLINE __m512i narrow_pair(vf even, vf odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_srli_epi32(round_upper(even), 16), round_upper(odd));
}
#endif
GHOSTBATCH_INLINE vf load(const bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
GHOSTBATCH_INLINE vf load(const bf16* p, int64_t n) { return widen(_mm256_maskz_loadu_epi16(first(n), p)); }
GHOSTBATCH_INLINE void store(bf16* p, vf v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v)); }
GHOSTBATCH_INLINE void store(bf16* p, vf v, int64_t n) { _mm256_mask_storeu_epi16(p, first(n), narrow(v)); }
GHOSTBATCH_INLINE vp widen_pair(__m512i v) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000u));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(v, 16)), _mm512_castsi512_ps(_mm512_and_si512(v, upper))};
}
GHOSTBATCH_INLINE __mmask32 first_of_pair(int64_t n) {
  return static_cast<__mmask32>((uint64_t{1} << static_cast<uint64_t>(n)) - 1u);
}
GHOSTBATCH_INLINE vp load_pair(const bf16* p) { return widen_pair(loaded(_mm512_loadu_si512(p))); }
GHOSTBATCH_INLINE vp load_pair(const bf16* p, int64_t n) {
  return widen_pair(_mm512_maskz_loadu_epi16(first_of_pair(n), p));
}
GHOSTBATCH_INLINE void store_pair(bf16* p, vp v) { _mm512_storeu_si512(p, narrow_pair(v.a, v.b)); }
GHOSTBATCH_INLINE void store_pair(bf16* p, vp v, int64_t n) {
  _mm512_mask_storeu_epi16(p, first_of_pair(n), narrow_pair(v.a, v.b));
}
GHOSTBATCH_INLINE vf load(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
GHOSTBATCH_INLINE vf load(const uint8_t* p, int64_t n) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(n), p)));
}
/// Whole numbers in [0, 255].
GHOSTBATCH_INLINE void store(uint8_t* p, vf v, int64_t n) {
  _mm512_mask_cvtepi32_storeu_epi8(p, first(n), _mm512_cvtps_epi32(v));
}
GHOSTBATCH_INLINE vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/// a where a > b, else b: b where either is NaN.
GHOSTBATCH_INLINE vf maximum(vf a, vf b) { return _mm512_max_ps(a, b); }
GHOSTBATCH_INLINE vm greater(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
GHOSTBATCH_INLINE vm equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
GHOSTBATCH_INLINE vm is_nan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
/// Where a > b, or a is the first NaN.
GHOSTBATCH_INLINE vm beats(vf a, vf b) {
  return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(b, b, _CMP_ORD_Q), a, b, _CMP_NLE_UQ);
}
GHOSTBATCH_INLINE bool any(vm m) { return m != 0; }
/// v where m, else 0.
GHOSTBATCH_INLINE vf keep(vm m, vf v) {
  // As integers: the compiler can mask the shift that widened v.
  return _mm512_castsi512_ps(_mm512_maskz_mov_epi32(m, _mm512_castps_si512(v)));
}
/// a where m, else b.
GHOSTBATCH_INLINE vf select(vm m, vf a, vf b) { return _mm512_mask_mov_ps(b, m, a); }
/// 2^n for whole n in [-126, 127].
GHOSTBATCH_INLINE vf power_of_two(vf n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
GHOSTBATCH_INLINE vd load_doubles(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
GHOSTBATCH_INLINE vd load_doubles(const double* p) { return _mm512_loadu_pd(p); }
GHOSTBATCH_INLINE void store_doubles(double* p, vd v) { _mm512_storeu_pd(p, v); }
GHOSTBATCH_INLINE vd zero_doubles() { return _mm512_setzero_pd(); }

#elif defined(__AVX2__)

constexpr int64_t kLanes = 8;
constexpr int64_t kDoubles = 4;
using vf = __m256;
using vd = __m256d;
using vm = __m256;  // all bits of a lane
struct vp {
  vf a, b;
};
constexpr int64_t kPair = 2 * kLanes;

GHOSTBATCH_INLINE __m256i first_bits(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
GHOSTBATCH_INLINE vm first(int64_t n) { return _mm256_castsi256_ps(first_bits(n)); }
GHOSTBATCH_INLINE vf set(float value) { return _mm256_set1_ps(value); }
GHOSTBATCH_INLINE vf load(const float* p) { return _mm256_loadu_ps(p); }
GHOSTBATCH_INLINE vf load(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_bits(n)); }
GHOSTBATCH_INLINE void store(float* p, vf v) { _mm256_storeu_ps(p, v); }
GHOSTBATCH_INLINE void store(float* p, vf v, int64_t n) { _mm256_maskstore_ps(p, first_bits(n), v); }
GHOSTBATCH_INLINE vf load(const bf16* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
/// Rounded to bf16: the upper halves.
GHOSTBATCH_INLINE __m256i round_upper(vf v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, nan);
}
GHOSTBATCH_INLINE void store(bf16* p, vf v) {
  const __m256i upper = _mm256_srli_epi32(round_upper(v), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}
GHOSTBATCH_INLINE vp load_pair(const bf16* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i upper = _mm256_set1_epi32(static_cast<int32_t>(0xFFFF0000u));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(v, 16)), _mm256_castsi256_ps(_mm256_and_si256(v, upper))};
}
GHOSTBATCH_INLINE void store_pair(bf16* p, vp v) {
  const __m256i even = _mm256_srli_epi32(round_upper(v.a), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_blend_epi16(even, round_upper(v.b), 0xAA));
}
GHOSTBATCH_INLINE vf load(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
GHOSTBATCH_INLINE vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
GHOSTBATCH_INLINE vf maximum(vf a, vf b) { return _mm256_max_ps(a, b); }
GHOSTBATCH_INLINE vm greater(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
GHOSTBATCH_INLINE vm equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
GHOSTBATCH_INLINE vm is_nan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
GHOSTBATCH_INLINE vm beats(vf a, vf b) {
  return _mm256_and_ps(_mm256_cmp_ps(b, b, _CMP_ORD_Q), _mm256_cmp_ps(a, b, _CMP_NLE_UQ));
}
GHOSTBATCH_INLINE bool any(vm m) { return _mm256_movemask_ps(m) != 0; }
GHOSTBATCH_INLINE vf keep(vm m, vf v) { return _mm256_and_ps(m, v); }
GHOSTBATCH_INLINE vf select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
GHOSTBATCH_INLINE vf power_of_two(vf n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
GHOSTBATCH_INLINE vd load_doubles(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
GHOSTBATCH_INLINE vd load_doubles(const double* p) { return _mm256_loadu_pd(p); }
GHOSTBATCH_INLINE void store_doubles(double* p, vd v) { _mm256_storeu_pd(p, v); }
GHOSTBATCH_INLINE vd zero_doubles() { return _mm256_setzero_pd(); }

#else  // The compiler's vectors of 16 bytes: SSE2, NEON, or scalars.

constexpr int64_t kLanes = 4;
constexpr int64_t kDoubles = 2;
using vf = float __attribute__((vector_size(16)));
using vd = double __attribute__((vector_size(16)));
using vm = int32_t __attribute__((vector_size(16)));
using vu = uint32_t __attribute__((vector_size(16)));
struct vp {
  vf a, b;
};
constexpr int64_t kPair = 2 * kLanes;

GHOSTBATCH_INLINE vm first(int64_t n) {
  const int32_t count = static_cast<int32_t>(n);
  return vm{count, count, count, count} > vm{0, 1, 2, 3};
}
GHOSTBATCH_INLINE vf set(float value) { return vf{value, value, value, value}; }
GHOSTBATCH_INLINE vf load(const float* p) {
  vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
GHOSTBATCH_INLINE void store(float* p, vf v) { __builtin_memcpy(p, &v, sizeof v); }
GHOSTBATCH_INLINE vf load(const bf16* p) { return vf{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])}; }
GHOSTBATCH_INLINE void store(bf16* p, vf v) {
  for (int lane = 0; lane < kLanes; ++lane) put(p + lane, v[lane]);
}
/// Rounded to bf16: the upper halves.
GHOSTBATCH_INLINE vu round_upper(vf v) {
  const vu bits = __builtin_bit_cast(vu, v);
  return v != v ? bits | 0x400000u : bits + 0x7FFFu + ((bits >> 16) & 1u);
}
GHOSTBATCH_INLINE vp load_pair(const bf16* p) {
  vu v;
  __builtin_memcpy(&v, p, sizeof v);
  return {__builtin_bit_cast(vf, v << 16), __builtin_bit_cast(vf, v & 0xFFFF0000u)};
}
GHOSTBATCH_INLINE void store_pair(bf16* p, vp v) {
  const vu pair = (round_upper(v.a) >> 16) | (round_upper(v.b) & 0xFFFF0000u);
  __builtin_memcpy(p, &pair, sizeof pair);
}
GHOSTBATCH_INLINE vf load(const uint8_t* p) {
  return vf{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
}
GHOSTBATCH_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }
GHOSTBATCH_INLINE vf maximum(vf a, vf b) { return a > b ? a : b; }
GHOSTBATCH_INLINE vm greater(vf a, vf b) { return a > b; }
GHOSTBATCH_INLINE vm equal(vf a, vf b) { return a == b; }
GHOSTBATCH_INLINE vm is_nan(vf a) { return a != a; }
GHOSTBATCH_INLINE vm beats(vf a, vf b) { return ~(a <= b) & (b == b); }
GHOSTBATCH_INLINE bool any(vm m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
GHOSTBATCH_INLINE vf keep(vm m, vf v) { return __builtin_bit_cast(vf, m & __builtin_bit_cast(vm, v)); }
GHOSTBATCH_INLINE vf select(vm m, vf a, vf b) { return m ? a : b; }
GHOSTBATCH_INLINE vf power_of_two(vf n) {
  return __builtin_bit_cast(vf, (__builtin_convertvector(n, vm) + 127) << 23);
}
GHOSTBATCH_INLINE vd load_doubles(const float* p) { return vd{p[0], p[1]}; }
GHOSTBATCH_INLINE vd load_doubles(const double* p) { return vd{p[0], p[1]}; }
GHOSTBATCH_INLINE void store_doubles(double* p, vd v) { __builtin_memcpy(p, &v, sizeof v); }
GHOSTBATCH_INLINE vd zero_doubles() { return vd{0, 0}; }

#endif

#if !defined(__AVX512F__)
// Counted accesses that the instruction set lacks go lane by lane.
#if !defined(__AVX2__)
GHOSTBATCH_INLINE vf load(const float* p, int64_t n) {
  float lanes[kLanes] = {};
  for (int64_t lane = 0; lane < n; ++lane) lanes[lane] = p[lane];
  return load(lanes);
}
GHOSTBATCH_INLINE void store(float* p, vf v, int64_t n) {
  float lanes[kLanes];
  store(lanes, v);
  for (int64_t lane = 0; lane < n; ++lane) p[lane] = lanes[lane];
}
#endif
GHOSTBATCH_INLINE vf load(const bf16* p, int64_t n) {
  float lanes[kLanes] = {};
  for (int64_t lane = 0; lane < n; ++lane) lanes[lane] = to_float(p[lane]);
  return load(static_cast<const float*>(lanes));
}
GHOSTBATCH_INLINE void store(bf16* p, vf v, int64_t n) {
  float lanes[kLanes];
  store(static_cast<float*>(lanes), v);
  for (int64_t lane = 0; lane < n; ++lane) put(p + lane, lanes[lane]);
}
GHOSTBATCH_INLINE vp load_pair(const bf16* p, int64_t n) {
  bf16 values[kPair] = {};
  for (int64_t i = 0; i < n; ++i) values[i] = p[i];
  return load_pair(static_cast<const bf16*>(values));
}
GHOSTBATCH_INLINE void store_pair(bf16* p, vp v, int64_t n) {
  bf16 values[kPair];
  store_pair(static_cast<bf16*>(values), v);
  for (int64_t i = 0; i < n; ++i) p[i] = values[i];
}
GHOSTBATCH_INLINE vf load(const uint8_t* p, int64_t n) {
  float lanes[kLanes] = {};
  for (int64_t lane = 0; lane < n; ++lane) lanes[lane] = static_cast<float>(p[lane]);
  return load(static_cast<const float*>(lanes));
}
GHOSTBATCH_INLINE void store(uint8_t* p, vf v, int64_t n) {
  float lanes[kLanes];
  store(static_cast<float*>(lanes), v);
  for (int64_t lane = 0; lane < n; ++lane) p[lane] = static_cast<uint8_t>(lanes[lane]);
}
#endif

GHOSTBATCH_INLINE vf zero() { return set(0.0f); }

/// max(0, v); NaN stays NaN.
GHOSTBATCH_INLINE vf relu(vf v) { return maximum(zero(), v); }

// Pairs: `vp` of kPair neighbours in memory, as two vectors. Of f32 they are the first half and the second; of bf16 the
// even ones and the odd ones, which widen and narrow in place: no lane moves.

/// Whole pairs of values in the order of their elements to and from that of the lanes that a pair of T has.
template <typename T, typename Value>
GHOSTBATCH_INLINE void to_lanes(const Value* __restrict elements, Value* __restrict lanes, int64_t size) {
  constexpr int64_t kStep = sizeof(T) == sizeof(float) ? 1 : 2, kSecond = kStep == 1 ? kLanes : 1;
  for (int64_t pair = 0; pair < size; pair += kPair) {
    for (int64_t i = 0; i < kLanes; ++i) lanes[pair + i] = elements[pair + kStep * i];
    for (int64_t i = 0; i < kLanes; ++i) lanes[pair + kLanes + i] = elements[pair + kStep * i + kSecond];
  }
}
template <typename T, typename Value>
GHOSTBATCH_INLINE void from_lanes(const Value* __restrict lanes, Value* __restrict elements, int64_t size) {
  constexpr int64_t kStep = sizeof(T) == sizeof(float) ? 1 : 2, kSecond = kStep == 1 ? kLanes : 1;
  for (int64_t pair = 0; pair < size; pair += kPair) {
    for (int64_t i = 0; i < kLanes; ++i) elements[pair + kStep * i] = lanes[pair + i];
    for (int64_t i = 0; i < kLanes; ++i) elements[pair + kStep * i + kSecond] = lanes[pair + kLanes + i];
  }
}
GHOSTBATCH_INLINE vp load_pair(const float* p) { return {load(p), load(p + kLanes)}; }
GHOSTBATCH_INLINE vp load_pair(const float* p, int64_t n) {
  if (n <= kLanes) return {load(p, n), zero()};
  return {load(p), load(p + kLanes, n - kLanes)};
}
GHOSTBATCH_INLINE void store_pair(float* p, vp v) { store(p, v.a), store(p + kLanes, v.b); }
GHOSTBATCH_INLINE void store_pair(float* p, vp v, int64_t n) {
  store(p, v.a, smaller(n, kLanes));
  if (n > kLanes) store(p + kLanes, v.b, n - kLanes);
}
GHOSTBATCH_INLINE vp set_pair(float value) { return {set(value), set(value)}; }
GHOSTBATCH_INLINE vp operator+(vp x, vp y) { return {x.a + y.a, x.b + y.b}; }
GHOSTBATCH_INLINE vp operator-(vp x, vp y) { return {x.a - y.a, x.b - y.b}; }
GHOSTBATCH_INLINE vp fma(vp x, vp y, vp z) { return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)}; }
GHOSTBATCH_INLINE vp relu(vp v) { return {relu(v.a), relu(v.b)}; }
/// v where condition > 0, else 0.
GHOSTBATCH_INLINE vp keep_where_positive(vp condition, vp v) {
  return {keep(greater(condition.a, zero()), v.a), keep(greater(condition.b, zero()), v.b)};
}
/// The first n elements of a pair from memory of type T, else 0.
template <typename T>
GHOSTBATCH_INLINE vp keep_first(vp v, int64_t n) {
  const int64_t a = sizeof(T) == sizeof(float) ? smaller(n, kLanes) : (n + 1) / 2;
  return {keep(first(a), v.a), keep(first(n - a), v.b)};
}

// clang-format on

// Whole vectors, or the first n lanes where `kTail`: one body serves both.
template <bool kTail, typename T>
GHOSTBATCH_INLINE vf get(const T* p, int64_t n) {
  if constexpr (kTail) {
    return load(p, n);
  } else {
    return load(p);
  }
}
template <bool kTail, typename T>
GHOSTBATCH_INLINE void set_at(T* p, vf v, int64_t n) {
  if constexpr (kTail) {
    store(p, v, n);
  } else {
    store(p, v);
  }
}
template <bool kTail, typename T>
GHOSTBATCH_INLINE vp get_pair(const T* p, int64_t n) {
  if constexpr (kTail) {
    return load_pair(p, n);
  } else {
    return load_pair(p);
  }
}
template <bool kTail, typename T>
GHOSTBATCH_INLINE void set_pair_at(T* p, vp v, int64_t n) {
  if constexpr (kTail) {
    store_pair(p, v, n);
  } else {
    store_pair(p, v);
  }
}

/// Stores that pass the caches by, where there are such: p is aligned to kStreamAlignment. Other threads see them after
/// end_of_stream.
constexpr int64_t kStreamAlignment = 64;
GHOSTBATCH_INLINE void stream_pair(float* p, vp v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, v.a);
  _mm512_stream_ps(p + kLanes, v.b);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, v.a);
  _mm256_stream_ps(p + kLanes, v.b);
#else
  store_pair(p, v);
#endif
}
GHOSTBATCH_INLINE void stream_pair(bf16* p, vp v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), narrow_pair(v.a, v.b));
#else
  store_pair(p, v);
#endif
}
inline void end_of_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

/// Runs step.operator()<kTail>(i, n) over [0, elements): whole vectors at i, then the n lanes that are left.
template <typename Step>
GHOSTBATCH_INLINE void for_each_vector(int64_t elements, const Step& step) {
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) step.template operator()<false>(i, kLanes);
  if (i < elements) step.template operator()<true>(i, elements - i);
}

}  // namespace
}  // namespace ghostbatch::GHOSTBATCH_SIMD
