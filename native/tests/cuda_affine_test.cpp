// Convolutions, linear layers and products of the CUDA backend, on stand-ins of the libraries and with own kernels as
// phases: the other backends' grids as far as they are small, what the libraries leave to us, captures.
#include <atomic>
#include <chrono>
#include <thread>

#include "cuda/kernels.h"
#include "tests/affine_cases.h"
#include "tests/cuda_context.h"
#include "tests/gemm_cases.h"

namespace ghostbatch::tests {
namespace {

constexpr double kMostFlops = 3e5;  // of a case: the stand-ins are slow

/// A vector of parameters or gradients of which a layer has a slice.
class Slice {
 public:
  Slice(int64_t elements, int64_t offset)
      : offset_(offset), elements_(elements), vector_(DataType::f32, offset + elements + 1) {}
  ~Slice() {
    for (int64_t i = 0; i < offset_; ++i) EXPECT_TRUE(std::isnan(vector_.at(i))) << "written before a slice";
    EXPECT_TRUE(std::isnan(vector_.at(offset_ + elements_))) << "written behind a slice";
  }

  void set(const std::vector<double>& values) {
    for (int64_t i = 0; i < elements_; ++i) vector_.set(offset_ + i, values[static_cast<size_t>(i)]);
  }
  View view() const { return View(vector_.view().as<float>() + offset_, elements_, DataType::f32); }
  std::vector<double> values() const {
    const std::vector<double> all = vector_.values();
    return {all.begin() + offset_, all.begin() + offset_ + elements_};
  }

 private:
  int64_t offset_, elements_;
  Buffer vector_;
};

/// Scratch that begins `shift` bytes behind a multiple of 256, with a guard at its end.
class Scratch {
 public:
  Scratch(int64_t bytes, int64_t shift) : bytes_(bytes), memory_(DataType::u8, bytes + 512 + kGuard) {
    const auto at = reinterpret_cast<uintptr_t>(memory_.view().data);
    begin_ = reinterpret_cast<unsigned char*>((at + 255) / 256 * 256 + static_cast<uintptr_t>(shift));
  }
  ~Scratch() {
    for (int64_t i = 0; i < kGuard; ++i) EXPECT_EQ(begin_[bytes_ + i], 0xFF) << "written behind the scratch";
  }
  View view() const { return View(begin_, bytes_, DataType::u8); }

 private:
  static constexpr int64_t kGuard = 64;
  int64_t bytes_;
  Buffer memory_;
  unsigned char* begin_;
};

/// Where parameters and scratch lie: elements from the start of a vector, and bytes from a multiple of 256.
struct Places {
  int64_t offset = 0;
  int64_t shift = 0;
};

/// Memory of a layer, and its passes on it.
class Layer {
 public:
  Layer(const Affine& kernel, const Places& places)
      : kernel_(kernel),
        weights_(kernel.weights_elements(), places.offset),
        bias_(kernel.bias_elements(), places.offset),
        diff_weights_(kernel.weights_elements(), places.offset),
        diff_bias_(kernel.bias_elements(), places.offset),
        src_(kernel.type(), kernel.src_elements()),
        dst_(kernel.type(), kernel.dst_elements()),
        diff_src_(kernel.type(), kernel.src_elements()),
        diff_dst_(kernel.type(), kernel.dst_elements()),
        packed_(DataType::u8, kernel.packed_weights_bytes()),
        packed_diff_(DataType::f32, kernel.packed_diff_weights_elements()),
        scratch_(kernel.scratch_bytes(), places.shift) {}

