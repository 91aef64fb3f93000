#include "ghostbatch/affine.h"

#include <algorithm>

#include "common/check.h"
#include "cpu/direct_convolution.h"
#include "cpu/kernels.h"
#include "cpu/onednn.h"
#include "cpu/winograd_convolution.h"

namespace ghostbatch::cpu {

namespace {

using dnnl::memory;
using tag = dnnl::memory::format_tag;

constexpr int64_t kAlignment = 64;  // of the two halves of the packed weights

/// One direction of a layer, made.
struct Direction {
  Primitive primitive;
  memory::desc weights;          // in the layout that the primitive wants
  memory::desc natural_weights;  // the same dimensions as they lie in the parameter vector, in f32
};

/// What convolution and linear differ in. The backward directions are empty in a forward-only kernel.
struct Layer {
  Direction forward;
  Direction backward_data;
  Direction backward_weights;
};

dnnl::primitive_attr forward_attributes(bool relu) {
  dnnl::primitive_attr attributes = onednn_attributes();
  if (relu) {
    dnnl::post_ops post_ops;
    post_ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
    attributes.set_post_ops(post_ops);
  }
  return attributes;
}

/// Arguments of a direction, with the one for the bias where there is one.
std::vector<Primitive::Argument> with_bias(std::vector<Primitive::Argument> arguments, bool bias, int id,
                                           const memory::desc& layout) {
  if (bias) arguments.push_back({id, layout});
  return arguments;
}

std::string shape_of(const ConvolutionSpec& spec) {
  return text("src=[", spec.batch, ",", spec.height, ",", spec.width, ",", spec.channels, "] weights=[", spec.filters,
              ",", spec.kernel_h, ",", spec.kernel_w, ",", spec.channels / spec.groups, "] stride=[", spec.stride_h,
              ",", spec.stride_w, "] padding=[", spec.pad_h, ",", spec.pad_w, "] dilation=[", spec.dilation_h, ",",
              spec.dilation_w, "] groups=", spec.groups, " type=", name_of(spec.type));
}

std::string shape_of(const LinearSpec& spec) {
  return text("src=[", spec.batch, ",", spec.in, "] weights=[", spec.out, ",", spec.in, "] type=", name_of(spec.type));
}

Layer make_layer(const ConvolutionSpec& spec, bool backward) {
  const char* name = "convolution";
  const std::string shape = shape_of(spec);
  const dnnl::engine& engine = onednn_engine();
  const auto type = onednn_type(name, spec.type);
  const bool grouped = spec.groups > 1;

  const memory::desc src({spec.batch, spec.channels, spec.height, spec.width}, type, tag::nhwc);
  const memory::desc dst({spec.batch, spec.filters, spec.out_height(), spec.out_width()}, type, tag::nhwc);
  const memory::dims dims = grouped ? memory::dims{spec.groups, spec.filters / spec.groups, spec.channels / spec.groups,
                                                   spec.kernel_h, spec.kernel_w}
                                    : memory::dims{spec.filters, spec.channels, spec.kernel_h, spec.kernel_w};
  const memory::desc natural(dims, memory::data_type::f32, grouped ? tag::gohwi : tag::ohwi);
  const memory::desc weights(dims, type, tag::any);
  const memory::desc bias = spec.bias ? memory::desc({spec.filters}, memory::data_type::f32, tag::x) : memory::desc();
  const memory::dims stride{spec.stride_h, spec.stride_w};
  const memory::dims dilation{spec.dilation_h - 1, spec.dilation_w - 1};  // oneDNN's 0 is a dense filter
  const memory::dims padding{spec.pad_h, spec.pad_w};
  const auto algorithm = dnnl::algorithm::convolution_direct;

  Layer layer;
  // Training's forward even where there is no backward, so that evaluation has the bits of training.
  const auto forward = make_on_onednn(name, "forward", shape, [&] {
    return dnnl::convolution_forward::primitive_desc(engine, dnnl::prop_kind::forward_training, algorithm, src, weights,
                                                     bias, dst, stride, dilation, padding, padding,
                                                     forward_attributes(spec.relu));
  });
  layer.forward = make_on_onednn(name, "forward", shape, [&] {
    return Direction{{dnnl::convolution_forward(forward),
                      with_bias({{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, forward.weights_desc()}, {DNNL_ARG_DST, dst}},
                                spec.bias, DNNL_ARG_BIAS, bias)},
                     forward.weights_desc(),
                     natural};
  });
  if (!backward) return layer;
  layer.backward_data = make_on_onednn(name, "backward data", shape, [&] {
    const dnnl::convolution_backward_data::primitive_desc desc(engine, algorithm, src, weights, dst, stride, dilation,
                                                               padding, padding, forward, onednn_attributes());
    return Direction{{dnnl::convolution_backward_data(desc),
                      {{DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_WEIGHTS, desc.weights_desc()}, {DNNL_ARG_DIFF_SRC, src}}},
                     desc.weights_desc(),
                     natural};
  });
  layer.backward_weights = make_on_onednn(name, "backward weights", shape, [&] {
    const memory::desc diff_weights(dims, memory::data_type::f32, tag::any);
    const dnnl::convolution_backward_weights::primitive_desc desc(engine, algorithm, src, diff_weights, bias, dst,
                                                                  stride, dilation, padding, padding, forward,
                                                                  onednn_attributes());
    return Direction{
        {dnnl::convolution_backward_weights(desc),
         with_bias({{DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc()}},
                   spec.bias, DNNL_ARG_DIFF_BIAS, bias)},
        desc.diff_weights_desc(),
        natural};
  });
  return layer;
}

/// Measured on AVX-512 for N = 32..512 and 784->512, 512->512, 512->10: matmul with packed weights is up to 1.3 times
/// faster than inner product for dst and diff_src; for diff_weights they are equal, and inner product sums the bias.
Layer make_layer(const LinearSpec& spec, bool backward) {
  const char* name = "linear";
  const std::string shape = shape_of(spec);
  const dnnl::engine& engine = onednn_engine();
  const auto type = onednn_type(name, spec.type);
  const auto f32 = memory::data_type::f32;

  const memory::desc src({spec.batch, spec.in}, type, tag::ab);
  const memory::desc dst({spec.batch, spec.out}, type, tag::ab);

  Layer layer;
  layer.forward = make_on_onednn(name, "forward", shape, [&] {
    // dst [N, out] = src [N, in] * transpose(weights) [in, out]: `ba` says that weights lie as [out, in].
    const memory::desc bias = spec.bias ? memory::desc({1, spec.out}, f32, tag::ab) : memory::desc();
    const dnnl::matmul::primitive_desc desc(engine, src, memory::desc({spec.in, spec.out}, type, tag::any), bias, dst,
                                            forward_attributes(spec.relu));
    return Direction{{dnnl::matmul(desc),
                      with_bias({{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, desc.weights_desc()}, {DNNL_ARG_DST, dst}},
                                spec.bias, DNNL_ARG_BIAS, bias)},
                     desc.weights_desc(),
                     memory::desc({spec.in, spec.out}, f32, tag::ba)};
  });
  if (!backward) return layer;
  const memory::desc natural({spec.out, spec.in}, f32, tag::ab);
  layer.backward_data = make_on_onednn(name, "backward data", shape, [&] {
    // diff_src [N, in] = diff_dst [N, out] * weights [out, in].
    const dnnl::matmul::primitive_desc desc(engine, dst, memory::desc({spec.out, spec.in}, type, tag::any), src,
                                            onednn_attributes());
    return Direction{
        {dnnl::matmul(desc), {{DNNL_ARG_SRC, dst}, {DNNL_ARG_WEIGHTS, desc.weights_desc()}, {DNNL_ARG_DST, src}}},
        desc.weights_desc(),
        natural};
  });
  layer.backward_weights = make_on_onednn(name, "backward weights", shape, [&] {
    const memory::desc bias = spec.bias ? memory::desc({spec.out}, f32, tag::x) : memory::desc();
    const memory::desc weights({spec.out, spec.in}, type, tag::any);
    const memory::desc diff_weights({spec.out, spec.in}, f32, tag::any);
    const dnnl::inner_product_forward::primitive_desc hint(engine, dnnl::prop_kind::forward_training, src, weights,
                                                           bias, dst, onednn_attributes());
    const dnnl::inner_product_backward_weights::primitive_desc desc(engine, src, diff_weights, bias, dst, hint,
                                                                    onednn_attributes());
    return Direction{
        {dnnl::inner_product_backward_weights(desc),
         with_bias({{DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc()}},
                   spec.bias, DNNL_ARG_DIFF_BIAS, bias)},
        desc.diff_weights_desc(),
        natural};
  });
  return layer;
}

Primitive make_reorder(const char* name, const std::string& shape, const memory::desc& from, const memory::desc& to) {
  return make_on_onednn(name, "reorder of weights", shape, [&] {
    const dnnl::reorder::primitive_desc desc(onednn_engine(), from, onednn_engine(), to, onednn_attributes());
    return Primitive(dnnl::reorder(desc), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  });
}

bool same_order(const Direction& a, const Direction& b) {
  return a.weights == b.weights && a.natural_weights == b.natural_weights;
}

/// A convolution or linear layer on oneDNN. Packed weights are the forward's, then, 64 bytes aligned, those of backward
/// data, unless both want the same. Packed gradients lie as oneDNN writes them; their padding is zero.
class OneDnnAffine final : public Affine {
 public:
  template <typename Spec>
  OneDnnAffine(const Spec& spec, bool backward, const char* name)
      : Affine(spec, backward), layer_(make_layer(spec, backward)) {
    set_up(name, shape_of(spec), backward);
  }

  const char* implementation() const override { return implementation_.c_str(); }

 protected:
  void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                  const View& scratch) const override {
    const Primitive& forward = layer_.forward.primitive;
    if (bias != nullptr) {
      forward.run({src.data, packed_weights.data, dst.data, bias->data}, scratch.data);
    } else {
      forward.run({src.data, packed_weights.data, dst.data}, scratch.data);
    }
  }

  void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                        const View& scratch) const override {
    layer_.backward_data.primitive.run({diff_dst.data, backward_weights_of(packed_weights), diff_src.data},
                                       scratch.data);
  }

