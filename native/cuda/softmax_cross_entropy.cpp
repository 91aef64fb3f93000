#include "cuda/softmax_cross_entropy.h"

#include <vector>

#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kKernel = "softmax_cross_entropy";

class CudaSoftmaxCrossEntropy final : public SoftmaxCrossEntropy {
 public:
  explicit CudaSoftmaxCrossEntropy(const Context& context) : context_(context) {}

  const char* implementation() const override { return kCudaKernels; }

 private:
  /// In device memory.
  struct State {
    LossState loss;
    LossResult result;
  };

  // Labels come to the host first: the kernel takes any for an index.
  void do_run(const View& logits, const View& labels, const View* weights, int64_t rows, int64_t classes,
              double label_smoothing, double scale, const View* diff_logits, LossResult& result) const override {
    // Kernels count classes in 32 bits, up to a team of threads beyond the last one.
    check_range(kKernel, "classes", classes, 1, kMaxDimension - SoftmaxRows<float>::kMostTeam);
    const auto lock = context_.lock();
    const Stream stream = context_.stream();
    labels_.resize(static_cast<size_t>(rows));
    copy_memory(labels_.data(), labels.data, rows * size_of(DataType::s32), stream);
    synchronize(stream);
    check_labels(kKernel, labels_.data(), rows, classes);

    state_.reserve(sizeof(State));
    losses_.reserve(rows * static_cast<int64_t>(sizeof(LossResult)));
    State state{{label_smoothing, scale}, {}};
    State* const on_device = state_.as<State>();
    copy_memory(on_device, &state, sizeof state, stream);
    softmax_cross_entropy(logits.type, logits.data, labels.as<int32_t>(),
                          weights == nullptr ? nullptr : weights->as<float>(),
                          diff_logits == nullptr ? nullptr : diff_logits->data, losses_.as<LossResult>(),
                          &on_device->result, &on_device->loss, Extent{nullptr, rows, classes}, stream);
    copy_memory(&state, on_device, sizeof state, stream);
    synchronize(stream);
    result = state.result;
  }

  const Context& context_;
  // None before the first call, as engines have their own; then as large as the largest call.
  mutable DeviceMemory state_, losses_;
  mutable std::vector<int32_t> labels_;
};

}  // namespace

SoftmaxCrossEntropy* make_softmax_cross_entropy(const Context& context) {
  return new CudaSoftmaxCrossEntropy(context);
}

}  // namespace ghostbatch::cuda