  void set(const AffineData& data) {
    for (size_t i = 0; i < data.src.size(); ++i) src_.set(static_cast<int64_t>(i), data.src[i]);
    for (size_t i = 0; i < data.diff_dst.size(); ++i) diff_dst_.set(static_cast<int64_t>(i), data.diff_dst[i]);
    weights_.set(data.weights);
    bias_.set(data.bias);
  }
  void pack() const { kernel_.pack_weights(weights_.view(), packed_.view(), scratch_.view()); }
  void forward() const {
    const View bias = bias_.view();
    kernel_.forward(src_.view(), packed_.view(), bias.elements > 0 ? &bias : nullptr, dst_.view(), scratch_.view());
  }
  void backward_data() const {
    kernel_.backward_data(diff_dst_.view(), packed_.view(), diff_src_.view(), scratch_.view());
  }
  void backward_weights() const {
    const View bias = diff_bias_.view();
    kernel_.backward_weights(src_.view(), diff_dst_.view(), packed_diff_.view(), bias.elements > 0 ? &bias : nullptr,
                             scratch_.view());
  }
  void unpack() const { kernel_.unpack_diff_weights(packed_diff_.view(), diff_weights_.view(), scratch_.view()); }
  void run(bool backward) const {
    pack();
    forward();
    if (!backward) return;
    backward_data();
    backward_weights();
    unpack();
  }
  AffineResult result() const {
    return {dst_.values(), diff_src_.values(), diff_weights_.values(), diff_bias_.values()};
  }

 private:
  const Affine& kernel_;
  Slice weights_, bias_, diff_weights_, diff_bias_;
  Buffer src_, dst_, diff_src_, diff_dst_, packed_, packed_diff_;
  Scratch scratch_;
};

AffineResult run_layer(const Affine& kernel, const AffineData& data, bool backward, const Places& places) {
  Layer layer(kernel, places);
  layer.set(data);
  layer.run(backward);
  return layer.result();
}

/// What is rounded to bf16 more than once, or where f32 is asked for, because a library does not do it all.
struct Rounding {
  bool dst_twice = false;
  bool diff_weights = false;
};

/// A layer's results against exact ones, to be rounded as kernels of this type do.
void expect_layer(DataType type, const AffineResult& actual, const AffineResult& exact, bool backward,
                  const Rounding& rounding) {
  const bool bfloat16 = type == DataType::bf16;
  AffineResult expected = bfloat16 ? in_bfloat16(exact) : exact;
  if (bfloat16 && rounding.diff_weights) expected.diff_weights = rounded(DataType::bf16, expected.diff_weights);
  if (bfloat16 && rounding.dst_twice) {
    expect_close("dst", actual.dst, exact.dst, Tolerance::kBfloat16);
    expected.dst = actual.dst;
  }
  expect_all_close(actual, expected, Tolerance::kRounded, backward);
}

/// A layer against the formula, in both types, without and with ReLU; at all alignments, as the seed goes on.
void check_layers(const std::function<Owned<Affine>(DataType type, bool relu)>& make, ConvolutionSpec spec,
                  uint32_t seed, const Rounding& rounding) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    spec.type = type;
    spec.relu = false;
    SCOPED_TRACE(describe(spec));
    const Places places{seed % 4, seed / 4 % 4 * 64};
    const auto kernel = make(type, false);
    const AffineData data = make_data(*kernel, seed);
    EXPECT_FALSE(kernel->packs_diff_weights());
    expect_layer(type, run_layer(*kernel, data, true, places), formula(spec, data), true, rounding);

    spec.relu = true;
    const auto rectified = make(type, true);
    EXPECT_EQ(rectified->packed_diff_weights_elements(), 0);
    expect_layer(type, run_layer(*rectified, data, false, places), formula(spec, data), false, rounding);
  }
}

void check_convolution(const HostContext& context, const ConvolutionSpec& spec, uint32_t seed,
                       const Rounding& rounding = {}) {
  check_layers(
      [&](DataType type, bool relu) {
        ConvolutionSpec of = spec;
        of.type = type;
        of.relu = relu;
        return own(cuda::make_convolution(*context, of, !relu));
      },
      spec, seed, rounding);
}

void check_linear(const HostContext& context, const LinearSpec& spec, uint32_t seed, const Rounding& rounding = {}) {
  check_layers(
      [&](DataType type, bool relu) {
        LinearSpec of = spec;
        of.type = type;
        of.relu = relu;
        return own(cuda::make_linear(*context, of, !relu));
      },
      as_convolution(spec), seed, rounding);
}

