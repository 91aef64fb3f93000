// Passes, lanes, ordered commits, ghosts that span micro-batches, norms of parts: on the reference backend in f64, and
// on cpu in f32.
#include "ghostbatch/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/plan.h"
#include "tests/engine_support.h"

namespace ghostbatch::tests {
namespace {

// Lanes.

class Counting : public LaneWork {
 public:
  explicit Counting(size_t tasks) : counts(tasks) {}
  void run(int64_t task, int32_t) override { ++counts[static_cast<size_t>(task)]; }
  std::vector<std::atomic<int>> counts;
};

class Throwing : public LaneWork {
 public:
  void run(int64_t task, int32_t) override {
    if (task % 3 == 2) throw Error("task " + std::to_string(task));
  }
};

TEST(Lanes, RunEveryTaskOnce) {
  for (int32_t threads : {1, 2, 5}) {
    Owned<Lanes> lanes(Lanes::create(threads));
    for (size_t tasks : {size_t{0}, size_t{1}, size_t{4}, size_t{1000}}) {
      Counting work(tasks);
      lanes->run(static_cast<int64_t>(tasks), work);
      for (const auto& count : work.counts) EXPECT_EQ(count, 1);
    }
  }
}

TEST(Lanes, FirstErrorComesOutAndTheLanesGoOn) {
  Owned<Lanes> lanes(Lanes::create(3));
  for (int i = 0; i < 20; ++i) {
    Throwing work;
    try {
      lanes->run(50, work);
      FAIL() << "no error came out";
    } catch (const Error& e) {
      EXPECT_STREQ(e.what(), "task 2");
    }
    Counting fine(10);
    lanes->run(10, fine);
    for (const auto& count : fine.counts) EXPECT_EQ(count, 1);
  }
}

TEST(Lanes, RefuseBadCountsAndSecondCalls) {
  EXPECT_THROW(Lanes::create(0), Error);
  EXPECT_THROW(Lanes::create(1025), Error);
  Owned<Lanes> lanes(Lanes::create(1));
  class Nested : public LaneWork {
   public:
    explicit Nested(Lanes& lanes) : lanes_(lanes) {}
    void run(int64_t, int32_t) override {
      Counting work(1);
      lanes_.run(1, work);
    }

   private:
    Lanes& lanes_;
  } nested(*lanes);
  EXPECT_THROW(lanes->run(1, nested), Error);
}

// Plans.

TEST(EnginePlan, BuffersThatLiveTogetherLieApart) {
  for (bool backward : {false, true}) {
    for (bool plain : {false, true}) {
      Builder network = plain ? plain_network() : residual_network();
      for (int64_t ghost : {7, 8}) {  // whole in a micro-batch, and spanning two
        EngineSpec spec;
        spec.micro_batch = 7;
        spec.ghost = ghost;
        spec.ghost_per_lane = true;
        spec.backward = backward;
        const Plan plan(static_cast<const Graph&>(*network), spec, 2);
        EXPECT_EQ(plan.lane_arena_bytes > 0, ghost == 8 && !plain);
        for (size_t a = 0; a < plan.buffers.size(); ++a) {
          const ghostbatch::Buffer& x = plan.buffers[a];
          ASSERT_GE(x.offset, 0);
          ASSERT_LE(x.offset + x.bytes(), x.of_lane ? plan.lane_arena_bytes : plan.arena_bytes);
          for (size_t b = 0; b < a; ++b) {
            const ghostbatch::Buffer& y = plan.buffers[b];
            const bool together = x.of_lane == y.of_lane && x.first <= y.last && y.first <= x.last;
            const bool overlap = x.offset < y.offset + y.bytes() && y.offset < x.offset + x.bytes();
            EXPECT_FALSE(together && overlap) << "buffers " << a << " and " << b;
          }
        }
      }
    }
  }
}

TEST(EnginePlan, WhatLivesBeyondAMeetingIsTheMicroBatchs) {
  Builder network = residual_network();
  EngineSpec spec;
  spec.micro_batch = 4;
  spec.ghost = 12;
  spec.ghost_per_lane = true;
  const Plan plan(static_cast<const Graph&>(*network), spec, 1);
  int of_lane = 0;
  for (const ghostbatch::Buffer& buffer : plan.buffers) {
    int meetings = 0;
    for (int32_t i = buffer.first; i < buffer.last; ++i) {
      meetings += plan.instructions[static_cast<size_t>(i)].meets();
    }
    EXPECT_EQ(buffer.of_lane, meetings == 0);
    of_lane += buffer.of_lane;
  }
  EXPECT_GT(of_lane, 0);
  EXPECT_LT(of_lane, static_cast<int>(plan.buffers.size()));
}

TEST(EnginePlan, ForwardOnlyNeedsLessMemory) {
  Builder network = residual_network();
  EngineSpec spec;
  spec.micro_batch = 8;
  spec.ghost = 8;
  const int64_t both = Plan(static_cast<const Graph&>(*network), spec, 1).arena_bytes;
  spec.backward = false;
  EXPECT_LT(2 * Plan(static_cast<const Graph&>(*network), spec, 1).arena_bytes, both);
}

TEST(EngineNetwork, RefusesWhatDoesNotFit) {
  Builder b(6, 6, 2);
  const int32_t conv = b.convolution(0, 3, 3, 1);
  EXPECT_THROW(b->relu("relu", 9), Error);
  EXPECT_THROW(b->add("add", 0, conv, false), Error);
  EXPECT_THROW(b->dropout("dropout", conv, 1.0), Error);
  EXPECT_THROW(b->ghost_batch_norm("norm", conv, 0, true, 1e-5, 100, 110, 0), Error);
  EXPECT_THROW(b->ghost_batch_norm("norm", conv, -1, true, 0, 100, 110, 0), Error);
  EXPECT_THROW(b->ghost_batch_norm("norm", conv, -1, true, 1e-5, 0, 110, 0), Error);  // gamma inside the weights
  LinearSpec linear;
  linear.in = 5;
  EXPECT_THROW(b->linear("linear", conv, linear, 200, 300), Error);
  ConvolutionSpec large;
  large.height = large.width = 6;
  large.channels = 2;
  large.kernel_h = large.kernel_w = 9;
  EXPECT_THROW(b->convolution("conv", 0, large, 200, -1), Error);
  EXPECT_THROW(Network::create(0, 1, 1), Error);
}

// Gradients.

TEST(EngineGradient, WholeResidualNetworkByCentralDifferences) {
  Owned<Samples> samples = random_samples(11);
  // Ghosts of 6 and 5 rows: within a micro-batch, and spanning two, on all lanes and on one.
  for (const Cut cut : {Cut(11), Cut(4), Cut(4, true)}) {
    Builder network = residual_network();
    Session s("reference", DataType::f64, network, 2, cut, 6);
    StepSpec spec;
    spec.ghost = 6;
    spec.label_smoothing = 0.1;
    spec.mode = NormMode::batch_statistics;
    for (NormMode mode : {NormMode::batch_statistics, NormMode::running}) {
      spec.mode = mode;
      std::vector<double> parameters = network.initial(3);
      s.set(parameters);
      std::vector<float> weights(11);
      for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f + 0.125f * static_cast<float>(i);
      s.step(*samples, 11, spec, nullptr, nullptr, weights.data());
      const std::vector<double> gradient = s.gradients();
      std::mt19937 random(1);
      StepSpec loss_only = spec;
      loss_only.backward = false;
      for (int check = 0; check < 120; ++check) {
        const size_t i = random() % parameters.size();
        const double step = 1e-5, value = parameters[i];
        const auto loss = [&](double at) {
          parameters[i] = at;
          s.set(parameters);
          return s.step(*samples, 11, loss_only, nullptr, nullptr, weights.data()).loss / 11;
        };
        const double numeric = (loss(value + step) - loss(value - step)) / (2 * step);
        parameters[i] = value;
        ASSERT_NEAR(gradient[i], numeric, 1e-7 + 1e-6 * std::abs(numeric)) << "parameter " << i;
      }
    }
  }
}

TEST(EngineGradient, PlainNetworkAndInputByCentralDifferences) {
  Builder network = plain_network();
  Session s("reference", DataType::f64, network, 2, 3, 0, true, true);
  Owned<Samples> samples = random_samples(5);
  StepSpec spec;
  std::vector<double> input(5 * 72);
  s.step(*samples, 5, spec, nullptr, input.data());
  const std::vector<double> gradient = s.gradients();
  StepSpec loss_only = spec;
  loss_only.backward = false;
  std::vector<double> parameters = network.initial(3);
  std::mt19937 random(2);
  for (int check = 0; check < 60; ++check) {
    const size_t i = random() % parameters.size();
    const double value = parameters[i];
    const auto loss = [&](double at) {
      parameters[i] = at;
      s.set(parameters);
      return s.step(*samples, 5, loss_only).loss / 5;
    };
    const double numeric = (loss(value + 1e-6) - loss(value - 1e-6)) / 2e-6;
    parameters[i] = value;
    ASSERT_NEAR(gradient[i], numeric, 1e-7) << "parameter " << i;
  }
  s.set(parameters);
  std::vector<float> image(72);
  for (int check = 0; check < 20; ++check) {
    const size_t row = random() % 5, i = random() % 72;
    std::memcpy(image.data(), samples->row(static_cast<int64_t>(row)), 72 * sizeof(float));
    const float value = image[i];
    const auto loss = [&](float at) {
      image[i] = at;
      samples->write_floats(static_cast<int64_t>(row), 1, image.data());
      return s.step(*samples, 5, loss_only).loss / 5;
    };
    const float up = value + 1e-3f, down = value - 1e-3f;
    const double numeric = (loss(up) - loss(down)) / (static_cast<double>(up) - static_cast<double>(down));
    image[i] = value;
    samples->write_floats(static_cast<int64_t>(row), 1, image.data());
    ASSERT_NEAR(input[row * 72 + i], numeric, 1e-5) << "input " << row << ", " << i;
  }
}

// Ghosts.

/// SGD steps on the whole batch.
std::vector<double> train_whole(Session& s, const Samples& samples, int64_t batch, int64_t ghost, int steps) {
  std::vector<double> w = Session::read(s.engine->parameters());
  StepSpec spec;
  spec.ghost = ghost;
  spec.dropout = false;
  for (int step = 0; step < steps; ++step) {
    s.step(samples, batch, spec);
    const std::vector<double> g = s.gradients();
    for (size_t i = 0; i < w.size(); ++i) w[i] -= 0.1 * g[i];
    s.set(w);
  }
  return w;
}

TEST(EngineGhosts, TenStepsEqualAccumulatingGhostByGhost) {
  constexpr int64_t kBatch = 1000, kGhost = 96, kGhosts = 11;  // ten ghosts of 91 rows and one of 90
  Owned<Samples> samples = random_samples(kBatch);
  Builder network = residual_network();

  Session one("reference", DataType::f64, network, 1, 91, 91);
  std::vector<double> w = Session::read(one.engine->parameters());
  for (int step = 0; step < 10; ++step) {
    std::vector<double> sum(w.size());
    int32_t first = 0;
    for (int64_t g = 0; g < kGhosts; ++g) {
      const int64_t rows = g < kBatch % kGhosts ? 91 : 90;
      std::vector<int32_t> indices(static_cast<size_t>(rows));
      for (int32_t& index : indices) index = first++;
      StepSpec spec;
      spec.dropout = false;
      LossResult result;
      one.engine->step(*samples, indices.data(), rows, nullptr, spec, nullptr, nullptr, result);
      const std::vector<double> gradient = one.gradients();
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i] * static_cast<double>(rows) / kBatch;
    }
    for (size_t i = 0; i < w.size(); ++i) w[i] -= 0.1 * sum[i];
    one.set(w);
  }

