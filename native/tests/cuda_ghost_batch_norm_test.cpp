// The CUDA kernels of ghost batch norm, run on the host, against the reference and the unfused formula in double.
#include <numeric>

#include "cuda/ghost_batch_norm.h"
#include "tests/ghost_batch_norm_cases.h"

namespace ghostbatch::tests {
namespace {

namespace norm = cuda::norm;
using cuda::Order;

constexpr cuda::BlockLimits kAmpere{163 << 10, 0}, kHopper{227 << 10, 16}, kPortable{227 << 10, 8};
constexpr cuda::BlockLimits kNoClusters{227 << 10, 0};  // a Hopper, without
constexpr cuda::BlockLimits kNothing{0, 0};             // so that all is streamed

/// Runs each kernel at once.
struct Emulate {
  Order order = Order::up;

  template <class Kernel>
  void operator()(const Kernel& kernel, int32_t blocks) const {
    cuda::emulate(kernel, blocks, norm::kThreads, order);
  }
};

/// Keeps the kernels with their arguments, as a captured graph does.
struct Capture {
  std::vector<std::function<void()>>& kernels;

  template <class Kernel>
  void operator()(const Kernel& kernel, int32_t blocks) const {
    kernels.push_back([=] { cuda::emulate(kernel, blocks, norm::kThreads); });
  }
};

/// How a norm is run; by default as planned.
struct How {
  cuda::BlockLimits limits = kHopper;
  int32_t ghost_rows = 0;  // planned for; 0: the largest ghost's
  bool aligned = true;
  std::function<void(norm::Plan&)> change;
  Order order = Order::up;
};

How streamed() {
  How how;
  how.limits = kNothing;
  return how;
}

/// Pieces of a few places, and a ghost a wave.
How in_pieces(int32_t pieces, int32_t lines, int32_t wave) {
  How how = streamed();
  how.change = [=](norm::Plan& plan) {
    plan.pieces = pieces;
    plan.lines = std::min(lines, plan.lines);
    plan.piece_places = plan.lines;
    plan.wave = wave;
    plan.streams = true;
  };
  return how;
}

/// Clusters of so many blocks, each of which keeps so many places.
How in_clusters(int32_t blocks, int32_t lines, int32_t held) {
  How how;
  how.change = [=](norm::Plan& plan) {
    if (plan.width == 1) return;  // no packs to keep
    plan.clusters = true;
    plan.pieces = blocks;
    plan.lines = std::min(lines, plan.lines);
    plan.piece_places = plan.lines;
    plan.held = held;
    plan.streams = true;
  };
  return how;
}
constexpr int32_t kAll = 1000;  // places, more than pieces have in these tests

/// Every spelling: resident, in waves and in clusters of all sizes, which keep all, some or next to nothing.
std::vector<How> ways() {
  return {How{},
          in_pieces(1, 1000, 100),
          in_pieces(7, 5, 1),
          in_clusters(2, 5, kAll),
          in_clusters(8, 3, 4),
          in_clusters(16, 1, 1)};
}

norm::Plan plan_for(const NormCase& test, DataType type, const How& how, norm::Pass pass) {
  GhostBatchNormSpec spec = test.spec;
  spec.type = type;
  norm::Capacity capacity;
  capacity.ghosts = std::min(test.ghosts() + 1, static_cast<int32_t>(spec.batch));  // a last one that is not there
  capacity.ghost_rows = how.ghost_rows;
  for (size_t i = 0; how.ghost_rows == 0 && i + 1 < test.offsets.size(); ++i) {
    capacity.ghost_rows = std::max(capacity.ghost_rows, test.offsets[i + 1] - test.offsets[i]);
  }
  capacity.aligned = how.aligned;
  capacity.limits = how.limits;
  norm::Plan plan = norm::make_plan(spec, capacity, pass);
  if (how.change) how.change(plan);
  return plan;
}

/// Device memory of a norm, NaN where nothing is given.
struct Memory {
  DataType type;
  int64_t elements, channels;
  Buffer src, residual, dst, diff_dst, diff_dst2, diff_residual, diff_src;
  Buffer gamma, beta, diff_gamma, diff_beta, mean, variance, running_mean, running_variance;
  std::vector<int32_t> offsets;
  norm::Step step;
  bool with_residual, with_second, with_mask;

  Memory(DataType type_, const NormCase& test, const NormData& data)
      : type(type_),
        elements(test.spec.elements()),
        channels(test.spec.channels),
        src(type, data.src),
        residual(type, data.residual),
        dst(type, elements),
        diff_dst(type, data.diff_dst),
        diff_dst2(type, data.diff_dst2),
        diff_residual(type, test.spec.residual ? elements : 0),
        diff_src(type, elements),
        gamma(DataType::f32, data.gamma),
        beta(DataType::f32, data.beta),
        diff_gamma(DataType::f32, channels),
        diff_beta(DataType::f32, channels),
        mean(DataType::f32, test.ghosts() * channels),
        variance(DataType::f32, test.ghosts() * channels),
        running_mean(DataType::f32, data.mean),
        running_variance(DataType::f32, data.variance),
        offsets(test.offsets),
        step{test.ghosts(), test.constant_statistics ? 1 : 0, 0},
        with_residual(test.spec.residual),
        with_second(test.second_gradient),
        with_mask(test.spec.residual && test.spec.relu) {}

