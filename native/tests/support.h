// What the kernel tests share: owned kernels, guarded buffers full of NaN, comparison by magnitude.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "common/bfloat16.h"
#include "ghostbatch/device.h"
#include "tests/tolerances.h"

namespace ghostbatch::tests {

struct Destroy {
  template <typename T>
  void operator()(T* resource) const {
    resource->destroy();
  }
};

template <typename T>
using Owned = std::unique_ptr<T, Destroy>;

template <typename T>
Owned<T> own(T* resource) {
  return Owned<T>(resource);
}

inline Owned<Device> make_device(const char* name) {
  return own(Device::create(name));
}

/// Memory of a kernel's argument: 64-byte aligned, NaN (or 0xFF) where not set, with guards that `~Buffer` checks, so
/// that a kernel which reads what nobody wrote, or writes past the end, is seen.
class Buffer {
 public:
  Buffer(DataType type, int64_t elements) : type_(type), elements_(elements) {
    const auto bytes = static_cast<size_t>(elements * size_of(type));
    data_ = static_cast<unsigned char*>(std::aligned_alloc(64, (bytes + 2 * kGuard + 63) / 64 * 64));
    std::memset(data_, 0xFF, bytes + 2 * kGuard);  // every floating-point type reads it as NaN
  }
  Buffer(DataType type, const std::vector<double>& values) : Buffer(type, static_cast<int64_t>(values.size())) {
    for (int64_t i = 0; i < elements_; ++i) set(i, values[static_cast<size_t>(i)]);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    const auto bytes = static_cast<size_t>(elements_ * size_of(type_));
    for (size_t i = 0; i < kGuard; ++i) {
      if (data_[i] == 0xFF && data_[kGuard + bytes + i] == 0xFF) continue;
      ADD_FAILURE() << "written outside a buffer of " << elements_ << " elements";
      break;
    }
    std::free(data_);
  }

  View view() const { return View(data_ + kGuard, elements_, type_); }
  int64_t elements() const { return elements_; }

  void set(int64_t i, double value) {
    const View to = view();
    switch (type_) {
      case DataType::f32:
        to.as<float>()[i] = static_cast<float>(value);
        break;
      case DataType::f64:
        to.as<double>()[i] = value;
        break;
      case DataType::bf16:
        to.as<uint16_t>()[i] = to_bfloat16(static_cast<float>(value));
        break;
      case DataType::u8:
        to.as<uint8_t>()[i] = static_cast<uint8_t>(value);
        break;
      case DataType::s32:
        to.as<int32_t>()[i] = static_cast<int32_t>(value);
        break;
    }
  }
  double at(int64_t i) const {
    const View from = view();
    switch (type_) {
      case DataType::f32:
        return static_cast<double>(from.as<float>()[i]);
      case DataType::f64:
        return from.as<double>()[i];
      case DataType::bf16:
        return static_cast<double>(from_bfloat16(from.as<uint16_t>()[i]));
      case DataType::u8:
        return from.as<uint8_t>()[i];
      case DataType::s32:
        return from.as<int32_t>()[i];
    }
    return 0;
  }
  std::vector<double> values() const {
    std::vector<double> result(static_cast<size_t>(elements_));
    for (int64_t i = 0; i < elements_; ++i) result[static_cast<size_t>(i)] = at(i);
    return result;
  }

 private:
  static constexpr size_t kGuard = 64;

  DataType type_;
  int64_t elements_;
  unsigned char* data_;
};

/// Numbers that f32 and bf16 hold exactly (8 bits): the same data on every backend and type.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  /// In [-1, 1), times `scale`, plus `shift`; with 1/128 as the step before them.
  double value(double scale = 1, double shift = 0) {
    return scale * (static_cast<double>(engine_() >> 24) / 128.0 - 1.0) + shift;
  }
  /// As `value`, never zero: 1/256 off the steps.
  double nonzero() { return static_cast<double>(static_cast<float>(value(1, 1.0 / 256))); }
  std::vector<double> values(int64_t count, double scale = 1, double shift = 0) {
    std::vector<double> result(static_cast<size_t>(count));
    for (double& x : result) x = value(scale, shift);
    return result;
  }
  /// Close to normal, 24 bits, rounded to f32.
  double normal() {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine_() >> 8) / 16777216.0;
    return static_cast<double>(static_cast<float>(sum - 6));
  }
  std::vector<double> normals(int64_t count, double scale = 1, double shift = 0) {
    std::vector<double> result(static_cast<size_t>(count));
    for (double& x : result) x = static_cast<double>(static_cast<float>(scale * normal() + shift));
    return result;
  }
  int64_t below(int64_t end) { return static_cast<int64_t>(engine_() % static_cast<uint32_t>(end)); }

 private:
  std::mt19937 engine_;
};

