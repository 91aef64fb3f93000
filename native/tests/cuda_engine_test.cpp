// Whole steps of the CUDA backend against those of the reference: every kind of operation, every way in which ghosts
// meet micro-batches, captured passes and uncaptured ones. On the host, or on the GPU that GHOSTBATCH_TEST_DEVICE
// names.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuda/ghost_batch_norm.h"
#include "tests/cuda_device.h"
#include "tests/cuda_runtime.h"
#include "tests/engine_support.h"

namespace ghostbatch::tests {
namespace {

Owned<Device> make_gpu() {
  return real_gpu() != nullptr ? make_device(real_gpu()) : make_cuda_device();
}

/// What a step gives, on the host.
struct Outcome {
  LossResult loss;
  std::vector<double> gradients, running;
  std::vector<float> logits, input_gradient;
};

struct Asked {
  bool logits = false, input_gradient = false, weights = false;
};

Outcome run(Session& s, const Samples& samples, const std::vector<int32_t>& indices, const StepSpec& spec,
            const Asked& asked = {}) {
  Outcome outcome;
  const auto batch = static_cast<int64_t>(indices.size());
  if (asked.logits) outcome.logits.assign(indices.size() * kClasses, NAN);
  if (asked.input_gradient) outcome.input_gradient.assign(indices.size() * 72, NAN);
  std::vector<float> weights(indices.size());
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f + 0.0625f * static_cast<float>(i % 17);
  s.engine->step(samples, indices.data(), batch, asked.weights ? weights.data() : nullptr, spec,
                 asked.logits ? outcome.logits.data() : nullptr,
                 asked.input_gradient ? outcome.input_gradient.data() : nullptr, outcome.loss);
  if (spec.backward) outcome.gradients = s.gradients();
  if (s.statistics > 0) outcome.running = s.running();
  return outcome;
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double v : values) most = std::max(most, std::abs(v));
  return most;
}

template <typename T>
void expect_close(const char* what, const std::vector<T>& got, const std::vector<T>& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size()) << what;
  const double scale = largest(std::vector<double>(wanted.begin(), wanted.end()));
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], wanted[i], tolerance * std::max(scale, 1e-3)) << what << ", element " << i;
  }
}

void expect_close(const Outcome& got, const Outcome& wanted, double tolerance) {
  EXPECT_NEAR(got.loss.loss, wanted.loss.loss, tolerance * std::abs(wanted.loss.loss));
  EXPECT_EQ(got.loss.correct, wanted.loss.correct);
  expect_close("gradients", got.gradients, wanted.gradients, tolerance);
  expect_close("running statistics", got.running, wanted.running, tolerance);
  expect_close("logits", got.logits, wanted.logits, tolerance);
  expect_close("input gradient", got.input_gradient, wanted.input_gradient, tolerance);
}

void expect_same_bits(const Outcome& got, const Outcome& wanted) {
  const auto same = [](const auto& a, const auto& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0);
  };
  EXPECT_EQ(std::memcmp(&got.loss, &wanted.loss, sizeof got.loss), 0);
  EXPECT_TRUE(same(got.gradients, wanted.gradients));
  EXPECT_TRUE(same(got.running, wanted.running));
  EXPECT_TRUE(same(got.logits, wanted.logits));
  EXPECT_TRUE(same(got.input_gradient, wanted.input_gradient));
}

/// Rows that begin somewhere and go on by a stride: batches that differ in order.
std::vector<int32_t> rows_of(int64_t batch, int32_t first, int64_t of) {
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < batch; ++i) rows.push_back(static_cast<int32_t>((first + i * 7) % of));
  return rows;
}

constexpr double kF32 = 2e-5;