  norm::Tensors tensors() const {
    norm::Tensors to{};
    to.step = &step;
    to.offsets = offsets.data();
    to.src = src.view().data;
    to.residual = with_residual ? residual.view().data : nullptr;
    to.dst = dst.view().data;
    to.statistics = {mean.view().as<float>(),         variance.view().as<float>(),
                     running_mean.view().as<float>(), running_variance.view().as<float>(),
                     gamma.view().as<float>(),        beta.view().as<float>()};
    return to;
  }
  norm::Tensors gradients() const {
    norm::Tensors to = tensors();
    if (!with_mask) to.dst = nullptr;
    to.diff_dst = diff_dst.view().data;
    to.diff_dst2 = with_second ? diff_dst2.view().data : nullptr;
    to.diff_residual = with_residual ? diff_residual.view().data : nullptr;
    to.diff_src = diff_src.view().data;
    to.diff_beta = diff_beta.view().as<float>();
    to.diff_gamma = diff_gamma.view().as<float>();
    return to;
  }
  NormResult result() const {
    NormResult to;
    to.dst = dst.values();
    to.mean = (step.running != 0 ? running_mean : mean).values();
    to.variance = (step.running != 0 ? running_variance : variance).values();
    to.diff_src = diff_src.values();
    to.diff_residual = diff_residual.values();
    to.diff_gamma = diff_gamma.values();
    to.diff_beta = diff_beta.values();
    return to;
  }
};

Buffer workspace_of(const norm::Plan& plan) {
  return Buffer(DataType::f64, (plan.workspace_bytes() + 7) / 8);
}

/// The call of `pass` on a plan's kernels.
template <class Run, class Body>
void call(const norm::Plan& plan, norm::Tensors tensors, const Buffer& workspace, const Run& run, const Body& body) {
  tensors.workspace = workspace.view().data;
  norm::with_passes(plan, tensors, run, body);
}

NormResult run_cuda(DataType type, const NormCase& test, const NormData& data, const How& how = {}) {
  const Memory memory(type, test, data);
  const norm::Plan forward = plan_for(test, type, how, norm::Pass::forward);
  const Buffer of_forward = workspace_of(forward);
  call(forward, memory.tensors(), of_forward, Emulate{how.order}, [](const auto& passes) { passes.forward(); });
  const norm::Plan backward = plan_for(test, type, how, norm::Pass::backward);
  const Buffer of_backward = workspace_of(backward);
  call(backward, memory.gradients(), of_backward, Emulate{how.order}, [](const auto& passes) { passes.backward(); });
  if (test.constant_statistics) {
    for (const Buffer* statistics : {&memory.mean, &memory.variance}) {
      for (const double x : statistics->values()) EXPECT_TRUE(std::isnan(x)) << "a statistic that nobody asked for";
    }
  }
  return memory.result();
}

TEST(CudaGhostBatchNorm, MatchesTheReferenceOverTheGrid) {
  const auto reference = make_device("reference");
  uint32_t seed = 1;
  for (const NormCase& test : grid()) {
    SCOPED_TRACE(describe(test));
    const NormData data = make_data(test, 1, seed++);
    NormResult specified = run(*reference, DataType::f32, test, data);
    specified.largest_sum = formula(test, data).largest_sum;
    for (const How& how : ways()) {
      expect_all_close(run_cuda(DataType::f32, test, data, how), specified, Tolerance::kNormBlocks);
    }
  }
}

TEST(CudaGhostBatchNorm, RoundsToBfloat16AsTheReferenceDoes) {
  const auto reference = make_device("reference");
  uint32_t seed = 1;
  for (const NormCase& test : grid()) {
    SCOPED_TRACE(describe(test));
    const NormData data = make_data(test, 1, seed++, DataType::bf16);
    NormResult specified = run(*reference, DataType::bf16, test, data);
    specified.largest_sum = formula(test, data).largest_sum;
    for (const How& how : ways()) {
      expect_all_close_in_bfloat16(run_cuda(DataType::bf16, test, data, how), specified);
    }
  }
}

TEST(CudaGhostBatchNorm, HoldsFarOffCentre) {
  uint32_t seed = 5000;
  for (const NormCase& test : grid()) {
    SCOPED_TRACE(describe(test));
    const NormData data = make_data(test, 100, seed++);
    const NormResult expected = formula(test, data);
    for (const How& how : {How{}, in_pieces(7, 5, 1), in_clusters(4, 3, 4)}) {
      expect_all_close(run_cuda(DataType::f32, test, data, how), expected, Tolerance::kNormOffCentre);
    }
  }
}

/// More terms than one sum in f32 takes, groups of channels of unlike sizes, and groups that are no power of two.
TEST(CudaGhostBatchNorm, TakesManyPlacesAndChannels) {
  const auto reference = make_device("reference");
  uint32_t seed = 700;
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const NormCase& shape : {make_case(3, 70, 50, 64, {3}), make_case(5, 7, 3, 232, {2, 3}),
                                  make_case(4, 5, 5, 80, {2, 2}), make_case(6, 2, 2, 130, {3, 3})}) {
      NormCase test = shape;
      test.spec.relu = true;
      SCOPED_TRACE(describe(test));
      const NormData data = make_data(test, 3, seed++, type);
      NormResult specified = run(*reference, type, test, data);
      specified.largest_sum = formula(test, data).largest_sum;
      for (const How& how : {How{}, in_pieces(1, 1000, 1), in_pieces(40, 2, 1), in_clusters(4, 1000, kAll),
                             in_clusters(16, 2, 10)}) {
        const NormResult actual = run_cuda(type, test, data, how);
        if (type == DataType::bf16) {
          expect_all_close_in_bfloat16(actual, specified);
        } else {
          expect_all_close(actual, specified, Tolerance::kNormBlocks);
        }
      }
    }
  }
}

