#include "cuda/elementwise.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda::elementwise {

void relu(DataType type, const void* src, void* dst, const Extent& extent, Stream stream) {
  with_type("relu", type, [&](auto element) {
    using T = decltype(element);
    enqueue("relu", map(Relu<T>{static_cast<const T*>(src), static_cast<T*>(dst)}, extent), stream);
  });
}

void relu_backward(DataType type, const void* dst, const void* diff_dst, void* diff_src, const Extent& extent,
                   Stream stream) {
  with_type("relu_backward", type, [&](auto element) {
    using T = decltype(element);
    const ReluBackward<T> operation{static_cast<const T*>(dst), static_cast<const T*>(diff_dst),
                                    static_cast<T*>(diff_src)};
    enqueue("relu_backward", map(operation, extent), stream);
  });
}

void add(DataType type, const void* a, const void* b, void* dst, bool relu, const Extent& extent, Stream stream) {
  with_type("add", type, [&](auto element) {
    using T = decltype(element);
    const Add<T> operation{static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(dst), relu};
    enqueue("add", map(operation, extent), stream);
  });
}

void dropout(DataType type, const void* src, void* dst, double rate, uint32_t layer, const DropoutState* state,
             const Extent& extent, Stream stream) {
  with_type("dropout", type, [&](auto element) {
    using T = decltype(element);
    enqueue("dropout", dropout_launch(static_cast<const T*>(src), static_cast<T*>(dst), rate, layer, state, extent),
            stream);
  });
}

void sign(DataType type, const void* src, uint8_t* dst, const Extent& extent, Stream stream) {
  with_type("sign", type, [&](auto element) {
    using T = decltype(element);
    enqueue("sign", sign_launch(static_cast<const T*>(src), dst, extent), stream);
  });
}

void zero_rows(DataType type, void* dst, const Extent& extent, Stream stream) {
  const Extent bytes{extent.rows, extent.most_rows, extent.row_elements * size_of(type)};
  enqueue("zero_rows", zero_rows_launch(dst, bytes), stream);
}

}  // namespace ghostbatch::cuda::elementwise