/// Largest magnitude; 1e-30 at least, so that it can divide.
inline double magnitude(const std::vector<double>& values) {
  double largest = 1e-30;
  for (const double x : values) largest = std::max(largest, std::abs(x));
  return largest;
}

/// |actual - expected| <= tolerance * scale, NaN equal to NaN.
inline void expect_close_in(double scale, const char* what, const std::vector<double>& actual,
                            const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double worst = 0;
  size_t place = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
    double error = std::abs(actual[i] - expected[i]) / scale;
    if (std::isnan(error)) error = actual[i] == expected[i] ? 0 : std::numeric_limits<double>::infinity();
    if (error > worst) worst = error, place = i;
  }
  EXPECT_LE(worst, tolerance) << what << "[" << place << "] = " << actual[place] << ", expected " << expected[place]
                              << " (scale " << scale << ")";
}

/// |actual - expected| <= tolerance * largest |expected|, NaN equal to NaN.
inline void expect_close(const char* what, const std::vector<double>& actual, const std::vector<double>& expected,
                         double tolerance) {
  expect_close_in(magnitude(expected), what, actual, expected, tolerance);
}

/// The same bits, NaN equal to NaN.
inline void expect_equal(const char* what, const std::vector<double>& actual, const std::vector<double>& expected) {
  expect_close(what, actual, expected, 0);
}

/// As a buffer of this type holds them.
inline std::vector<double> rounded(DataType type, std::vector<double> values) {
  for (double& x : values) {
    if (type == DataType::f32) x = static_cast<double>(static_cast<float>(x));
    if (type == DataType::bf16) x = static_cast<double>(Bfloat16(x));
  }
  return values;
}

/// Values that both sides rounded to bf16, from numbers that lay within tolerance * largest |expected| of one another.
inline void expect_close_in_bfloat16(const char* what, const std::vector<double>& actual,
                                     const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  const double slack = tolerance * magnitude(expected);
  size_t differing = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]))) continue;
    ++differing;
    ASSERT_TRUE(std::isfinite(actual[i] - expected[i])) << what << "[" << i << "]";
    const double unit = std::ldexp(1.0, std::ilogb(std::max(std::abs(actual[i]), std::abs(expected[i]))) - 7);
    ASSERT_LE(std::abs(actual[i] - expected[i]), unit + slack) << what << "[" << i << "]";
  }
  const auto share = Tolerance::kBfloat16Differing * static_cast<double>(actual.size());
  EXPECT_LE(static_cast<double>(differing), std::max(1.0, share)) << what << " of " << actual.size();
}

/// The comparison that fits activations of this type.
inline void expect_close_as(DataType type, const char* what, const std::vector<double>& actual,
                            const std::vector<double>& expected, double tolerance) {
  if (type == DataType::bf16) {
    expect_close_in_bfloat16(what, actual, expected, tolerance);
  } else {
    expect_close(what, actual, expected, tolerance);
  }
}

/// The call throws an Error that starts with "[" and holds `part`.
template <typename Call>
void expect_error(const Call& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "no Error, where one was to say \"" << part << "\"";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.substr(0, 1), "[") << text;
    EXPECT_NE(text.find(part), std::string::npos) << "\"" << text << "\" does not say \"" << part << "\"";
  }
}

/// d loss / d x[i] by central differences, for every i; x comes back as it was.
inline std::vector<double> numeric_gradient(std::vector<double>& x, const std::function<double()>& loss) {
  constexpr double kStep = 1e-5;
  std::vector<double> gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i];
    x[i] = kept + kStep;
    const double above = loss();
    x[i] = kept - kStep;
    const double below = loss();
    x[i] = kept;
    gradient[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

inline double inner_product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// A backend and a type of activations that it has.
struct Backend {
  const char* name;
  DataType type;
};

/// All of them here: cpu has bf16 only where there is AVX-512.
inline std::vector<Backend> all_backends() {
  std::vector<Backend> backends;
  for (const char* name : {"reference", "cpu"}) {
    const auto device = make_device(name);
    for (const DataType type : {DataType::f64, DataType::f32, DataType::bf16}) {
      if (device->supports(type)) backends.push_back({name, type});
    }
  }
  return backends;
}

inline std::string describe(const Backend& backend) {
  return std::string(backend.name) + (backend.type == DataType::f64   ? " f64"
                                      : backend.type == DataType::f32 ? " f32"
                                                                      : " bf16");
}

}  // namespace ghostbatch::tests