LinearSpec make_linear_spec(int64_t batch, int64_t in, int64_t out, bool bias) {
  LinearSpec spec;
  spec.batch = batch;
  spec.in = in;
  spec.out = out;
  spec.bias = bias;
  return spec;
}

TEST(CudaAffine, ConvolutionMatchesTheFormulaOverTheGrid) {
  const HostContext context;
  context.fake_cudnn().engines[0].workspace_bytes = 1000;
  uint32_t seed = 1;
  for (const ConvolutionSpec& spec : convolution_grid()) {
    if (spec.flops() <= kMostFlops) check_convolution(context, spec, seed++);
  }
  EXPECT_GT(seed, 60u);
}

TEST(CudaAffine, LinearMatchesTheFormulaOverTheGrid) {
  const HostContext context;
  context.fake_cublaslt().first_workspace = 1000;
  uint32_t seed = 1;
  for (const int64_t batch : {1, 3, 33}) {
    for (const int64_t in : {1, 15, 16, 64}) {
      for (const int64_t out : {1, 10, 16, 17}) {
        check_linear(context, make_linear_spec(batch, in, out, seed % 3 != 0), seed);
        ++seed;
      }
    }
  }
}

TEST(CudaAffine, DoesItselfWhatNoEngineTakes) {
  const HostContext context;
  FakeEngine& engine = context.fake_cudnn().engines[0];
  engine.workspace_bytes = 1000;
  engine.fused = engine.widens = false;
  ConvolutionSpec spec = make_spec(3, 6, 5, 4, 7, 3);
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    spec.bias = seed % 2 == 0;
    check_convolution(context, spec, seed, {true, true});
  }
  spec.bias = true;
  spec.type = DataType::bf16;
  EXPECT_STREQ(own(cuda::make_convolution(*context, spec, true))->implementation(),
               "cudnn engine 0 + add_bias | cudnn engine 0 | cudnn engine 0 + copy + bias_gradient");
  engine.fused = engine.widens = true;
  EXPECT_STREQ(own(cuda::make_convolution(*context, spec, true))->implementation(),
               "cudnn engine 0 | cudnn engine 0 | cudnn engine 0 + bias_gradient");
}

TEST(CudaAffine, DoesItselfWhatNoEpilogueTakes) {
  const HostContext context;
  context.fake_cublaslt().epilogues = false;
  context.fake_cublaslt().first_workspace = 1000;
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    check_linear(context, make_linear_spec(5, 8, 11, seed % 2 == 0), seed, {true, false});
  }
  const LinearSpec spec = make_linear_spec(5, 8, 11, true);
  EXPECT_STREQ(own(cuda::make_linear(*context, spec, true))->implementation(),
               "cublaslt + add_bias | cublaslt | cublaslt + bias_gradient");
  context.fake_cublaslt().epilogues = true;
  EXPECT_STREQ(own(cuda::make_linear(*context, spec, true))->implementation(), "cublaslt | cublaslt | cublaslt");
}

TEST(CudaAffine, RoundsToBfloat16AsTheReferenceDoes) {
  // Numbers that bf16 does not hold. A linear layer's bias is rounded as its weights are, a convolution's is not.
  const HostContext context;
  const auto reference = make_device("reference");
  ConvolutionSpec convolution = make_spec(4, 5, 6, 8, 16, 3);
  LinearSpec linear = make_linear_spec(33, 24, 40, true);
  convolution.bias = true;
  convolution.type = linear.type = DataType::bf16;
  const auto check = [](Owned<Affine> kernel, Owned<Affine> plain, bool rounds_bias) {
    Random random(5);
    AffineData data;
    data.src = random.normals(plain->src_elements());
    data.weights = random.normals(plain->weights_elements(), 0.1);
    data.bias = random.normals(plain->bias_elements());
    data.diff_dst = random.normals(plain->dst_elements());
    const AffineResult actual = run_layer(*kernel, data, true, {});
    if (rounds_bias) data.bias = rounded(DataType::bf16, data.bias);
    const AffineResult expected = run(*plain, data, true);
    expect_close_in_bfloat16("dst", actual.dst, expected.dst, Tolerance::kRounded);
    expect_close_in_bfloat16("diff_src", actual.diff_src, expected.diff_src, Tolerance::kRounded);
    expect_close("diff_weights", actual.diff_weights, expected.diff_weights, Tolerance::kRounded);
    expect_close("diff_bias", actual.diff_bias, expected.diff_bias, Tolerance::kProduct);
  };
  check(own(cuda::make_convolution(*context, convolution, true)), own(reference->convolution(convolution, true)),
        false);
  check(own(cuda::make_linear(*context, linear, true)), own(reference->linear(linear, true)), true);
}

