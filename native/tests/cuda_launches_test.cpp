// How many kernels, copies and fills the CUDA backend enqueues: what GpuStep and GpuNorm of the benchmarks say it does,
// whose test, GpuStepTest, has the same networks, shapes and numbers.
#include <cstdint>
#include <vector>

#include "cuda/ghost_batch_norm.h"
#include "tests/cuda_device.h"
#include "tests/cuda_runtime.h"
#include "tests/engine_support.h"

namespace ghostbatch::tests {
namespace {

struct Cut {
  int64_t micro_batch, ghost;
  bool ghost_per_lane;
};

/// Of a step with changed weights, after those that load what is needed and capture the pass.
int64_t launches(Builder& network, DataType type, const Cut& cut, int64_t batch) {
  const Owned<Device> device = make_cuda_device();
  const Owned<Lanes> lanes(Lanes::create(1));
  const int64_t height = network->value_height(0), width = network->value_width(0);
  const int64_t channels = network->value_channels(0);
  EngineSpec spec;
  spec.type = type;
  spec.micro_batch = cut.micro_batch;
  spec.ghost = cut.ghost;
  spec.ghost_per_lane = cut.ghost_per_lane;
  spec.load.height = height;
  spec.load.width = width;
  spec.load.channels = channels;
  const Owned<Engine> engine(Engine::create(*device, *lanes, *network, spec));
  const Owned<Samples> samples(Samples::create(DataType::f32, batch, height, width, channels, 2));
  std::vector<int32_t> indices;
  for (int32_t i = 0; i < batch; ++i) indices.push_back(i);
  StepSpec step;
  step.ghost = cut.ghost;
  int64_t before = 0;
  for (int i = 0; i < 3; ++i) {
    engine->parameters_changed();
    before = launched();
    LossResult result;
    engine->step(*samples, indices.data(), batch, nullptr, step, nullptr, nullptr, result);
  }
  return launched() - before;
}

TEST(CudaLaunches, AStepHasThoseThatAreCountedForItsFloor) {
  Builder small(4, 4, 3);
  const int32_t inner = small.convolution(small.norm(small.convolution(0, 8, 3, 1), true), 8, 1, 1, true);
  small.linear(small.pool(inner, PoolKind::average, 4, 4), 2);
  EXPECT_EQ(launches(small, DataType::bf16, {6, 3, true}, 6), 30);
  EXPECT_EQ(launches(small, DataType::bf16, {9, 3, true}, 7), 36) << "rows that are not used";
  EXPECT_EQ(launches(small, DataType::bf16, {3, 3, true}, 6), 54) << "two micro-batches";

  Builder dense(2, 2, 1);
  dense.linear(dense.norm(dense.linear(0, 8, false), true), 2);
  EXPECT_EQ(launches(dense, DataType::f32, {3, 5, false}, 5), 50) << "a ghost of two micro-batches";
  EXPECT_EQ(launches(dense, DataType::bf16, {3, 5, false}, 5), 52);
  EXPECT_EQ(launches(dense, DataType::bf16, {3, 6, true}, 12), 86) << "two such, each a part of the gradient";

  Builder residual(8, 8, 3);
  const int32_t stem = residual.norm(residual.convolution(0, 16, 3, 1), true);
  const int32_t block = residual.norm(residual.convolution(stem, 16, 3, 1), true);
  const int32_t sum = residual.norm(residual.convolution(block, 16, 3, 1), true, stem);
  residual.linear(residual.pool(sum, PoolKind::average, 8, 8), 2);
  EXPECT_EQ(launches(residual, DataType::bf16, {6, 3, true}, 6), 39);

  Builder large(300, 300, 8);
  large.linear(large.pool(large.norm(0, true), PoolKind::average, 300, 300), 2);
  EXPECT_EQ(launches(large, DataType::bf16, {4, 2, true}, 4), 23) << "a wave, with room for two";
  const BlocksOf hopper({227 << 10, 16});
  Builder clusters(32, 32, 64);
  clusters.linear(clusters.pool(clusters.norm(0, true), PoolKind::average, 32, 32), 2);
  EXPECT_EQ(launches(clusters, DataType::bf16, {16, 4, true}, 16), 22) << "not a wave's two launches";
}

struct Count {
  int* launches;

  template <class Kernel>
  void operator()(const Kernel&, int32_t blocks) const {
    if (blocks > 0) ++*launches;
  }
};

struct Norm {
  int64_t places, channels;
  int32_t room, ghosts, ghost_rows;
  int forward, backward;
  bool clusters = false;
};

int norm_launches(const Norm& norm, cuda::norm::Pass pass) {
  GhostBatchNormSpec spec;
  spec.batch = int64_t{norm.room} * norm.ghost_rows;
  spec.height = norm.places;
  spec.channels = norm.channels;
  spec.type = DataType::bf16;
  cuda::norm::Capacity capacity;
  capacity.ghosts = norm.room;
  capacity.ghost_rows = norm.ghost_rows;
  if (norm.clusters) capacity.limits = {227 << 10, 16};
  cuda::norm::Plan plan = make_plan(spec, capacity, pass);
  plan.ghosts = norm.ghosts;
  const cuda::norm::Step step{};
  cuda::norm::Tensors tensors{};
  tensors.step = &step;
  int count = 0;
  with_passes(plan, tensors, Count{&count}, [pass](const auto& passes) {
    if (pass == cuda::norm::Pass::forward) {
      passes.forward();
    } else {
      passes.backward();
    }
  });
  return count;
}

TEST(CudaLaunches, ANormHasThoseThatAreCountedForItsFloor) {
  for (const Norm& norm :
       {Norm{1024, 16, 64, 32, 128, 9, 17}, Norm{1024, 16, 64, 33, 128, 10, 18}, Norm{64, 64, 64, 32, 128, 3, 5},
        Norm{64, 64, 128, 8, 16, 1, 2}, Norm{64, 64, 8, 8, 16, 2, 2}, Norm{64, 60, 128, 128, 8, 2, 2},
        Norm{196, 32, 64, 64, 64, 5, 8}, Norm{1024, 16, 64, 32, 128, 1, 17, true},
        Norm{64, 64, 64, 32, 128, 1, 2, true}, Norm{256, 128, 16, 8, 128, 1, 2, true},
        Norm{196, 60, 64, 64, 64, 7, 14, true}}) {
    SCOPED_TRACE(testing::Message() << norm.places << " places of " << norm.channels << " channels, " << norm.ghosts
                                    << " ghosts of " << norm.ghost_rows << " rows");
    EXPECT_EQ(norm_launches(norm, cuda::norm::Pass::forward), norm.forward);
    EXPECT_EQ(norm_launches(norm, cuda::norm::Pass::backward), norm.backward);
  }
}

}  // namespace
}  // namespace ghostbatch::tests