TEST(CudaGhostBatchNorm, TakesAConstantChannel) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int32_t rows : {1, 4}) {  // a row of two places: less than what the shift is guessed from
      NormCase test = make_case(2 * rows, 1, 2, 16, {rows, rows});
      NormData data = make_data(test, 0, 3, type);
      for (size_t i = 0; i < data.src.size(); i += 16) data.src[i] = 0.1;
      for (const How& how : {How{}, in_pieces(3, 2, 1), in_clusters(4, 1, 1)}) {
        const NormResult result = run_cuda(type, test, data, how);
        EXPECT_EQ(result.variance[0], 0);
        EXPECT_EQ(result.dst[0], rounded(type, data.beta)[0]);
      }
    }
  }
}

/// Ghosts that are larger than the plan thought, or that only fit in part.
TEST(CudaGhostBatchNorm, TakesLargerGhostsThanPlanned) {
  const auto reference = make_device("reference");
  for (How how : {streamed(), How{}, in_clusters(4, 1, 5)}) {
    NormCase test = make_case(9, 5, 4, 16, {8, 1});
    test.spec.relu = true;
    const NormData data = make_data(test, 1, 31);
    NormResult specified = run(*reference, DataType::f32, test, data);
    specified.largest_sum = formula(test, data).largest_sum;
    how.ghost_rows = 1;
    const norm::Plan plan = plan_for(test, DataType::f32, how, norm::Pass::backward);
    EXPECT_EQ(plan.held, how.limits.shared_bytes == 0 ? 0 : plan.clusters ? 5 : 20);
    expect_all_close(run_cuda(DataType::f32, test, data, how), specified, Tolerance::kNormBlocks);
  }
}

/// Bits depend on the plan's pieces alone: not on waves, the order of threads and blocks, or what a block can hold.
TEST(CudaGhostBatchNorm, HasTheSameBitsHoweverItIsRun) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int64_t channels : {17, 24, 64}) {
      for (const bool residual : {false, true}) {
        NormCase test = make_case(17, 7, 5, channels, {5, 4, 3, 4});
        test.spec.relu = true;
        test.spec.residual = test.second_gradient = residual;
        SCOPED_TRACE(describe(test));
        const NormData data = make_data(test, 2, 5, type);
        const NormResult pieces = run_cuda(type, test, data, in_pieces(4, 3, 1));
        for (const int32_t wave : {1, 2, 3, 5}) {
          How how = in_pieces(4, 3, wave);
          expect_same_bits(run_cuda(type, test, data, how), pieces);
          how.order = Order::down;
          expect_same_bits(run_cuda(type, test, data, how), pieces);
        }
        const NormResult resident = run_cuda(type, test, data);
        How how;
        how.order = Order::down;
        expect_same_bits(run_cuda(type, test, data, how), resident);
        how.change = [](norm::Plan& plan) { plan.held /= 3; };
        expect_same_bits(run_cuda(type, test, data, how), resident);
        for (const int32_t blocks : {2, 8, 16}) {
          const NormResult cluster = run_cuda(type, test, data, in_clusters(blocks, 3, kAll));
          for (const int32_t held : {kAll, 7, 1}) {
            how = in_clusters(blocks, 3, held);
            how.order = Order::down;
            expect_same_bits(run_cuda(type, test, data, how), cluster);
          }
        }
      }
    }
  }
}

/// Sums of pieces that no other order adds up to the same: in double, 2^60 swallows 1.
TEST(CudaGhostBatchNorm, BlocksOfAClusterAgree) {
  const NormCase test = make_case(32, 1, 1, 16, {32});
  NormData data = make_data(test, 0, 1);
  const double large = std::ldexp(1.0, 60);
  for (size_t i = 0; i < data.src.size(); ++i) {
    const size_t row = i / 16;  // of four pieces of eight
    data.src[i] = row == 8 ? large : row == 16 ? -large : row == 24 ? 1 : 0;
  }
  std::fill(data.gamma.begin(), data.gamma.end(), large);
  std::fill(data.beta.begin(), data.beta.end(), 0);
  for (const cuda::Order order : {cuda::Order::up, cuda::Order::down}) {
    How how = in_clusters(4, 8, kAll);
    how.order = order;
    const NormResult result = run_cuda(DataType::f32, test, data, how);
    EXPECT_EQ(result.mean[0], 1.0 / 32);
    EXPECT_NE(result.dst[0], 0);
    for (const size_t row : {1, 9, 17, 25}) EXPECT_EQ(result.dst[row * 16], result.dst[0]) << row;
  }
}

TEST(CudaGhostBatchNorm, GhostsDoNotTouchOneAnother) {
  for (How how : {streamed(), How{}, in_clusters(4, 2, 3)}) {
    NormCase both = make_case(7, 3, 2, 24, {4, 3});
    both.spec.relu = true;
    const NormData data = make_data(both, 2, 11);
    how.ghost_rows = 4;
    const NormResult together = run_cuda(DataType::f32, both, data, how);
    NormCase alone = make_case(7, 3, 2, 24, {3});
    alone.spec.relu = true;
    NormData part = data;
    const ptrdiff_t first = 4 * 6 * 24, count = 3 * 6 * 24;
    for (auto* values : {&part.src, &part.diff_dst}) {
      std::rotate(values->begin(), values->begin() + first, values->end());
      std::fill(values->begin() + count, values->end(), NAN);
    }
    const NormResult single = run_cuda(DataType::f32, alone, part, how);
    const auto slice = [](const std::vector<double>& values, ptrdiff_t from, ptrdiff_t size) {
      return std::vector<double>(values.begin() + from, values.begin() + from + size);
    };
    expect_equal("dst", slice(together.dst, first, count), slice(single.dst, 0, count));
    expect_equal("diff_src", slice(together.diff_src, first, count), slice(single.diff_src, 0, count));
    expect_equal("mean", slice(together.mean, 24, 24), single.mean);
  }
}

