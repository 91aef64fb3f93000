// VectorKernels of a GPU: vector_kernels.cu, with the device memory that it works on beside the vectors.
#include <algorithm>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/vector_kernels.h"

namespace ghostbatch::cuda {
namespace {

/// What a call has on the device, each for one call at a time: as all calls enqueue on one stream, the next one
/// overwrites it when the kernels of the last are done.
struct Slots {
  double result;
  union {
    SgdSpec sgd;
    AdamSpec adam;
    LarsSpec lars;
    LambSpec lamb;
  };
};

class CudaVectorKernels final : public VectorKernels {
 public:
  explicit CudaVectorKernels(const Context& context) : context_(context) {
    const auto held = context_.lock();
    slots_ = DeviceMemory(sizeof(Slots));
  }

  const char* implementation() const override { return "cuda"; }

 protected:
  void do_fill(Lanes*, double value, const View& x) const override {
    const auto held = context_.lock();
    vector::fill(x.type, value, x.data, x.elements, context_.stream());
  }

  void do_copy(Lanes*, const View& x, const View& y) const override {
    const auto held = context_.lock();
    vector::copy(x.type, x.data, y.type, y.data, x.elements, context_.stream());
  }

  void do_scale(Lanes*, double alpha, const View& x) const override {
    const auto held = context_.lock();
    vector::scale(x.type, alpha, x.data, x.elements, context_.stream());
  }

  void do_axpy(Lanes*, double alpha, const View& x, const View& y) const override {
    const auto held = context_.lock();
    vector::axpy(x.type, alpha, x.data, y.type, y.data, x.elements, context_.stream());
  }

  double do_dot(Lanes*, const View& x, const View& y) const override {
    return reduced(x.elements, [&](double* workspace, double* result) {
      vector::dot(x.type, x.data, y.data, x.elements, workspace, result, context_.stream());
    });
  }

  double do_sum(Lanes*, const View& x) const override {
    return reduced(x.elements, [&](double* workspace, double* result) {
      vector::sum(x.type, x.data, x.elements, workspace, result, context_.stream());
    });
  }

  double do_distance(Lanes*, const View& x, const View& y) const override {
    return reduced(x.elements, [&](double* workspace, double* result) {
      vector::distance(x.type, x.data, y.data, x.elements, workspace, result, context_.stream());
    });
  }

  double do_max_abs(Lanes*, const View& x) const override {
    return reduced(x.elements, [&](double* workspace, double* result) {
      vector::max_abs(x.type, x.data, x.elements, workspace, result, context_.stream());
    });
  }

  void do_interpolate(Lanes*, double alpha, const View& x, const View& y, const View& z) const override {
    const auto held = context_.lock();
    vector::interpolate(x.type, alpha, x.data, y.data, z.data, x.elements, context_.stream());
  }

  void do_project_box(Lanes*, double epsilon, const View& center, const View& x) const override {
    const auto held = context_.lock();
    vector::project_box(x.type, epsilon, center.data, x.data, x.elements, context_.stream());
  }

  void do_scale_by_magnitude(Lanes*, double offset, const View& x, const View& y) const override {
    const auto held = context_.lock();
    vector::scale_by_magnitude(x.type, offset, x.data, y.data, x.elements, context_.stream());
  }

  void do_sgd(Lanes*, const SgdSpec& spec, const View& weights, const View& gradient,
              const View& velocity) const override {
    const auto held = context_.lock();
    vector::sgd(weights.type, on_device(spec, slots()->sgd), weights.data, gradient.data, velocity.data,
                weights.elements, context_.stream());
  }

  void do_adam(Lanes*, const AdamSpec& spec, const View& weights, const View& gradient, const View& m,
               const View& v) const override {
    const auto held = context_.lock();
    vector::adam(weights.type, on_device(spec, slots()->adam), weights.data, gradient.data, m.data, v.data,
                 weights.elements, context_.stream());
  }

  void do_lars(Lanes*, const LarsSpec& spec, const Segments& segments, const View& weights, const View& gradient,
               const View& velocity) const override {
    const auto held = context_.lock();
    const vector::LayerTable& table = table_of(segments);
    vector::lars(weights.type, on_device(spec, slots()->lars), table, weights.data, gradient.data, velocity.data,
                 workspace(vector::layers_workspace(table)), context_.stream());
  }

  void do_lamb(Lanes*, const LambSpec& spec, const Segments& segments, const View& weights, const View& gradient,
               const View& m, const View& v) const override {
    const auto held = context_.lock();
    const vector::LayerTable& table = table_of(segments);
    vector::lamb(weights.type, on_device(spec, slots()->lamb), table, weights.data, gradient.data, m.data, v.data,
                 workspace(vector::layers_workspace(table)), context_.stream());
  }

 private:
  Slots* slots() const { return slots_.as<Slots>(); }
  double* workspace(int64_t doubles) const {
    workspace_.reserve(doubles * static_cast<int64_t>(sizeof(double)));
    return workspace_.as<double>();
  }

  /// The result of kernels that `enqueue(workspace, result)` enqueues, for vectors of n elements.
  template <class Enqueue>
  double reduced(int64_t n, const Enqueue& enqueue) const {
    const auto held = context_.lock();
    enqueue(workspace(vector::sum_workspace(n)), &slots()->result);
    synchronize(context_.stream());
    double result = 0;
    copy_memory(&result, &slots()->result, sizeof result, context_.stream());
    return result;
  }

  template <typename Spec>
  const Spec* on_device(const Spec& spec, Spec& slot) const {
    copy_memory(&slot, &spec, sizeof spec, context_.stream());
    return &slot;
  }

  /// Kept until other segments come: those of a run stay.
  const vector::LayerTable& table_of(const Segments& segments) const {
    const std::vector<Segments::Segment>& all = segments.all();
    const auto alike = [](const Segments::Segment& a, const Segments::Segment& b) {
      return a.first == b.first && a.end == b.end && a.adapted == b.adapted;
    };
    if (std::equal(all.begin(), all.end(), segments_.begin(), segments_.end(), alike)) return table_;
    segments_.clear();  // none, until the table is whole
    table_ = {};
    const vector::PieceTable table(all);
    const auto pieces = static_cast<int64_t>(table.pieces.size()), layers = static_cast<int64_t>(table.layers.size());
    const int64_t pieces_bytes = pieces * static_cast<int64_t>(sizeof(vector::Piece));
    const int64_t layers_bytes = layers * static_cast<int64_t>(sizeof(vector::LayerPieces));
    table_memory_.reserve(pieces_bytes + layers_bytes);
    char* const to = table_memory_.as<char>();
    copy_memory(to, table.pieces.data(), pieces_bytes, context_.stream());
    copy_memory(to + pieces_bytes, table.layers.data(), layers_bytes, context_.stream());
    table_ = {reinterpret_cast<const vector::Piece*>(to),
              reinterpret_cast<const vector::LayerPieces*>(to + pieces_bytes), pieces, layers};
    segments_ = all;
    return table_;
  }

  const Context& context_;
  DeviceMemory slots_;
  // Guarded by the context's lock.
  mutable DeviceMemory workspace_, table_memory_;  // as large as the largest call
  mutable vector::LayerTable table_{};
  mutable std::vector<Segments::Segment> segments_;  // that table_ is of
};

}  // namespace

VectorKernels* make_vector_kernels(const Context& context) {
  return new CudaVectorKernels(context);
}

}  // namespace ghostbatch::cuda
