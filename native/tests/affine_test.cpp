// Convolution and linear: errors, all backends against a formula in double, gradients, determinism.
#include <thread>

#include "tests/affine_cases.h"

namespace ghostbatch::tests {
namespace {

/// Backends that compute in bf16.
std::vector<Device*> in_bfloat16(const std::vector<Device*>& devices) {
  std::vector<Device*> capable;
  std::copy_if(devices.begin(), devices.end(), std::back_inserter(capable),
               [](const Device* device) { return device->supports(DataType::bf16); });
  return capable;
}

TEST(Convolution, RefusesBadSpecs) {
  const auto good = [] { return make_spec(2, 8, 8, 4, 6, 3); };
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    const auto device = make_device(name);
    const auto refuse = [&](const std::function<void(ConvolutionSpec&)>& change, const char* part) {
      ConvolutionSpec spec = good();
      change(spec);
      expect_error([&] { own(device->convolution(spec, true)); }, part);
    };
    refuse([](auto& s) { s.batch = 0; }, "batch in [1,");
    refuse([](auto& s) { s.channels = -4; }, "channels in [1,");
    refuse([](auto& s) { s.height = 0; }, "height in [1,");
    refuse([](auto& s) { s.width = int64_t{1} << 40; }, "width in [1,");
    refuse([](auto& s) { s.filters = 0; }, "filters in [1,");
    refuse([](auto& s) { s.kernel_h = 0; }, "kernel_h in [1,");
    refuse([](auto& s) { s.kernel_w = std::numeric_limits<int64_t>::max(); }, "kernel_w in [1,");
    refuse([](auto& s) { s.stride_h = 0; }, "stride_h in [1,");
    refuse([](auto& s) { s.stride_w = -1; }, "stride_w in [1,");
    refuse([](auto& s) { s.dilation_h = 0; }, "dilation_h in [1,");
    refuse([](auto& s) { s.groups = 0; }, "groups in [1,");
    refuse([](auto& s) { s.groups = 3; }, "groups that divide channels and filters");
    refuse([](auto& s) { s.groups = 4; }, "groups=4 channels=4 filters=6");
    refuse([](auto& s) { s.pad_h = -1; }, "pad_h in [0, 1048576], got -1");
    refuse([](auto& s) { s.pad_w = std::numeric_limits<int64_t>::max(); }, "pad_w in [0, 1048576]");
    refuse([](auto& s) { s.kernel_h = 9; }, "extent of the dilated filter over height in [1, 8], got 9");
    refuse([](auto& s) { s.dilation_w = 4; }, "extent of the dilated filter over width in [1, 8], got 9");
    refuse([](auto& s) { s.batch = s.height = s.width = 2000000000; }, "src of at most 2^48 elements");
    refuse([](auto& s) { s.filters = 2000000000, s.batch = 2000000000; }, "dst of at most 2^48 elements");
    refuse([](auto& s) { s.type = DataType::u8; }, "got u8");
    refuse([](auto& s) { s.type = static_cast<DataType>(77); }, "got type 77");
    refuse([](auto& s) { s.relu = true; }, "no fused relu where backward is wanted");
  }
  ConvolutionSpec spec = good();
  spec.type = DataType::f64;
  const auto cpu = make_device("cpu");
  expect_error([&] { own(cpu->convolution(spec, true)); }, "f64");
  EXPECT_FALSE(cpu->supports(DataType::f64));
}

TEST(Linear, RefusesBadSpecs) {
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    const auto device = make_device(name);
    const auto refuse = [&](const std::function<void(LinearSpec&)>& change, const char* part) {
      LinearSpec spec;
      spec.batch = spec.in = spec.out = 3;
      change(spec);
      expect_error([&] { own(device->linear(spec, true)); }, part);
    };
    refuse([](auto& s) { s.batch = 0; }, "batch in [1,");
    refuse([](auto& s) { s.in = -1; }, "in in [1,");
    refuse([](auto& s) { s.out = 0; }, "out in [1,");
    refuse([](auto& s) { s.in = s.out = 2000000000; }, "weights of at most 2^48 elements");
    refuse([](auto& s) { s.relu = true; }, "no fused relu");
    refuse([](auto& s) { s.type = DataType::s32; }, "got s32");
  }
}

