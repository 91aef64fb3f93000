#include "cuda/elementwise.h"

#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

class CudaElementwise final : public Elementwise {
 public:
  explicit CudaElementwise(const Context& context) : context_(context) {}

  const char* implementation() const override { return kCudaKernels; }

 private:
  void do_relu(const View& src, const View& dst, int64_t elements) const override {
    const auto lock = context_.lock();
    elementwise::relu(src.type, src.data, dst.data, vector_of(elements), context_.stream());
  }

  void do_relu_backward(const View& dst, const View& diff_dst, const View& diff_src, int64_t elements) const override {
    const auto lock = context_.lock();
    elementwise::relu_backward(dst.type, dst.data, diff_dst.data, diff_src.data, vector_of(elements),
                               context_.stream());
  }

  void do_add(const View& a, const View& b, const View& dst, int64_t elements, bool relu) const override {
    const auto lock = context_.lock();
    elementwise::add(a.type, a.data, b.data, dst.data, relu, vector_of(elements), context_.stream());
  }

  void do_dropout(const View& src, const View& dst, int64_t rows, int64_t row_elements, double rate,
                  const DropoutKey& key) const override {
    const elementwise::DropoutState state{key.seed, key.step, key.first_row, 1};
    const auto lock = context_.lock();
    state_.reserve(sizeof state);
    copy_memory(state_.as<void>(), &state, sizeof state, context_.stream());
    elementwise::dropout(src.type, src.data, dst.data, rate, key.layer, state_.as<elementwise::DropoutState>(),
                         Extent{nullptr, rows, row_elements}, context_.stream());
  }

  void do_zero(const View& dst, int64_t first, int64_t elements) const override {
    check_kernel_type("zero", dst.type);
    const auto lock = context_.lock();
    const int64_t size = size_of(dst.type);
    fill_memory(dst.as<char>() + first * size, 0, elements * size, context_.stream());
  }

  void do_sign(const View& src, const View& dst, int64_t elements) const override {
    const auto lock = context_.lock();
    elementwise::sign(src.type, src.data, dst.as<uint8_t>(), vector_of(elements), context_.stream());
  }

  static Extent vector_of(int64_t elements) { return {nullptr, 1, elements}; }

  const Context& context_;
  mutable DeviceMemory state_;  // DropoutState; none before the first call, as engines have their own
};

}  // namespace

Elementwise* make_elementwise(const Context& context) {
  return new CudaElementwise(context);
}

}  // namespace ghostbatch::cuda