/// The kernels stay; rows, ghosts, mode and values in device memory change.
TEST(CudaGhostBatchNorm, ReplaysWithWhatDeviceMemoryHolds) {
  for (How how : {streamed(), How{}, in_clusters(8, 2, 4)}) {
    NormCase test = make_case(12, 3, 3, 16, {4, 4, 4});
    test.spec.relu = true;
    how.ghost_rows = 6;
    Memory memory(DataType::f32, test, make_data(test, 1, 1));
    const norm::Plan forward = plan_for(test, DataType::f32, how, norm::Pass::forward);
    const norm::Plan backward = plan_for(test, DataType::f32, how, norm::Pass::backward);
    const Buffer of_forward = workspace_of(forward), of_backward = workspace_of(backward);
    NormCase running = test;
    running.constant_statistics = true;
    running.offsets = {0, 11};
    const NormData given = make_data(running, 1, 2);
    const Buffer running_mean(DataType::f32, given.mean), running_variance(DataType::f32, given.variance);
    std::vector<std::function<void()>> graph;
    for (const bool back : {false, true}) {
      norm::Tensors tensors = back ? memory.gradients() : memory.tensors();
      tensors.statistics.running_mean = running_mean.view().as<float>();
      tensors.statistics.running_variance = running_variance.view().as<float>();
      call(back ? backward : forward, tensors, back ? of_backward : of_forward, Capture{graph},
           [&](const auto& passes) { back ? passes.backward() : passes.forward(); });
    }
    NormCase fewer = test;
    fewer.offsets = {0, 6, 7};
    for (const NormCase& now : {test, fewer, running, test}) {
      SCOPED_TRACE(describe(now));
      const NormData data = now.constant_statistics ? given : make_data(now, 1, 3);
      for (int64_t i = 0; i < memory.elements; ++i) {
        memory.src.set(i, data.src[static_cast<size_t>(i)]);
        memory.diff_dst.set(i, data.diff_dst[static_cast<size_t>(i)]);
        memory.dst.set(i, NAN);
        memory.diff_src.set(i, NAN);
      }
      for (int64_t c = 0; c < 16; ++c) {
        memory.gamma.set(c, data.gamma[static_cast<size_t>(c)]);
        memory.beta.set(c, data.beta[static_cast<size_t>(c)]);
      }
      memory.offsets = now.offsets;
      memory.offsets.resize(4);
      ASSERT_EQ(memory.offsets.data(), memory.tensors().offsets);
      memory.step = {now.ghosts(), now.constant_statistics ? 1 : 0, 0};
      for (const auto& kernel : graph) kernel();
      const NormResult expected = run_cuda(DataType::f32, now, data, how), actual = memory.result();
      expect_equal("dst", actual.dst, expected.dst);
      expect_equal("diff_src", actual.diff_src, expected.diff_src);
      expect_equal("diff_gamma", actual.diff_gamma, expected.diff_gamma);
      expect_equal("diff_beta", actual.diff_beta, expected.diff_beta);
    }
  }
}

TEST(CudaGhostBatchNorm, MaskOfBackwardIsThatOfForward) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int64_t channels : {1, 16, 17}) {
      NormCase test = make_case(64, 4, 4, channels, {64});
      test.spec.relu = test.constant_statistics = true;
      Random random(21);
      const auto c = static_cast<size_t>(channels);
      NormData data;
      data.gamma = random.values(channels, 0.5, 1);
      data.beta = random.values(channels, 1, 2);
      data.mean = random.values(channels, 0.1);
      data.variance = random.values(channels, 0.3, 0.8);
      // Many values lie right at the kink: neighbours, in the type, of the place where the sum is zero.
      data.src = random.normals(test.spec.elements(), type == DataType::bf16 ? 0.05 : 1e-6);
      for (size_t i = 0; i < data.src.size(); ++i) {
        data.src[i] += data.mean[i % c] - data.beta[i % c] * std::sqrt(data.variance[i % c] + 1e-5) / data.gamma[i % c];
      }
      data.diff_dst.assign(data.src.size(), 1.0);
      data.diff_dst2 = data.diff_dst;
      for (const How& how : {streamed(), How{}, in_clusters(8, 5, 9)}) {
        const NormResult result = run_cuda(type, test, data, how);
        std::vector<double> of_channel(c, 0.0);
        for (size_t i = 0; i < data.src.size(); ++i) {
          ASSERT_EQ(result.dst[i] > 0, result.diff_src[i] != 0) << i << ": dst " << result.dst[i];
          of_channel[i % c] += result.dst[i] > 0 ? 1 : 0;
        }
        expect_equal("diff_beta", result.diff_beta, of_channel);
        const double passed = std::accumulate(of_channel.begin(), of_channel.end(), 0.0);
        EXPECT_GT(passed, 0.05 * static_cast<double>(data.src.size()));
        EXPECT_LT(passed, 0.95 * static_cast<double>(data.src.size()));
      }
    }
  }
}