/// The same steps on both backends, whose batches, ghosts, draws, rates and modes change from step to step.
void expect_steps_of_the_reference(Builder& network, const Cut& cut, int64_t ghost, DataType type, double tolerance,
                                   const std::vector<int64_t>& batches) {
  SCOPED_TRACE(testing::Message() << cut << ", ghosts of " << ghost);
  constexpr int64_t kCount = 53;
  const Owned<Samples> samples = random_samples(kCount);
  Session cuda(make_gpu(), type, network, 1, cut, ghost, true, true);
  Session reference("reference", type, network, 1, cut, ghost, true, true);
  uint64_t number = 0;
  for (const NormMode mode : {NormMode::train, NormMode::batch_statistics, NormMode::running, NormMode::train}) {
    for (const int64_t batch : batches) {
      StepSpec spec;
      spec.mode = mode;
      spec.ghost = ghost == 0 ? 0 : number % 3 == 2 ? std::max<int64_t>(2, ghost / 2) : ghost;
      spec.running_statistics = static_cast<RunningStatistics>(number % 4);
      spec.label_smoothing = number % 2 == 0 ? 0 : 0.1;
      spec.seed = 5 + number;
      spec.step = number;
      spec.first_row = number % 2 == 0 ? 0 : 11;
      spec.backward = number % 5 != 4;
      spec.dropout = number % 4 != 3;
      const Asked asked{number % 3 == 0, spec.backward && number % 4 == 1, number % 2 == 1};
      const std::vector<int32_t> indices = rows_of(batch, static_cast<int32_t>(number), kCount);
      SCOPED_TRACE(testing::Message() << "step " << number << ", batch " << batch << ", mode "
                                      << static_cast<int>(mode));
      const Outcome wanted = run(reference, *samples, indices, spec, asked);
      expect_close(run(cuda, *samples, indices, spec, asked), wanted, tolerance);
      if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
      ++number;
    }
  }
}

TEST(CudaEngine, StepsOfAResidualNetworkAreThoseOfTheReference) {
  for (const Cut& cut : {Cut(24), Cut(8), Cut(4), Cut(4, true)}) {
    for (const int64_t ghost : {8, 5}) {
      Builder network = residual_network();
      expect_steps_of_the_reference(network, cut, ghost, DataType::f32, kF32, {24, 24, 24, 17, 24});
    }
  }
}

/// On a GPU whose blocks have so little that clusters keep small ghosts.
TEST(CudaEngine, StepsInClustersAreThoseOfTheReference) {
  cuda::norm::Capacity capacity;
  capacity.ghosts = 3;
  capacity.ghost_rows = 8;
  capacity.limits = {53760, 16};
  GhostBatchNormSpec stem;
  stem.batch = 24;
  stem.height = stem.width = 6;
  stem.channels = 16;
  EXPECT_TRUE(cuda::norm::make_plan(stem, capacity, cuda::norm::Pass::forward).clusters);
  EXPECT_TRUE(cuda::norm::make_plan(stem, capacity, cuda::norm::Pass::backward).clusters);
  const BlocksOf gpu(capacity.limits);
  Builder network = wide_network();
  expect_steps_of_the_reference(network, Cut(24), 8, DataType::f32, kF32, {24, 17});
}

TEST(CudaEngine, ForwardOnlyEnginesGiveTheLogitsOfTheReference) {
  const Owned<Samples> samples = random_samples(53);
  for (const Cut& cut : {Cut(24), Cut(8), Cut(4), Cut(4, true)}) {
    Builder network = residual_network();
    Session cuda(make_gpu(), DataType::f32, network, 1, cut, 8, false);
    Session reference("reference", DataType::f32, network, 1, cut, 8, false);
    for (const NormMode mode : {NormMode::batch_statistics, NormMode::running, NormMode::batch_statistics}) {
      for (const bool logits : {false, true, false}) {
        StepSpec spec;
        spec.mode = mode;
        spec.ghost = 8;
        spec.backward = false;
        const std::vector<int32_t> indices = rows_of(29, 5, 53);
        const Outcome wanted = run(reference, *samples, indices, spec, {logits});
        cuda.engine->poison();
        expect_close(run(cuda, *samples, indices, spec, {logits}), wanted, kF32);
      }
    }
  }
}

TEST(CudaEngine, StepsOfAPlainNetworkAreThoseOfTheReference) {
  for (const int64_t micro_batch : {5, 24}) {
    Builder network = plain_network();
    expect_steps_of_the_reference(network, Cut(micro_batch), 0, DataType::f32, kF32, {24, 13, 24});
  }
}

TEST(CudaEngine, StepsInBfloat16AreThoseOfTheReference) {
  for (const Cut& cut : {Cut(16), Cut(4, true)}) {
    Builder network = wide_network();
    expect_steps_of_the_reference(network, cut, 8, DataType::bf16, 4e-2, {16, 11});
  }
}