  // One ghost, two ghosts, a third of a ghost, a ghost in 3 micro-batches and two of them cut unevenly on each lane.
  for (const Cut cut : {Cut(96), Cut(200), Cut(32), Cut(32, true), Cut(89, true), Cut(13, true)}) {
    SCOPED_TRACE(cut);
    Session whole("reference", DataType::f64, network, 2, cut, kGhost);
    expect_near(train_whole(whole, *samples, kBatch, kGhost, 10), w, 1e-10);
    expect_near(whole.running(), one.running(), 1e-10);
    Session cpu("cpu", DataType::f32, network, 2, cut, kGhost);
    expect_near(train_whole(cpu, *samples, kBatch, kGhost, 10), w, 1e-4);
    expect_near(cpu.running(), one.running(), 1e-4);
  }
}

/// Parts that are whole ghosts, each told where it begins: together they are the batch, dropout's draws included.
TEST(EngineGhosts, ABatchInPartsDrawsAsTheBatchInOne) {
  Owned<Samples> samples = random_samples(24);
  Builder network = residual_network();
  for (const Cut cut : {Cut(6), Cut(12), Cut(3, true)}) {
    SCOPED_TRACE(cut);
    Session s("reference", DataType::f64, network, 2, cut, 6);
    StepSpec spec;
    spec.ghost = 6;
    spec.step = 5;
    const double loss = s.step(*samples, 24, spec).loss;
    const std::vector<double> whole = s.gradients();
    double sum = 0;
    std::vector<double> mean(whole.size());
    const std::vector<int32_t> indices = first_rows(24);
    for (const auto& [first, end] : {std::pair{0, 12}, std::pair{12, 18}, std::pair{18, 24}}) {
      spec.first_row = first;
      LossResult part;
      s.engine->step(*samples, indices.data() + first, end - first, nullptr, spec, nullptr, nullptr, part);
      sum += part.loss;
      const std::vector<double> gradient = s.gradients();
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += gradient[i] * (end - first) / 24;
    }
    EXPECT_NEAR(sum, loss, 1e-12 * loss);
    expect_near(mean, whole, 1e-12);
  }
}

TEST(EngineGhosts, SpanningGhostsEqualGhostsInsideAMicroBatch) {
  Owned<Samples> samples = random_samples(40);
  Builder network = residual_network();
  for (NormMode mode : {NormMode::train, NormMode::batch_statistics, NormMode::running}) {
    StepSpec spec;
    spec.ghost = 13;
    spec.mode = mode;
    std::vector<float> weights(40);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f + 0.125f * static_cast<float>(i % 7);
    const auto run = [&](int32_t threads, Cut cut) {
      Session s("reference", DataType::f64, network, threads, cut, 13, true, true);
      Step step;
      step.logits.resize(40 * kClasses);
      step.input_gradient.resize(40 * 72);
      step.loss = s.step(*samples, 40, spec, step.logits.data(), step.input_gradient.data(), weights.data());
      step.gradients = s.gradients();
      step.running = s.running();
      return step;
    };
    const Step inside = run(2, 20);
    for (const Cut cut : {Cut(4), Cut(4, true), Cut(9, true), Cut(1, true), Cut(12, true)}) {
      SCOPED_TRACE(cut);
      const Step spanning = run(3, cut);
      EXPECT_NEAR(spanning.loss.loss, inside.loss.loss, 1e-11);
      EXPECT_EQ(spanning.loss.correct, inside.loss.correct);
      expect_near(spanning.logits, inside.logits, 1e-12);
      expect_near(spanning.gradients, inside.gradients, 1e-11);
      expect_near(spanning.input_gradient, inside.input_gradient, 1e-11);
      expect_near(spanning.running, inside.running, 1e-12);
    }
  }
}

TEST(EngineGhosts, AStepMayHaveSmallerGhostsAndBatchesThanTheEngine) {
  Owned<Samples> samples = random_samples(40);
  Builder network = residual_network();
  for (const bool ghost_per_lane : {false, true}) {
    Session large("reference", DataType::f64, network, 3, Cut(4, ghost_per_lane), 30);
    for (const auto& [batch, ghost] : {std::pair{40, 30}, {40, 9}, {40, 3}, {7, 30}, {3, 30}, {40, 13}}) {
      SCOPED_TRACE(ghost);
      Session fitting("reference", DataType::f64, network, 2, 30, 30);
      StepSpec spec;
      spec.ghost = ghost;
      spec.mode = NormMode::batch_statistics;
      EXPECT_NEAR(large.step(*samples, batch, spec).loss, fitting.step(*samples, batch, spec).loss, 1e-11);
      expect_near(large.gradients(), fitting.gradients(), 1e-11);
    }
  }
}

TEST(EngineGhosts, RunningStatisticsFollowTheirPolicy) {
  // One norm on the input itself: the ghosts' statistics can be had by hand.
  Builder b(6, 6, 2);
  b.linear(b.norm(0, true), kClasses);
  Owned<Samples> samples = random_samples(10);
  constexpr int64_t kRows[] = {4, 3, 3};
  std::vector<double> means, variances, squares;
  int64_t row = 0;
  for (int64_t rows : kRows) {
    for (int c = 0; c < 2; ++c) {
      double sum = 0, square = 0;
      for (int64_t r = row; r < row + rows; ++r) {
        const float* image = static_cast<const float*>(samples->row(r));
        for (int p = 0; p < 36; ++p) {
          sum += static_cast<double>(image[2 * p + c]);
          square += static_cast<double>(image[2 * p + c]) * static_cast<double>(image[2 * p + c]);
        }
      }
      const double n = static_cast<double>(rows) * 36, mean = sum / n;
      means.push_back(mean);
      variances.push_back((square - n * mean * mean) / (n - 1));
      squares.push_back(square);
    }
    row += rows;
  }
  for (const Cut cut : {Cut(10), Cut(4), Cut(2), Cut(3, true), Cut(2, true)}) {
    for (RunningStatistics policy : {RunningStatistics::sequential, RunningStatistics::averaged,
                                     RunningStatistics::scaled, RunningStatistics::total}) {
      Session s("reference", DataType::f64, b, 2, cut, 4);
      const std::vector<double> before = s.running();
      StepSpec spec;
      spec.ghost = 4;
      spec.momentum = 0.3;
      spec.running_statistics = policy;
      spec.mode = NormMode::batch_statistics;
      s.step(*samples, 10, spec);
      EXPECT_EQ(s.running(), before);
      spec.mode = NormMode::train;
      s.step(*samples, 10, spec);
      const std::vector<double> after = s.running();
      for (size_t c = 0; c < 2; ++c) {
        double mean = before[c], variance = before[2 + c];
        if (policy == RunningStatistics::sequential || policy == RunningStatistics::scaled) {
          const double m = policy == RunningStatistics::sequential ? 0.3 : 0.1;
          for (size_t g = 0; g < 3; ++g) {
            mean = (1 - m) * mean + m * means[2 * g + c];
            variance = (1 - m) * variance + m * variances[2 * g + c];
          }
        } else {
          double of_mean = 0, of_variance = 0;
          if (policy == RunningStatistics::averaged) {
            for (size_t g = 0; g < 3; ++g) {
              of_mean += means[2 * g + c] / 3;
              of_variance += variances[2 * g + c] / 3;
            }
          } else {
            double square = 0;
            for (size_t g = 0; g < 3; ++g) {
              of_mean += means[2 * g + c] * static_cast<double>(kRows[g]) / 10;
              square += squares[2 * g + c];
            }
            of_variance = (square - 360 * of_mean * of_mean) / 359;
          }
          mean = 0.7 * mean + 0.3 * of_mean;
          variance = 0.7 * variance + 0.3 * of_variance;
        }
        EXPECT_NEAR(after[c], mean, 1e-12) << "policy " << static_cast<int>(policy);
        EXPECT_NEAR(after[2 + c], variance, 1e-12) << "policy " << static_cast<int>(policy);
      }
    }
  }
}

// Determinism.

struct Bits {
  std::vector<double> gradients, running;
  double loss;
  bool operator==(const Bits& other) const {
    return gradients == other.gradients && running == other.running && loss == other.loss;
  }
};

Bits run_bits(Builder& network, int32_t threads, Cut cut, int64_t ghost, int64_t batch, bool poison,
              DataType type = DataType::f32) {
  Owned<Samples> samples = random_samples(batch);
  Session s("cpu", type, network, threads, cut, ghost);
  StepSpec spec;
  spec.ghost = ghost;
  spec.augment = true;
  for (spec.step = 0; spec.step < 3; ++spec.step) {
    if (poison) s.engine->poison();
    s.step(*samples, batch, spec);
  }
  const double loss = s.step(*samples, batch, spec).loss;
  return {s.gradients(), s.engine->statistics() ? s.running() : std::vector<double>(), loss};
}

/// Several ghosts in a micro-batch; ghosts that all lanes share; ghosts of 2, 3 and 8 micro-batches on each lane.
const std::vector<Cut> kCuts = {Cut(16), Cut(5), Cut(5, true), Cut(3, true), Cut(1, true)};

TEST(EngineDeterminism, SameBitsOnAnyNumberOfLanes) {
  for (bool plain : {false, true}) {
    for (const Cut cut : kCuts) {
      SCOPED_TRACE(cut);
      Builder network = plain ? plain_network() : residual_network();
      const Bits one = run_bits(network, 1, cut, plain ? 0 : 8, 101, false);
      EXPECT_TRUE(std::isfinite(one.loss));
      for (int32_t threads : {2, 3, 5}) {
        EXPECT_EQ(run_bits(network, threads, cut, plain ? 0 : 8, 101, false), one) << threads << " lanes";
      }
    }
  }
}

TEST(EngineDeterminism, SameBitsOnAnyNumberOfLanesInBfloat16) {
  if (!cpu_has_bfloat16()) GTEST_SKIP() << "this CPU's oneDNN has no bf16";
  for (const Cut cut : {Cut(16), Cut(5), Cut(5, true)}) {
    SCOPED_TRACE(cut);
    Builder network = wide_network();
    const Bits one = run_bits(network, 1, cut, 8, 101, false, DataType::bf16);
    EXPECT_TRUE(std::isfinite(one.loss));
    EXPECT_NE(one, run_bits(network, 1, cut, 8, 101, false, DataType::f32));
    for (int32_t threads : {2, 3, 5}) {
      EXPECT_EQ(run_bits(network, threads, cut, 8, 101, false, DataType::bf16), one) << threads << " lanes";
    }
    EXPECT_EQ(run_bits(network, 2, cut, 8, 43, true, DataType::bf16),
              run_bits(network, 2, cut, 8, 43, false, DataType::bf16));
  }
}

TEST(EngineDeterminism, PartsOfAGhostAreSummedInTheirOrder) {
  // A gradient of weights is a sum over micro-batches, in f32. That of one ghost is the same sum whether one lane makes
  // it or all lanes commit to it; were the order another, single bits would differ.
  Builder network = residual_network();
  for (int64_t micro_batch : {3, 5, 7}) {
    EXPECT_EQ(run_bits(network, 2, Cut(micro_batch, true), 64, 61, false),
              run_bits(network, 3, Cut(micro_batch), 64, 61, false));
  }
}

TEST(EngineDeterminism, NothingReadsMemoryThatWasNotWritten) {
  for (bool plain : {false, true}) {
    for (const Cut cut : kCuts) {
      SCOPED_TRACE(cut);
      Builder network = plain ? plain_network() : residual_network();
      const int64_t ghost = plain ? 0 : 8;
      EXPECT_EQ(run_bits(network, 2, cut, ghost, 43, true), run_bits(network, 2, cut, ghost, 43, false));
    }
  }
}

// Norms of parts.

/// A step with the norms of its parts, of rows [0, batch).
struct Parts {
  double squares;
  int64_t count;
};

Parts parts_of(Session& s, const Samples& samples, int64_t batch, StepSpec spec, const float* weights = nullptr) {
  spec.part_norms = true;
  s.step(samples, batch, spec, nullptr, nullptr, weights);
  return {s.engine->part_squares(), s.engine->parts()};
}

double square(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return sum;
}

/// sum_k n_k ||G_k||^2 from a step of its own for each part, rows [ends[k - 1], ends[k]).
double part_squares(Session& s, const Samples& samples, const std::vector<int64_t>& ends, StepSpec spec,
                    const float* weights = nullptr) {
  const std::vector<int32_t> indices = first_rows(ends.back());
  double sum = 0;
  int64_t first = 0;
  for (const int64_t end : ends) {
    spec.first_row = first;
    LossResult part;
    s.engine->step(samples, indices.data() + first, end - first, weights == nullptr ? nullptr : weights + first, spec,
                   nullptr, nullptr, part);
    sum += static_cast<double>(end - first) * square(s.gradients());
    first = end;
  }
  return sum;
}

std::vector<int64_t> micro_batch_ends(int64_t batch, int64_t rows) {
  std::vector<int64_t> ends;
  for (int64_t end = rows; end < batch; end += rows) ends.push_back(end);
  ends.push_back(batch);
  return ends;
}

struct PartsCase {
  bool plain;
  Cut cut;
  int64_t ghost;
  std::vector<int64_t> ends;
};

/// Without norms, micro-batches; then ghosts of 9 and 8 rows: two in a micro-batch, one, and one in 2 and 3.
const std::vector<PartsCase> kParts = {{true, Cut(7), 0, micro_batch_ends(43, 7)},
                                       {true, Cut(64), 0, {43}},
                                       {false, Cut(18), 9, {18, 35, 43}},
                                       {false, Cut(9), 9, {9, 18, 27, 35, 43}},
                                       {false, Cut(5, true), 9, {9, 18, 27, 35, 43}},
                                       {false, Cut(4, true), 9, {9, 18, 27, 35, 43}},
                                       {false, Cut(8, true), 9, {9, 18, 27, 35, 43}}};

TEST(EnginePartNorms, AreThoseOfStepsOfTheirOwn) {
  Owned<Samples> samples = random_samples(43);
  std::vector<float> weights(43);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f + 0.125f * static_cast<float>(i % 7);
  for (const PartsCase& c : kParts) {
    SCOPED_TRACE(testing::Message() << c.cut << ", ghost " << c.ghost);
    for (const float* factors : {static_cast<const float*>(nullptr), static_cast<const float*>(weights.data())}) {
      Builder network = c.plain ? plain_network() : residual_network();
      StepSpec spec;
      spec.ghost = c.ghost;
      spec.step = 5;
      spec.mode = NormMode::batch_statistics;
      Session own("reference", DataType::f64, network, 1, 64, c.ghost == 0 ? 0 : 64);
      const double wanted = part_squares(own, *samples, c.ends, spec, factors);
      Session s("reference", DataType::f64, network, 2, c.cut, c.ghost);
      const Parts parts = parts_of(s, *samples, 43, spec, factors);
      EXPECT_EQ(parts.count, static_cast<int64_t>(c.ends.size()));
      EXPECT_NEAR(parts.squares, wanted, 1e-12 * wanted);
    }
  }
}

/// oneDNN's layouts and Winograd's points would have norms of their own. With running statistics parts are micro-batches,
/// whatever the ghosts.
TEST(EnginePartNorms, OfTheCpuAreThoseOfTheReference) {
  Owned<Samples> samples = random_samples(43);
  const bool bfloat16 = cpu_has_bfloat16();
  for (const bool wide : {false, true}) {
    Builder network = wide ? wide_network() : residual_network();
    for (const Cut cut : {Cut(18), Cut(9), Cut(5, true), Cut(5)}) {
      SCOPED_TRACE(testing::Message() << cut << (wide ? ", wide" : ""));
      StepSpec spec;
      spec.ghost = 9;
      for (const NormMode mode : {NormMode::batch_statistics, NormMode::running}) {
        spec.mode = mode;
        if (mode != NormMode::running && cut.shares(9)) continue;
        const auto parts = [&](const char* backend, DataType type) {
          Session s(backend, type, network, 3, cut, 9);
          return parts_of(s, *samples, 43, spec);
        };
        const Parts wanted = parts("reference", DataType::f64), f32 = parts("cpu", DataType::f32);
        EXPECT_EQ(f32.count, wanted.count);
        EXPECT_NEAR(f32.squares, wanted.squares, 1e-4 * wanted.squares);
        if (mode == NormMode::running) {
          Session own("reference", DataType::f64, network, 1, 64, 64);
          const double sum = part_squares(own, *samples, micro_batch_ends(43, cut.micro_batch), spec);
          EXPECT_NEAR(wanted.squares, sum, 1e-12 * sum);
        }
        if (!wide || !bfloat16) continue;
        const Parts specified = parts("reference", DataType::bf16), bf16 = parts("cpu", DataType::bf16);
        EXPECT_NEAR(bf16.squares, specified.squares, 1e-2 * specified.squares);
      }
    }
  }
}

/// Batch norm ties rows of a ghost to each other: micro-batches of one are no samples of its gradient.
TEST(EnginePartNorms, OfAGhostThatLanesShareAreRefused) {
  Owned<Samples> samples = random_samples(43);
  Builder network = residual_network();
  Session s("reference", DataType::f64, network, 2, Cut(5), 9);
  StepSpec spec;
  spec.ghost = 9;
  EXPECT_THROW(parts_of(s, *samples, 43, spec), Error);
  spec.mode = NormMode::running;  // which ties none
  EXPECT_EQ(parts_of(s, *samples, 43, spec).count, 9);
}

TEST(EnginePartNorms, HaveTheSameBitsOnAnyNumberOfLanesAndChangeNoOthers) {
  Owned<Samples> samples = random_samples(101);
  for (const bool plain : {false, true}) {
    for (const Cut cut : kCuts) {
      SCOPED_TRACE(cut);
      Builder network = plain ? plain_network() : wide_network();
      const int64_t ghost = plain ? 0 : 8;
      if (cut.shares(ghost)) continue;
      StepSpec spec;
      spec.ghost = ghost;
      spec.mode = NormMode::batch_statistics;
      Session without("cpu", DataType::f32, network, 1, cut, ghost);
      without.step(*samples, 101, spec);
      EXPECT_EQ(without.engine->part_squares(), 0);
      Session one("cpu", DataType::f32, network, 1, cut, ghost);
      const Parts wanted = parts_of(one, *samples, 101, spec);
      EXPECT_EQ(without.engine->parts(), wanted.count);
      EXPECT_GT(wanted.squares, 0);
      EXPECT_EQ(one.gradients(), without.gradients());
      for (int32_t threads : {2, 3, 5}) {
        Session s("cpu", DataType::f32, network, threads, cut, ghost);
        s.engine->poison();
        EXPECT_EQ(parts_of(s, *samples, 101, spec).squares, wanted.squares) << threads << " lanes";
        EXPECT_EQ(s.gradients(), without.gradients());
        s.step(*samples, 101, spec);
        EXPECT_EQ(s.engine->part_squares(), 0) << "of a step before";
      }
    }
  }
}

TEST(EnginePartNorms, NeedAStepWithBackward) {
  Builder network = plain_network();
  Owned<Samples> samples = random_samples(8);
  Session s("reference", DataType::f64, network, 1, 4, 0);
  StepSpec spec;
  spec.part_norms = true;
  spec.backward = false;
  EXPECT_THROW(s.step(*samples, 8, spec), Error);
}

// bf16.

/// ||a - b|| / ||b||.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

Step one_step(const char* backend, DataType type, Builder& network, Cut cut) {
  Owned<Samples> samples = random_samples(60);
  Session s(backend, type, network, 2, cut, 12, true, true);
  StepSpec spec;
  spec.ghost = 12;
  Step step;
  const bool doubles = type == DataType::f64;
  std::vector<float> logits(60 * kClasses), input(60 * 72);
  step.logits.resize(60 * kClasses);
  step.input_gradient.resize(60 * 72);
  step.loss = s.step(*samples, 60, spec, doubles ? static_cast<void*>(step.logits.data()) : logits.data(),
                     doubles ? static_cast<void*>(step.input_gradient.data()) : input.data());
  if (!doubles) {
    step.logits.assign(logits.begin(), logits.end());
    step.input_gradient.assign(input.begin(), input.end());
  }
  step.gradients = s.gradients();
  if (s.engine->statistics() != nullptr) step.running = s.running();
  return step;
}

TEST(EngineBfloat16, AStepOfTheCpuIsThatOfTheReference) {
  for (bool plain : {false, true}) {
    for (const Cut cut : {Cut(24), Cut(5), Cut(5, true)}) {  // whole ghosts, and ghosts that span
      SCOPED_TRACE(cut);
      Builder network = plain ? plain_network() : wide_network();
      const Step exact = one_step("reference", DataType::f64, network, cut);
      const Step specified = one_step("reference", DataType::bf16, network, cut);
      const auto compare = [&](const Step& step, const Step& wanted, double forward, double backward) {
        EXPECT_NEAR(step.loss.loss, wanted.loss.loss, forward * wanted.loss.loss);
        EXPECT_LE(distance(step.logits, wanted.logits), forward);
        EXPECT_LE(distance(step.gradients, wanted.gradients), backward);
        EXPECT_LE(distance(step.input_gradient, wanted.input_gradient), backward);
        if (!plain) {
          EXPECT_LE(distance(step.running, wanted.running), forward);
        }
      };
      // A dozen roundings of 2^-8 on the way; backward also through values whose ReLU is decided by one of them.
      compare(specified, exact, 1e-2, 2e-1);
      if (!cpu_has_bfloat16()) continue;
      // The few values that lie within f32's rounding of a border between two numbers of bf16.
      compare(one_step("cpu", DataType::bf16, network, cut), specified, 5e-4, 3e-3);
    }
  }
}

TEST(EngineBfloat16, LossesFollowThoseOfF32) {
  if (!cpu_has_bfloat16()) GTEST_SKIP() << "this CPU's oneDNN has no bf16";
  Owned<Samples> samples = random_samples(96);
  std::vector<double> losses[2];
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    Builder network = wide_network();
    Session s("cpu", type, network, 2, 32, 32);
    std::vector<double> w = Session::read(s.engine->parameters());
    StepSpec spec;
    spec.ghost = 32;
    for (int step = 0; step < 30; ++step) {
      losses[type == DataType::bf16].push_back(s.step(*samples, 96, spec).loss / 96);
      const std::vector<double> g = s.gradients();
      for (size_t i = 0; i < w.size(); ++i) w[i] -= 0.1 * g[i];
      s.set(w);
    }
  }
  EXPECT_LT(losses[1].back(), 0.8 * losses[1].front());
  for (size_t step = 0; step < 30; ++step) EXPECT_NEAR(losses[1][step], losses[0][step], 0.02 * losses[0][0]) << step;
}

