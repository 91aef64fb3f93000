// Convolutions through cuDNN's backend API, on a stand-in that runs the graphs it is given on the host: against the
// reference; and what is asked of cuDNN, attribute by attribute.
#include <dlfcn.h>

#include <thread>

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "tests/fakes/fake_cudnn.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

using cuda::ConvolutionLimits;
using cuda::ConvolutionPlan;
using cuda::Direction;

constexpr const char* kFolder = GHOSTBATCH_FAKES "/good";
const ConvolutionLimits kLimits{false, int64_t{1} << 20};

/// cuDNN's stand-in, opened as the real one would be, and what it tells of itself.
class CudaConvolution : public testing::Test {
 protected:
  void SetUp() override {
    void* const library = dlopen(GHOSTBATCH_FAKES "/good/libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr);
    fake_ = reinterpret_cast<FakeCudnn* (*)()>(dlsym(library, "fake_cudnn"))();
    EXPECT_EQ(fake_->descriptors, 0);
    *fake_ = FakeCudnn();
  }
  void TearDown() override {
    EXPECT_EQ(fake_->descriptors, 0);  // all was destroyed
    EXPECT_EQ(fake_->handles, 0);
  }

  cuda::Cudnn cudnn_{kFolder};
  FakeCudnn* fake_ = nullptr;
};

ConvolutionSpec make_spec(int64_t batch, int64_t size, int64_t channels, int64_t filters, int64_t kernel) {
  ConvolutionSpec spec;
  spec.batch = batch;
  spec.height = spec.width = size;
  spec.channels = channels;
  spec.filters = filters;
  spec.kernel_h = spec.kernel_w = kernel;
  return spec;
}

/// Each letter of a convolution once, and all together.
std::vector<ConvolutionSpec> grid() {
  std::vector<ConvolutionSpec> specs;
  for (const int64_t channels : {1, 3, 8}) {
    for (const int64_t kernel : {1, 2, 3}) specs.push_back(make_spec(2, 5, channels, 4, kernel));
  }
  const auto vary = [&](const auto& change) {
    specs.push_back(make_spec(2, 7, 6, 4, 3));
    change(specs.back());
  };
  vary([](auto& s) { s.height = 9; });
  vary([](auto& s) { s.kernel_w = 1; });
  vary([](auto& s) { s.pad_h = 1; });
  vary([](auto& s) { s.pad_w = 2; });
  vary([](auto& s) { s.stride_h = 2; });
  vary([](auto& s) { s.stride_w = 3; });
  vary([](auto& s) { s.dilation_h = 2; });
  vary([](auto& s) { s.dilation_w = 3; });
  vary([](auto& s) { s.groups = 2; });
  vary([](auto& s) { s.groups = s.filters = 6; });
  vary([](auto& s) {
    s.height = 11;
    s.kernel_w = 2;
    s.pad_h = 2;
    s.pad_w = 1;
    s.stride_h = 3;
    s.stride_w = 2;
    s.dilation_w = 2;
    s.groups = 2;
  });
  for (size_t i = 0; i < specs.size(); ++i) specs[i].bias = i % 2 == 0;
  return specs;
}

std::string describe(const ConvolutionSpec& spec) {
  std::ostringstream out;
  out << "[" << spec.batch << "," << spec.height << "," << spec.width << "," << spec.channels << "] " << spec.filters
      << " of " << spec.kernel_h << "x" << spec.kernel_w << " stride " << spec.stride_h << "," << spec.stride_w
      << " pad " << spec.pad_h << "," << spec.pad_w << " dilation " << spec.dilation_h << "," << spec.dilation_w
      << " groups " << spec.groups << (spec.bias ? " bias" : "") << (spec.type == DataType::bf16 ? " bf16" : " f32");
  return out.str();
}

/// Memory of a convolution, f32 or bf16, as the reference and a plan take it: the reference's packed weights are
/// weights in the type of the activations, KRSC.
struct Memory {
  Memory(const ConvolutionSpec& spec, uint32_t seed)
      : random(seed),
        src(spec.type, random.normals(spec.src_elements())),
        weights(spec.type, random.normals(spec.weights_elements())),
        bias(DataType::f32, random.normals(spec.filters)),
        dst(spec.type, random.normals(spec.dst_elements())) {}

