#include <algorithm>

#include "common/dropout_mask.h"
#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

class ReferenceElementwise final : public Elementwise {
 public:
  const char* implementation() const override { return "loops"; }

 protected:
  void do_relu(const View& src, const View& dst, int64_t elements) const override {
    with_type("relu", src.type, [&](auto element) {
      using T = decltype(element);
      for (int64_t i = 0; i < elements; ++i) {
        dst.as<T>()[i] = static_cast<T>(rectify(static_cast<double>(src.as<T>()[i])));
      }
    });
  }

  void do_relu_backward(const View& dst, const View& diff_dst, const View& diff_src, int64_t elements) const override {
    with_type("relu_backward", dst.type, [&](auto element) {
      using T = decltype(element);
      for (int64_t i = 0; i < elements; ++i) {
        diff_src.as<T>()[i] = static_cast<double>(dst.as<T>()[i]) > 0 ? diff_dst.as<T>()[i] : T(0);
      }
    });
  }

  void do_add(const View& a, const View& b, const View& dst, int64_t elements, bool relu) const override {
    with_type("add", a.type, [&](auto element) {
      using T = decltype(element);
      for (int64_t i = 0; i < elements; ++i) {
        const double sum = static_cast<double>(a.as<T>()[i]) + static_cast<double>(b.as<T>()[i]);
        dst.as<T>()[i] = static_cast<T>(relu ? rectify(sum) : sum);
      }
    });
  }

  void do_dropout(const View& src, const View& dst, int64_t rows, int64_t row_elements, double rate,
                  const DropoutKey& key) const override {
    const uint32_t threshold = dropout_threshold(rate);
    const double scale = 1.0 / (1.0 - rate);
    with_type("dropout", src.type, [&](auto element) {
      using T = decltype(element);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t e = 0; e < row_elements; ++e) {
          const bool kept = dropout_words(key, row, e / 4).v[e % 4] >= threshold;
          const int64_t i = row * row_elements + e;
          dst.as<T>()[i] = kept ? static_cast<T>(static_cast<double>(src.as<T>()[i]) * scale) : T(0);
        }
      }
    });
  }

  void do_zero(const View& dst, int64_t first, int64_t elements) const override {
    with_type("zero", dst.type, [&](auto element) {
      using T = decltype(element);
      std::fill_n(dst.as<T>() + first, elements, T(0));
    });
  }

  void do_sign(const View& src, const View& dst, int64_t elements) const override {
    with_type("sign", src.type, [&](auto element) {
      using T = decltype(element);
      for (int64_t i = 0; i < elements; ++i) {
        const double value = static_cast<double>(src.as<T>()[i]);
        dst.as<uint8_t>()[i] = value > 0 ? 2 : value < 0 ? 0 : 1;
      }
    });
  }
};

}  // namespace

Elementwise* make_elementwise() {
  return new ReferenceElementwise();
}

}  // namespace ghostbatch::reference