/// Captures both passes of a layer, which computes nothing yet, and runs them on two sets of inputs.
void check_capture(const HostContext& context, const Affine& kernel, const ConvolutionSpec& spec,
                   const Rounding& rounding) {
  Layer layer(kernel, {1, 64});
  const AffineResult before = layer.result();
  cuda::begin_capture(context.stream());
  layer.run(true);
  const cuda::CapturedGraph graph(context.stream());
  expect_all_close(layer.result(), before, 0, true);  // NaN
  for (const uint32_t seed : {1u, 2u}) {
    const AffineData data = make_data(kernel, seed);
    layer.set(data);
    graph.launch(context.stream());
    expect_layer(spec.type, layer.result(), formula(spec, data), true, rounding);
  }
}

TEST(CudaAffine, ReplaysWhatWasCaptured) {
  const HostContext context;
  context.fake_cudnn().engines[0].workspace_bytes = 1000;
  context.fake_cublaslt().first_workspace = 1000;
  for (const bool fused : {true, false}) {
    context.fake_cublaslt().epilogues = fused;
    context.fake_cudnn().engines[0].fused = context.fake_cudnn().engines[0].widens = fused;
    for (const DataType type : {DataType::f32, DataType::bf16}) {
      ConvolutionSpec convolution = make_spec(2, 6, 5, 3, 4, 3);
      convolution.bias = true;
      convolution.type = type;
      SCOPED_TRACE(describe(convolution) + (fused ? " fused" : ""));
      check_capture(context, *own(cuda::make_convolution(*context, convolution, true)), convolution,
                    {!fused, !fused});
      LinearSpec linear = make_linear_spec(5, 8, 11, true);
      linear.type = type;
      ConvolutionSpec spec = as_convolution(linear);
      spec.type = type;
      check_capture(context, *own(cuda::make_linear(*context, linear, true)), spec, {!fused, false});
    }
  }
}

TEST(CudaAffine, RefusesBadSpecs) {
  const HostContext context;
  ConvolutionSpec convolution = make_spec(2, 6, 5, 3, 4, 3);
  LinearSpec linear = make_linear_spec(5, 8, 11, true);
  GemmSpec gemm;
  const auto refuse = [&](const char* of_convolution, const char* of_linear, const char* of_gemm) {
    expect_error([&] { own(cuda::make_convolution(*context, convolution, true)); }, of_convolution);
    expect_error([&] { own(cuda::make_linear(*context, linear, true)); }, of_linear);
    expect_error([&] { own(cuda::make_gemm(*context, gemm)); }, of_gemm);
  };
  convolution.type = linear.type = gemm.type = DataType::f64;
  refuse("[convolution] needs f32 or bf16 on backend cuda, got f64",
         "[linear] needs f32 or bf16 on backend cuda, got f64", "[gemm] needs f32 or bf16 on backend cuda, got f64");
  convolution.type = linear.type = gemm.type = DataType::f32;
  convolution.groups = 2;
  linear.out = gemm.n = 0;
  refuse("groups that divide channels and filters", "out in [1,", "n in [1,");
  convolution.groups = 1;
  linear.out = gemm.n = 3;
  convolution.relu = linear.relu = true;
  gemm.alpha = NAN;
  refuse("no fused relu where backward is wanted", "no fused relu where backward is wanted", "a finite alpha");
  convolution.relu = linear.relu = false;
  gemm.alpha = 1;
  context.fake_cudnn().engines.clear();
  context.fake_cublaslt().first_workspace = uint64_t{1} << 40;
  context.fake_cublaslt().second = false;
  refuse("[convolution] needs a forward that cuDNN 9.19.0", "a product that cuBLASLt has",
         "a product that cuBLASLt has");
}