  Random random;
  Buffer src, weights, bias, dst;
};

View as_bytes(const View& view) {
  return View(view.data, view.bytes(), DataType::u8);
}

TEST_F(CudaConvolution, MatchesTheReferenceOverTheGrid) {
  const auto reference = make_device("reference");
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  uint32_t seed = 1;
  for (ConvolutionSpec spec : grid()) {
    for (const DataType type : {DataType::f32, DataType::bf16}) {
      spec.type = type;
      spec.relu = false;
      SCOPED_TRACE(describe(spec));
      const auto layer = own(reference->convolution(spec, true));
      const Buffer scratch(DataType::u8, layer->scratch_bytes());
      const Memory memory(spec, seed++);
      const View packed = as_bytes(memory.weights.view()), bias = memory.bias.view();
      void* const weights = memory.weights.view().data;

      for (const bool relu : {false, true}) {
        spec.relu = relu;
        const auto forward_layer = own(reference->convolution(spec, false));
        const Buffer expected(type, spec.dst_elements()), actual(type, spec.dst_elements());
        forward_layer->forward(memory.src.view(), packed, spec.bias ? &bias : nullptr, expected.view(), scratch.view());
        const ConvolutionPlan plan(handle, spec, Direction::forward, kLimits);
        ASSERT_TRUE(plan.fused());
        plan.run(handle, {memory.src.view().data, weights, actual.view().data, bias.data}, nullptr);
        expect_close_as(type, "dst", actual.values(), expected.values(), Tolerance::kRounded);
      }
      spec.relu = false;

      const Buffer expected_src(type, spec.src_elements()), diff_src(type, spec.src_elements());
      layer->backward_data(memory.dst.view(), packed, expected_src.view(), scratch.view());
      const ConvolutionPlan data(handle, spec, Direction::backward_data, kLimits);
      data.run(handle, {diff_src.view().data, weights, memory.dst.view().data, nullptr}, nullptr);
      expect_close_as(type, "diff_src", diff_src.values(), expected_src.values(), Tolerance::kRounded);

      const Buffer expected_weights(DataType::f32, spec.weights_elements()), expected_bias(DataType::f32, spec.filters);
      const Buffer diff_weights(DataType::f32, spec.weights_elements());
      const View bias_view = expected_bias.view();
      layer->backward_weights(memory.src.view(), memory.dst.view(), expected_weights.view(),
                              spec.bias ? &bias_view : nullptr, scratch.view());
      const ConvolutionPlan of_weights(handle, spec, Direction::backward_weights, kLimits);
      EXPECT_EQ(of_weights.diff_weights_type(), DataType::f32);
      of_weights.run(handle, {memory.src.view().data, diff_weights.view().data, memory.dst.view().data, nullptr},
                     nullptr);
      expect_close("diff_weights", diff_weights.values(), expected_weights.values(), Tolerance::kRounded);
    }
  }
}

/// The lines of the log that begin with `start`.
std::vector<std::string> lines_of(const FakeCudnn& fake, const std::string& start) {
  std::vector<std::string> lines;
  for (const std::string& line : fake.log) {
    if (line.rfind(start, 0) == 0) lines.push_back(line);
  }
  return lines;
}

TEST_F(CudaConvolution, SetsTheAttributesOfForwardAsCudnnDocumentsThem) {
  ConvolutionSpec spec = make_spec(2, 8, 6, 10, 3);
  spec.height = 9;
  spec.kernel_w = 2;
  spec.pad_h = 1;
  spec.stride_h = 2;
  spec.dilation_w = 3;
  spec.groups = 2;
  spec.bias = spec.relu = true;
  spec.type = DataType::bf16;
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  const ConvolutionPlan plan(handle, spec, Direction::forward, kLimits);
  // Types: 0 handle, 1 data type, 2 boolean, 3 int64, 4 float, 7 convolution mode, 8 heuristics, 14 pointwise mode,
  // 15 descriptor. Data types: 0 f32, 9 bf16.
  const std::vector<std::string> expected{
      // src [2,9,8,6], channels innermost
      "set 17 901 type 1: 9", "set 17 902 type 3: 2,6,9,8", "set 17 903 type 3: 432,1,48,6", "set 17 906 type 3: 1",
      "set 17 900 type 3: 16", "set 17 907 type 2: 0", "finalize 17",
      // weights [10,3,2,3]
      "set 17 901 type 1: 9", "set 17 902 type 3: 10,3,3,2", "set 17 903 type 3: 18,1,6,3", "set 17 906 type 3: 2",
      "set 17 900 type 3: 16", "set 17 907 type 2: 0", "finalize 17",
      // dst [2,5,5,10]
      "set 17 901 type 1: 9", "set 17 902 type 3: 2,10,5,5", "set 17 903 type 3: 250,1,50,10", "set 17 906 type 3: 3",
      "set 17 900 type 3: 16", "set 17 907 type 2: 0", "finalize 17",
      // its sums, and those with the bias: virtual, in f32
      "set 17 901 type 1: 0", "set 17 902 type 3: 2,10,5,5", "set 17 903 type 3: 250,1,50,10", "set 17 906 type 3: 5",
      "set 17 900 type 3: 16", "set 17 907 type 2: 1", "finalize 17", "set 17 901 type 1: 0",
      "set 17 902 type 3: 2,10,5,5", "set 17 903 type 3: 250,1,50,10", "set 17 906 type 3: 6", "set 17 900 type 3: 16",
      "set 17 907 type 2: 1", "finalize 17",
      // the convolution
      "set 1 106 type 3: 2", "set 1 100 type 1: 0", "set 1 101 type 7: 1", "set 1 105 type 3: 1,0",
      "set 1 104 type 3: 1,0", "set 1 103 type 3: 2,1", "set 1 102 type 3: 1,3", "finalize 1",
      "set 10 702 type 15: descriptor 1", "set 10 704 type 15: descriptor 17", "set 10 703 type 15: descriptor 17",
      "set 10 705 type 15: descriptor 17", "set 10 700 type 4: 1", "set 10 701 type 4: 0", "finalize 10",
      // bias [10] f32, and its addition
      "set 17 901 type 1: 0", "set 17 902 type 3: 1,10,1,1", "set 17 903 type 3: 10,1,10,10", "set 17 906 type 3: 4",
      "set 17 900 type 3: 16", "set 17 907 type 2: 0", "finalize 17", "set 0 0 type 14: 0", "set 0 1 type 1: 0",
      "finalize 0", "set 13 750 type 15: descriptor 0", "set 13 751 type 15: descriptor 17",
      "set 13 752 type 15: descriptor 17", "set 13 753 type 15: descriptor 17", "finalize 13",
      // ReLU
      "set 0 0 type 14: 100", "set 0 1 type 1: 0", "finalize 0", "set 13 750 type 15: descriptor 0",
      "set 13 751 type 15: descriptor 17", "set 13 753 type 15: descriptor 17", "finalize 13",
      // the graph, its heuristics, and the plan
      "set 15 800 type 0: pointer", "set 15 801 type 15: descriptor 10,descriptor 13,descriptor 13", "finalize 15",
      "set 4 201 type 15: descriptor 15", "set 4 200 type 8: 3", "finalize 4", "set 5 400 type 0: pointer",
      "set 5 401 type 15: descriptor 3", "finalize 5"};
  EXPECT_EQ(fake_->log, expected);
}

TEST_F(CudaConvolution, GivesEveryTensorItsMemory) {
  const ConvolutionSpec spec = make_spec(2, 5, 8, 8, 3);
  const cuda::Stream stream = cuda::create_stream();
  alignas(256) unsigned char workspace[512];
  fake_->engines = {{}};
  fake_->engines[0].workspace_bytes = 512;
  const cuda::CudnnHandle planner(cudnn_, nullptr);
  const cuda::CudnnHandle lane(cudnn_, stream);
  const ConvolutionPlan plan(planner, spec, Direction::forward, kLimits);
  EXPECT_EQ(plan.workspace_bytes(), 512);
  const Memory memory(spec, 1);
  plan.run(lane, {memory.src.view().data, memory.weights.view().data, memory.dst.view().data, nullptr}, workspace);
  EXPECT_EQ(lines_of(*fake_, "set 16"),
            (std::vector<std::string>{"set 16 1000 type 3: 1,2,3", "set 16 1001 type 6: pointer,pointer,pointer",
                                      "set 16 1003 type 6: pointer"}));
  EXPECT_EQ(fake_->stream, stream);  // that of the handle it runs with, not of the one it was made with
  EXPECT_EQ(fake_->workspace, workspace);
  cuda::destroy_stream(stream);
}

TEST_F(CudaConvolution, TakesTheFirstEngineThatKeepsItsPromises) {
  // Numerical notes: 0 tensor core, 1 rounds operands, 2 sums below f32, 3 FFT, 4 not deterministic, 5 Winograd.
  const auto choose = [&](DataType type, bool tf32) {
    fake_->engines.clear();
    int64_t index = 10;
    for (const std::vector<int32_t>& notes : {std::vector<int32_t>{4}, {0, 4}, {2}, {1}, {0}, {5}, {3}, {}}) {
      fake_->engines.push_back({});
      fake_->engines.back().index = index++;
      fake_->engines.back().notes = notes;
    }
    ConvolutionSpec spec = make_spec(1, 5, 8, 8, 3);
    spec.type = type;
    const cuda::CudnnHandle handle(cudnn_, nullptr);
    return std::string(
        ConvolutionPlan(handle, spec, Direction::forward, {tf32, kLimits.most_workspace_bytes}).implementation());
  };
  EXPECT_EQ(choose(DataType::f32, false), "cudnn engine 15");   // Winograd: in f32 throughout
  EXPECT_EQ(choose(DataType::f32, true), "cudnn engine 14");    // tensor cores: TF32
  EXPECT_EQ(choose(DataType::bf16, false), "cudnn engine 14");  // tensor cores: bf16
}

TEST_F(CudaConvolution, AsksTheHeuristicsInOrder) {
  const ConvolutionSpec spec = make_spec(1, 5, 8, 8, 3);
  const auto choose = [&](std::vector<int32_t> modes) {
    fake_->log.clear();
    fake_->engines.clear();
    for (const int32_t mode : modes) {
      fake_->engines.push_back({});
      fake_->engines.back().index = fake_->engines.back().mode = mode;
    }
    const cuda::CudnnHandle handle(cudnn_, nullptr);
    return std::string(ConvolutionPlan(handle, spec, Direction::backward_data, kLimits).implementation());
  };
  EXPECT_EQ(choose({2, 1, 3}), "cudnn engine 3");  // mode A
  EXPECT_EQ(choose({2, 1}), "cudnn engine 1");     // mode B
  EXPECT_EQ(choose({2}), "cudnn engine 2");        // fallback
  EXPECT_EQ(lines_of(*fake_, "set 4 200"),
            (std::vector<std::string>{"set 4 200 type 8: 3", "set 4 200 type 8: 1", "set 4 200 type 8: 2"}));
}

TEST_F(CudaConvolution, PassesOverEnginesThatWantTooMuchOrFail) {
  fake_->engines = {{}, {}, {}};
  fake_->engines[0].workspace_bytes = kLimits.most_workspace_bytes + 1;
  fake_->engines[1].finalizes = false;
  fake_->engines[2].index = 7;
  fake_->engines[2].workspace_bytes = kLimits.most_workspace_bytes;
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  const ConvolutionSpec spec = make_spec(1, 5, 8, 8, 3);
  const ConvolutionPlan plan(handle, spec, Direction::forward, kLimits);
  EXPECT_STREQ(plan.implementation(), "cudnn engine 7");
  EXPECT_EQ(plan.workspace_bytes(), kLimits.most_workspace_bytes);
  alignas(256) static unsigned char workspace[512];
  const Memory memory(spec, 1);
  expect_error(
      [&] {
        plan.run(handle, {memory.src.view().data, memory.weights.view().data, memory.dst.view().data, nullptr},
                 workspace + 16);
      },
      "[convolution] needs workspace aligned to 256 bytes");
}

TEST_F(CudaConvolution, SaysWhatBecameOfTheEngines) {
  fake_->engines = {{}, {}, {}, {}};
  fake_->engines[0].notes = {4};
  fake_->engines[1].notes = {0};
  fake_->engines[2].finalizes = false;
  fake_->engines[3].workspace_bytes = kLimits.most_workspace_bytes + 1;
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  expect_error([&] { ConvolutionPlan(handle, make_spec(1, 5, 8, 4, 3), Direction::backward_weights, kLimits); },
               std::string("[convolution] needs a backward weights that cuDNN 9.19.0 (") + kFolder +
                   "/libcudnn.so.9) has, got none of 4 engines (not deterministic; TF32; CUDNN_STATUS_NOT_SUPPORTED: "
                   "the stand-in refused; more than 1048576 bytes of workspace) for src=[1,5,5,8] weights=[4,3,3,8]");
  ConvolutionSpec spec = make_spec(1, 5, 8, 4, 3);
  spec.type = DataType::f64;
  expect_error([&] { ConvolutionPlan(handle, spec, Direction::forward, kLimits); },
               "[convolution] needs f32 or bf16 on backend cuda, got f64");
}

TEST_F(CudaConvolution, LeavesBiasAndReluToTheCallerWhereNoEngineFusesThem) {
  fake_->engines[0].fused = false;
  const auto reference = make_device("reference");
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  ConvolutionSpec spec = make_spec(2, 5, 8, 4, 3);
  const Memory memory(spec, 3);
  const auto layer = own(reference->convolution(spec, false));
  const Buffer scratch(DataType::u8, layer->scratch_bytes());
  const Buffer expected(DataType::f32, spec.dst_elements()), actual(DataType::f32, spec.dst_elements());
  layer->forward(memory.src.view(), as_bytes(memory.weights.view()), nullptr, expected.view(), scratch.view());
  spec.bias = spec.relu = true;
  const ConvolutionPlan plan(handle, spec, Direction::forward, kLimits);
  EXPECT_FALSE(plan.fused());
  plan.run(handle, {memory.src.view().data, memory.weights.view().data, actual.view().data, nullptr}, nullptr);
  expect_close("dst", actual.values(), expected.values(), Tolerance::kRounded);
}

TEST_F(CudaConvolution, WritesWeightGradientsInBfloat16WhereNoEngineWidensThem) {
  fake_->engines[0].widens = false;
  const auto reference = make_device("reference");
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  ConvolutionSpec spec = make_spec(2, 5, 8, 4, 3);
  EXPECT_EQ(ConvolutionPlan(handle, spec, Direction::backward_weights, kLimits).diff_weights_type(), DataType::f32);
  spec.type = DataType::bf16;
  const ConvolutionPlan plan(handle, spec, Direction::backward_weights, kLimits);
  EXPECT_EQ(plan.diff_weights_type(), DataType::bf16);
  const Memory memory(spec, 4);
  const auto layer = own(reference->convolution(spec, true));
  const Buffer scratch(DataType::u8, layer->scratch_bytes()), expected(DataType::f32, spec.weights_elements());
  layer->backward_weights(memory.src.view(), memory.dst.view(), expected.view(), nullptr, scratch.view());
  const Buffer actual(DataType::bf16, spec.weights_elements());
  plan.run(handle, {memory.src.view().data, actual.view().data, memory.dst.view().data, nullptr}, nullptr);
  expect_close_in_bfloat16("diff_weights", actual.values(), rounded(DataType::bf16, expected.values()),
                           Tolerance::kRounded);
}

TEST_F(CudaConvolution, RefusesMemoryThatIsNotAligned) {
  const cuda::CudnnHandle handle(cudnn_, nullptr);
  ConvolutionSpec spec = make_spec(2, 5, 8, 4, 3);
  spec.bias = true;
  const ConvolutionPlan plan(handle, spec, Direction::forward, kLimits);
  const Memory memory(spec, 5);
  cuda::ConvolutionTensors tensors{memory.src.view().data, memory.weights.view().data, memory.dst.view().data,
                                   memory.bias.view().data};
  for (void* cuda::ConvolutionTensors::*member : {&cuda::ConvolutionTensors::src, &cuda::ConvolutionTensors::weights,
                                                  &cuda::ConvolutionTensors::dst, &cuda::ConvolutionTensors::bias}) {
    void* const kept = tensors.*member;
    tensors.*member = static_cast<char*>(kept) + 8;
    expect_error([&] { plan.run(handle, tensors, nullptr); }, "[convolution] needs tensors aligned to 16 bytes");
    tensors.*member = nullptr;
    expect_error([&] { plan.run(handle, tensors, nullptr); }, "[convolution] needs tensors aligned to 16 bytes");
    tensors.*member = kept;
  }
  plan.run(handle, tensors, nullptr);
}

TEST_F(CudaConvolution, RunsOneAtATimeFromSeveralThreads) {
  const ConvolutionSpec spec = make_spec(2, 5, 8, 4, 3);
  const cuda::CudnnHandle planner(cudnn_, nullptr);
  const ConvolutionPlan plan(planner, spec, Direction::forward, kLimits);
  const auto work = [&] {
    const cuda::CudnnHandle lane(cudnn_, nullptr);
    const Memory memory(spec, 6);
    for (int i = 0; i < 200; ++i) {
      plan.run(lane, {memory.src.view().data, memory.weights.view().data, memory.dst.view().data, nullptr}, nullptr);
    }
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_FALSE(fake_->overlapped);
  EXPECT_EQ(lines_of(*fake_, "execute 0").size(), 400u);
}

}  // namespace
}  // namespace ghostbatch::tests