TEST(EngineBfloat16, TenStepsEqualAccumulatingGhostByGhost) {
  if (!cpu_has_bfloat16()) GTEST_SKIP() << "this CPU's oneDNN has no bf16";
  constexpr int64_t kBatch = 512, kGhost = 64;  // a power of two between them: the scale of the gradient rounds alike
  Owned<Samples> samples = random_samples(kBatch);
  Builder network = wide_network();
  Session one("cpu", DataType::bf16, network, 1, kGhost, kGhost);
  std::vector<double> w = Session::read(one.engine->parameters());
  const std::vector<double> start = w;
  for (int step = 0; step < 10; ++step) {
    std::vector<double> sum(w.size());
    for (int32_t first = 0; first < kBatch; first += kGhost) {
      std::vector<int32_t> indices(kGhost);
      for (size_t i = 0; i < indices.size(); ++i) indices[i] = first + static_cast<int32_t>(i);
      StepSpec spec;
      spec.dropout = false;
      LossResult result;
      one.engine->step(*samples, indices.data(), kGhost, nullptr, spec, nullptr, nullptr, result);
      const std::vector<double> gradient = one.gradients();
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i] * kGhost / kBatch;
    }
    for (size_t i = 0; i < w.size(); ++i) w[i] -= 0.1 * sum[i];
    one.set(w);
  }
  const auto change = [&](const std::vector<double>& to) {
    std::vector<double> difference(to.size());
    for (size_t i = 0; i < to.size(); ++i) difference[i] = to[i] - start[i];
    return difference;
  };
  // One ghost, two ghosts, three eighths of a ghost, by all lanes and by one. Gradients are summed in another order, statistics of a ghost that
  // spans come from other partial sums: f32's rounding, until a weight or a value lies at a border of bf16.
  for (const auto& [cut, tolerance] :
       {std::pair{Cut(64), 1e-6}, {Cut(128), 2e-3}, {Cut(24), 1e-1}, {Cut(24, true), 1e-1}}) {
    Session whole("cpu", DataType::bf16, network, 2, cut, kGhost);
    const std::vector<double> to = train_whole(whole, *samples, kBatch, kGhost, 10);
    EXPECT_LE(distance(change(to), change(w)), tolerance) << cut;
    EXPECT_LE(distance(whole.running(), one.running()), tolerance / 20) << cut;
  }
}

