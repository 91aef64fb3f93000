// Engines of cuDNN chosen by timing them, and chosen again from text, on a stand-in whose executions take what a test
// says by the clock of the runtime that the tests have.
#include "cuda/convolution.h"
#include "cuda/kernels.h"
#include "tests/cuda_context.h"
#include "tests/cuda_device.h"
#include "tests/cuda_runtime.h"

namespace ghostbatch::tests {
namespace {

constexpr cuda::Allowed kTuned{false, true};
constexpr int64_t kTimings = 6;  // of an engine

class CudaAutotune : public testing::Test {
 protected:
  void TearDown() override { const HostContext as_it_begins; }
};

ConvolutionSpec make_spec(DataType type = DataType::f32) {
  ConvolutionSpec spec;
  spec.batch = 2;
  spec.height = spec.width = 5;
  spec.channels = 8;
  spec.filters = 4;
  spec.kernel_h = spec.kernel_w = 3;
  spec.type = type;
  return spec;
}
const std::string kShape =
    "src=[2,5,5,8] weights=[4,3,3,8] stride=[1,1] padding=[0,0] dilation=[1,1] groups=1 type=f32";
const std::string kHardware = "the host, 1 multiprocessor, cuDNN 9.19.0\n";

FakeEngine engine(int64_t index, double seconds, std::vector<std::pair<int32_t, int64_t>> knobs = {}) {
  FakeEngine made;
  made.index = index;
  made.seconds = seconds;
  made.knobs = std::move(knobs);
  return made;
}

/// Its engine, forward.
std::string forward_on(const HostContext& context, const ConvolutionSpec& spec = make_spec()) {
  return own(cuda::make_convolution(*context, spec, false))->implementation();
}

TEST_F(CudaAutotune, TakesTheFastestWithItsKnobs) {
  const HostContext context(kTuned);
  context.fake_cudnn().engines = {engine(7, 3e-5), engine(8, 2e-5, {{3, 1}}), engine(8, 1e-5, {{15, 0}, {3, 2}}),
                                  engine(9, 4e-5)};
  EXPECT_STREQ(own(cuda::make_convolution(*context, make_spec(), true))->implementation(),
               "cudnn engine 8 | cudnn engine 8 | cudnn engine 8");
  EXPECT_EQ(context->choices().text(), kHardware + "backward data " + kShape + " -> engine 8 3=2 15=0\n" +
                                           "backward weights into f32 " + kShape + " -> engine 8 3=2 15=0\n" +
                                           "forward " + kShape + " -> engine 8 3=2 15=0\n");
}

TEST_F(CudaAutotune, TakesCudnnsOrderWhereTimesAreAlike) {
  const auto choose = [](double first, double second, double third) {
    const HostContext context(kTuned);
    context.fake_cudnn().engines = {engine(1, first), engine(2, second), engine(3, third)};
    return forward_on(context);
  };
  EXPECT_EQ(choose(1e-5, 0.99e-5, 0.985e-5), "cudnn engine 1");
  EXPECT_EQ(choose(1e-5, 0.97e-5, 0.96e-5), "cudnn engine 2");
  EXPECT_EQ(choose(1e-5, 0.97e-5, 0.9e-5), "cudnn engine 3");
}

TEST_F(CudaAutotune, TakesHeuristicsWhereItIsNotAsked) {
  const HostContext context;
  context.fake_cudnn().engines = {engine(1, 3e-5), engine(2, 1e-5)};
  const int64_t before = timed();
  EXPECT_EQ(forward_on(context), "cudnn engine 1");
  EXPECT_EQ(timed(), before);
  EXPECT_EQ(context->choices().text(), "");
}

TEST_F(CudaAutotune, NeverTakesWhatMayNotBeUsedHoweverFast) {
  // Numerical notes: 0 tensor core, 1 rounds operands, 2 sums below f32, 4 not deterministic, 5 Winograd.
  const auto choose = [](DataType type, bool tf32) {
    const HostContext context(cuda::Allowed{tf32, true});
    auto& engines = context.fake_cudnn().engines;
    engines.clear();
    double seconds = 1e-6;
    for (const std::vector<int32_t>& notes : {std::vector<int32_t>{4}, {0, 4}, {2}, {1}, {0}, {5}, {3}, {}}) {
      engines.push_back(engine(10 + static_cast<int64_t>(engines.size()), seconds *= 2));
      engines.back().notes = notes;
    }
    engines.push_back(engine(20, 1e-7));
    engines.back().workspace_bytes = int64_t{1} << 40;
    engines.push_back(engine(21, 1e-7));
    engines.back().finalizes = false;
    engines.push_back(engine(22, 1e-7));
    engines.back().executes = false;
    const std::string chosen = forward_on(context, make_spec(type));
    const std::string text = context->choices().text();
    EXPECT_EQ(text.find(" tf32 -> ") != std::string::npos, tf32 && type == DataType::f32) << text;
    return chosen;
  };
  EXPECT_EQ(choose(DataType::f32, false), "cudnn engine 15");
  EXPECT_EQ(choose(DataType::f32, true), "cudnn engine 14");
  EXPECT_EQ(choose(DataType::bf16, false), "cudnn engine 14");
  EXPECT_EQ(choose(DataType::bf16, true), "cudnn engine 14");
}

TEST_F(CudaAutotune, TimesEachConfigurationOfAllModesOnce) {
  const HostContext context(kTuned);
  auto& engines = context.fake_cudnn().engines;
  engines = {engine(1, 3e-5, {{3, 1}}), engine(1, 3e-5, {{3, 1}}), engine(2, 2e-5), engine(3, 1e-5)};
  engines[1].mode = engines[3].mode = 1;  // B
  engines[2].mode = 2;                     // fallback
  const int64_t before = timed(), memory = device_memory_in_use();
  EXPECT_EQ(forward_on(context), "cudnn engine 3");
  EXPECT_EQ(timed() - before, 3 * kTimings);
  EXPECT_EQ(forward_on(context), "cudnn engine 3");  // chosen before
  EXPECT_EQ(timed() - before, 3 * kTimings);
  EXPECT_EQ(device_memory_in_use(), memory);
}

TEST_F(CudaAutotune, TimesNothingWhereThereIsNoOther) {
  const HostContext context(kTuned);
  const int64_t before = timed();
  EXPECT_EQ(forward_on(context), "cudnn engine 0");
  EXPECT_EQ(timed(), before);
  EXPECT_EQ(context->choices().text(), kHardware + "forward " + kShape + " -> engine 0\n");
}

TEST_F(CudaAutotune, TimesOnNumbersAsTheyAreInTraining) {
  const HostContext context(kTuned);
  context.fake_cudnn().engines = {engine(1, 3e-5), engine(2, 2e-5)};
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    context.fake_cudnn().least = context.fake_cudnn().most = 0;
    ConvolutionSpec spec = make_spec(type);
    spec.bias = true;
    own(cuda::make_convolution(*context, spec, true));
    // Sums of 72 products of (-1/2, 1/2): neither zero nor large, and NaN nowhere.
    EXPECT_LT(context.fake_cudnn().least, -0.5);
    EXPECT_GT(context.fake_cudnn().most, 0.5);
    EXPECT_GT(context.fake_cudnn().least, -20);
    EXPECT_LT(context.fake_cudnn().most, 20);
  }
}

/// What backward wants.
ConvolutionSpec without_relu(ConvolutionSpec spec) {
  spec.relu = false;
  return spec;
}

/// What a device has chosen where the second engine is the fastest.
std::string chosen_text(const ConvolutionSpec& spec, bool fused = true, bool widens = true) {
  const HostContext context(kTuned);
  auto& engines = context.fake_cudnn().engines;
  engines = {engine(1, 3e-5, {{3, 1}}), engine(2, 1e-5, {{3, 0}, {4, -1}}), engine(2, 2e-5, {{3, 5}})};
  for (FakeEngine& each : engines) {
    each.fused = fused;
    each.widens = widens;
  }
  EXPECT_EQ(forward_on(context, spec).find("cudnn engine 2"), 0u);
  own(cuda::make_convolution(*context, without_relu(spec), true));
  return context->choices().text();
}

TEST_F(CudaAutotune, ChoosesAgainFromItsTextWithoutHeuristicsAndTiming) {
  for (const bool whole : {true, false}) {
    ConvolutionSpec spec = make_spec(DataType::bf16);
    spec.bias = spec.relu = true;
    const std::string text = chosen_text(spec, whole, whole);
    const std::string shape = kShape.substr(0, kShape.size() - 3) + "bf16";
    const std::string chosen = " -> engine 2 3=0 4=-1\n", fused = whole ? chosen : " -> none\n";
    EXPECT_NE(text.find("forward+bias+relu " + shape + fused), std::string::npos) << text;
    EXPECT_NE(text.find("backward weights into f32 " + shape + fused), std::string::npos) << text;
    EXPECT_EQ(text.find("forward " + shape + chosen) == std::string::npos, whole) << text;
    EXPECT_EQ(text.find("backward weights into bf16 " + shape + chosen) == std::string::npos, whole) << text;
    for (const bool tuned : {true, false}) {
      const HostContext context(cuda::Allowed{false, tuned});
      auto& engines = context.fake_cudnn().engines;
      engines = {engine(1, 1e-6, {{3, 1}}), engine(2, 2e-5, {{3, 5}}), engine(2, 3e-5, {{4, -1}, {3, 0}})};
      for (FakeEngine& each : engines) each.fused = each.widens = whole;
      context->choices().take(text);
      context->choices().take(text);  // the same once more is no other choice
      const int64_t before = timed();
      EXPECT_EQ(forward_on(context, spec), whole ? "cudnn engine 2" : "cudnn engine 2 + add_bias");
      EXPECT_STREQ(own(cuda::make_convolution(*context, without_relu(spec), true))->implementation(),
                   whole ? "cudnn engine 2 | cudnn engine 2 | cudnn engine 2 + bias_gradient"
                         : "cudnn engine 2 + add_bias | cudnn engine 2 | cudnn engine 2 + copy + bias_gradient");
      EXPECT_EQ(timed(), before);
      int64_t plans = 0;
      for (const std::string& line : context.fake_cudnn().log) {
        EXPECT_NE(line, "finalize 4");  // heuristics
        plans += line == "finalize 5";
      }
      EXPECT_EQ(plans, 4);
      EXPECT_EQ(context->choices().text(), text);
    }
  }
}

TEST_F(CudaAutotune, FusesBesideOneOfTheSameShapeThatHasNothingToFuse) {
  const HostContext context(kTuned);
  ConvolutionSpec spec = make_spec();
  EXPECT_EQ(forward_on(context, spec), "cudnn engine 0");
  spec.bias = true;
  EXPECT_EQ(forward_on(context, spec), "cudnn engine 0");  // and no add_bias
}

TEST_F(CudaAutotune, RunsWhatItHasChosen) {
  const HostContext context(kTuned);
  context.fake_cudnn().engines = {engine(1, 3e-5), engine(2, 1e-5, {{3, 1}})};
  context.fake_cudnn().engines[1].workspace_bytes = 512;
  const ConvolutionSpec spec = make_spec();
  const cuda::ConvolutionPlan plan(context->cudnn(), spec, cuda::Direction::forward, {false, 1 << 20},
                                   {&context->choices(), true});
  EXPECT_EQ(plan.workspace_bytes(), 512);
  const auto reference = make_device("reference");
  Random random(1);
  const Buffer src(DataType::f32, random.normals(spec.src_elements()));
  const Buffer weights(DataType::f32, random.normals(spec.weights_elements()));
  const Buffer expected(DataType::f32, spec.dst_elements()), actual(DataType::f32, spec.dst_elements());
  const auto layer = own(reference->convolution(spec, false));
  const Buffer scratch(DataType::u8, layer->scratch_bytes());
  layer->forward(src.view(), View(weights.view().data, weights.view().bytes(), DataType::u8), nullptr, expected.view(),
                 scratch.view());
  alignas(256) unsigned char workspace[512];
  plan.run(context->cudnn(), {src.view().data, weights.view().data, actual.view().data, nullptr}, workspace);
  EXPECT_EQ(context.fake_cudnn().log.back(), "execute 2");
  expect_close("dst", actual.values(), expected.values(), Tolerance::kRounded);
}

TEST_F(CudaAutotune, SaysWhyAChoiceCannotBeMadeAgain) {
  const std::string text = chosen_text(make_spec());
  const auto refused = [&](const std::vector<FakeEngine>& engines, const std::string& got) {
    const HostContext context(kTuned);
    context.fake_cudnn().engines = engines;
    context->choices().take(text);
    const int64_t before = timed();
    expect_error([&] { forward_on(context); },
                 "[convolution] needs to run engine 2 3=0 4=-1, which was chosen for forward " + kShape + ", got " +
                     got);
    EXPECT_EQ(timed(), before);
  };
  const std::string unknown = "CUDNN_STATUS_NOT_SUPPORTED: the stand-in refused";
  refused({engine(1, 1e-5)}, unknown);
  refused({engine(2, 1e-5, {{3, 5}})}, unknown);
  FakeEngine changed = engine(2, 1e-5, {{3, 0}, {4, -1}});
  changed.finalizes = false;
  refused({changed}, unknown);
  changed.finalizes = true;
  changed.notes = {4};
  refused({changed}, "not deterministic");
  changed.notes = {0};
  refused({changed}, "TF32");
}

TEST_F(CudaAutotune, TakesNoTextThatItDoesNotUnderstand) {
  const std::string text = chosen_text(make_spec());
  const HostContext context(kTuned);
  auto& choices = context->choices();
  const auto refused = [&](const std::string& given, const std::string& reason) {
    expect_error([&] { choices.take(given); }, reason);
    EXPECT_EQ(choices.text(), "");
  };
  refused("another GPU, 7 multiprocessors, cuDNN 9.19.0\n" + text.substr(kHardware.size()),
          "[cuda] needs kernel choices of the host, 1 multiprocessor, cuDNN 9.19.0, got another GPU, 7 multi");
  refused("the host, 1 multiprocessor, cuDNN 9.1.0\n", "got the host, 1 multiprocessor, cuDNN 9.1.0");
  refused("\n" + text, "[cuda] needs kernel choices of the host");
  const std::string line = "forward " + kShape + " -> engine 2 3=0 4=-1";
  for (const std::string& damaged : std::vector<std::string>{
        "x", "", line + " 5", line + " 5=", line + "  5=1", line + " ", " " + line,
        line + " 99999999999=1", line + " 5=9999999999999999999", "forward " + kShape + " -> engine",
        "forward " + kShape + " -> engine -2", "forward " + kShape + " > engine 2",
        "backward " + kShape + " -> engine 2",
        "forward+relu+bias " + kShape + " -> engine 2", "forward " + kShape + "4 -> engine 2", "forward -> engine 2",
        "forward " + kShape + " -> none 3=1",
        "forward " + kShape + std::string(100000, '1') + " -> engine 2"}) {
    refused(text + damaged + "\n",
            "[cuda] needs kernel choices as it has given them, got the line \"" + damaged + "\"");
  }
  refused(text + "forward " + kShape + " -> engine 9\n",
          "[cuda] needs engine 2 3=0 4=-1 for forward " + kShape + ", as was chosen before, got engine 9");
  choices.take("");
  EXPECT_EQ(choices.text(), "");
  choices.take(text);
  expect_error([&] { choices.take(kHardware + "forward " + kShape + " -> engine 2 3=1\n"); }, "as was chosen before");
  EXPECT_EQ(choices.text(), text);
}

TEST_F(CudaAutotune, SaysHowMuchMemoryTimingNeeds) {
  const HostContext context(kTuned);
  context.fake_cudnn().engines = {engine(1, 3e-5), engine(2, 2e-5)};
  const int64_t memory = device_memory_in_use();
  {
    const MemoryLimit limit(memory + 2000);
    expect_error([&] { forward_on(context); },
                 "bytes of device memory to time forward of " + kShape + ", got 2000 bytes free");
  }
  EXPECT_EQ(device_memory_in_use(), memory);
  EXPECT_EQ(context->choices().text(), "");
  EXPECT_EQ(forward_on(context), "cudnn engine 2");
}

TEST_F(CudaAutotune, SaysWhyNoEngineRuns) {
  const HostContext context(kTuned);
  context.fake_cudnn().engines = {engine(1, 3e-5), engine(2, 2e-5)};
  for (FakeEngine& each : context.fake_cudnn().engines) each.executes = false;
  expect_error([&] { forward_on(context); }, "none of 2 engines ([cudnn] needs cudnnBackendExecute to work");
  cuda::synchronize(context.stream());  // the stream is left as it was
}

TEST_F(CudaAutotune, BelongsToADevice) {
  const HostContext as_it_begins;
  as_it_begins.fake_cudnn().engines = {engine(1, 3e-5), engine(2, 2e-5)};
  std::string text;
  {
    const auto device = make_cuda_device(kTuned);
    EXPECT_STREQ(device->name(), "cuda,autotune");
    EXPECT_STREQ(device->kernel_choices(), "");
    EXPECT_STREQ(own(device->convolution(make_spec(), false))->implementation(), "cudnn engine 2");
    text = device->kernel_choices();
    EXPECT_EQ(text, kHardware + "forward " + kShape + " -> engine 2\n");
  }
  EXPECT_STREQ(make_cuda_device({true, true})->name(), "cuda,tf32,autotune");
  const auto device = make_cuda_device();
  device->use_kernel_choices(text.c_str());
  EXPECT_EQ(device->kernel_choices(), text);
  EXPECT_STREQ(own(device->convolution(make_spec(), false))->implementation(), "cudnn engine 2");
  expect_error([&] { device->use_kernel_choices("x"); }, "[cuda] needs kernel choices of ");
  expect_error([&] { device->use_kernel_choices(nullptr); }, "[cuda] needs kernel choices, got null");
  for (const char* name : {"cpu", "reference"}) {
    const auto host = make_device(name);
    EXPECT_STREQ(host->kernel_choices(), "");
    host->use_kernel_choices("");
    expect_error([&] { host->use_kernel_choices(text.c_str()); },
                 std::string("[device] needs no kernel choices where kernels are not timed, got ") + name);
    expect_error([&] { host->use_kernel_choices(nullptr); }, "[device] needs no kernel choices");
  }
}

}  // namespace
}  // namespace ghostbatch::tests