  void do_backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    const Primitive& backward = layer_.backward_weights.primitive;
    if (diff_bias != nullptr) {
      backward.run({src.data, diff_dst.data, packed_diff_weights.data, diff_bias->data}, scratch.data);
    } else {
      backward.run({src.data, diff_dst.data, packed_diff_weights.data}, scratch.data);
    }
  }

  void do_pack_weights(const View& weights, const View& packed_weights, const View& scratch) const override {
    pack_forward_.run({weights.data, packed_weights.data}, scratch.data);
    if (pack_backward_) pack_backward_.run({weights.data, backward_weights_of(packed_weights)}, scratch.data);
  }

  void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights,
                              const View& scratch) const override {
    unpack_.run({packed_diff_weights.data, diff_weights.data}, scratch.data);
  }

 private:
  void set_up(const char* name, const std::string& shape, bool backward) {
    const Direction& forward = layer_.forward;
    pack_forward_ = make_reorder(name, shape, forward.natural_weights, forward.weights);
    packed_weights_bytes_ = static_cast<int64_t>(forward.weights.get_size());
    implementation_ = forward.primitive.implementation();
    if (backward) {
      const Direction& data = layer_.backward_data;
      const Direction& weights = layer_.backward_weights;
      if (!same_order(forward, data)) {
        pack_backward_ = make_reorder(name, shape, data.natural_weights, data.weights);
        backward_offset_ = (packed_weights_bytes_ + kAlignment - 1) / kAlignment * kAlignment;
        packed_weights_bytes_ = backward_offset_ + static_cast<int64_t>(data.weights.get_size());
      }
      unpack_ = make_reorder(name, shape, weights.weights, weights.natural_weights);
      packs_diff_weights_ = weights.weights != weights.natural_weights;
      packed_diff_weights_elements_ = static_cast<int64_t>(weights.weights.get_size() / sizeof(float));
      implementation_ +=
          std::string(" | ") + data.primitive.implementation() + " | " + weights.primitive.implementation();
    }
    for (const Primitive* primitive : {&layer_.forward.primitive, &layer_.backward_data.primitive,
                                       &layer_.backward_weights.primitive, &pack_forward_, &pack_backward_, &unpack_}) {
      scratch_bytes_ = std::max(scratch_bytes_, primitive->scratch_bytes());
    }
  }

  void* backward_weights_of(const View& packed_weights) const { return packed_weights.as<char>() + backward_offset_; }

  Layer layer_;
  Primitive pack_forward_;
  Primitive pack_backward_;  // empty where both directions share their weights
  Primitive unpack_;
  int64_t backward_offset_ = 0;  // bytes
  std::string implementation_;
};