// The adversary.

/// Values of so few bits that a move by 1/8 loses none.
Owned<Samples> coarse_samples(int64_t count, const std::vector<double>& moves = {}) {
  Owned<Samples> samples(Samples::create(DataType::f32, count, 6, 6, 2, kClasses));
  std::mt19937 random(7);
  std::vector<float> values(static_cast<size_t>(count * 72));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(static_cast<int>(random() % 256) - 128) / 64;
    if (!moves.empty()) values[i] += static_cast<float>(moves[i]);
  }
  samples->write_floats(0, count, values.data());
  std::vector<int32_t> labels(static_cast<size_t>(count));
  for (int32_t& label : labels) label = static_cast<int32_t>(random() % kClasses);
  samples->write_labels(0, count, labels.data());
  return samples;
}

double sign_of(double value) { return value > 0 ? 1 : value < 0 ? -1 : 0; }

TEST(EngineAdversary, AStepAtMovedInputsIsThatOnSamplesThatWereMoved) {
  // Ghosts of 13, 13 and 12 rows in a micro-batch and across several; channel 0 normalized by 1/2, channel 1 as it is.
  constexpr int64_t kBatch = 38;
  constexpr double kEpsilon = 0.125, kDeviation = 0.5;
  for (const bool plain : {false, true}) {
    Builder network = plain ? plain_network() : residual_network();
    for (const Cut cut : {Cut(20), Cut(4), Cut(4, true), Cut(9, true)}) {
      SCOPED_TRACE(cut);
      Session s("reference", DataType::f64, network, 3, cut, 13, true, true, kDeviation);
      const Owned<Samples> samples = coarse_samples(kBatch);
      std::vector<float> weights(kBatch);
      for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 5) - 1;  // of all signs, and 0
      std::vector<double> input(kBatch * 72);
      StepSpec spec;
      spec.ghost = 13;
      spec.step = 4;
      spec.adversary = Adversary::record;
      const LossResult clean = s.step(*samples, kBatch, spec, nullptr, input.data(), weights.data());
      const std::vector<double> clean_gradients = s.gradients();
      spec.mode = NormMode::batch_statistics;
      spec.adversary = Adversary::none;
      EXPECT_EQ(s.step(*samples, kBatch, spec, nullptr, nullptr, weights.data()).loss, clean.loss);
      EXPECT_EQ(s.gradients(), clean_gradients) << "recording changes nothing";

      spec.adversary = Adversary::apply;
      spec.adversary_epsilon = kEpsilon;
      std::vector<double> logits(kBatch * kClasses), wanted(kBatch * kClasses);
      const LossResult moved = s.step(*samples, kBatch, spec, logits.data(), nullptr, weights.data());
      const std::vector<double> gradients = s.gradients();
      EXPECT_GT(moved.loss, clean.loss + 1e-3);
      EXPECT_EQ(s.step(*samples, kBatch, spec, nullptr, nullptr, weights.data()).loss, moved.loss) << "signs stay";

      for (double& move : input) move = kEpsilon * sign_of(move);
      spec.adversary = Adversary::none;
      const LossResult oracle =
          s.step(*coarse_samples(kBatch, input), kBatch, spec, wanted.data(), nullptr, weights.data());
      EXPECT_NEAR(moved.loss, oracle.loss, 1e-11);
      EXPECT_EQ(moved.correct, oracle.correct);
      expect_near(logits, wanted, 1e-12);
      expect_near(gradients, s.gradients(), 1e-11);
    }
  }
}

