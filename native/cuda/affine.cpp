#include "ghostbatch/affine.h"

#include <algorithm>
#include <optional>
#include <string>

#include "common/check.h"
#include "cuda/add_bias.h"
#include "cuda/bias_gradient.h"
#include "cuda/biased_matmul.h"
#include "cuda/convolution.h"
#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

/// What both kinds of layers do alike. Packed weights lie as the parameters do, in the type of activations, and serve
/// both directions; gradients of weights lie as the weights do, in f32. Activations and packed gradients are aligned to
/// 16 bytes, as the libraries ask; weights, biases and their gradients lie anywhere in their vectors. Scratch comes at
/// multiples of 64 bytes as everywhere, and holds what it takes to round that up to the libraries' 256.
class LibraryAffine : public Affine {
 public:
  const char* implementation() const final { return implementation_.c_str(); }

 protected:
  template <typename Spec>
  LibraryAffine(const Context& context, const Spec& spec, bool backward, const char* name)
      : Affine(spec, backward), context_(context) {
    if (spec.type == DataType::f64) fail(name, "f32 or bf16 on backend cuda", name_of(spec.type));
    packed_weights_bytes_ = weights_elements() * size_of(type());
    packs_diff_weights_ = false;
    if (backward) packed_diff_weights_elements_ = weights_elements();
  }

  void do_pack_weights(const View& weights, const View& packed_weights, const View&) const final {
    const auto lock = context_.lock();
    vector::copy(weights.type, weights.data, type(), packed_weights.data, weights.elements, context_.stream());
  }

  void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights, const View&) const final {
    const auto lock = context_.lock();
    vector::copy(packed_diff_weights.type, packed_diff_weights.data, diff_weights.type, diff_weights.data,
                 diff_weights.elements, context_.stream());
  }

  const Context& context_;
  std::string implementation_;
};

/// The gradient of a bias [filters] that no library sums beside its product: that of diff_dst [rows, places, filters].
class BiasSum {
 public:
  BiasSum(DataType type, int64_t rows, int64_t places, int64_t filters)
      : type_(type), extent_{nullptr, rows, places}, filters_(filters) {}

  int64_t bytes() const { return bias_workspace(type_, extent_, filters_) * size_of(DataType::f64); }
  void run(const View& diff_dst, const View& diff_bias, void* workspace, Stream stream) const {
    sum_bias(type_, diff_dst.data, diff_bias.as<float>(), static_cast<double*>(workspace), extent_, filters_, stream);
  }

 private:
  DataType type_;
  Extent extent_;
  int64_t filters_;
};

/// A fixed sum for each layer, so that the choice of engines does not hang on what memory is free: what engines that
/// split sums or transform filters take, and a copy in f32 of all that a direction touches, for those that lay it out
/// anew. Only what the chosen engines want is asked for.
ConvolutionLimits limits_of(const Context& context, const ConvolutionSpec& spec) {
  constexpr int64_t kSplits = int64_t{64} << 20;
  const int64_t elements = spec.src_elements() + spec.weights_elements() + spec.dst_elements();
  return {context.allowed().tf32, kSplits + elements * size_of(DataType::f32)};
}

Tuning tuning_of(const Context& context) {
  return {&context.choices(), context.allowed().autotune};
}

class CudnnConvolution final : public LibraryAffine {
 public:
  CudnnConvolution(const Context& context, const ConvolutionSpec& spec, bool backward)
      : LibraryAffine(context, spec, backward, "convolution"),
        filters_(spec.filters),
        relu_(spec.relu),
        bias_sum_(spec.type, spec.batch, spec.out_height() * spec.out_width(), spec.filters),
        forward_(context.cudnn(), spec, Direction::forward, limits_of(context, spec), tuning_of(context)) {
    ScratchLayout forward;
    forward_workspace_ = forward.add(forward_.workspace_bytes());
    bias_ = forward.add(forward_.fused() ? bias_elements() * size_of(DataType::f32) : 0);
    scratch_bytes_ = forward.bytes();
    implementation_ = text(forward_.implementation(), forward_.fused() ? "" : " + add_bias");
    if (!backward) return;

    data_.emplace(context.cudnn(), spec, Direction::backward_data, limits_of(context, spec), tuning_of(context));
    ScratchLayout data;
    data.add(data_->workspace_bytes());
    weights_.emplace(context.cudnn(), spec, Direction::backward_weights, limits_of(context, spec), tuning_of(context));
    ScratchLayout weights;
    weights_workspace_ = weights.add(weights_->workspace_bytes());
    diff_weights_ = weights.add(widens() ? weights_elements() * size_of(weights_->diff_weights_type()) : 0);
    bias_sums_ = weights.add(spec.bias ? bias_sum_.bytes() : 0);
    scratch_bytes_ = std::max({scratch_bytes_, data.bytes(), weights.bytes()});
    implementation_ += text(" | ", data_->implementation(), " | ", weights_->implementation(),
                            widens() ? " + copy" : "", spec.bias ? " + bias_gradient" : "");
  }

