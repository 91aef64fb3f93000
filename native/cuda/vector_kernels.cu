#include "cuda/vector_kernels.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda::vector {
namespace {

template <class Terms>
void reduce(const char* what, const Terms& terms, int64_t n, bool root, double* workspace, double* result,
            Stream stream) {
  const Pieces pieces(n);
  enqueue(what, piece_sums(terms, pieces, workspace), stream);
  enqueue(what, total<typename Terms::Join>(workspace, pieces.count, root, result), stream);
}

template <typename X, typename Y>
void copy_as(const void* x, void* y, int64_t n, Stream stream) {
  enqueue("copy", updates(Copy<X, Y>{static_cast<const X*>(x), static_cast<Y*>(y)}, Pieces(n)), stream);
}

template <typename X, typename Y>
void axpy_as(const Scalar& alpha, const void* x, void* y, int64_t n, Stream stream) {
  enqueue("axpy", updates(Axpy<X, Y>{alpha, static_cast<const X*>(x), static_cast<Y*>(y)}, Pieces(n)), stream);
}

}  // namespace

void fill(DataType type, const Scalar& value, void* x, int64_t n, Stream stream) {
  with_vector_type("fill", type, [&](auto element) {
    using T = decltype(element);
    enqueue("fill", updates(Fill<T>{static_cast<T*>(x), value}, Pieces(n)), stream);
  });
}

void copy(DataType from, const void* x, DataType to, void* y, int64_t n, Stream stream) {
  if (from == DataType::bf16 && to == DataType::f32) return copy_as<uint16_t, float>(x, y, n, stream);
  if (from == DataType::f32 && to == DataType::bf16) return copy_as<float, uint16_t>(x, y, n, stream);
  with_vector_type("copy", from, [&](auto element_x) {
    with_vector_type("copy", to, [&](auto element_y) {
      copy_as<decltype(element_x), decltype(element_y)>(x, y, n, stream);
    });
  });
}

void scale(DataType type, const Scalar& alpha, void* x, int64_t n, Stream stream) {
  with_vector_type("scale", type, [&](auto element) {
    using T = decltype(element);
    enqueue("scale", updates(Scale<T>{alpha, static_cast<T*>(x)}, Pieces(n)), stream);
  });
}

void axpy(DataType of_x, const Scalar& alpha, const void* x, DataType of_y, void* y, int64_t n, Stream stream) {
  if (of_x == DataType::f32 && of_y == DataType::f64) return axpy_as<float, double>(alpha, x, y, n, stream);
  if (of_x != of_y) fail("axpy", text("y of ", name_of(of_x)), name_of(of_y));
  with_vector_type("axpy", of_x, [&](auto element) {
    axpy_as<decltype(element), decltype(element)>(alpha, x, y, n, stream);
  });
}

void interpolate(DataType type, const Scalar& alpha, const void* x, const void* y, void* z, int64_t n, Stream stream) {
  with_vector_type("interpolate", type, [&](auto element) {
    using T = decltype(element);
    const Interpolate<T> update{alpha, static_cast<const T*>(x), static_cast<const T*>(y), static_cast<T*>(z)};
    enqueue("interpolate", updates(update, Pieces(n)), stream);
  });
}

void project_box(DataType type, const Scalar& epsilon, const void* center, void* x, int64_t n, Stream stream) {
  with_vector_type("project_box", type, [&](auto element) {
    using T = decltype(element);
    const ProjectBox<T> update{epsilon, static_cast<const T*>(center), static_cast<T*>(x)};
    enqueue("project_box", updates(update, Pieces(n)), stream);
  });
}

void scale_by_magnitude(DataType type, const Scalar& offset, const void* x, void* y, int64_t n, Stream stream) {
  with_vector_type("scale_by_magnitude", type, [&](auto element) {
    using T = decltype(element);
    const ScaleByMagnitude<T> update{offset, static_cast<const T*>(x), static_cast<T*>(y)};
    enqueue("scale_by_magnitude", updates(update, Pieces(n)), stream);
  });
}

void dot(DataType type, const void* x, const void* y, int64_t n, double* workspace, double* result, Stream stream) {
  with_vector_type("dot", type, [&](auto element) {
    using T = decltype(element);
    reduce("dot", DotTerms<T>{static_cast<const T*>(x), static_cast<const T*>(y)}, n, false, workspace, result, stream);
  });
}