TEST(EngineAdversary, RaisesTheLossAtTheRateOfTheGradientsNorm) {
  // d loss / d epsilon at 0 is the sum of |gradient| / std over all input values.
  constexpr double kDeviation = 0.25;
  for (const bool plain : {false, true}) {
    Builder network = plain ? plain_network() : residual_network();
    Session s("reference", DataType::f64, network, 2, Cut(5, true), 12, true, true, kDeviation);
    const Owned<Samples> samples = random_samples(24);
    StepSpec spec;
    spec.ghost = 12;
    spec.label_smoothing = 0.1;
    spec.mode = NormMode::batch_statistics;
    spec.adversary = Adversary::record;
    std::vector<double> input(24 * 72);
    const double clean = s.step(*samples, 24, spec, nullptr, input.data()).loss / 24;
    double rate = 0;
    for (size_t i = 0; i < input.size(); ++i) rate += std::abs(input[i]) / (i % 2 == 0 ? kDeviation : 1);
    spec.adversary = Adversary::apply;
    spec.backward = false;
    const auto rise = [&](double epsilon) {
      spec.adversary_epsilon = epsilon;
      return s.step(*samples, 24, spec).loss / 24 - clean;
    };
    EXPECT_EQ(rise(0), 0);
    EXPECT_NEAR(rise(1e-6) / 1e-6, rate, 1e-3 * rate);
    EXPECT_GT(rate, 0.1);
  }
}

