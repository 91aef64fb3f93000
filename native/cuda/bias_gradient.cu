#include "cuda/bias_gradient.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {

void sum_bias(DataType type, const void* diff_dst, float* diff_bias, double* workspace, const Extent& places,
              int64_t filters, Stream stream) {
  with_type("bias_gradient", type, [&](auto element) {
    using T = decltype(element);
    enqueue("bias_gradient", bias_runs(static_cast<const T*>(diff_dst), workspace, places, filters), stream);
    enqueue("bias_gradient", bias_total<T>(workspace, diff_bias, places, filters), stream);
  });
}

int64_t bias_workspace(DataType type, const Extent& places, int64_t filters) {
  int64_t doubles = 0;
  with_type("bias_gradient", type,
            [&](auto element) { doubles = bias_workspace<decltype(element)>(places, filters); });
  return doubles;
}

}  // namespace ghostbatch::cuda