/// dst over src, or over the residual, from given statistics; diff_src, or diff_residual, over diff_dst.
TEST(CudaGhostBatchNorm, WorksInPlace) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int64_t channels : {16, 17}) {
      for (const bool residual : {false, true}) {
        NormCase test = make_case(12, 7, 5, channels, {5, 4, 3});
        test.spec.relu = true;
        test.spec.residual = test.second_gradient = residual;
        SCOPED_TRACE(describe(test));
        const NormData data = make_data(test, 2, 5, type);
        for (const How& how : {How{}, in_pieces(4, 3, 1), in_clusters(4, 3, kAll), in_clusters(8, 3, 2)}) {
          const NormResult first = run_cuda(type, test, data, how);
          const Memory memory(type, test, data);
          const norm::Plan forward = plan_for(test, type, how, norm::Pass::forward);
          const norm::Plan backward = plan_for(test, type, how, norm::Pass::backward);
          const Buffer of_forward = workspace_of(forward), of_backward = workspace_of(backward);
          const Buffer mean(DataType::f32, first.mean), variance(DataType::f32, first.variance);
          const Buffer over(type, residual ? data.residual : data.src);
          norm::Tensors tensors = memory.tensors();
          tensors.statistics.mean = mean.view().as<float>();
          tensors.statistics.variance = variance.view().as<float>();
          tensors.dst = over.view().data;
          (residual ? tensors.residual : tensors.src) = tensors.dst;
          call(forward, tensors, of_forward, Emulate{}, [](const auto& passes) { passes.normalize(); });
          std::vector<double> dst = over.values();
          for (size_t i = static_cast<size_t>(test.used()); i < dst.size(); ++i) EXPECT_TRUE(std::isnan(dst[i]));
          expect_equal("dst", dst, first.dst);

          tensors = memory.gradients();
          tensors.statistics.mean = mean.view().as<float>();
          tensors.statistics.variance = variance.view().as<float>();
          if (residual) tensors.dst = over.view().data;
          (residual ? tensors.diff_residual : tensors.diff_src) = memory.diff_dst.view().data;
          call(backward, tensors, of_backward, Emulate{}, [](const auto& passes) { passes.backward(); });
          const std::vector<double> actual = (residual ? memory.diff_src : memory.diff_dst).values();
          for (size_t i = 0; i < static_cast<size_t>(test.used()); ++i) ASSERT_EQ(actual[i], first.diff_src[i]) << i;
          expect_equal("diff_gamma", memory.diff_gamma.values(), first.diff_gamma);
        }
      }
    }
  }
}

/// A forward over src in place reads the shift before it is overwritten.
TEST(CudaGhostBatchNorm, ForwardTakesDstOverSrc) {
  const NormCase test = make_case(9, 4, 4, 16, {5, 4});
  const NormData data = make_data(test, 1, 9);
  for (const How& how : {How{}, in_pieces(6, 3, 1), in_pieces(6, 3, 2), in_clusters(8, 2, kAll),
                         in_clusters(2, 3, 4)}) {
    const NormResult expected = run_cuda(DataType::f32, test, data, how);
    const Memory memory(DataType::f32, test, data);
    const norm::Plan plan = plan_for(test, DataType::f32, how, norm::Pass::forward);
    const Buffer workspace = workspace_of(plan);
    norm::Tensors tensors = memory.tensors();
    tensors.dst = memory.src.view().data;
    call(plan, tensors, workspace, Emulate{}, [](const auto& passes) { passes.forward(); });
    expect_equal("dst", memory.src.values(), expected.dst);
  }
}

/// Tensors that begin between packs, as slices may.
TEST(CudaGhostBatchNorm, TakesTensorsThatAreNotAligned) {
  const NormCase test = make_case(5, 2, 2, 16, {3, 2});
  const NormData data = make_data(test, 1, 17);
  const auto moved = [](const std::vector<double>& values) {
    std::vector<double> to(values);
    to.insert(to.begin(), NAN);
    return to;
  };
  const Buffer src(DataType::f32, moved(data.src)), dst(DataType::f32, test.spec.elements() + 1);
  const Memory memory(DataType::f32, test, data);
  How how;
  const auto run_moved = [&] {
    norm::Tensors tensors = memory.tensors();
    tensors.src = src.view().as<float>() + 1;
    tensors.dst = dst.view().as<float>() + 1;
    const norm::Plan plan = plan_for(test, DataType::f32, how, norm::Pass::forward);
    const Buffer workspace = workspace_of(plan);
    call(plan, tensors, workspace, Emulate{}, [](const auto& passes) { passes.forward(); });
  };
  EXPECT_THROW(run_moved(), std::logic_error);
  how.aligned = false;
  run_moved();
  std::vector<double> actual = dst.values();
  actual.erase(actual.begin());
  expect_close("dst", actual, formula(test, data).dst, Tolerance::kNormBlocks);
}

