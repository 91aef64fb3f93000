#include <cstring>

#include "common/dropout_mask.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"
#include "ghostbatch/philox.h"

namespace ghostbatch::cpu {
namespace {

const ElementwiseTable& table(const char* kernel, DataType type) {
  return *table_for(kernel, type, simd_tables().elementwise_f32, simd_tables().elementwise_bf16);
}

class SimdElementwise final : public Elementwise {
 public:
  const char* implementation() const override { return simd_implementation(); }

 private:
  void do_relu(const View& src, const View& dst, int64_t elements) const override {
    table("relu", src.type).relu(src.data, dst.data, elements);
  }

  void do_relu_backward(const View& dst, const View& diff_dst, const View& diff_src, int64_t elements) const override {
    table("relu_backward", dst.type).relu_backward(dst.data, diff_dst.data, diff_src.data, elements);
  }

  void do_add(const View& a, const View& b, const View& dst, int64_t elements, bool relu) const override {
    table("add", a.type).add(a.data, b.data, dst.data, elements, relu);
  }

  void do_dropout(const View& src, const View& dst, int64_t rows, int64_t row_elements, double rate,
                  const DropoutKey& key) const override {
    const ElementwiseTable& kernels = table("dropout", src.type);
    const uint32_t threshold = dropout_threshold(rate);
    const auto scale = static_cast<float>(1.0 / (1.0 - rate));
    const int64_t row_bytes = row_elements * size_of(src.type);
    // The counters of dropout_words.
    for (int64_t row = 0; row < rows; ++row) {
      kernels.dropout(src.as<char>() + row * row_bytes, dst.as<char>() + row * row_bytes, row_elements, threshold,
                      scale, key.seed, philox_stream(RandomPurpose::dropout, key.layer), static_cast<uint32_t>(key.step),
                      static_cast<uint32_t>(key.first_row + row));
    }
  }

  void do_zero(const View& dst, int64_t first, int64_t elements) const override {
    table("zero", dst.type);  // for its error alone
    const int64_t size = size_of(dst.type);
    std::memset(dst.as<char>() + first * size, 0, static_cast<size_t>(elements * size));
  }

  void do_sign(const View& src, const View& dst, int64_t elements) const override {
    table("sign", src.type).sign(src.data, dst.as<uint8_t>(), elements);
  }
};

}  // namespace

Elementwise* make_elementwise() {
  simd_tables();  // an instruction set that is not to be had is an error here, not in the first call
  return new SimdElementwise();
}

const char* simd_implementation() {
  static const std::string name = text("simd:", simd_isa());
  return name.c_str();
}

}  // namespace ghostbatch::cpu