/// Whether oneDNN 3.11 computes this convolution rightly in all directions. Outside of these bounds it was seen, by
/// random shapes against plain loops with unreadable pages around all buffers, to give wrong values, to leave padding
/// of gradients unwritten, and to read or write beyond its buffers. Inside, nothing of the kind was seen.
bool suits_onednn(const ConvolutionSpec& spec) {
  constexpr int64_t kVector = 16;  // floats
  const int64_t extent_h = spec.dilation_h * (spec.kernel_h - 1) + 1;
  const int64_t extent_w = spec.dilation_w * (spec.kernel_w - 1) + 1;
  const bool whole_vectors = spec.channels / spec.groups % kVector == 0 && spec.filters / spec.groups % kVector == 0;
  // Filters that see every place, no more padding than keeps the size, and no padding that spans many vectors.
  const bool pointwise = spec.kernel_h == 1 && spec.kernel_w == 1;
  const bool stride_is_usual = pointwise ? spec.stride_h == spec.stride_w && (spec.stride_h == 1 || whole_vectors)
                                         : spec.stride_h <= spec.kernel_h && spec.stride_w <= spec.kernel_w;
  const bool padding_is_usual = spec.pad_h <= extent_h / 2 && spec.pad_w <= extent_w / 2;
  const bool usual = stride_is_usual && padding_is_usual && std::max(extent_h, extent_w) <= 17;
  if (spec.type == DataType::f32) return usual;

  // bf16 pairs channels and, in backward weights, places.
  const bool stem = spec.groups == 1 && spec.channels <= 4 && spec.filters % kVector == 0;
  const bool depthwise = spec.groups == spec.channels && spec.filters == spec.channels && spec.channels % kVector == 0;
  const bool dense = spec.dilation_h == 1 && spec.dilation_w == 1;
  return usual && dense && (whole_vectors || stem || depthwise) && (spec.stride_w == 1 || spec.out_width() > 1);
}

}  // namespace

Affine* make_onednn_convolution(const ConvolutionSpec& spec, bool backward) {
  return new OneDnnAffine(spec, backward, "convolution");
}

Affine* make_convolution(const ConvolutionSpec& spec, bool backward) {
  onednn_type("convolution", spec.type);                   // the same types for every shape
  Affine* plain = make_plain_convolution(spec, backward);  // costs nothing yet, and checks the spec
  if (!suits_onednn(spec)) return plain;
  plain->destroy();
  if (has_winograd(spec)) return make_winograd_convolution(spec, backward);
  const Directions own = faster_directions(spec);
  const bool some = own.forward || (backward && (own.backward_data || own.backward_weights));
  if (some) return make_direct_convolution(spec, backward, own);
  return make_onednn_convolution(spec, backward);
}

Affine* make_linear(const LinearSpec& spec, bool backward) {
  return new OneDnnAffine(spec, backward, "linear");
}

}  // namespace ghostbatch::cpu