/// One ghost over several micro-batches of unlike sizes.
NormResult run_spanning(DataType type, const NormCase& test, const NormData& data, const std::vector<int32_t>& parts,
                        const How& how) {
  const int64_t channels = test.spec.channels, row_elements = test.spec.spatial() * channels;
  const auto count = static_cast<int32_t>(parts.size());
  const std::vector<int32_t> starts = offsets_of(parts);
  const Buffer mean(DataType::f32, channels), variance(DataType::f32, channels);
  const Buffer partials(DataType::f64, 2 * channels * count), sums(DataType::f64, 2 * channels);
  const Buffer diff_beta(DataType::f32, channels), diff_gamma(DataType::f32, channels);
  std::vector<std::unique_ptr<Memory>> micros;
  std::vector<NormCase> cases;
  for (size_t i = 0; i < parts.size(); ++i) {
    NormCase micro = test;
    micro.spec.batch = *std::max_element(parts.begin(), parts.end());
    micro.offsets = {0, parts[i]};
    NormData part = data;
    for (auto* values : {&part.src, &part.residual, &part.diff_dst, &part.diff_dst2}) {
      if (values->empty()) continue;
      values->erase(values->begin(), values->begin() + starts[i] * row_elements);
      values->resize(static_cast<size_t>(parts[i] * row_elements));
      values->resize(static_cast<size_t>(micro.spec.elements()), NAN);
    }
    micros.push_back(std::make_unique<Memory>(type, micro, part));
    micros.back()->step.ghost_rows = starts.back();
    cases.push_back(micro);
  }
  const norm::Plan plan = plan_for(cases[0], type, how, norm::Pass::span);
  EXPECT_EQ(plan.held, 0);
  const Buffer workspace = workspace_of(plan);
  const auto each = [&](bool backward, const auto& body) {
    for (size_t i = 0; i < parts.size(); ++i) {
      norm::Tensors tensors = backward ? micros[i]->gradients() : micros[i]->tensors();
      tensors.statistics.mean = mean.view().as<float>();
      tensors.statistics.variance = variance.view().as<float>();
      double* const part = partials.view().as<double>() + 2 * channels * static_cast<int64_t>(i);
      call(plan, tensors, workspace, Emulate{how.order}, [&](const auto& passes) { body(passes, part); });
    }
  };
  each(false, [](const auto& passes, double* part) { passes.statistics(part); });
  norm::combine(plan, partials.view().as<double>(), parts.data(), &count, mean.view().as<float>(),
                variance.view().as<float>(), Emulate{how.order});
  each(false, [](const auto& passes, double*) { passes.normalize(); });
  each(true, [](const auto& passes, double* part) { passes.backward_sums(part); });
  norm::combine_sums(plan, partials.view().as<double>(), &count, sums.view().as<double>(), diff_beta.view().as<float>(),
                     diff_gamma.view().as<float>(), Emulate{how.order});
  each(true, [&](const auto& passes, double*) { passes.backward_apply(sums.view().as<double>()); });

  NormResult result;
  result.mean = mean.values();
  result.variance = variance.values();
  result.diff_beta = diff_beta.values();
  result.diff_gamma = diff_gamma.values();
  for (size_t i = 0; i < parts.size(); ++i) {
    const NormResult micro = micros[i]->result();
    const auto append = [&](std::vector<double>& to, const std::vector<double>& values) {
      if (values.empty()) return;
      const auto used = static_cast<size_t>(parts[i] * row_elements);
      to.insert(to.end(), values.begin(), values.begin() + static_cast<ptrdiff_t>(used));
      for (size_t j = used; j < values.size(); ++j) EXPECT_TRUE(std::isnan(values[j])) << "a row of no sample";
    };
    append(result.dst, micro.dst);
    append(result.diff_src, micro.diff_src);
    append(result.diff_residual, micro.diff_residual);
  }
  return result;
}

TEST(CudaGhostBatchNorm, AGhostThatSpansMicroBatchesIsOneGhost) {
  const auto reference = make_device("reference");
  uint32_t seed = 9000;
  for (const int64_t channels : {1, 16, 17, 64}) {
    for (int variant = 0; variant < 4; ++variant) {
      for (const double sigmas : {1.0, 100.0}) {
        NormCase test = make_case(13, 4, 3, channels, {13});
        test.spec.relu = variant % 2 != 0;
        test.spec.residual = variant >= 2;
        test.second_gradient = variant == 3;
        SCOPED_TRACE(describe(test));
        const NormData data = make_data(test, sigmas, seed++);
        const NormResult expected = formula(test, data);
        const double tolerance = sigmas > 1 ? Tolerance::kNormOffCentre : Tolerance::kNormBlocks;
        for (const How& how : {How{}, in_pieces(40, 2, 1)}) {
          expect_all_close(run_spanning(DataType::f32, test, data, {5, 5, 3}, how), expected, tolerance);
          expect_all_close(run_spanning(DataType::f32, test, data, {1, 6, 6}, how), expected, tolerance);
        }
        if (sigmas > 1) continue;
        const NormData narrow = make_data(test, sigmas, seed++, DataType::bf16);
        NormResult whole = run(*reference, DataType::bf16, test, narrow);
        whole.largest_sum = formula(test, narrow).largest_sum;
        expect_all_close_in_bfloat16(run_spanning(DataType::bf16, test, narrow, {5, 5, 3}, {}), whole);
      }
    }
  }
}

TEST(CudaGhostBatchNorm, OneGhostIsBatchNormBitForBit) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int64_t channels : {3, 16}) {
      for (const bool residual : {false, true}) {
        NormCase test = make_case(13, 4, 3, channels, {13});
        test.spec.relu = true;
        test.spec.residual = residual;
        const NormData data = make_data(test, 3, 77, type);
        expect_same_bits(run_spanning(type, test, data, {13}, streamed()), run_cuda(type, test, data, streamed()));
      }
    }
  }
}

struct Planned {
  GhostBatchNormSpec spec;
  int32_t ghosts, ghost_rows;
  norm::Pass pass;
  cuda::BlockLimits limits;
  int32_t width, columns, groups, pieces, piece_places, wave, held;
};

GhostBatchNormSpec shape(DataType type, int64_t batch, int64_t size, int64_t channels) {
  GhostBatchNormSpec spec = make_case(batch, size, size, channels, {1}).spec;
  spec.type = type;
  return spec;
}

