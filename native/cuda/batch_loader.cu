#include "cuda/batch_loader.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {

void load(const LoadSpec& spec, const DeviceSamples& samples, const int32_t* indices, void* dst, int64_t dst_channels,
          int32_t* labels, const LoadState* state, const RowRange* rows, int64_t most_rows, Stream stream) {
  with_type("batch_loader", spec.type, [&](auto element) {
    using T = decltype(element);
    T* const to = static_cast<T*>(dst);
    if (samples.type == DataType::u8) {
      enqueue("batch_loader",
              load_samples<uint8_t>(spec, samples, indices, to, dst_channels, labels, state, rows, most_rows), stream);
    } else {
      enqueue("batch_loader",
              load_samples<float>(spec, samples, indices, to, dst_channels, labels, state, rows, most_rows), stream);
    }
  });
}

void perturb(const LoadSpec& spec, const uint8_t* signs, const Scalar& epsilon, void* dst, int64_t dst_channels,
             const RowRange* rows, int64_t most_rows, Stream stream) {
  with_type("batch_loader", spec.type, [&](auto element) {
    using T = decltype(element);
    enqueue("batch_loader",
            perturb_samples(spec, signs, epsilon, static_cast<T*>(dst), dst_channels, rows, most_rows), stream);
  });
}

}  // namespace ghostbatch::cuda