TEST(Convolution, RefusesBadArguments) {
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    const auto device = make_device(name);
    ConvolutionSpec spec = make_spec(2, 4, 4, 3, 5, 3);
    spec.bias = true;
    const auto kernel = own(device->convolution(spec, true));
    const AffineData data = make_data(*kernel, 1);
    const Buffer src(DataType::f32, data.src), weights(DataType::f32, data.weights), bias(DataType::f32, data.bias);
    const Buffer packed(DataType::u8, kernel->packed_weights_bytes()), dst(DataType::f32, kernel->dst_elements());
    const Buffer scratch(DataType::u8, kernel->scratch_bytes());
    const View b = bias.view();
    kernel->pack_weights(weights.view(), packed.view(), scratch.view());
    const auto forward = [&](const View& x, const View& w, const View* bias_view, const View& y, const View& room) {
      expect_error([&] { kernel->forward(x, w, bias_view, y, room); }, "[convolution] needs");
    };
    const View s = src.view(), w = packed.view(), d = dst.view(), room = scratch.view();
    forward(View(nullptr, s.elements, s.type), w, &b, d, room);
    forward(View(s.data, s.elements - 1, s.type), w, &b, d, room);
    forward(View(s.data, -1, s.type), w, &b, d, room);
    forward(View(s.data, s.elements, DataType::bf16), w, &b, d, room);
    forward(View(s.as<char>() + 1, s.elements, s.type), w, &b, d, room);
    forward(s, View(w.data, w.elements - 1, w.type), &b, d, room);
    forward(s, View(nullptr, w.elements, w.type), &b, d, room);
    forward(s, w, nullptr, d, room);
    forward(s, w, &b, View(d.data, d.elements + 1, d.type), room);
    if (room.elements > 0) forward(s, w, &b, d, View(room.data, room.elements - 1, room.type));
    if (room.elements > 0) forward(s, w, &b, d, View(room.as<char>() + 4, room.elements, room.type));

    const auto forward_only = own(device->convolution(spec, false));
    expect_error([&] { forward_only->backward_data(d, w, s, room); }, "made with backward");
    expect_error([&] { forward_only->backward_weights(s, d, weights.view(), &b, room); }, "made with backward");
  }
}

TEST(Convolution, MatchesTheFormulaOverTheGrid) {
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  uint32_t seed = 1;
  for (ConvolutionSpec spec : convolution_grid()) {
    SCOPED_TRACE(describe(spec));
    const auto plain = own(reference->convolution(spec, true)), fast = own(cpu->convolution(spec, true));
    const AffineData data = make_data(*plain, seed++);
    const AffineResult expected = formula(spec, data);
    const AffineResult specified = run(*plain, data, true);
    expect_all_close(specified, expected, Tolerance::kRounded, true);
    expect_all_close(run(*fast, data, true), specified, Tolerance::kProduct, true);
    spec.type = DataType::f64;
    expect_all_close(run(*own(reference->convolution(spec, true)), data, true), expected, Tolerance::kDouble, true);
    spec.type = DataType::bf16;
    for (Device* device : in_bfloat16({reference.get(), cpu.get()})) {
      SCOPED_TRACE(device->name());
      expect_all_close(run(*own(device->convolution(spec, true)), data, true), in_bfloat16(expected), 0, true);
    }
  }
}

TEST(Convolution, MatchesTheFormulaOnRandomShapes) {
  const auto cpu = make_device("cpu");
  Random random(99);
  int on_onednn = 0;
  for (int i = 0; i < 150; ++i) {
    ConvolutionSpec spec;
    spec.groups = std::vector<int64_t>{1, 1, 2, 5}[static_cast<size_t>(random.below(4))];
    spec.batch = 1 + random.below(4);
    spec.channels = spec.groups * (1 + random.below(20));
    spec.filters = spec.groups * (1 + random.below(20));
    spec.kernel_h = 1 + random.below(5);
    spec.kernel_w = 1 + random.below(5);
    spec.dilation_h = 1 + random.below(3);
    spec.dilation_w = 1 + random.below(3);
    spec.stride_h = 1 + random.below(4);
    spec.stride_w = 1 + random.below(4);
    const int64_t extent_h = spec.dilation_h * (spec.kernel_h - 1) + 1;
    const int64_t extent_w = spec.dilation_w * (spec.kernel_w - 1) + 1;
    spec.pad_h = random.below(extent_h + 2);  // up to places that see nothing but padding
    spec.pad_w = random.below(extent_w + 2);
    spec.height = std::max<int64_t>(1, extent_h - 2 * spec.pad_h) + random.below(6);
    spec.width = std::max<int64_t>(1, extent_w - 2 * spec.pad_w) + random.below(6);
    spec.bias = random.below(2) == 0;
    SCOPED_TRACE(describe(spec));
    const auto kernel = own(cpu->convolution(spec, true));
    const AffineData data = make_data(*kernel, static_cast<uint32_t>(i));
    const AffineResult expected = formula(spec, data);
    expect_all_close(run(*kernel, data, true), expected, Tolerance::kProduct, true);
    if (!cpu->supports(DataType::bf16)) continue;
    spec.type = DataType::bf16;
    expect_all_close(run(*own(cpu->convolution(spec, true)), data, true), in_bfloat16(expected), 0, true);
    if (i % 3 != 0) continue;
    // Whole vectors, which oneDNN takes in bf16, too.
    spec.channels = spec.groups * (16 + 16 * random.below(2));
    spec.filters = spec.groups * (16 + 16 * random.below(2));
    spec.dilation_h = spec.dilation_w = 1;
    spec.height += extent_h;
    spec.width += extent_w;
    spec.pad_h = std::min(spec.pad_h, spec.kernel_h / 2);
    spec.pad_w = std::min(spec.pad_w, spec.kernel_w / 2);
    SCOPED_TRACE(describe(spec));
    const auto wide = own(cpu->convolution(spec, true));
    on_onednn += std::string(wide->implementation()).find("plain") == std::string::npos;
    const AffineData more = make_data(*wide, static_cast<uint32_t>(i));
    expect_all_close(run(*wide, more, true), in_bfloat16(formula(spec, more)), 0, true);
  }
  if (cpu->supports(DataType::bf16)) {
    EXPECT_GT(on_onednn, 10);
  }
}