/// Updates by a backend's own vector kernels, as a trainer makes them.
std::vector<double> losses_of_updates(Owned<Device> device, int updates) {
  const Owned<Samples> samples = random_samples(53);
  Builder network = residual_network();
  Session s(std::move(device), DataType::f32, network, 1, Cut(8), 8);
  const Owned<VectorKernels> vectors = own(s.device->vector_kernels());
  const Owned<Tensor> velocity = own(Tensor::create(*s.device, DataType::f32, s.elements));
  std::vector<double> losses;
  for (int i = 0; i < updates; ++i) {
    StepSpec spec;
    spec.ghost = 8;
    spec.step = static_cast<uint64_t>(i);
    losses.push_back(run(s, *samples, rows_of(32, i, 53), spec).loss.loss / 32);
    SgdSpec sgd;
    sgd.rate = 0.05;
    sgd.momentum = 0.9;
    sgd.weight_decay = 1e-4;
    sgd.gradient_scale = std::min(1.0, 5 / std::sqrt(vectors->dot(nullptr, s.engine->gradients()->view(),
                                                                  s.engine->gradients()->view())));
    vectors->sgd(nullptr, sgd, s.engine->parameters()->view(), s.engine->gradients()->view(), velocity->view());
    s.engine->parameters_changed();
  }
  return losses;
}

TEST(CudaEngine, LossesOfFiftyUpdatesAreThoseOfTheCpu) {
  const std::vector<double> gpu = losses_of_updates(make_gpu(), 50), cpu = losses_of_updates(make_device("cpu"), 50);
  for (size_t i = 0; i < gpu.size(); ++i) EXPECT_NEAR(gpu[i], cpu[i], 1e-3) << "update " << i;
  EXPECT_LT(cpu.back(), 0.5 * cpu.front());
}

/// A step that is replayed has the bits of one that never was: those of a new engine.
TEST(CudaEngine, ReplayedPassesHaveTheBitsOfUncapturedOnes) {
  const Owned<Samples> samples = random_samples(53);
  for (const Cut& cut : {Cut(8), Cut(3), Cut(3, true)}) {
    Builder network = residual_network();
    Session replaying(make_gpu(), DataType::f32, network, 1, cut, 8);
    for (uint64_t number = 0; number < 6; ++number) {
      StepSpec spec;
      spec.ghost = 8;
      spec.seed = 3 + number;
      spec.step = number;
      spec.label_smoothing = 0.01 * static_cast<double>(number);
      spec.momentum = 0.1 + 0.1 * static_cast<double>(number);
      const int64_t batch = number % 2 == 0 ? 32 : 29;
      const std::vector<int32_t> indices = rows_of(batch, static_cast<int32_t>(number), 53);
      Session fresh(make_gpu(), DataType::f32, network, 1, cut, 8);
      std::vector<double> parameters = network.initial(static_cast<uint32_t>(number));
      const std::vector<double> running = replaying.running();
      fresh.set(parameters);
      fresh.engine->statistics()->write_doubles(0, fresh.statistics, running.data());
      replaying.set(parameters);
      replaying.engine->poison();
      expect_same_bits(run(replaying, *samples, indices, spec), run(fresh, *samples, indices, spec));
    }
  }
}

/// What the host writes while the GPU is still at work lies where that does not read any more.
TEST(CudaEngine, UpdatesThatRunAsLateAsTheyMayHaveTheSameBits) {
  if (real_gpu() != nullptr) GTEST_SKIP() << "delays the stand-in";
  const std::vector<double> at_once = losses_of_updates(make_gpu(), 6);
  const LateStreams late;
  EXPECT_EQ(losses_of_updates(make_gpu(), 6), at_once);
}

TEST(CudaEngine, AStepWaitsForNoCopy) {
  if (real_gpu() != nullptr) GTEST_SKIP() << "counts the copies of the stand-in";
  const Owned<Samples> samples = random_samples(53);
  const std::vector<float> weights(32, 1.0f);
  Builder network = residual_network();
  Session s(make_gpu(), DataType::f32, network, 1, Cut(8), 8);
  StepSpec spec;
  spec.ghost = 8;
  int64_t copies = 0;
  for (int i = 0; i < 3; ++i) {  // the first brings the samples
    s.step(*samples, 32 - i, spec, nullptr, nullptr, i == 0 ? nullptr : weights.data());
    if (i == 0) copies = unpinned_copies();
  }
  EXPECT_EQ(unpinned_copies(), copies);
}

