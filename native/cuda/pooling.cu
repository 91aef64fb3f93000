#include "cuda/pooling.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {

void pool_forward(const PoolSpec& spec, const void* src, void* dst, uint8_t* workspace, const RowRange* rows,
                  Stream stream) {
  with_type("pooling", spec.type, [&](auto element) {
    using T = decltype(element);
    const T* const x = static_cast<const T*>(src);
    T* const y = static_cast<T*>(dst);
    if (spec.kind == PoolKind::max) {
      enqueue("pooling", pool_forward<PoolKind::max>(spec, x, y, workspace, rows), stream);
    } else {
      enqueue("pooling", pool_forward<PoolKind::average>(spec, x, y, nullptr, rows), stream);
    }
  });
}

void pool_backward(const PoolSpec& spec, const void* diff_dst, void* diff_src, const uint8_t* workspace,
                   const RowRange* rows, Stream stream) {
  with_type("pooling", spec.type, [&](auto element) {
    using T = decltype(element);
    const T* const dy = static_cast<const T*>(diff_dst);
    T* const dx = static_cast<T*>(diff_src);
    if (spec.kind == PoolKind::max) {
      enqueue("pooling", pool_backward<PoolKind::max>(spec, dy, dx, workspace, rows), stream);
    } else {
      enqueue("pooling", pool_backward<PoolKind::average>(spec, dy, dx, nullptr, rows), stream);
    }
  });
}

}  // namespace ghostbatch::cuda