TEST(CudaAffine, RefusesActivationsThatAreNotAligned) {
  const HostContext context;
  const Buffer memory(DataType::f32, 400), scratch(DataType::u8, 4096);
  const View src(memory.view().as<float>() + 1, 40, DataType::f32), dst(memory.view().as<float>() + 64, 55,
                                                                       DataType::f32);
  const auto linear = own(cuda::make_linear(*context, make_linear_spec(5, 8, 11, false), true));
  expect_error([&] { linear->forward(src, scratch.view(), nullptr, dst, scratch.view()); },
               "[gemm] needs a aligned to 16 bytes");
  const auto convolution = own(cuda::make_convolution(*context, make_spec(5, 1, 1, 8, 11, 1), true));
  expect_error([&] { convolution->forward(src, scratch.view(), nullptr, dst, scratch.view()); },
               "[convolution] needs tensors aligned to 16 bytes");
}

TEST(CudaAffine, AllowsTf32WhereTheUserDoes) {
  for (const bool tf32 : {false, true}) {
    const HostContext context(cuda::Allowed{tf32});
    context.fake_cudnn().engines = {{}, {}};
    context.fake_cudnn().engines[0].notes = {0};  // tensor cores
    context.fake_cudnn().engines[1].index = 1;
    EXPECT_STREQ(
        own(cuda::make_convolution(*context, make_spec(2, 6, 5, 3, 4, 3), true))->implementation(),
        tf32 ? "cudnn engine 0 | cudnn engine 0 | cudnn engine 0" : "cudnn engine 1 | cudnn engine 1 | cudnn engine 1");
    const int32_t expected = tf32 ? 77 : 68;  // CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F
    const auto linear = own(cuda::make_linear(*context, make_linear_spec(5, 8, 11, true), true));
    Layer layer(*linear, {});
    layer.set(make_data(*linear, 1));
    layer.pack();
    const auto gemm = own(cuda::make_gemm(*context, GemmSpec()));
    const std::function<void()> calls[] = {[&] { layer.forward(); }, [&] { layer.backward_data(); },
                                           [&] { layer.backward_weights(); },
                                           [&] { run(*gemm, make_data(GemmSpec(), 1)); }};
    for (const std::function<void()>& call : calls) {
      context.fake_cublaslt().compute_type = 0;
      call();
      EXPECT_EQ(context.fake_cublaslt().compute_type, expected);
    }
  }
}

TEST(CudaAffine, HasAFixedLimitForWorkspaces) {
  const HostContext context;
  const ConvolutionSpec spec = make_spec(2, 6, 5, 3, 4, 3);
  const int64_t elements = spec.src_elements() + spec.weights_elements() + spec.dst_elements();
  const int64_t limit = (int64_t{64} << 20) + 4 * elements;
  context.fake_cudnn().engines = {{}, {}};
  context.fake_cudnn().engines[0].workspace_bytes = limit + 1;
  context.fake_cudnn().engines[1].workspace_bytes = limit;
  context.fake_cudnn().engines[1].index = 1;
  const auto convolution = own(cuda::make_convolution(*context, spec, true));
  EXPECT_STREQ(convolution->implementation(), "cudnn engine 1 | cudnn engine 1 | cudnn engine 1");
  EXPECT_GE(convolution->scratch_bytes(), limit);
  EXPECT_LT(convolution->scratch_bytes(), limit + 512);
  EXPECT_EQ(convolution->packed_weights_bytes(), spec.weights_elements() * 4);
  const auto linear = own(cuda::make_linear(*context, make_linear_spec(5, 8, 11, false), true));
  EXPECT_EQ(context.fake_cublaslt().asked_workspace, uint64_t{32} << 20);
  EXPECT_EQ(linear->scratch_bytes(), 0);
}

