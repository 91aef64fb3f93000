// 16 bytes of a tensor as one access, and its elements as f32. bf16 is held as uint16_t.
#pragma once

#include <cstdint>
#include <cstring>

#if !defined(__CUDA_ARCH__)
#include <stdexcept>
#endif

#include "cuda/emulate.h"

namespace ghostbatch::cuda {

constexpr int64_t kPackBytes = 16;

/// Neighbouring elements that are read or written together.
template <typename T>
struct alignas(kPackBytes) Pack {
  static constexpr int kSize = static_cast<int>(kPackBytes / sizeof(T));
  T v[kSize];
};

/// Whether a Pack may lie there.
GHOSTBATCH_HD inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kPackBytes == 0;
}

/// The pack at `from`, which is aligned: a GPU stops where it is not, the host throws.
template <typename T>
GHOSTBATCH_HD inline Pack<T> load_pack(const T* from) {
#if !defined(__CUDA_ARCH__)
  if (!is_aligned(from)) throw std::logic_error("[cuda] needs packs aligned to 16 bytes");
#endif
  return *reinterpret_cast<const Pack<T>*>(from);
}
template <typename T>
GHOSTBATCH_HD inline void store_pack(T* to, const Pack<T>& pack) {
#if !defined(__CUDA_ARCH__)
  if (!is_aligned(to)) throw std::logic_error("[cuda] needs packs aligned to 16 bytes");
#endif
  *reinterpret_cast<Pack<T>*>(to) = pack;
}

GHOSTBATCH_HD inline float to_float(float value) {
  return value;
}
GHOSTBATCH_HD inline float to_float(uint16_t bfloat16) {
  const uint32_t bits = static_cast<uint32_t>(bfloat16) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// As common/bfloat16.h rounds: to nearest, ties to even; NaN stays NaN.
template <typename T>
GHOSTBATCH_HD T from_float(float value);
template <>
GHOSTBATCH_HD inline float from_float<float>(float value) {
  return value;
}
template <>
GHOSTBATCH_HD inline uint16_t from_float<uint16_t>(float value) {
#if defined(__CUDA_ARCH__)
  uint16_t result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#else
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
#endif
}

}  // namespace ghostbatch::cuda
