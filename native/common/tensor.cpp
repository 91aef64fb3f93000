#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include "common/bfloat16.h"
#include "common/check.h"
#include "ghostbatch/device.h"

namespace ghostbatch {
namespace {

constexpr const char* kTensor = "tensor";

std::atomic<int64_t> live{0};

/// The tensor's type must be one of floating point (`floating`), or one of integers.
void check_kind(DataType type, bool floating) {
  const bool is_floating = type == DataType::f32 || type == DataType::f64 || type == DataType::bf16;
  if (is_floating != floating) {
    fail(kTensor, floating ? "f32, f64 or bf16 for floating-point copies" : "u8 or s32 for integer copies",
         name_of(type));
  }
}

/// Host copies go through the device in pieces of so many elements, converted in between.
constexpr int64_t kPiece = 1 << 16;

/// piece(first, count) for all of [0, count).
template <typename Piece>
void in_pieces(int64_t count, const Piece& piece) {
  for (int64_t first = 0; first < count; first += kPiece) piece(first, std::min(kPiece, count - first));
}

template <typename To, typename From>
To converted(From value) {
  if constexpr (std::is_same_v<To, uint16_t>) {  // bf16
    return to_bfloat16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<From, uint16_t>) {
    return static_cast<To>(from_bfloat16(value));
  } else {
    return static_cast<To>(value);
  }
}

/// Elements of the tensor's type T from or to those of the caller's.
template <typename T, typename From>
void write_as(Device& device, T* dst, int64_t count, const From* src) {
  if constexpr (std::is_same_v<T, From>) {
    device.write(dst, src, count * static_cast<int64_t>(sizeof(T)));
  } else {
    std::vector<T> staged(static_cast<size_t>(std::min(kPiece, count)));
    in_pieces(count, [&](int64_t first, int64_t n) {
      std::transform(src + first, src + first + n, staged.begin(), [](From value) { return converted<T>(value); });
      device.write(dst + first, staged.data(), n * static_cast<int64_t>(sizeof(T)));
    });
  }
}
template <typename T, typename To>
void read_as(Device& device, const T* src, int64_t count, To* dst) {
  if constexpr (std::is_same_v<T, To>) {
    device.read(src, dst, count * static_cast<int64_t>(sizeof(T)));
  } else {
    std::vector<T> staged(static_cast<size_t>(std::min(kPiece, count)));
    in_pieces(count, [&](int64_t first, int64_t n) {
      device.read(src + first, staged.data(), n * static_cast<int64_t>(sizeof(T)));
      std::transform(staged.begin(), staged.begin() + n, dst + first, [](T value) { return converted<To>(value); });
    });
  }
}

/// body(pointer to the elements of the view from `first` on), by type.
template <typename Body>
void with_elements(const View& view, int64_t first, const Body& body) {
  switch (view.type) {
    case DataType::f32: return body(view.as<float>() + first);
    case DataType::f64: return body(view.as<double>() + first);
    case DataType::bf16: return body(view.as<uint16_t>() + first);
    case DataType::u8: return body(view.as<uint8_t>() + first);
    case DataType::s32: return body(view.as<int32_t>() + first);
  }
}

}  // namespace

Tensor* Tensor::create(Device& device, DataType type, int64_t elements) {
  const int64_t size = size_of(type);
  if (size == 0) fail(kTensor, "a type", name_of(type));
  if (elements < 1 || elements > kMaxElements / 8) fail(kTensor, "elements in [1, 2^45]", text(elements));
  const int64_t bytes = elements * size;
  void* const data = device.allocate(bytes);
  device.zero(data, bytes);
  auto* const tensor = new (std::nothrow) Tensor(device, View(data, elements, type));
  if (tensor == nullptr) {
    device.release(data, bytes);
    fail(kTensor, "memory for its own record", "none free");
  }
  live += bytes;
  return tensor;
}

Tensor::~Tensor() {
  live -= view_.bytes();
  device_.release(view_.data, view_.bytes());
}

int64_t Tensor::live_bytes() {
  return live;
}

void Tensor::check_range(const char* what, int64_t first, int64_t count) const {
  if (first < 0 || count < 0 || first > view_.elements || count > view_.elements - first) {
    fail(what, text("elements within [0, ", view_.elements, ")"), text("[", first, ", ", first, " + ", count, ")"));
  }
}

const View& Tensor::slice(int64_t first, int64_t count) {
  check_range(kTensor, first, count);
  auto* const data = view_.as<std::byte>() + first * size_of(view_.type);
  return slices_.try_emplace({first, count}, data, count, view_.type).first->second;
}

void Tensor::write_floats(int64_t first, int64_t count, const float* src) {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "src", src);
  with_elements(view_, first, [&](auto* dst) { write_as(device_, dst, count, src); });
}

void Tensor::write_doubles(int64_t first, int64_t count, const double* src) {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "src", src);
  with_elements(view_, first, [&](auto* dst) { write_as(device_, dst, count, src); });
}

void Tensor::write_ints(int64_t first, int64_t count, const int32_t* src) {
  check_kind(view_.type, false);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "src", src);
  for (int64_t i = 0; view_.type == DataType::u8 && i < count; ++i) {
    if (src[i] < 0 || src[i] > 255) fail(kTensor, "values in [0, 255] for u8", text(src[i], " at ", i));
  }
  with_elements(view_, first, [&](auto* dst) { write_as(device_, dst, count, src); });
}

void Tensor::read_floats(int64_t first, int64_t count, float* dst) const {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "dst", dst);
  with_elements(view_, first, [&](const auto* src) { read_as(device_, src, count, dst); });
}

void Tensor::read_doubles(int64_t first, int64_t count, double* dst) const {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "dst", dst);
  with_elements(view_, first, [&](const auto* src) { read_as(device_, src, count, dst); });
}

void Tensor::read_ints(int64_t first, int64_t count, int32_t* dst) const {
  check_kind(view_.type, false);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "dst", dst);
  with_elements(view_, first, [&](const auto* src) { read_as(device_, src, count, dst); });
}

}  // namespace ghostbatch