TEST(Convolution, RoundsToBfloat16AsTheReferenceDoes) {
  // Numbers that bf16 does not hold, sums that f32 rounds: weights rounded once when packed, dst once when written.
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  if (!cpu->supports(DataType::bf16)) GTEST_SKIP() << cpu->precision_note(DataType::bf16);
  uint32_t seed = 4000;
  for (ConvolutionSpec spec : convolution_grid()) {
    spec.type = DataType::bf16;
    SCOPED_TRACE(describe(spec));
    const auto plain = own(reference->convolution(spec, true)), fast = own(cpu->convolution(spec, true));
    Random random(seed++);
    AffineData data;
    data.src = random.normals(plain->src_elements());
    data.weights = random.normals(plain->weights_elements(), 0.1);
    data.bias = random.normals(plain->bias_elements());
    data.diff_dst = random.normals(plain->dst_elements());
    const AffineResult expected = run(*plain, data, true), actual = run(*fast, data, true);
    expect_close_in_bfloat16("dst", actual.dst, expected.dst, Tolerance::kProduct);
    expect_close_in_bfloat16("diff_src", actual.diff_src, expected.diff_src, Tolerance::kProduct);
    expect_close("diff_weights", actual.diff_weights, expected.diff_weights, Tolerance::kProduct);
    expect_close("diff_bias", actual.diff_bias, expected.diff_bias, Tolerance::kProduct);
  }
}

TEST(Convolution, FusesReluForwardOnly) {
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  uint32_t seed = 1000;
  for (ConvolutionSpec spec : convolution_grid()) {
    spec.relu = true;
    SCOPED_TRACE(describe(spec));
    const auto plain = own(reference->convolution(spec, false)), fast = own(cpu->convolution(spec, false));
    const AffineData data = make_data(*plain, seed++);
    const AffineResult expected = formula(spec, data);
    expect_all_close(run(*plain, data, false), expected, Tolerance::kRounded, false);
    expect_all_close(run(*fast, data, false), expected, Tolerance::kProduct, false);
    spec.type = DataType::bf16;
    for (Device* device : in_bfloat16({reference.get(), cpu.get()})) {
      expect_all_close(run(*own(device->convolution(spec, false)), data, false), in_bfloat16(expected), 0, false);
    }
  }
}

TEST(Linear, MatchesTheFormulaOverTheGrid) {
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  uint32_t seed = 2000;
  for (const int64_t batch : {1, 3, 16, 33}) {
    for (const int64_t in : {1, 15, 16, 17, 64, 800}) {
      for (const int64_t out : {1, 10, 16, 17}) {
        LinearSpec spec;
        spec.batch = batch;
        spec.in = in;
        spec.out = out;
        spec.bias = seed % 3 != 0;
        SCOPED_TRACE(describe(as_convolution(spec)));
        const auto plain = own(reference->linear(spec, true)), fast = own(cpu->linear(spec, true));
        const AffineData data = make_data(*plain, seed++);
        const AffineResult expected = formula(as_convolution(spec), data);
        expect_all_close(run(*plain, data, true), expected, Tolerance::kRounded, true);
        expect_all_close(run(*fast, data, true), expected, Tolerance::kProduct, true);

        LinearSpec rectified = spec;
        rectified.relu = true;
        expect_all_close(run(*own(cpu->linear(rectified, false)), data, false),
                         formula(as_convolution(rectified), data), Tolerance::kProduct, false);
        spec.type = DataType::f64;
        expect_all_close(run(*own(reference->linear(spec, true)), data, true), expected, Tolerance::kDouble, true);
        spec.type = rectified.type = DataType::bf16;
        for (Device* device : in_bfloat16({reference.get(), cpu.get()})) {
          SCOPED_TRACE(device->name());
          expect_all_close(run(*own(device->linear(spec, true)), data, true), in_bfloat16(expected), 0, true);
          expect_all_close(run(*own(device->linear(rectified, false)), data, false),
                           in_bfloat16(formula(as_convolution(rectified), data)), 0, false);
        }
      }
    }
  }
}

