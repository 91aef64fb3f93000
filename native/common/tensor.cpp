#include <atomic>
#include <cstring>

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

template <typename From>
void write_floating(const View& view, int64_t first, int64_t count, const From* src) {
  for (int64_t i = 0; i < count; ++i) {
    switch (view.type) {
      case DataType::f32:
        view.as<float>()[first + i] = static_cast<float>(src[i]);
        break;
      case DataType::f64:
        view.as<double>()[first + i] = static_cast<double>(src[i]);
        break;
      default:
        view.as<uint16_t>()[first + i] = to_bfloat16(static_cast<float>(src[i]));
        break;
    }
  }
}

template <typename To>
void read_floating(const View& view, int64_t first, int64_t count, To* dst) {
  for (int64_t i = 0; i < count; ++i) {
    switch (view.type) {
      case DataType::f32:
        dst[i] = static_cast<To>(view.as<float>()[first + i]);
        break;
      case DataType::f64:
        dst[i] = static_cast<To>(view.as<double>()[first + i]);
        break;
      default:
        dst[i] = static_cast<To>(from_bfloat16(view.as<uint16_t>()[first + i]));
        break;
    }
  }
}

}  // namespace

Tensor* Tensor::create(Device& device, DataType type, int64_t elements) {
  const int64_t size = size_of(type);
  if (size == 0) fail(kTensor, "a type", name_of(type));
  if (elements < 1 || elements > kMaxElements / 8) fail(kTensor, "elements in [1, 2^45]", text(elements));
  const int64_t bytes = elements * size;
  void* const data = device.allocate(bytes);
  std::memset(data, 0, static_cast<size_t>(bytes));
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
  write_floating(view_, first, count, src);
}

void Tensor::write_doubles(int64_t first, int64_t count, const double* src) {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "src", src);
  write_floating(view_, first, count, src);
}

void Tensor::write_ints(int64_t first, int64_t count, const int32_t* src) {
  check_kind(view_.type, false);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "src", src);
  if (view_.type == DataType::s32) {
    std::memcpy(view_.as<int32_t>() + first, src, static_cast<size_t>(count) * sizeof(int32_t));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (src[i] < 0 || src[i] > 255) fail(kTensor, "values in [0, 255] for u8", text(src[i], " at ", i));
  }
  for (int64_t i = 0; i < count; ++i) view_.as<uint8_t>()[first + i] = static_cast<uint8_t>(src[i]);
}

void Tensor::read_floats(int64_t first, int64_t count, float* dst) const {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "dst", dst);
  read_floating(view_, first, count, dst);
}

void Tensor::read_doubles(int64_t first, int64_t count, double* dst) const {
  check_kind(view_.type, true);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "dst", dst);
  read_floating(view_, first, count, dst);
}

void Tensor::read_ints(int64_t first, int64_t count, int32_t* dst) const {
  check_kind(view_.type, false);
  check_range(kTensor, first, count);
  check_pointer(kTensor, "dst", dst);
  for (int64_t i = 0; i < count; ++i) {
    dst[i] = view_.type == DataType::s32 ? view_.as<int32_t>()[first + i] : view_.as<uint8_t>()[first + i];
  }
}

}  // namespace ghostbatch
