// CUDA's sums of bias gradients and its running statistics on the host.
#include "cuda/bias_gradient.h"
#include "cuda/running_statistics.h"
#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using cuda::Extent;
using cuda::Order;
using cuda::RowRange;

TEST(CudaBiasGradient, SumsOverPlacesOfTheRowsThereAre) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    using Runs = cuda::BiasRuns<T>;
    for (const int64_t filters : {1, 4, 8, 10, 16, 33, 100}) {
      for (const int64_t spatial : {int64_t{1}, int64_t{49}, int64_t{Runs::kPlaces}}) {
        for (const int64_t count : {0, 1, 17, 20}) {
          constexpr int64_t kMost = 20;
          if (spatial == Runs::kPlaces && filters > 16) continue;
          SCOPED_TRACE(::testing::Message() << filters << " filters, " << count << " rows of " << spatial);
          const RowRange rows{1, count};
          const Extent extent{&rows, kMost, spatial};
          const int64_t places = count * spatial;
          const std::vector<double> values = Random(11).values(places * filters, 1, 0.5);
          std::vector<double> expected(static_cast<size_t>(filters), 0.0);
          for (size_t i = 0; i < values.size(); ++i) expected[i % static_cast<size_t>(filters)] += values[i];
          std::vector<double> first;
          for (const int64_t offset : {0, 3}) {
            for (const Order order : kOrders) {
              const Operand<T> diff_dst(with_unwritten(values, kMost * spatial * filters), offset);
              const Buffer workspace(DataType::f64, cuda::bias_workspace<T>(extent, filters));
              const Buffer diff_bias(DataType::f32, filters);
              double* const partials = workspace.view().template as<double>();
              run_on_host(cuda::bias_runs(static_cast<const T*>(diff_dst.data()), partials, extent, filters), order);
              run_on_host(cuda::bias_total<T>(partials, diff_bias.view().template as<float>(), extent, filters), order);
              if (first.empty()) first = diff_bias.values();
              expect_equal("diff_bias again", diff_bias.values(), first);
            }
          }
          expect_close("diff_bias", first, expected, Tolerance::kVector);
        }
      }
    }
  });
}

// Running statistics: two norms, five ghosts, in one pass or in two.

struct Norms {
  static constexpr int32_t kChannels[2] = {3, 300}, kSpatial[2] = {1, 16};
  static constexpr int64_t kOffsets[2] = {2, 8}, kElements = 2 + 6 + 600;
  std::vector<int32_t> offsets{0, 5, 9, 13, 17, 20};
  std::vector<float> mean[2], variance[2];

  Norms() {
    Random random(3);
    for (size_t i = 0; i < 2; ++i) {
      for (int64_t k = 0; k < ghosts() * kChannels[i]; ++k) {
        mean[i].push_back(static_cast<float>(random.value()));
        variance[i].push_back(static_cast<float>(random.value(0.5, 1)));
      }
    }
  }
  int64_t ghosts() const { return static_cast<int64_t>(offsets.size()) - 1; }

  double places(size_t norm, int64_t ghost) const {
    return (offsets[static_cast<size_t>(ghost) + 1] - offsets[static_cast<size_t>(ghost)]) * kSpatial[norm];
  }
};

std::vector<double> before() {
  return rounded(DataType::f32, Random(5).values(Norms::kElements, 0.5, 1));
}