void check_gradients(const Affine& kernel, uint32_t seed) {
  AffineData data = make_data(kernel, seed);
  const AffineResult result = run(kernel, data, true);
  const auto loss = [&] { return inner_product(run(kernel, data, false).dst, data.diff_dst); };
  expect_close("diff_src", result.diff_src, numeric_gradient(data.src, loss), Tolerance::kGradient);
  expect_close("diff_weights", result.diff_weights, numeric_gradient(data.weights, loss), Tolerance::kGradient);
  expect_close("diff_bias", result.diff_bias, numeric_gradient(data.bias, loss), Tolerance::kGradient);
}

TEST(Convolution, GradientsAreThoseOfDifferences) {
  const auto reference = make_device("reference");
  ConvolutionSpec spec = make_spec(2, 5, 4, 4, 6, 3);
  spec.type = DataType::f64;
  spec.bias = true;
  check_gradients(*own(reference->convolution(spec, true)), 1);
  spec.stride_h = spec.stride_w = 2;
  spec.pad_h = spec.pad_w = 1;
  check_gradients(*own(reference->convolution(spec, true)), 2);
  spec.groups = 2;
  spec.dilation_w = 2;
  check_gradients(*own(reference->convolution(spec, true)), 3);
  LinearSpec linear;
  linear.batch = 3;
  linear.in = 7;
  linear.out = 5;
  linear.bias = true;
  linear.type = DataType::f64;
  check_gradients(*own(reference->linear(linear, true)), 4);
}

TEST(Convolution, HasTheSameBitsTwiceAndFromTwoThreads) {
  for (const Backend& backend : all_backends()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_device(backend.name);
    ConvolutionSpec spec = make_spec(8, 12, 12, 16, 32, 3);
    spec.type = backend.type;
    spec.pad_h = spec.pad_w = 1;
    spec.bias = true;
    const auto kernel = own(device->convolution(spec, true));
    const AffineData data = make_data(*kernel, 7);
    const AffineResult first = run(*kernel, data, true);
    AffineResult results[2];
    std::thread other([&] { results[0] = run(*kernel, data, true); });
    results[1] = run(*kernel, data, true);
    other.join();
    for (const AffineResult& result : results) expect_all_close(result, first, 0, true);
    EXPECT_NE(std::string(kernel->implementation()), "");
  }
}

TEST(Convolution, SumsOfPackedGradientsAreThePackedGradientOfTheSum) {
  for (const Backend& backend : all_backends()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_device(backend.name);
    const DataType type = backend.type, parameter = parameter_type(type);
    // bf16: whole vectors, for oneDNN pads the layouts of others no less, and plain loops take them here.
    ConvolutionSpec spec = type == DataType::bf16 ? make_spec(4, 6, 6, 16, 32, 3) : make_spec(4, 6, 6, 17, 18, 3);
    spec.type = type;
    const auto kernel = own(device->convolution(spec, true));
    const AffineData a = make_data(*kernel, 8), b = make_data(*kernel, 9);
    const AffineResult of_a = run(*kernel, a, true), of_b = run(*kernel, b, true);
    const Buffer sum(parameter, kernel->packed_diff_weights_elements());
    const Buffer scratch(DataType::u8, kernel->scratch_bytes());
    std::vector<double> packed[2];
    for (int i = 0; i < 2; ++i) {
      const Buffer src(type, i == 0 ? a.src : b.src), diff_dst(type, i == 0 ? a.diff_dst : b.diff_dst);
      kernel->backward_weights(src.view(), diff_dst.view(), sum.view(), nullptr, scratch.view());
      packed[i] = sum.values();
    }
    for (size_t i = 0; i < packed[0].size(); ++i) packed[0][i] += packed[1][i];
    const Buffer total(parameter, packed[0]), diff_weights(parameter, kernel->weights_elements());
    kernel->unpack_diff_weights(total.view(), diff_weights.view(), scratch.view());
    std::vector<double> expected = of_a.diff_weights;
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += of_b.diff_weights[i];
    expect_close("diff_weights", diff_weights.values(), expected, Tolerance::kRounded);
  }
}

}  // namespace
}  // namespace ghostbatch::tests