TEST(CudaGhostBatchNorm, PlansAreAFixedTable) {
  const auto bf16 = DataType::bf16, f32 = DataType::f32;
  const auto forward = norm::Pass::forward, backward = norm::Pass::backward, span = norm::Pass::span;
  const cuda::BlockLimits least;
  const Planned table[] = {
      // ResNet-44's stages: streamed.
      {shape(bf16, 4096, 32, 16), 32, 128, forward, kNoClusters, 8, 2, 1, 64, 2048, 4, 0},
      {shape(bf16, 4096, 32, 16), 32, 128, backward, kNoClusters, 8, 2, 1, 64, 2048, 2, 0},
      {shape(f32, 4096, 32, 16), 32, 128, forward, kNoClusters, 4, 4, 1, 90, 1472, 2, 0},
      {shape(bf16, 4096, 16, 32), 32, 128, forward, kNoClusters, 8, 4, 1, 32, 1024, 8, 0},
      {shape(bf16, 4096, 8, 64), 32, 128, forward, kNoClusters, 8, 8, 1, 16, 512, 16, 0},
      // Wider networks: a group of 128 bytes a block.
      {shape(bf16, 1024, 8, 256), 8, 128, forward, kNoClusters, 8, 8, 4, 16, 512, 4, 0},
      {shape(f32, 1024, 8, 80), 8, 128, backward, least, 4, 7, 3, 15, 576, 3, 0},
      // Small maps and dense layers: resident, where the GPU has room.
      {shape(bf16, 4096, 1, 512), 32, 128, forward, least, 8, 8, 8, 1, 32, 32, 128},
      {shape(bf16, 4096, 1, 512), 32, 128, backward, least, 8, 8, 8, 1, 32, 32, 128},
      {shape(f32, 128, 1, 512), 1, 128, forward, least, 4, 2, 64, 1, 128, 1, 128},
      {shape(bf16, 1024, 4, 512), 8, 128, forward, kNoClusters, 8, 2, 32, 1, 128, 8, 2048},
      {shape(bf16, 1024, 4, 512), 8, 128, backward, least, 8, 8, 8, 4, 512, 4, 0},
      // One ghost of all rows: pieces for every multiprocessor, whose sums cost little beside what they read.
      {shape(bf16, 4096, 32, 16), 1, 4096, forward, kNoClusters, 8, 2, 1, 362, 11648, 1, 0},
      {shape(bf16, 128, 1, 512), 1, 128, span, kNoClusters, 8, 8, 8, 1, 128, 1, 0},
      // Channels that no pack fits.
      {shape(bf16, 128, 28, 3), 1, 128, forward, kNoClusters, 1, 3, 1, 56, 1870, 1, 0},
      {shape(f32, 128, 1, 100), 1, 128, forward, kNothing, 4, 7, 4, 1, 144, 1, 0},
      {shape(f32, 128, 1, 101), 1, 128, forward, least, 1, 51, 2, 2, 65, 1, 0},
      // Clusters: pieces that leave room for a second block on a multiprocessor, in groups of 64 bytes or 32.
      {shape(bf16, 4096, 8, 64), 32, 128, forward, kHopper, 8, 4, 2, 8, 64, 16, 1024},
      {shape(bf16, 4096, 8, 64), 32, 128, backward, kHopper, 8, 4, 2, 16, 64, 8, 512},
      {shape(bf16, 4096, 8, 64), 32, 128, backward, kPortable, 8, 2, 4, 8, 128, 8, 1024},
      {shape(bf16, 1024, 8, 256), 8, 128, forward, kHopper, 8, 4, 8, 8, 64, 4, 1024},
      {shape(f32, 1024, 8, 80), 8, 128, backward, kHopper, 4, 4, 5, 16, 64, 3, 512},
      {shape(bf16, 4096, 16, 32), 32, 128, forward, kHopper, 8, 2, 2, 16, 128, 8, 2048},
      {shape(bf16, 1024, 4, 512), 8, 128, backward, kHopper, 8, 4, 16, 4, 64, 4, 512},
      // Or that take it alone.
      {shape(bf16, 4096, 16, 32), 32, 128, backward, kHopper, 8, 2, 2, 16, 128, 4, 2048},
      // Or that keep what they can, where L2 has room for the rest.
      {shape(bf16, 4096, 32, 16), 32, 128, forward, kHopper, 8, 2, 1, 16, 128, 4, 6144},
      {shape(f32, 4096, 32, 16), 32, 128, forward, kHopper, 4, 2, 2, 16, 128, 2, 6656},
      {shape(bf16, 1024, 32, 64), 8, 128, forward, kHopper, 8, 2, 4, 16, 128, 1, 6144},
      // And not where it has none, or where there would be few blocks with much to do, or blocks alone with little.
      {shape(bf16, 4096, 32, 16), 32, 128, backward, kHopper, 8, 2, 1, 64, 2048, 2, 0},
      {shape(bf16, 1792, 32, 16), 32, 56, forward, kHopper, 8, 2, 1, 28, 2048, 9, 0},
      {shape(bf16, 1536, 32, 16), 32, 48, forward, kHopper, 8, 2, 1, 8, 128, 10, 6144},
      {shape(bf16, 128, 8, 64), 1, 128, forward, kHopper, 8, 2, 4, 16, 128, 1, 512},
      {shape(bf16, 256, 8, 64), 1, 256, forward, kHopper, 8, 8, 1, 22, 768, 1, 0},
      {shape(bf16, 4096, 32, 16), 1, 4096, forward, kHopper, 8, 2, 1, 362, 11648, 1, 0},
      {shape(bf16, 128, 1, 512), 1, 128, span, kHopper, 8, 8, 8, 1, 128, 1, 0},
      {shape(bf16, 4096, 32, 16), 32, 128, forward, {36 << 10, 16}, 8, 2, 1, 64, 2048, 4, 0},  // no room at all
      // Still resident where one block can.
      {shape(bf16, 1024, 4, 512), 8, 128, forward, kHopper, 8, 2, 32, 1, 128, 8, 2048},
  };
  for (const Planned& row : table) {
    NormCase test;
    test.spec = row.spec;
    test.offsets = {0};
    SCOPED_TRACE(describe(test));
    norm::Capacity capacity;
    capacity.ghosts = row.ghosts;
    capacity.ghost_rows = row.ghost_rows;
    capacity.limits = row.limits;
    const norm::Plan plan = norm::make_plan(row.spec, capacity, row.pass);
    EXPECT_EQ(plan.width, row.width);
    EXPECT_EQ(plan.columns, row.columns);
    EXPECT_EQ(plan.groups, row.groups);
    EXPECT_EQ(plan.pieces, row.pieces);
    EXPECT_EQ(plan.piece_places, row.piece_places);
    EXPECT_EQ(plan.wave, row.wave);
    EXPECT_EQ(plan.held, row.held);
    EXPECT_EQ(plan.clusters, row.held > 0 && row.pieces > 1);
    EXPECT_EQ(plan.streams, row.wave < row.ghosts);
    EXPECT_EQ(plan.lines, norm::kThreads / row.columns);
    EXPECT_LE(plan.columns * plan.width, norm::kChannels);
    EXPECT_GE(int64_t{plan.columns} * plan.width * plan.groups, row.spec.channels);
    EXPECT_GE(int64_t{plan.pieces} * plan.piece_places, plan.held > 0 ? 0 : row.ghost_rows * row.spec.spatial());
  }
}

