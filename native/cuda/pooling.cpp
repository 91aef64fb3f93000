#include "cuda/pooling.h"

#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kKernel = "pooling";

class CudaPooling final : public Pooling {
 public:
  CudaPooling(const Context& context, const PoolSpec& spec) : Pooling(spec), context_(context) {
    check_kernel_type(kKernel, spec.type);
    // Kernels count places of an axis in 32 bits, a stride beyond the last one too.
    check_range(kKernel, "padded height and stride", spec.height + 2 * spec.pad_h + spec.extra_h + spec.stride_h, 1,
                kMaxDimension);
    check_range(kKernel, "padded width and stride", spec.width + 2 * spec.pad_w + spec.extra_w + spec.stride_w, 1,
                kMaxDimension);
  }

  const char* implementation() const override { return kCudaKernels; }

 private:
  void do_forward(const View& src, const View& dst, const View* workspace, int64_t rows) const override {
    const auto lock = context_.lock();
    pool_forward(of_rows(rows), src.data, dst.data, workspace == nullptr ? nullptr : workspace->as<uint8_t>(), nullptr,
                 context_.stream());
  }

  void do_backward(const View& diff_dst, const View& diff_src, const View* workspace, int64_t rows) const override {
    const auto lock = context_.lock();
    pool_backward(of_rows(rows), diff_dst.data, diff_src.data,
                  workspace == nullptr ? nullptr : workspace->as<uint8_t>(), nullptr, context_.stream());
  }

  /// The rows of a call are known at its launch.
  PoolSpec of_rows(int64_t rows) const {
    PoolSpec spec = spec_;
    spec.batch = rows;
    return spec;
  }

  const Context& context_;
};

}  // namespace

Pooling* make_pooling(const Context& context, const PoolSpec& spec) {
  return new CudaPooling(context, spec);
}

}  // namespace ghostbatch::cuda