TEST(EngineAdversary, MovesTheAugmentedImage) {
  // Both steps draw the same flips and crops, so that the signs meet the values that they belong to.
  Builder network = residual_network();
  Owned<Device> device(Device::create("reference"));
  Owned<Lanes> lanes(Lanes::create(2));
  EngineSpec engine_spec;
  engine_spec.type = DataType::f64;
  engine_spec.micro_batch = engine_spec.ghost = 12;
  engine_spec.input_gradient = true;
  engine_spec.load.value_scale = 1;
  engine_spec.load.augmentation = Augmentation::pad_crop_flip;
  Owned<Engine> engine(Engine::create(*device, *lanes, *network, engine_spec));
  const std::vector<double> parameters = network.initial(3);
  engine->parameters()->write_doubles(0, network.elements(), parameters.data());
  const Owned<Samples> samples = random_samples(24);
  const std::vector<int32_t> indices = first_rows(24);
  StepSpec spec;
  spec.ghost = 12;
  spec.mode = NormMode::batch_statistics;
  const auto step = [&](void* input) {
    LossResult result;
    engine->step(*samples, indices.data(), 24, nullptr, spec, nullptr, input, result);
    return result.loss / 24;
  };
  spec.adversary = Adversary::record;
  std::vector<double> input(24 * 72);
  const double clean = step(input.data());
  double rate = 0;
  for (const double g : input) rate += std::abs(g);
  spec.adversary = Adversary::apply;
  spec.adversary_epsilon = 1e-6;
  EXPECT_NEAR((step(nullptr) - clean) / 1e-6, rate, 1e-3 * rate);
}

Bits adversarial_bits(Builder& network, int32_t threads, Cut cut, int64_t ghost, int64_t batch, bool poison,
                      DataType type) {
  Owned<Samples> samples = random_samples(batch);
  Session s("cpu", type, network, threads, cut, ghost, true, true);
  StepSpec spec;
  spec.ghost = ghost;
  spec.adversary_epsilon = 0.1;
  double loss = 0;
  for (spec.step = 0; spec.step < 2; ++spec.step) {
    for (const Adversary adversary : {Adversary::record, Adversary::apply}) {
      if (poison) s.engine->poison();
      spec.adversary = adversary;
      loss = s.step(*samples, batch, spec).loss;
    }
  }
  return {s.gradients(), s.engine->statistics() ? s.running() : std::vector<double>(), loss};
}

TEST(EngineAdversary, SameBitsOnAnyNumberOfLanes) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    if (type == DataType::bf16 && !cpu_has_bfloat16()) continue;
    for (const bool plain : {false, true}) {
      for (const Cut cut : kCuts) {
        SCOPED_TRACE(cut);
        Builder network = plain ? plain_network() : wide_network();
        const int64_t ghost = plain ? 0 : 8;
        const Bits one = adversarial_bits(network, 1, cut, ghost, 43, false, type);
        EXPECT_TRUE(std::isfinite(one.loss));
        for (int32_t threads : {2, 3}) {
          EXPECT_EQ(adversarial_bits(network, threads, cut, ghost, 43, false, type), one) << threads << " lanes";
        }
        EXPECT_EQ(adversarial_bits(network, 2, cut, ghost, 43, true, type), one) << "from memory that was not written";
      }
    }
  }
}

TEST(EngineAdversary, AStepOfTheCpuIsThatOfTheReference) {
  constexpr int64_t kBatch = 60;
  const Owned<Samples> samples = random_samples(kBatch);
  for (const bool plain : {false, true}) {
    for (const Cut cut : {Cut(24), Cut(5), Cut(5, true)}) {
      SCOPED_TRACE(cut);
      Builder network = plain ? plain_network() : wide_network();
      const auto losses = [&](const char* backend, DataType type) {
        Session s(backend, type, network, 2, cut, 12, true, true, 0.5);
        StepSpec spec;
        spec.ghost = 12;
        spec.adversary = Adversary::record;
        const double clean = s.step(*samples, kBatch, spec).loss;
        spec.adversary = Adversary::apply;
        spec.adversary_epsilon = 0.1;
        return std::pair(clean, s.step(*samples, kBatch, spec).loss);
      };
      const auto exact = losses("reference", DataType::f64);
      EXPECT_GT(exact.second, 1.01 * exact.first);
      // A sign that rounding turns is one of a value that hardly matters.
      const auto near = [&](const std::pair<double, double>& got, double tolerance) {
        EXPECT_NEAR(got.first, exact.first, tolerance * exact.first);
        EXPECT_NEAR(got.second, exact.second, tolerance * exact.second);
      };
      near(losses("cpu", DataType::f32), 1e-5);
      near(losses("reference", DataType::bf16), 2e-2);
      if (cpu_has_bfloat16()) near(losses("cpu", DataType::bf16), 2e-2);
    }
  }
}

TEST(EngineAdversary, BatchesMayGrowAndShrink) {
  Builder network = residual_network();
  const Owned<Samples> samples = random_samples(50);
  const auto rise = [&](Session& s, int64_t batch) {
    StepSpec spec;
    spec.ghost = 8;
    spec.mode = NormMode::batch_statistics;
    spec.adversary = Adversary::record;
    const double clean = s.step(*samples, batch, spec).loss;
    spec.adversary = Adversary::apply;
    spec.adversary_epsilon = 0.1;
    return s.step(*samples, batch, spec).loss - clean;
  };
  Session s("cpu", DataType::f32, network, 2, Cut(8), 8, true, true);
  for (const int64_t batch : {9, 50, 3, 17, 50}) {
    Session fresh("cpu", DataType::f32, network, 2, Cut(8), 8, true, true);
    EXPECT_EQ(rise(s, batch), rise(fresh, batch)) << batch << " rows";
  }

  // From a page to many: what is too short for it would be seen.
  Builder linear(6, 6, 2);
  linear.linear(0, kClasses);
  Session large("cpu", DataType::f32, linear, 2, Cut(1024), 0, true, true);
  std::vector<int32_t> indices(200000);
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int32_t>(i % 50);
  const auto mean = [&](int64_t batch, Adversary adversary) {
    StepSpec spec;
    spec.adversary = adversary;
    spec.adversary_epsilon = 0.1;
    LossResult result;
    large.engine->step(*samples, indices.data(), batch, nullptr, spec, nullptr, nullptr, result);
    return result.loss / static_cast<double>(batch);
  };
  const double clean = mean(50, Adversary::record), moved = mean(50, Adversary::apply);
  EXPECT_GT(moved, clean);
  EXPECT_NEAR(mean(200000, Adversary::record), clean, 1e-6);
  EXPECT_NEAR(mean(200000, Adversary::apply), moved, 1e-6);
}

