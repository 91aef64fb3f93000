#include "cuda/ghost_batch_norm.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda::norm {
namespace {

struct Enqueue {
  Stream stream;

  template <class Kernel>
  void operator()(const Kernel& kernel, int32_t blocks) const {
    enqueue("ghost_batch_norm", kernel, blocks, kThreads, stream);
  }
};

}  // namespace

void forward(const Plan& plan, const Tensors& tensors, Stream stream) {
  with_passes(plan, tensors, Enqueue{stream}, [](const auto& passes) { passes.forward(); });
}

void normalize(const Plan& plan, const Tensors& tensors, Stream stream) {
  with_passes(plan, tensors, Enqueue{stream}, [](const auto& passes) { passes.normalize(); });
}

void backward(const Plan& plan, const Tensors& tensors, Stream stream) {
  with_passes(plan, tensors, Enqueue{stream}, [](const auto& passes) { passes.backward(); });
}

void statistics(const Plan& plan, const Tensors& tensors, double* partial, Stream stream) {
  with_passes(plan, tensors, Enqueue{stream}, [&](const auto& passes) { passes.statistics(partial); });
}

void combine(const Plan& plan, const double* partials, const int32_t* rows, const int32_t* count, float* mean,
             float* variance, Stream stream) {
  combine(plan, partials, rows, count, mean, variance, Enqueue{stream});
}

void backward_sums(const Plan& plan, const Tensors& tensors, double* sums, Stream stream) {
  with_passes(plan, tensors, Enqueue{stream}, [&](const auto& passes) { passes.backward_sums(sums); });
}

void combine_sums(const Plan& plan, const double* parts, const int32_t* count, double* sums, float* diff_beta,
                  float* diff_gamma, Stream stream) {
  combine_sums(plan, parts, count, sums, diff_beta, diff_gamma, Enqueue{stream});
}

void backward_apply(const Plan& plan, const Tensors& tensors, const double* sums, Stream stream) {
  with_passes(plan, tensors, Enqueue{stream}, [&](const auto& passes) { passes.backward_apply(sums); });
}

}  // namespace ghostbatch::cuda::norm
