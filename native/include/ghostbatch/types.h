// Types shared by every header of the binding surface.
//
// Shape letters, fixed here and used in every comment and error text:
//   N rows of a micro-batch (capacity), C channels in, K channels out, H W height and width,
//   R S filter height and width, G groups of a convolution, V rows of a ghost batch.
// Activations are NHWC (or [N, C]); convolution weights KRSC; linear weights [out, in].
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace ghostbatch {

/// Element type of a buffer. Statistics, parameters and gradients are f32, or f64 where activations are f64.
enum class DataType : int32_t { f32 = 0, f64 = 1, bf16 = 2, u8 = 3, s32 = 4 };

/// Bytes of one element.
inline int64_t size_of(DataType type) {
  switch (type) {
    case DataType::f32: return 4;
    case DataType::f64: return 8;
    case DataType::bf16: return 2;
    case DataType::u8: return 1;
    case DataType::s32: return 4;
  }
  return 0;
}

/// Type of parameters, statistics and gradients beside activations of `type`: f64 for f64, else f32.
inline DataType parameter_type(DataType type) {
  return type == DataType::f64 ? DataType::f64 : DataType::f32;
}

/// What every function here throws. The text is "[kernel] needs X, got Y".
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text) : std::runtime_error(text) {}
};

/// A typed range of device memory. It does not own it; shapes beyond the element count belong to the kernels' specs.
struct View {
  void* data = nullptr;
  int64_t elements = 0;
  DataType type = DataType::f32;

  View() = default;
  View(void* data_, int64_t elements_, DataType type_) : data(data_), elements(elements_), type(type_) {}

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t bytes() const { return elements * size_of(type); }
};

/// Base of everything that Java holds: freed by `destroy` and by nothing else.
class Resource {
 public:
  Resource(const Resource&) = delete;
  Resource& operator=(const Resource&) = delete;
  void destroy() { delete this; }

 protected:
  Resource() = default;
  virtual ~Resource() = default;
};

}  // namespace ghostbatch