void sum(DataType type, const void* x, int64_t n, double* workspace, double* result, Stream stream) {
  with_vector_type("sum", type, [&](auto element) {
    using T = decltype(element);
    reduce("sum", SumTerms<T>{static_cast<const T*>(x)}, n, false, workspace, result, stream);
  });
}

void norm(DataType type, const void* x, int64_t n, double* workspace, double* result, Stream stream) {
  with_vector_type("norm", type, [&](auto element) {
    using T = decltype(element);
    reduce("norm", DotTerms<T>{static_cast<const T*>(x), static_cast<const T*>(x)}, n, true, workspace, result, stream);
  });
}

void distance(DataType type, const void* x, const void* y, int64_t n, double* workspace, double* result,
              Stream stream) {
  with_vector_type("distance", type, [&](auto element) {
    using T = decltype(element);
    const DistanceTerms<T> terms{static_cast<const T*>(x), static_cast<const T*>(y)};
    reduce("distance", terms, n, true, workspace, result, stream);
  });
}

void max_abs(DataType type, const void* x, int64_t n, double* workspace, double* result, Stream stream) {
  with_vector_type("max_abs", type, [&](auto element) {
    using T = decltype(element);
    reduce("max_abs", LargestTerms<T>{static_cast<const T*>(x)}, n, false, workspace, result, stream);
  });
}

void clip(const double* norm, const Scalar& limit, double* scale, Stream stream) {
  enqueue("clip", clip_launch(norm, limit, scale), stream);
}

void sgd(DataType type, const SgdSpec* spec, void* weights, const void* gradient, void* velocity, int64_t n,
         Stream stream) {
  with_vector_type("sgd", type, [&](auto element) {
    using T = decltype(element);
    const Sgd<T> update{spec, static_cast<T*>(weights), static_cast<const T*>(gradient), static_cast<T*>(velocity)};
    enqueue("sgd", updates(update, Pieces(n)), stream);
  });
}

void adam(DataType type, const AdamSpec* spec, void* weights, const void* gradient, void* m, void* v, int64_t n,
          Stream stream) {
  with_vector_type("adam", type, [&](auto element) {
    using T = decltype(element);
    const Adam<T> update{spec, static_cast<T*>(weights), static_cast<const T*>(gradient), static_cast<T*>(m),
                         static_cast<T*>(v)};
    enqueue("adam", updates(update, Pieces(n)), stream);
  });
}

void lars(DataType type, const LarsSpec* spec, const LayerTable& table, void* weights, const void* gradient,
          void* velocity, double* workspace, Stream stream) {
  with_vector_type("lars", type, [&](auto element) {
    using T = decltype(element);
    T* const w = static_cast<T*>(weights);
    const T* const g = static_cast<const T*>(gradient);
    double* const of_layers = workspace + 2 * table.piece_count;
    const Pieces pieces(table);
    enqueue("lars", piece_sums(LarsTerms<T>{table.layers, w, g}, pieces, workspace), stream);
    enqueue("lars", ratios(LarsRatio{spec}, table, workspace, of_layers), stream);
    enqueue("lars",
            updates(LarsUpdate<T>{spec, table.layers, of_layers, w, g, static_cast<T*>(velocity)}, pieces), stream);
  });
}

void lamb(DataType type, const LambSpec* spec, const LayerTable& table, void* weights, const void* gradient, void* m,
          void* v, double* workspace, Stream stream) {
  with_vector_type("lamb", type, [&](auto element) {
    using T = decltype(element);
    T* const w = static_cast<T*>(weights);
    T *const first = static_cast<T*>(m), *const second = static_cast<T*>(v);
    double* const of_layers = workspace + 2 * table.piece_count;
    const Pieces pieces(table);
    const LambTerms<T> terms{spec, table.layers, w, static_cast<const T*>(gradient), first, second};
    enqueue("lamb", piece_sums(terms, pieces, workspace), stream);
    enqueue("lamb", ratios(LambRatio{}, table, workspace, of_layers), stream);
    enqueue("lamb", updates(LambUpdate<T>{spec, table.layers, of_layers, w, first, second}, pieces), stream);
  });
}

}  // namespace ghostbatch::cuda::vector