TEST(CudaEngine, SamplesThatChangeAreReadAgain) {
  Builder network = plain_network();
  Session cuda(make_gpu(), DataType::f32, network, 1, Cut(8), 0);
  Session reference("reference", DataType::f32, network, 1, Cut(8), 0);
  const Owned<Samples> a = random_samples(16, 1), b = random_samples(20, 2);
  StepSpec spec;
  std::vector<float> values(72);
  for (int turn = 0; turn < 3; ++turn) {
    for (const Samples* samples : {a.get(), b.get()}) {
      const std::vector<int32_t> indices = rows_of(16, turn, samples->count());
      expect_close(run(cuda, *samples, indices, spec), run(reference, *samples, indices, spec), kF32);
    }
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(turn) + 0.01f * static_cast<float>(i);
    a->write_floats(turn, 1, values.data());
    const int32_t label = turn % kClasses, number = 3 * turn;
    b->write_labels(turn, 1, &label);
    b->write_numbers(turn, 1, &number);
  }
}

TEST(CudaEngine, PartNormsAreThoseOfTheReference) {
  const Owned<Samples> samples = random_samples(53);
  for (const Cut& cut : {Cut(8), Cut(16), Cut(4, true)}) {
    Builder network = residual_network();
    Session cuda(make_gpu(), DataType::f32, network, 1, cut, 8);
  Session reference("reference", DataType::f32, network, 1, cut, 8);
    StepSpec spec;
    spec.ghost = 8;
    for (uint64_t number = 0; number < 3; ++number) {
      spec.part_norms = number != 1;
      spec.step = number;
      const std::vector<int32_t> indices = rows_of(32, static_cast<int32_t>(number), 53);
      const Outcome wanted = run(reference, *samples, indices, spec);
      expect_close(run(cuda, *samples, indices, spec), wanted, kF32);
      EXPECT_EQ(cuda.engine->parts(), reference.engine->parts());
      const double squares = reference.engine->part_squares();
      EXPECT_NEAR(cuda.engine->part_squares(), squares, kF32 * squares);
    }
  }
}

TEST(CudaEngine, TheAdversaryIsThatOfTheReference) {
  const Owned<Samples> samples = random_samples(53);
  Builder network = residual_network();
  Session cuda(make_gpu(), DataType::f32, network, 1, Cut(8), 8, true, true);
  Session reference("reference", DataType::f32, network, 1, Cut(8), 8, true, true);
  StepSpec spec;
  spec.ghost = 8;
  spec.adversary_epsilon = 0.05;
  for (const int64_t batch : {24, 40, 24}) {
    const std::vector<int32_t> indices = rows_of(batch, 3, 53);
    for (const Adversary adversary : {Adversary::record, Adversary::apply}) {
      spec.adversary = adversary;
      const Outcome wanted = run(reference, *samples, indices, spec);
      // A gradient of the input near 0 may have either sign, and moves the input then by 2 epsilon.
      expect_close(run(cuda, *samples, indices, spec), wanted, adversary == Adversary::apply ? 2e-3 : kF32);
    }
  }
  spec.adversary = Adversary::apply;
  EXPECT_THROW(run(cuda, *samples, rows_of(25, 0, 53), spec), Error);
}

TEST(CudaEngine, AProfileCountsEveryCallAndChangesNoBits) {
  const Owned<Samples> samples = random_samples(53);
  Builder network = residual_network();
  Session plain(make_gpu(), DataType::f32, network, 1, Cut(8), 8);
  Session profiled(make_gpu(), DataType::f32, network, 1, Cut(8), 8);
  StepSpec spec;
  spec.ghost = 8;
  const std::vector<int32_t> indices = rows_of(32, 0, 53);
  run(plain, *samples, indices, spec);
  run(profiled, *samples, indices, spec);
  profiled.engine->set_profiling(true);
  expect_same_bits(run(profiled, *samples, indices, spec), run(plain, *samples, indices, spec));
  int64_t loads = 0, convolutions = 0;
  for (int32_t i = 0; i < profiled.engine->profile_entries(); ++i) {
    ProfileEntry entry;
    profiled.engine->profile_entry(i, entry);
    const std::string name = profiled.engine->profile_name(i);
    if (name == "load") loads += entry.calls;
    if (name == "conv0" && entry.direction == 0) convolutions += entry.calls;
  }
  EXPECT_EQ(loads, 4);
  EXPECT_EQ(convolutions, 4);
}

