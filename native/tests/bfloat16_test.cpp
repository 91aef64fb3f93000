// The CPU's kernels in bf16 against the reference in double on the same numbers, all of which bf16 holds.
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

class Bfloat16 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_->supports(DataType::bf16)) GTEST_SKIP() << "bf16 needs AVX-512";
  }

  const Owned<Device> cpu_ = make_device("cpu");
  const Owned<Device> reference_ = make_device("reference");
};

TEST_F(Bfloat16, Convolution) {
  for (const int64_t channels : {3, 16, 17}) {
    std::vector<double> results[2][4];
    for (int i = 0; i < 2; ++i) {
      ConvolutionSpec spec;
      spec.batch = 2;
      spec.height = spec.width = 7;
      spec.channels = channels;
      spec.filters = 18;
      spec.kernel_h = spec.kernel_w = 3;
      spec.pad_h = spec.pad_w = 1;
      spec.bias = true;
      spec.type = i == 0 ? DataType::f64 : DataType::bf16;
      const DataType parameter = parameter_type(spec.type);
      const auto kernel = own((i == 0 ? reference_ : cpu_)->convolution(spec, true));
      Random random(1);
      const Buffer src(spec.type, random.values(kernel->src_elements()));
      const Buffer weights(parameter, random.values(kernel->weights_elements())), bias(parameter, random.values(18));
      const Buffer diff_dst(spec.type, random.values(kernel->dst_elements())), dst(spec.type, kernel->dst_elements());
      const Buffer diff_src(spec.type, kernel->src_elements()), diff_bias(parameter, 18);
      const Buffer packed(DataType::u8, kernel->packed_weights_bytes()), scratch(DataType::u8, kernel->scratch_bytes());
      const Buffer packed_diff(parameter, kernel->packed_diff_weights_elements());
      const Buffer diff_weights(parameter, kernel->weights_elements());
      const View bias_view = bias.view(), diff_bias_view = diff_bias.view();
      kernel->pack_weights(weights.view(), packed.view(), scratch.view());
      kernel->forward(src.view(), packed.view(), &bias_view, dst.view(), scratch.view());
      kernel->backward_data(diff_dst.view(), packed.view(), diff_src.view(), scratch.view());
      kernel->backward_weights(src.view(), diff_dst.view(), packed_diff.view(), &diff_bias_view, scratch.view());
      kernel->unpack_diff_weights(packed_diff.view(), diff_weights.view(), scratch.view());
      results[i][0] = dst.values();
      results[i][1] = diff_src.values();
      results[i][2] = diff_weights.values();
      results[i][3] = diff_bias.values();
    }
    for (int i = 0; i < 4; ++i) expect_close("result", results[1][i], results[0][i], Tolerance::kBfloat16);
  }
}

TEST_F(Bfloat16, Gemm) {
  std::vector<double> results[2];
  for (int i = 0; i < 2; ++i) {
    GemmSpec spec;
    spec.m = 15;
    spec.n = 17;
    spec.k = 33;
    spec.transpose_b = spec.bias = spec.relu = true;
    spec.type = i == 0 ? DataType::f64 : DataType::bf16;
    const auto kernel = own((i == 0 ? reference_ : cpu_)->gemm(spec));
    Random random(2);
    const Buffer a(spec.type, random.values(15 * 33)), b(spec.type, random.values(17 * 33)), c(spec.type, 15 * 17);
    const Buffer bias(parameter_type(spec.type), random.values(17)), scratch(DataType::u8, kernel->scratch_bytes());
    const View bias_view = bias.view();
    kernel->run(a.view(), b.view(), &bias_view, c.view(), scratch.view());
    results[i] = c.values();
  }
  expect_close("c", results[1], results[0], Tolerance::kBfloat16);
}

TEST_F(Bfloat16, ElementwiseAndPooling) {
  std::vector<double> results[2][6];
  for (int i = 0; i < 2; ++i) {
    const DataType type = i == 0 ? DataType::f64 : DataType::bf16;
    Device& device = *(i == 0 ? reference_ : cpu_);
    const auto kernel = own(device.elementwise());
    const int64_t n = 2 * 6 * 6 * 17;
    Random random(3);
    const Buffer a(type, random.values(n)), b(type, random.values(n)), c(type, n);
    const auto keep = [&](int place) { results[i][place] = c.values(); };
    kernel->relu(a.view(), c.view(), n);
    keep(0);
    kernel->relu_backward(a.view(), b.view(), c.view(), n);
    keep(1);
    kernel->add(a.view(), b.view(), c.view(), n, true);
    keep(2);
    kernel->dropout(a.view(), c.view(), 2, n / 2, 0.5, DropoutKey());
    keep(3);
    for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
      PoolSpec spec;
      spec.kind = kind;
      spec.batch = 2;
      spec.height = spec.width = 6;
      spec.channels = 17;
      spec.window_h = spec.window_w = 3;
      spec.stride_h = spec.stride_w = 2;
      spec.type = type;
      const auto pool = own(device.pooling(spec));
      const Buffer dst(type, spec.dst_elements()), workspace(DataType::u8, pool->workspace_elements());
      const View workspace_view = workspace.view();
      const View* const optional = kind == PoolKind::max ? &workspace_view : nullptr;
      pool->forward(a.view(), dst.view(), optional, 2);
      pool->backward(dst.view(), c.view(), optional, 2);
      keep(kind == PoolKind::max ? 4 : 5);
    }
  }
  for (int i = 0; i < 6; ++i) expect_close("result", results[1][i], results[0][i], Tolerance::kBfloat16);
}

TEST_F(Bfloat16, SoftmaxCrossEntropyAndLoader) {
  std::vector<double> diff[2], loaded[2];
  LossResult loss[2];
  const auto samples = own(Samples::create(DataType::u8, 8, 5, 5, 3, 10));
  Random bytes(5);
  for (int64_t row = 0; row < 8; ++row) {
    std::vector<uint8_t> image(75);
    for (uint8_t& x : image) x = static_cast<uint8_t>(bytes.below(256));
    samples->write_bytes(row, 1, image.data());
  }
  for (int i = 0; i < 2; ++i) {
    const DataType type = i == 0 ? DataType::f64 : DataType::bf16;
    Device& device = *(i == 0 ? reference_ : cpu_);
    Random random(4);
    const Buffer logits(type, random.values(6 * 17, 4)), labels(DataType::s32, std::vector<double>{0, 3, 16, 5, 7, 1});
    const Buffer diff_logits(type, 6 * 17);
    const View diff_view = diff_logits.view();
    own(device.softmax_cross_entropy())->run(logits.view(), labels.view(), nullptr, 6, 17, 0.1, 1, &diff_view, loss[i]);
    diff[i] = diff_logits.values();

    LoadSpec spec;
    spec.height = spec.width = 5;
    spec.channels = 3;
    spec.augmentation = Augmentation::affine;
    spec.type = type;
    const Buffer dst(type, 8 * 75);
    const int32_t indices[] = {7, 6, 5, 4, 3, 2, 1, 0};
    own(device.batch_loader(spec))->load(*samples, indices, 8, 1, 2, true, dst.view(), nullptr);
    loaded[i] = dst.values();
  }
  EXPECT_NEAR(loss[1].loss, loss[0].loss, 1e-4);
  EXPECT_EQ(loss[1].correct, loss[0].correct);
  expect_close("diff_logits", diff[1], diff[0], Tolerance::kBfloat16);
  expect_close("dst", loaded[1], loaded[0], Tolerance::kBfloat16);
}

}  // namespace
}  // namespace ghostbatch::tests