/// As engine/running_statistics.h and the papers of its policies have it, in double.
std::vector<double> formula(const Norms& norms, RunningStatistics policy, double momentum) {
  std::vector<double> running = before();
  const auto ghosts = norms.ghosts();
  for (size_t i = 0; i < 2; ++i) {
    const int64_t channels = Norms::kChannels[i];
    for (int64_t c = 0; c < channels; ++c) {
      double& mean = running[static_cast<size_t>(Norms::kOffsets[i] + c)];
      double& variance = running[static_cast<size_t>(Norms::kOffsets[i] + channels + c)];
      const auto of = [&](const std::vector<float>& values, int64_t g) {
        return static_cast<double>(values[static_cast<size_t>(g * channels + c)]);
      };
      const auto m = [&](int64_t g) { return of(norms.mean[i], g); };
      const auto v = [&](int64_t g) { return of(norms.variance[i], g); };
      double of_means = 0, of_variances = 0, all = 0;
      for (int64_t g = 0; g < ghosts; ++g) all += norms.places(i, g);
      for (int64_t g = 0; g < ghosts; ++g) {
        const double n = norms.places(i, g), unbiased = v(g) * n / (n - 1);
        if (policy == RunningStatistics::sequential || policy == RunningStatistics::scaled) {
          const double own =
              policy == RunningStatistics::scaled ? momentum / static_cast<double>(ghosts) : momentum;
          mean += own * (m(g) - mean);
          variance += own * (unbiased - variance);
        } else if (policy == RunningStatistics::averaged) {
          of_means += m(g) / static_cast<double>(ghosts);
          of_variances += unbiased / static_cast<double>(ghosts);
        } else {
          of_means += m(g) * n / all;
        }
      }
      if (policy == RunningStatistics::sequential || policy == RunningStatistics::scaled) continue;
      if (policy == RunningStatistics::total) {
        for (int64_t g = 0; g < ghosts; ++g) {
          of_variances += norms.places(i, g) * (v(g) + (m(g) - of_means) * (m(g) - of_means)) / (all - 1);
        }
      }
      mean += momentum * (of_means - mean);
      variance += momentum * (of_variances - variance);
    }
  }
  return running;
}

/// In passes that end with these ghosts.
std::vector<double> of_cuda(const Norms& norms, const cuda::StatisticsState& state, const std::vector<int32_t>& ends,
                            Order order) {
  const Operand<float> running(before());
  const Buffer gathered(DataType::f64, std::vector<double>(2 * Norms::kElements, 0.0));
  cuda::NormStatistics table_norms[2];
  const cuda::StatisticsTable table{
      table_norms, 2, 300, running.data(), gathered.view().as<double>(), Norms::kElements};
  int32_t first = 0;
  for (const int32_t end : ends) {
    for (size_t i = 0; i < 2; ++i) {
      table_norms[i] = {norms.mean[i].data() + first * Norms::kChannels[i],
                        norms.variance[i].data() + first * Norms::kChannels[i], Norms::kOffsets[i], Norms::kChannels[i],
                        Norms::kSpatial[i]};
    }
    const int32_t count = end - first;
    run_on_host(cuda::add_statistics_launch(table, {norms.offsets.data() + first, &count}, &state), order);
    first = end;
  }
  run_on_host(cuda::finish_statistics_launch(table, &state), order);
  return running.values();
}

TEST(CudaRunningStatistics, MoveByEachPolicy) {
  const Norms norms;
  for (const RunningStatistics policy : {RunningStatistics::sequential, RunningStatistics::averaged,
                                         RunningStatistics::scaled, RunningStatistics::total}) {
    SCOPED_TRACE(static_cast<int>(policy));
    const cuda::StatisticsState state{policy, 1, 0.1, norms.ghosts()};
    const std::vector<double> actual = of_cuda(norms, state, {5}, Order::up);
    expect_close("running", actual, formula(norms, policy, 0.1), Tolerance::kVector);
    expect_equal("in passes", of_cuda(norms, state, {1, 3, 5}, Order::down), actual);
    cuda::StatisticsState none = state;
    none.update = 0;
    expect_equal("not updated", of_cuda(norms, none, {5}, Order::up), before());
  }
}

TEST(CudaRunningStatistics, HaveTheBitsOfTheCpusGhostByGhost) {
  const Norms norms;
  std::vector<int64_t> places;
  for (int64_t g = 0; g < norms.ghosts(); ++g) places.push_back(static_cast<int64_t>(norms.places(1, g)));
  const Buffer running(DataType::f32, before());
  const auto part = [&](int64_t first) { return View(running.view().as<float>() + first, 300, DataType::f32); };
  const auto host = [](const std::vector<float>& values) {
    return View(const_cast<float*>(values.data()), static_cast<int64_t>(values.size()), DataType::f32);
  };
  update_running_statistics(part(8), part(308), host(norms.mean[1]), host(norms.variance[1]), places.data(), 5, 0.1);
  const cuda::StatisticsState state{RunningStatistics::sequential, 1, 0.1, 5};
  std::vector<double> actual = of_cuda(norms, state, {5}, Order::up), expected = running.values();
  actual.erase(actual.begin(), actual.begin() + 8);
  expected.erase(expected.begin(), expected.begin() + 8);
  expect_equal("running", actual, expected);
}

}  // namespace
}  // namespace ghostbatch::tests