TEST(CudaEngine, RefusesBadStepsAndGoesOn) {
  const Owned<Samples> samples = random_samples(53);
  Builder network = residual_network();
  Session s(make_gpu(), DataType::f32, network, 1, Cut(8), 8);
  StepSpec spec;
  spec.ghost = 8;
  const std::vector<int32_t> indices = rows_of(32, 0, 53);
  const Outcome before = run(s, *samples, indices, spec);
  EXPECT_THROW(run(s, *samples, {53}, spec), Error);
  EXPECT_THROW(run(s, *samples, {}, spec), Error);
  spec.ghost = 32;
  EXPECT_THROW(run(s, *samples, indices, spec), Error);
  spec.ghost = 8;
  EXPECT_EQ(run(s, *samples, indices, spec).loss.loss, before.loss.loss);
}

TEST(CudaEngine, AllocatesNothingInTheSteadyStateAndGivesAllBack) {
  if (real_gpu() != nullptr) GTEST_SKIP() << "counts the memory of the stand-in";
  const int64_t before = device_memory_in_use();
  {
    const Owned<Samples> samples = random_samples(53);
    Builder network = residual_network();
    Session s(make_gpu(), DataType::f32, network, 1, Cut(8), 8);
    StepSpec spec;
    spec.ghost = 8;
    run(s, *samples, rows_of(32, 0, 53), spec);
    const int64_t steady = device_memory_in_use();
    EXPECT_GE(steady - before, s.engine->bytes());
    for (const int64_t batch : {32, 7, 25, 32}) run(s, *samples, rows_of(batch, 1, 53), spec);
    EXPECT_EQ(device_memory_in_use(), steady);
  }
  EXPECT_EQ(device_memory_in_use(), before);
}

/// Sizes are rounded up to what CUDA aligns to, so that they are a few bytes more than what is asked for.
TEST(CudaEngine, TakesTheMemoryThatItNames) {
  if (real_gpu() != nullptr) GTEST_SKIP() << "counts the memory of the stand-in";
  for (const int64_t ghost : {0, 8, 12}) {
    for (const Cut& cut : {Cut(8), Cut(5, true)}) {
      SCOPED_TRACE(testing::Message() << cut << ", ghosts of " << ghost);
      Builder network(6, 6, 2);
      int32_t value = network.convolution(0, 3, 3, 1, true);
      if (ghost > 0) value = network.norm(value, true);
      for (int i = 0; i < 64; ++i) value = network.linear(value, kClasses);
      const int64_t before = device_memory_in_use();
      const Session s(make_gpu(), DataType::bf16, network, 1, cut, ghost);
      const int64_t taken = device_memory_in_use() - before;
      EXPECT_LE(taken, s.engine->bytes());
      EXPECT_GT(taken, s.engine->bytes() - 32 * 256);
    }
  }
}

TEST(CudaEngine, WhatCannotFitIsRefusedBeforeItIsAllocated) {
  if (real_gpu() != nullptr) GTEST_SKIP() << "limits the memory of the stand-in";
  Builder network = residual_network();
  const Owned<Device> device = make_gpu();
  const Owned<Lanes> lanes = own(Lanes::create(1));
  EngineSpec spec;
  spec.micro_batch = 8;
  spec.ghost = 8;
  const int64_t bytes = Engine::predict_bytes(*device, 1, *network, spec), before = device_memory_in_use();
  const MemoryLimit limit(before + bytes - 1);
  try {
    Engine::create(*device, *lanes, *network, spec)->destroy();
    FAIL() << "an engine without memory";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(bytes) + " bytes"), std::string::npos) << error.what();
  }
  EXPECT_EQ(device_memory_in_use(), before);
}

}  // namespace
}  // namespace ghostbatch::tests
