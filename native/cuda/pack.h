// Neighbouring elements of a tensor as one access of memory, and elements as f32. bf16 is held as uint16_t.
#pragma once

#include <cstdint>
#include <cstring>

#if !defined(__CUDA_ARCH__)
#include <stdexcept>
#endif

#include "cuda/emulate.h"

namespace ghostbatch::cuda {

constexpr int kPackBytes = 16;  // the widest access

/// kCount neighbouring elements, read or written together; a power of two.
template <typename T, int kCount = kPackBytes / static_cast<int>(sizeof(T))>
struct alignas(kCount * sizeof(T)) Pack {
  static constexpr int kSize = kCount;
  T v[kCount];
};

/// Whether packs of 16 bytes may lie there.
GHOSTBATCH_HD inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kPackBytes == 0;
}

/// Where the pack lies, which must be aligned to its size: a GPU stops where it is not, the host throws.
template <typename Whole, typename T>
GHOSTBATCH_HD inline Whole* as_pack(T* pointer) {
#if !defined(__CUDA_ARCH__)
  if (reinterpret_cast<uintptr_t>(pointer) % alignof(Whole) != 0) throw std::logic_error("[cuda] needs aligned packs");
#endif
  return reinterpret_cast<Whole*>(pointer);
}

/// The elements at `from`; those that are not read again soon (`last`) leave the caches first.
template <typename T, int kCount = Pack<T>::kSize>
GHOSTBATCH_HD inline Pack<T, kCount> load_pack(const T* from, bool last = false) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(Pack<T, kCount>) == sizeof(uint4)) {
    const uint4* const at = reinterpret_cast<const uint4*>(from);
    const uint4 bits = last ? __ldcs(at) : *at;
    Pack<T, kCount> pack;
    memcpy(&pack, &bits, sizeof pack);
    return pack;
  }
#endif
  static_cast<void>(last);
  return *as_pack<const Pack<T, kCount>>(from);
}

/// Asks L2 for what lies there; nothing waits for it.
template <typename T>
GHOSTBATCH_HD inline void prefetch(const T* from) {
#if defined(__CUDA_ARCH__)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
#else
  static_cast<void>(from);
#endif
}

/// Writes them; what is not read again soon (`last`) leaves the caches first.
template <typename T, int kCount>
GHOSTBATCH_HD inline void store_pack(T* to, const Pack<T, kCount>& pack, bool last = false) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(Pack<T, kCount>) == sizeof(uint4)) {
    uint4 bits;
    memcpy(&bits, &pack, sizeof pack);
    uint4* const at = reinterpret_cast<uint4*>(to);
    if (last) {
      __stcs(at, bits);
    } else {
      *at = bits;
    }
    return;
  }
#endif
  static_cast<void>(last);
  *as_pack<Pack<T, kCount>>(to) = pack;
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
