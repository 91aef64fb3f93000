// What every public function checks before a backend sees its arguments. All text is built on failure only; what builds
// it is cold, so that compilers keep it out of the way of the checks, which cost a small call as much as its work.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>

#include "ghostbatch/types.h"

namespace ghostbatch {

constexpr int64_t kMaxDimension = 2147483647;       // dimensions fit the 32-bit integers of the libraries below
constexpr int64_t kMaxElements = int64_t{1} << 48;  // buffers: far above any memory, far below an overflow

/// The parts written one after another.
template <typename... Parts>
[[gnu::cold]] std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Throws Error "[kernel] needs X, got Y".
[[noreturn, gnu::cold]] inline void fail(const char* kernel, const std::string& needs, const std::string& got) {
  throw Error(text("[", kernel, "] needs ", needs, ", got ", got));
}

/// "f32", or "type 77" for a number that is no type.
[[gnu::cold]] inline std::string name_of(DataType type) {
  switch (type) {
    case DataType::f32:
      return "f32";
    case DataType::f64:
      return "f64";
    case DataType::bf16:
      return "bf16";
    case DataType::u8:
      return "u8";
    case DataType::s32:
      return "s32";
  }
  return text("type ", static_cast<int32_t>(type));
}

/// A dimension, stride or count in [1, 2^31 - 1].
inline void check_positive(const char* kernel, const char* name, int64_t value) {
  if (value < 1 || value > kMaxDimension) fail(kernel, text(name, " in [1, ", kMaxDimension, "]"), text(value));
}

inline void check_range(const char* kernel, const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) fail(kernel, text(name, " in [", low, ", ", high, "]"), text(value));
}

/// Not NaN, not infinite.
inline void check_finite(const char* kernel, const char* name, double value) {
  if (!(value - value == 0)) fail(kernel, text("a finite ", name), text(value));
}

/// Product of positive factors that stays below kMaxElements.
template <typename... Factors>
int64_t check_product(const char* kernel, const char* name, Factors... factors) {
  int64_t product = 1;
  bool fits = true;
  const auto multiply = [&](int64_t factor) {
    fits = fits && factor <= kMaxElements / product;
    if (fits) product *= factor;
  };
  (multiply(factors), ...);
  if (!fits) {
    std::ostringstream got;
    const char* separator = "";
    ((got << separator << factors, separator = " x "), ...);
    fail(kernel, text(name, " of at most 2^48 elements"), got.str());
  }
  return product;
}

/// A type that activations may have.
inline void check_activation_type(const char* kernel, DataType type) {
  if (type != DataType::f32 && type != DataType::f64 && type != DataType::bf16) {
    fail(kernel, "activations of f32, f64 or bf16", name_of(type));
  }
}

/// Parameters, statistics, gradients.
inline void check_parameter_type(const char* kernel, const char* role, DataType type) {
  if (type != DataType::f32 && type != DataType::f64) fail(kernel, text(role, " of f32 or f64"), name_of(type));
}

inline void check_memory(const char* kernel, const char* role, const View& view) {
  if (view.data == nullptr) fail(kernel, text(role, " with memory"), "null");
  const int64_t size = size_of(view.type);
  if (size == 0 || reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(size) != 0) {
    fail(kernel, text(role, " aligned to its elements"), text(name_of(view.type), " at ", view.data));
  }
}

/// Exactly `elements` of `type`: sizes that a spec fixes.
inline void check_view(const char* kernel, const char* role, const View& view, int64_t elements, DataType type) {
  if (view.type != type || view.elements != elements) {
    fail(kernel, text(role, " of ", elements, " ", name_of(type)), text(view.elements, " ", name_of(view.type)));
  }
  check_memory(kernel, role, view);
}

/// At least `elements` of `type`: sizes that a call gives.
inline void check_view_holds(const char* kernel, const char* role, const View& view, int64_t elements, DataType type) {
  if (view.type != type || view.elements < elements) {
    fail(kernel, text(role, " of at least ", elements, " ", name_of(type)),
         text(view.elements, " ", name_of(view.type)));
  }
  check_memory(kernel, role, view);
}

/// Room for a backend's own use: at least `bytes`, aligned to 64 bytes; anything goes where none are needed.
inline void check_room(const char* kernel, const char* role, const View& view, int64_t bytes) {
  if (bytes == 0) return;
  if (view.elements < 0 || view.elements > kMaxElements || view.bytes() < bytes) {
    fail(kernel, text(role, " of at least ", bytes, " bytes"), text(view.elements, " ", name_of(view.type)));
  }
  if (view.data == nullptr || reinterpret_cast<uintptr_t>(view.data) % 64 != 0) {
    fail(kernel, text(role, " aligned to 64 bytes"), view.data == nullptr ? "null" : text("address ", view.data));
  }
}

/// An optional argument that must be there exactly where `wanted`.
inline void check_presence(const char* kernel, const char* role, const View* view, bool wanted) {
  if (wanted && view == nullptr) fail(kernel, role, "null");
  if (!wanted && view != nullptr) fail(kernel, text("no ", role, ", as its spec has none"), "one");
}

/// Labels of rows from `first` on, in memory of the host.
inline void check_labels(const char* kernel, const int32_t* labels, int64_t rows, int64_t classes, int64_t first = 0) {
  for (int64_t row = 0; row < rows; ++row) {
    if (labels[row] < 0 || labels[row] >= classes) {
      fail(kernel, text("labels in [0, ", classes, ")"), text(labels[row], " in row ", first + row));
    }
  }
}

inline void check_pointer(const char* kernel, const char* role, const void* pointer) {
  if (pointer == nullptr) fail(kernel, role, "null");
}

}  // namespace ghostbatch
