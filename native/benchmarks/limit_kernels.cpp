#include "benchmarks/limit_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define GHOSTBATCH_TEXT(name) #name
#define GHOSTBATCH_NAME_OF(name) GHOSTBATCH_TEXT(name)

namespace ghostbatch::benchmarks::GHOSTBATCH_ISA {

namespace {

// Chains cover two units times the cycles that an operation takes, 7 of a bf16 pair on Zen 5, 4 or 5 of the others.
// They and their operands fit the registers: 32 with AVX-512, else 16.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kChains = 24;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kChains = 12;
#else
constexpr int kVectorBytes = 16, kChains = 12;
#endif

using Vector = float __attribute__((vector_size(kVectorBytes), may_alias));

constexpr int kFloats = kVectorBytes / 4;
constexpr int kVectorsOfBlock = kCopyBlock / kVectorBytes;

float sum_of(const Vector (&chains)[kChains]) {
  Vector sum{};
  for (const Vector& chain : chains) sum += chain;
  float total = 0;
  for (int i = 0; i < kFloats; ++i) total += sum[i];
  return total;
}

float fma(int64_t steps) {
  const Vector factor = Vector{} + 0.5f, addend = Vector{} + 1.0f;  // stays near 2: no overflow, no denormal
  Vector chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = Vector{} + static_cast<float>(i);
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * factor + addend;
  }
  return sum_of(chains);
}

#if defined(__AVX512BF16__)
float dot(int64_t steps) {
  const auto a = (__m512bh)_mm512_set1_epi32(0x3F803F80);  // pairs 1, 1
  const auto b = (__m512bh)_mm512_set1_epi32(0x3F003E80);  // pairs 1/2, 1/4
  Vector chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = Vector{} + static_cast<float>(i);
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) chains[i] = _mm512_dpbf16_ps(chains[i], a, b);
  }
  return sum_of(chains);
}
#endif

/// The compiler may not turn it into a call of memcpy, which chooses by itself: see the flags.
void copy(const void* src, void* dst, int64_t bytes) {
  const auto* from = static_cast<const Vector*>(src);
  auto* to = static_cast<Vector*>(dst);
  for (int64_t block = 0; block < bytes / kCopyBlock; ++block, from += kVectorsOfBlock, to += kVectorsOfBlock) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectorsOfBlock; ++i) to[i] = from[i];
  }
}

#if defined(__x86_64__)
void stream(const void* src, void* dst, int64_t bytes) {
  const auto* from = static_cast<const Vector*>(src);
  auto* to = static_cast<Vector*>(dst);
  for (int64_t block = 0; block < bytes / kCopyBlock; ++block, from += kVectorsOfBlock, to += kVectorsOfBlock) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectorsOfBlock; ++i) {
#if defined(__AVX512F__)
      _mm512_stream_ps(reinterpret_cast<float*>(to + i), from[i]);
#elif defined(__AVX2__)
      _mm256_stream_ps(reinterpret_cast<float*>(to + i), from[i]);
#else
      _mm_stream_ps(reinterpret_cast<float*>(to + i), from[i]);
#endif
    }
  }
  _mm_sfence();
}
#endif

}  // namespace

extern const LimitKernels kernels;
const LimitKernels kernels = {
    GHOSTBATCH_NAME_OF(GHOSTBATCH_ISA),
    fma,
    kChains* kFloats,
#if defined(__AVX512BF16__)
    dot,
    kChains* kFloats * 2,
#else
    nullptr,
    0,
#endif
    copy,
#if defined(__x86_64__)
    stream,
#else
    nullptr,
#endif
};

}  // namespace ghostbatch::benchmarks::GHOSTBATCH_ISA