TEST(CudaGhostBatchNorm, RefusesWhatItHasNoKernelFor) {
  const auto refuse = [](const GhostBatchNormSpec& spec, int32_t ghosts, int32_t ghost_rows, const char* part) {
    norm::Capacity capacity;
    capacity.ghosts = ghosts;
    capacity.ghost_rows = ghost_rows;
    expect_error([&] { norm::make_plan(spec, capacity, norm::Pass::forward); }, part);
  };
  refuse(shape(DataType::f64, 4, 2, 3), 1, 1, "[ghost_batch_norm] needs f32 or bf16 on the backend cuda, got f64");
  refuse(shape(DataType::f32, 1 << 20, 64, 3), 1, 1, "places in [1, 1073741824], got 4294967296");
  refuse(shape(DataType::f32, 4, 2, 3), 5, 1, "ghosts in [1, 4], got 5");
  refuse(shape(DataType::f32, 4, 2, 3), 1, 0, "rows of a ghost in [1, 4], got 0");
  refuse(shape(DataType::f32, 1 << 30, 1, 256), 1 << 30, 1, "blocks in [1, 2147483647], got");
}

/// Shared memory of the kernel of a plan, or 0 where it holds nothing.
template <template <typename, int, bool> class Kernel, typename T, int kWidth>
int64_t bytes_of(const norm::Plan& plan) {
  if (plan.held == 0) return 0;
  Kernel<T, kWidth, true> in_clusters{};
  in_clusters.plan = plan;
  EXPECT_EQ(blocks_of_cluster(in_clusters), plan.pieces);
  Kernel<T, kWidth, false> alone{};
  alone.plan = plan;
  EXPECT_EQ(shared_bytes(in_clusters), shared_bytes(alone));
  return shared_bytes(alone);
}

/// What a block asks for is what it uses, and no more than was granted.
TEST(CudaGhostBatchNorm, SharedMemoryIsWithinItsBounds) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int64_t size : {1, 2, 3, 4, 5, 6, 7, 8, 16, 31, 32}) {
      for (const int64_t channels : {16, 24, 64, 160}) {
        for (const cuda::BlockLimits& limits : {cuda::BlockLimits(), kAmpere, kNoClusters, kPortable, kHopper}) {
          norm::Capacity capacity;
          capacity.ghosts = 32;
          capacity.ghost_rows = 128;
          capacity.limits = limits;
          const GhostBatchNormSpec spec = shape(type, 4096, size, channels);
          const norm::Plan forward = norm::make_plan(spec, capacity, norm::Pass::forward);
          const norm::Plan backward = norm::make_plan(spec, capacity, norm::Pass::backward);
          if (type == DataType::bf16) {
            EXPECT_LE((bytes_of<norm::ResidentForward, uint16_t, 8>(forward)), limits.shared_bytes) << size;
            EXPECT_LE((bytes_of<norm::ResidentBackward, uint16_t, 8>(backward)), limits.shared_bytes) << size;
          } else {
            EXPECT_LE((bytes_of<norm::ResidentForward, float, 4>(forward)), limits.shared_bytes) << size;
            EXPECT_LE((bytes_of<norm::ResidentBackward, float, 4>(backward)), limits.shared_bytes) << size;
          }
          for (const norm::Plan* plan : {&forward, &backward}) {
            EXPECT_LE(plan->clusters ? plan->pieces : 0, limits.cluster);
            EXPECT_LE(plan->held, capacity.ghost_rows * spec.spatial());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ghostbatch::tests
