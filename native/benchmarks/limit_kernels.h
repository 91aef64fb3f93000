// The fastest loops of an instruction set: limit_kernels.cpp, compiled once for each, chosen at run time.
#pragma once

#include <cstdint>

namespace ghostbatch::benchmarks {

/// Bytes that the copies take at a time.
constexpr int64_t kCopyBlock = 512;

struct LimitKernels {
  const char* isa;
  /// Multiply-adds in registers: `fma_per_step` of them a step, in independent chains. Returns what depends on all.
  float (*fma)(int64_t steps);
  int64_t fma_per_step;
  /// Multiply-adds of bf16 pairs into f32; null where the instruction set has none.
  float (*dot)(int64_t steps);
  int64_t dot_per_step;
  /// Whole blocks of kCopyBlock bytes, both sides 64-byte aligned.
  void (*copy)(const void* src, void* dst, int64_t bytes);
  /// The same with stores past the caches; null where the instruction set has none.
  void (*stream)(const void* src, void* dst, int64_t bytes);
};

/// The kernels of the instruction set named (portable, avx2, avx512, avx512bf16), or the best of this CPU where the
/// name is empty. Error where this CPU or this build lacks it.
const LimitKernels& limit_kernels(const char* isa);

}  // namespace ghostbatch::benchmarks