TEST(CudaAffine, WaitsForTheContext) {
  const HostContext context;
  ConvolutionSpec spec = make_spec(2, 6, 5, 3, 4, 3);
  spec.bias = true;
  const auto convolution = own(cuda::make_convolution(*context, spec, true));
  const auto linear = own(cuda::make_linear(*context, make_linear_spec(5, 8, 11, true), true));
  Layer of_convolution(*convolution, {}), of_linear(*linear, {});
  of_convolution.set(make_data(*convolution, 1));
  of_linear.set(make_data(*linear, 1));
  const auto gemm = own(cuda::make_gemm(*context, GemmSpec()));
  std::vector<std::function<void()>> calls{
      [&] { own(cuda::make_convolution(*context, spec, true)); },
      [&] { own(cuda::make_linear(*context, make_linear_spec(5, 8, 11, true), true)); },
      [&] { own(cuda::make_gemm(*context, GemmSpec())); },
      [&] { run(*gemm, make_data(GemmSpec(), 1)); },
  };
  for (const Layer* layer : {&of_convolution, &of_linear}) {
    for (const auto call : {&Layer::pack, &Layer::forward, &Layer::backward_data, &Layer::backward_weights,
                            &Layer::unpack}) {
      calls.push_back([=] { (layer->*call)(); });
    }
  }
  for (const std::function<void()>& call : calls) {
    std::atomic<bool> done{false};
    auto held = context->lock();
    std::thread other([&] {
      call();
      done = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_FALSE(done);
    held.unlock();
    other.join();
  }
}

TEST(CudaAffine, GivesBackWhatItMade) {
  const HostContext context;
  const int64_t objects = context.fake_cublaslt().objects;
  EXPECT_EQ(context.fake_cudnn().descriptors, 0);
  {
    const auto convolution = own(cuda::make_convolution(*context, make_spec(2, 6, 5, 3, 4, 3), true));
    const auto linear = own(cuda::make_linear(*context, make_linear_spec(5, 8, 11, true), true));
    EXPECT_GT(context.fake_cudnn().descriptors, 0);
    EXPECT_GT(context.fake_cublaslt().objects, objects);
  }
  EXPECT_EQ(context.fake_cudnn().descriptors, 0);
  EXPECT_EQ(context.fake_cublaslt().objects, objects);
}

TEST(CudaAffine, GemmMatchesTheFormulaOverTheGrid) {
  const HostContext context;
  uint32_t seed = 1;
  for (const bool fused : {true, false}) {
    context.fake_cublaslt().epilogues = fused;
    context.fake_cublaslt().first_workspace = fused ? 1000 : 0;
    for (const int64_t m : {1, 15, 17}) {
      for (const int64_t n : {1, 16, 33}) {
        for (int variant = 0; variant < 16; ++variant) {
          GemmSpec spec;
          spec.m = m;
          spec.n = n;
          spec.k = 1 + seed % 20;
          spec.transpose_a = (variant & 1) != 0;
          spec.transpose_b = (variant & 2) != 0;
          spec.bias = (variant & 4) != 0;
          spec.relu = seed % 3 == 0;
          if ((variant & 8) != 0) spec.alpha = -0.75, spec.beta = seed % 5 == 0 ? 1.0 : 0.5;
          SCOPED_TRACE(::testing::Message() << "m=" << m << " n=" << n << " k=" << spec.k << " variant=" << variant);
          const GemmData data = make_data(spec, seed++);
          const std::vector<double> expected = formula(spec, data);
          const auto kernel = own(cuda::make_gemm(*context, spec));
          EXPECT_STREQ(kernel->implementation(),
                       fused || !(spec.bias || spec.relu) ? "cublaslt" : "cublaslt + add_bias");
          expect_close("c", run(*kernel, data, seed % 4), expected, Tolerance::kRounded);
          spec.type = DataType::bf16;
          const std::vector<double> in_bfloat16 = run(*own(cuda::make_gemm(*context, spec)), data, seed % 4);
          if (fused) {
            expect_equal("c in bf16", in_bfloat16, rounded(DataType::bf16, expected));
          } else {
            expect_close("c in bf16", in_bfloat16, expected, Tolerance::kBfloat16);  // rounded twice
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ghostbatch::tests
