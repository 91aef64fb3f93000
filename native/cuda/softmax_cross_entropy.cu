#include "cuda/softmax_cross_entropy.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {

void softmax_cross_entropy(DataType type, const void* logits, const int32_t* labels, const float* weights,
                           void* diff_logits, LossResult* losses, LossResult* result, const LossState* state,
                           const Extent& extent, Stream stream) {
  with_type("softmax_cross_entropy", type, [&](auto element) {
    using T = decltype(element);
    const auto rows = softmax_rows(static_cast<const T*>(logits), labels, weights, static_cast<T*>(diff_logits), losses,
                                   state, extent);
    enqueue("softmax_cross_entropy", rows, stream);
  });
  enqueue("softmax_cross_entropy", loss_total(losses, extent, result), stream);
}

}  // namespace ghostbatch::cuda
