#pragma once

#include <cstdint>
#include <cstring>

namespace ghostbatch {

/// The upper half of a float, rounded to nearest, ties to even; NaN stays NaN.
inline uint16_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

inline float from_bfloat16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void widen_bfloat16(const uint16_t* src, float* dst, int64_t count) {
  for (int64_t i = 0; i < count; ++i) dst[i] = from_bfloat16(src[i]);
}

/// An element of a bf16 buffer, for loops that compute in double: rounded to f32, as a kernel holds it, then to bf16.
class Bfloat16 {
 public:
  Bfloat16() = default;
  explicit Bfloat16(double value) : bits_(to_bfloat16(static_cast<float>(value))) {}
  explicit operator double() const { return static_cast<double>(from_bfloat16(bits_)); }

 private:
  uint16_t bits_ = 0;
};

}  // namespace ghostbatch