TEST(EngineAdversary, RefusesWhatWasNotRecordedAndGoesOn) {
  Builder network = residual_network();
  const Owned<Samples> samples = random_samples(20);
  Session s("cpu", DataType::f32, network, 2, Cut(8), 8, true, true);
  StepSpec spec;
  spec.ghost = 8;
  const auto refuse = [&](Session& session, int64_t batch, const std::string& part) {
    try {
      session.step(*samples, batch, spec);
      ADD_FAILURE() << "no error said " << part;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  spec.adversary = Adversary::apply;
  refuse(s, 20, "the signs of the batch of 20 recorded, got 0 rows of them");
  spec.adversary = Adversary::record;
  s.step(*samples, 20, spec);
  spec.adversary = Adversary::apply;
  refuse(s, 16, "the signs of the batch of 16 recorded, got 20 rows of them");
  for (const double epsilon : {-1.0, std::numeric_limits<double>::quiet_NaN(), HUGE_VAL}) {
    spec.adversary_epsilon = epsilon;
    refuse(s, 20, "a finite epsilon of the adversary >= 0");
  }
  spec.adversary_epsilon = 0.1;
  s.step(*samples, 20, spec);
  spec.adversary = Adversary::record;
  spec.backward = false;
  refuse(s, 20, "the gradient of the input to record its signs");
  spec.backward = true;
  Session without("cpu", DataType::f32, network, 2, Cut(8), 8);
  refuse(without, 20, "the gradient of the input to record its signs");
}

TEST(EngineAdversary, TheInputsGradientIsMadeOnlyWhereItIsAskedFor) {
  Builder b(6, 6, 2);
  const int32_t conv = b.convolution(0, 2, 3, 1);
  b.linear(b->add("add", conv, 0, true), kClasses);  // the input has two gradients
  const Owned<Samples> samples = random_samples(16);
  Session s("cpu", DataType::f32, b, 2, 8, 0, true, true);
  std::vector<float> input(16 * 72);
  StepSpec spec;
  const auto calls = [&](Adversary adversary, void* input_gradient) {
    spec.adversary = adversary;
    s.engine->set_profiling(true);
    s.engine->reset_profile();
    s.step(*samples, 16, spec, nullptr, input_gradient);
    int64_t sum = 0;
    for (int32_t i = 0; i < s.engine->profile_entries(); ++i) {
      ProfileEntry entry;
      s.engine->profile_entry(i, entry);
      const std::string name = s.engine->profile_name(i);
      if (name == "input gradient" || name == "gradient add" || (entry.operation == 0 && entry.direction == 1)) {
        sum += entry.calls;
      }
    }
    return sum;
  };
  EXPECT_EQ(calls(Adversary::none, nullptr), 0);
  EXPECT_EQ(calls(Adversary::none, input.data()), 2 * 3);
  EXPECT_EQ(calls(Adversary::record, nullptr), 2 * 3);
  EXPECT_EQ(calls(Adversary::apply, nullptr), 0);
  EXPECT_EQ(calls(Adversary::apply, input.data()), 2 * 3);
}

// Evaluation, refusals.

TEST(Engine, ForwardOnlyGivesTheLogitsOfTheFullEngine) {
  for (bool plain : {false, true}) {
    Builder network = plain ? plain_network() : residual_network();
    Owned<Samples> samples = random_samples(23);
    StepSpec spec;
    spec.mode = NormMode::running;
    spec.dropout = false;
    std::vector<double> full(23 * kClasses), forward(23 * kClasses);
    Session a("reference", DataType::f64, network, 2, 8, plain ? 0 : 8);
    const LossResult ra = a.step(*samples, 23, spec, full.data());
    Session b("reference", DataType::f64, network, 2, 5, 0, false);
    spec.backward = false;
    const LossResult rb = b.step(*samples, 23, spec, forward.data());
    expect_near(forward, full, 1e-12);
    EXPECT_NEAR(ra.loss, rb.loss, 1e-11);
    EXPECT_EQ(ra.correct, rb.correct);
  }
}

TEST(Engine, RefusesBadStepsAndGoesOn) {
  Builder network = residual_network();
  Owned<Samples> samples = random_samples(16);
  Session s("cpu", DataType::f32, network, 2, 8, 8);
  StepSpec spec;
  spec.ghost = 8;
  s.step(*samples, 16, spec);
  const std::vector<double> wanted = s.gradients();
  LossResult result;
  std::vector<int32_t> indices = first_rows(16);
  const auto step = [&](const Samples& data, int64_t batch) {
    s.engine->step(data, indices.data(), batch, nullptr, spec, nullptr, nullptr, result);
  };
  indices[9] = 16;
  EXPECT_THROW(step(*samples, 16), Error);
  indices[9] = -1;
  EXPECT_THROW(step(*samples, 16), Error);
  indices[9] = 9;
  EXPECT_THROW(step(*samples, 0), Error);
  Owned<Samples> other(Samples::create(DataType::u8, 16, 5, 6, 2, kClasses));
  EXPECT_THROW(step(*other, 16), Error);
  Owned<Samples> more_classes(Samples::create(DataType::u8, 16, 6, 6, 2, kClasses + 1));
  EXPECT_THROW(step(*more_classes, 16), Error);
  spec.ghost = 16;  // compiled for 8
  EXPECT_THROW(step(*samples, 16), Error);
  spec.ghost = 8;
  spec.momentum = 2;
  EXPECT_THROW(step(*samples, 16), Error);
  spec.momentum = 0.1;
  for (const int64_t row : {int64_t{-1}, int64_t{1} << 31}) {
    spec.first_row = row;
    EXPECT_THROW(step(*samples, 16), Error);
  }
  spec.first_row = 0;
  float image_gradient[16 * 72];
  EXPECT_THROW(s.engine->step(*samples, indices.data(), 16, nullptr, spec, nullptr, image_gradient, result), Error);
  s.step(*samples, 16, spec);
  EXPECT_EQ(s.gradients(), wanted);
}

TEST(Engine, RefusesAGhostOfOneValuePerChannel) {
  Builder b(6, 6, 2);
  b.linear(b.norm(b.linear(0, 4), true), kClasses);
  Owned<Samples> samples = random_samples(4);
  Session s("reference", DataType::f64, b, 1, 4, 4);
  StepSpec spec;
  spec.ghost = 1;
  EXPECT_THROW(s.step(*samples, 4, spec), Error);
  spec.ghost = 3;  // two ghosts of two rows
  s.step(*samples, 4, spec);
  EXPECT_THROW(s.step(*samples, 1, spec), Error);
}

TEST(Engine, RefusesWhatCannotFitAndNamesTheLargestGhost) {
  Builder b(64, 64, 64);
  int32_t value = 0;
  for (int i = 0; i < 8; ++i) value = b.norm(b.convolution(value, 64, 3, 1), true);
  b.linear(b.pool(value, PoolKind::average, 64, 64), kClasses);
  Owned<Device> device(Device::create("cpu"));
  Owned<Lanes> lanes(Lanes::create(2));
  EngineSpec spec;
  spec.micro_batch = 2;
  for (const bool ghost_per_lane : {false, true}) {
    spec.ghost = 1 << 24;
    spec.ghost_per_lane = ghost_per_lane;
    const int64_t bytes = Engine::predict_bytes(*device, 2, *b, spec);
    EXPECT_GT(bytes, int64_t{1} << 45);
    const int64_t before = Tensor::live_bytes();
    try {
      Engine::create(*device, *lanes, *b, spec);
      FAIL() << "nothing was refused";
    } catch (const Error& e) {
      const std::string text = e.what();
      const auto number = [&](const char* behind) {
        const size_t at = text.find(behind);
        return at == std::string::npos ? 0 : std::stoll(text.substr(at + std::strlen(behind)));
      };
      EXPECT_EQ(number("needs "), bytes) << text;
      const int64_t free = number("bytes, got ");
      spec.ghost = number("largest ghost batch that fits is ");
      EXPECT_GT(spec.ghost, 0) << text;
      EXPECT_LE(Engine::predict_bytes(*device, 2, *b, spec), free) << text;
      ++spec.ghost;
      EXPECT_GT(Engine::predict_bytes(*device, 2, *b, spec), free) << text;
    }
    EXPECT_EQ(Tensor::live_bytes(), before);
  }
}

TEST(Engine, ProfileCountsEveryMicroBatch) {
  Builder network = residual_network();
  Owned<Samples> samples = random_samples(32);
  Session s("cpu", DataType::f32, network, 2, 8, 8);
  StepSpec spec;
  spec.ghost = 8;
  s.engine->set_profiling(true);
  s.step(*samples, 32, spec);
  int affine = 0;
  for (int32_t i = 0; i < s.engine->profile_entries(); ++i) {
    ProfileEntry entry;
    s.engine->profile_entry(i, entry);
    EXPECT_STRNE(s.engine->profile_name(i), "");
    if (entry.flops > 0) {
      ++affine;
      EXPECT_EQ(entry.calls, 4);
      EXPECT_GT(entry.seconds, 0);
    }
  }
  EXPECT_EQ(affine, 3 * 7 - 1);  // seven affine operations in three directions, the first without its input's gradient
}

TEST(Engine, AGhostOnALaneIsProfiledAndTracedAsItRuns) {
  Builder network = residual_network();
  Owned<Samples> samples = random_samples(32);
  Session s("cpu", DataType::f32, network, 2, Cut(3, true), 8);  // four ghosts, each of three micro-batches
  StepSpec spec;
  spec.ghost = 8;
  s.engine->set_profiling(true);
  s.engine->set_tracing(1 << 12);
  s.step(*samples, 32, spec);
  for (int32_t i = 0; i < s.engine->profile_entries(); ++i) {
    ProfileEntry entry;
    s.engine->profile_entry(i, entry);
    if (entry.operation < 0) continue;
    EXPECT_EQ(entry.calls, 4 * 3) << s.engine->profile_name(i);
  }
  std::set<int64_t> ghosts;
  for (int32_t lane = 0; lane < 2; ++lane) {
    int64_t last = -1, turns = 0;  // a lane is done with a ghost before it begins another
    for (int64_t i = 0; i < s.engine->trace_events(lane); ++i) {
      TraceEvent event;
      s.engine->trace_event(lane, i, event);
      if (event.micro_batch < 0) continue;
      ghosts.insert(event.micro_batch);
      if (event.micro_batch != last) ++turns;
      EXPECT_GE(event.micro_batch, last);
      last = event.micro_batch;
    }
    EXPECT_LE(turns, 4);
  }
  EXPECT_EQ(ghosts, (std::set<int64_t>{0, 1, 2, 3}));
}

TEST(Engine, AGhostOnALaneTakesAnArenaForEachOfItsMicroBatches) {
  Builder network = residual_network();
  Owned<Device> device(Device::create("cpu"));
  const auto bytes = [&](int32_t lanes, int64_t ghost, bool ghost_per_lane) {
    EngineSpec spec;
    spec.micro_batch = 4;
    spec.ghost = ghost;
    spec.ghost_per_lane = ghost_per_lane;
    return Engine::predict_bytes(*device, lanes, *network, spec);
  };
  const int64_t arena = bytes(1, 12, true) - bytes(1, 8, true);
  EXPECT_GT(arena, 0);
  EXPECT_EQ(bytes(1, 16, true) - bytes(1, 12, true), arena);
  EXPECT_EQ(bytes(3, 16, true) - bytes(3, 12, true), 3 * arena);
  EXPECT_GT(bytes(3, 16, false) - bytes(3, 12, false), arena) << "what lives between two norms is the lane's";
  EXPECT_EQ(bytes(3, 4, true), bytes(3, 4, false)) << "whole in a micro-batch";
  for (const bool ghost_per_lane : {false, true}) {
    Session s("cpu", DataType::f32, network, 3, Cut(4, ghost_per_lane), 16);
    EXPECT_EQ(s.engine->bytes(), bytes(3, 16, ghost_per_lane));
  }
}

TEST(Engine, ProfileTellsStatisticsApartOnlyWhereGhostsSpanMicroBatches) {
  Builder network = residual_network();
  Owned<Samples> samples = random_samples(32);
  const auto called = [&](int64_t ghost) {
    Session s("cpu", DataType::f32, network, 2, 8, ghost);
    StepSpec spec;
    spec.ghost = ghost;
    s.engine->set_profiling(true);
    s.step(*samples, 32, spec);
    int count = 0;
    for (int32_t i = 0; i < s.engine->profile_entries(); ++i) {
      ProfileEntry entry;
      s.engine->profile_entry(i, entry);
      if (entry.operation >= 0 && entry.calls > 0) ++count;
    }
    return count;
  };
  EXPECT_EQ(called(16) - called(8), 2 * 6);  // six norms, forward and backward
}

TEST(Engine, TraceKeepsTheCallsOfEachLane) {
  Builder network = residual_network();
  Owned<Samples> samples = random_samples(32);
  Session s("cpu", DataType::f32, network, 2, 8, 8);
  StepSpec spec;
  spec.ghost = 8;
  s.engine->set_tracing(1000);
  s.step(*samples, 32, spec);
  EXPECT_EQ(s.engine->trace_events(0) + s.engine->trace_events(1), 0) << "traced without profiling";
  s.engine->set_profiling(true);
  const auto before = std::chrono::steady_clock::now().time_since_epoch();
  s.step(*samples, 32, spec);
  const auto after = std::chrono::steady_clock::now().time_since_epoch();
  std::vector<int64_t> calls(static_cast<size_t>(s.engine->profile_entries()));
  std::vector<double> seconds(calls.size());
  std::set<int64_t> micro_batches;
  for (int32_t lane = 0; lane < 2; ++lane) {
    int64_t last = std::chrono::duration_cast<std::chrono::nanoseconds>(before).count();
    for (int64_t i = 0; i < s.engine->trace_events(lane); ++i) {
      TraceEvent event;
      s.engine->trace_event(lane, i, event);
      EXPECT_GE(event.begin, last) << "calls of a lane overlap";
      EXPECT_GE(event.end, event.begin);
      last = event.end;
      ++calls[static_cast<size_t>(event.entry)];
      seconds[static_cast<size_t>(event.entry)] += static_cast<double>(event.end - event.begin) * 1e-9;
      micro_batches.insert(event.micro_batch);
    }
    EXPECT_LE(last, std::chrono::duration_cast<std::chrono::nanoseconds>(after).count());
  }
  EXPECT_EQ(micro_batches, (std::set<int64_t>{-1, 0, 1, 2, 3}));
  for (int32_t i = 0; i < s.engine->profile_entries(); ++i) {
    ProfileEntry entry;
    s.engine->profile_entry(i, entry);
    EXPECT_EQ(calls[static_cast<size_t>(i)], entry.calls) << s.engine->profile_name(i);
    EXPECT_NEAR(seconds[static_cast<size_t>(i)], entry.seconds, 1e-6) << s.engine->profile_name(i);
  }

  s.engine->set_tracing(10);
  EXPECT_EQ(s.engine->trace_events(0), 0);
  for (int step = 0; step < 3; ++step) s.step(*samples, 32, spec);
  EXPECT_LE(s.engine->trace_events(0), 10);
  EXPECT_EQ(std::max(s.engine->trace_events(0), s.engine->trace_events(1)), 10) << "a full lane keeps its first calls";
  s.engine->set_tracing(0);
  s.step(*samples, 32, spec);
  EXPECT_EQ(s.engine->trace_events(0) + s.engine->trace_events(1), 0);
  TraceEvent event;
  EXPECT_THROW(s.engine->trace_event(0, 0, event), Error);
  EXPECT_THROW(s.engine->trace_events(2), Error);
  EXPECT_THROW(s.engine->trace_events(-1), Error);
  EXPECT_THROW(s.engine->set_tracing(-1), Error);
}

}  // namespace
}  // namespace ghostbatch::tests
