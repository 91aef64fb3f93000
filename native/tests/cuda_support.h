// What the tests of CUDA kernels share: their phases run on the host, operands that may lie anywhere.
#pragma once

#include "cuda/emulate.h"
#include "cuda/grid.h"
#include "tests/support.h"

namespace ghostbatch::tests {

template <class Kernel>
void run_on_host(const cuda::Launch<Kernel>& launch, cuda::Order order = cuda::Order::up) {
  cuda::emulate(launch.kernel, static_cast<int32_t>(launch.blocks), launch.threads, order);
}

constexpr cuda::Order kOrders[] = {cuda::Order::up, cuda::Order::down};

/// What a type of C++ is in a buffer.
template <typename T>
constexpr DataType type_of() {
  if constexpr (std::is_same_v<T, float>) return DataType::f32;
  if constexpr (std::is_same_v<T, double>) return DataType::f64;
  if constexpr (std::is_same_v<T, uint16_t>) return DataType::bf16;
  if constexpr (std::is_same_v<T, uint8_t>) return DataType::u8;
  return DataType::s32;
}

/// A slice of a buffer that begins `offset` elements after its aligned start; nothing before it may be written.
template <typename T>
class Operand {
 public:
  Operand(int64_t elements, int64_t offset) : offset_(offset), buffer_(type_of<T>(), offset + elements) {}
  explicit Operand(const std::vector<double>& values, int64_t offset = 0)
      : Operand(static_cast<int64_t>(values.size()), offset) {
    for (size_t i = 0; i < values.size(); ++i) buffer_.set(offset + static_cast<int64_t>(i), values[i]);
  }
  ~Operand() {
    const auto* const bytes = buffer_.view().template as<unsigned char>();
    for (size_t i = 0; i < static_cast<size_t>(offset_) * sizeof(T); ++i) {
      if (bytes[i] == 0xFF) continue;
      ADD_FAILURE() << "written before a slice";
      break;
    }
  }

  T* data() const { return buffer_.view().template as<T>() + offset_; }
  View view() const { return View(data(), buffer_.elements() - offset_, type_of<T>()); }
  std::vector<double> values() const {
    const std::vector<double> all = buffer_.values();
    return {all.begin() + offset_, all.end()};
  }

 private:
  int64_t offset_;
  Buffer buffer_;
};

/// body(T()) for the element types of activations.
template <typename Body>
void for_activation_types(const Body& body) {
  {
    SCOPED_TRACE("f32");
    body(float());
  }
  SCOPED_TRACE("bf16");
  body(uint16_t());
}

/// Likewise for vectors.
template <typename Body>
void for_vector_types(const Body& body) {
  {
    SCOPED_TRACE("f32");
    body(float());
  }
  SCOPED_TRACE("f64");
  body(double());
}

/// Where up to four operands begin: aligned, alike, each its own way.
struct Offsets {
  int64_t v[4];
};
constexpr Offsets kOffsets[] = {{{0, 0, 0, 0}}, {{1, 1, 1, 1}}, {{3, 3, 3, 3}}, {{0, 1, 2, 3}}};

/// An all-NaN tail behind `values`, as a buffer begins.
inline std::vector<double> with_unwritten(std::vector<double> values, int64_t elements) {
  values.resize(static_cast<size_t>(elements), NAN);
  return values;
}

}  // namespace ghostbatch::tests