 protected:
  void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                  const View& scratch) const override {
    const auto lock = context_.lock();
    const Stream stream = context_.stream();
    const bool along = bias != nullptr && forward_.fused();
    void* const shift = along ? as_library_wants(*bias, DataType::f32, part_of(scratch, bias_), stream) : nullptr;
    forward_.run(context_.cudnn(), {src.data, packed_weights.data, dst.data, shift},
                 part_of(scratch, forward_workspace_));
    if (!forward_.fused()) add_bias(dst, bias != nullptr ? bias->as<float>() : nullptr, filters_, relu_, stream);
  }

  void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                        const View& scratch) const override {
    const auto lock = context_.lock();
    data_->run(context_.cudnn(), {diff_src.data, packed_weights.data, diff_dst.data, nullptr}, part_of(scratch, 0));
  }

  void do_backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    const auto lock = context_.lock();
    const Stream stream = context_.stream();
    void* const written = widens() ? part_of(scratch, diff_weights_) : packed_diff_weights.data;
    weights_->run(context_.cudnn(), {src.data, written, diff_dst.data, nullptr}, part_of(scratch, weights_workspace_));
    if (widens()) {
      vector::copy(weights_->diff_weights_type(), written, packed_diff_weights.type, packed_diff_weights.data,
                   weights_elements(), stream);
    }
    if (diff_bias != nullptr) bias_sum_.run(diff_dst, *diff_bias, part_of(scratch, bias_sums_), stream);
  }

 private:
  bool widens() const { return weights_->diff_weights_type() != DataType::f32; }

  int64_t filters_;
  bool relu_;
  BiasSum bias_sum_;
  ConvolutionPlan forward_;
  std::optional<ConvolutionPlan> data_, weights_;  // without backward: neither
  // Places in scratch: forward's, and those of backward weights.
  int64_t forward_workspace_, bias_;
  int64_t weights_workspace_ = 0, diff_weights_ = 0, bias_sums_ = 0;
};

MatmulSpec product(const Context& context, int64_t m, int64_t n, int64_t k, DataType type) {
  MatmulSpec spec;
  spec.gemm.m = m;
  spec.gemm.n = n;
  spec.gemm.k = k;
  spec.gemm.type = spec.result = type;
  spec.tf32 = context.allowed().tf32;
  return spec;
}

/// dst [N,out] = src [N,in] transpose(weights [out,in]).
MatmulSpec forward_product(const Context& context, const LinearSpec& spec) {
  MatmulSpec forward = product(context, spec.batch, spec.out, spec.in, spec.type);
  forward.gemm.transpose_b = true;
  forward.gemm.bias = spec.bias;
  forward.gemm.relu = spec.relu;
  return forward;
}

/// diff_weights [out,in] = transpose(diff_dst [N,out]) src [N,in], and beside it the sum of diff_dst over N.
MatmulSpec weights_product(const Context& context, const LinearSpec& spec) {
  MatmulSpec weights = product(context, spec.out, spec.in, spec.batch, spec.type);
  weights.gemm.transpose_a = true;
  weights.result = DataType::f32;
  weights.bias_gradient = spec.bias;
  return weights;
}

class CublasLtLinear final : public LibraryAffine {
 public:
  CublasLtLinear(const Context& context, const LinearSpec& spec, bool backward)
      : LibraryAffine(context, spec, backward, "linear"),
        bias_sum_(spec.type, spec.batch, 1, spec.out),
        forward_(context, forward_product(context, spec)) {
    scratch_bytes_ = forward_.scratch_bytes();
    implementation_ = forward_.implementation();
    if (!backward) return;

    // diff_src [N,in] = diff_dst [N,out] weights [out,in].
    const MatmulSpec data_product = product(context, spec.batch, spec.in, spec.out, spec.type);
    data_.emplace(context.cublaslt(), data_product, kMostMatmulWorkspace);
    ScratchLayout data;
    data.add(data_->workspace_bytes());
    weights_.emplace(context.cublaslt(), weights_product(context, spec), kMostMatmulWorkspace);
    ScratchLayout weights;
    weights_workspace_ = weights.add(weights_->workspace_bytes());
    diff_bias_ = weights.add(!spec.bias          ? 0
                             : weights_->fused() ? bias_elements() * size_of(DataType::f32)
                                                 : bias_sum_.bytes());
    scratch_bytes_ = std::max({scratch_bytes_, data.bytes(), weights.bytes()});
    implementation_ += text(" | ", data_->implementation(), " | ", weights_->implementation(),
                            weights_->fused() ? "" : " + bias_gradient");
  }

 protected:
  void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                  const View& scratch) const override {
    const auto lock = context_.lock();
    forward_.run(src.data, packed_weights.data, bias, dst, scratch);
  }

  void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                        const View& scratch) const override {
    const auto lock = context_.lock();
    data_->run({diff_dst.data, packed_weights.data, diff_src.data, nullptr}, part_of(scratch, 0), context_.stream());
  }

  void do_backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    const auto lock = context_.lock();
    const Stream stream = context_.stream();
    void* const workspace = part_of(scratch, weights_workspace_);
    void* const room = part_of(scratch, diff_bias_);
    if (diff_bias == nullptr || !weights_->fused()) {
      weights_->run({diff_dst.data, src.data, packed_diff_weights.data, nullptr}, workspace, stream);
      if (diff_bias != nullptr) bias_sum_.run(diff_dst, *diff_bias, room, stream);
      return;
    }
    void* const sums = is_aligned(diff_bias->data) ? diff_bias->data : room;
    weights_->run({diff_dst.data, src.data, packed_diff_weights.data, sums}, workspace, stream);
    if (sums == room) {
      vector::copy(DataType::f32, sums, diff_bias->type, diff_bias->data, diff_bias->elements, stream);
    }
  }

 private:
  BiasSum bias_sum_;
  BiasedMatmul forward_;
  std::optional<Matmul> data_, weights_;           // without backward: neither
  int64_t weights_workspace_ = 0, diff_bias_ = 0;  // places in scratch, of backward weights
};

}  // namespace

Affine* make_convolution(const Context& context, const ConvolutionSpec& spec, bool backward) {
  const auto lock = context.lock();
  return new CudnnConvolution(context, spec, backward);
}

Affine* make_linear(const Context& context, const LinearSpec& spec, bool backward) {
  const auto lock = context.lock();
  return new CublasLtLinear(context, spec, backward);
}

}  // namespace ghostbatch::cuda
