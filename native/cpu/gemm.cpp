#include "ghostbatch/gemm.h"

#include "common/check.h"
#include "cpu/kernels.h"
#include "cpu/onednn.h"

namespace ghostbatch::cpu {

namespace {

using dnnl::memory;
using tag = dnnl::memory::format_tag;

std::string shape_of(const GemmSpec& spec) {
  return text("m=", spec.m, " n=", spec.n, " k=", spec.k, " transpose_a=", spec.transpose_a,
              " transpose_b=", spec.transpose_b, " alpha=", spec.alpha, " beta=", spec.beta,
              " type=", name_of(spec.type));
}

/// C = relu(alpha A B + beta C + bias) as one matmul. oneDNN adds its own bias before any factor, so alpha, beta and
/// the bias are steps after the product, in this order.
class OneDnnGemm final : public Gemm {
 public:
  explicit OneDnnGemm(const GemmSpec& spec) : Gemm(spec) {
    const auto type = onednn_type("gemm", spec.type);
    const memory::desc a({spec.m, spec.k}, type, spec.transpose_a ? tag::ba : tag::ab);
    const memory::desc b({spec.k, spec.n}, type, spec.transpose_b ? tag::ba : tag::ab);
    const memory::desc c({spec.m, spec.n}, type, tag::ab);
    const memory::desc bias({1, spec.n}, memory::data_type::f32, tag::ab);
    product_ = make_on_onednn("gemm", "product", shape_of(spec), [&] {
      std::vector<Primitive::Argument> arguments{{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}};
      dnnl::post_ops steps;
      if (spec.alpha != 1) steps.append_eltwise(dnnl::algorithm::eltwise_linear, static_cast<float>(spec.alpha), 0);
      if (spec.beta != 0) steps.append_sum(static_cast<float>(spec.beta));
      if (spec.bias) {
        arguments.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(steps.len()) | DNNL_ARG_SRC_1, bias});
        steps.append_binary(dnnl::algorithm::binary_add, bias);
      }
      if (spec.relu) steps.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
      dnnl::primitive_attr attributes = onednn_attributes();
      attributes.set_post_ops(steps);
      return Primitive(dnnl::matmul(dnnl::matmul::primitive_desc(onednn_engine(), a, b, c, attributes)), arguments);
    });
    scratch_bytes_ = product_.scratch_bytes();
  }

  const char* implementation() const override { return product_.implementation(); }

 protected:
  void do_run(const View& a, const View& b, const View* bias, const View& c, const View& scratch) const override {
    if (bias != nullptr) {
      product_.run({a.data, b.data, c.data, bias->data}, scratch.data);
    } else {
      product_.run({a.data, b.data, c.data}, scratch.data);
    }
  }

 private:
  Primitive product_;
};

}  // namespace

Gemm* make_gemm(const GemmSpec& spec) {
  return new OneDnnGemm(spec);
}

}  // namespace ghostbatch::cpu
