// How the ghosts of a step move the running statistics: engine/running_statistics.h, for all norms in one launch. A
// thread a channel goes through the ghosts in order, in double.
//
// Reads the ghosts' statistics once: some hundred kilobytes, less than what a launch costs.
#pragma once

#include "cuda/grid.h"
#include "ghostbatch/ghost_batch_norm.h"

namespace ghostbatch::cuda {

/// What changes from step to step, in device memory.
struct StatisticsState {
  RunningStatistics policy;
  int32_t update;   // 0: running statistics stay
  double momentum;  // weight of the new
  int64_t ghosts;   // of the step
};

/// A norm: its ghosts' statistics, and the place of its own in the vector of running ones.
struct NormStatistics {
  const float *mean, *variance;  // [ghosts, channels]
  int64_t offset;                // of the running mean; the running variance follows it
  int32_t channels;
  int32_t spatial;  // places of a row
};

/// The ghosts of a pass, in device memory: ghost k is rows [offsets[k], offsets[k + 1]).
struct Ghosts {
  const int32_t* offsets;
  const int32_t* count;
};

/// Takes the ghosts of a pass; see RunningStatisticsUpdate::add.
struct AddStatistics {
  static constexpr int kPhases = 1, kThreads = 128;
  struct Shared {};
  struct Registers {};

  const NormStatistics* norms;
  Ghosts ghosts;
  const StatisticsState* state;
  float* running;    // [elements]
  double* gathered;  // [2, elements]: mean and variance so far, then places so far
  int64_t elements;
  int32_t parts;  // blocks of threads a norm

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    if (state->update == 0) return;
    const NormStatistics norm = norms[place.block / parts];
    const int32_t c = place.block % parts * kThreads + place.thread;
    if (c >= norm.channels) return;
    const int64_t at_mean = norm.offset + c, at_variance = at_mean + norm.channels;
    switch (state->policy) {
      case RunningStatistics::sequential:
        return move(norm, c, state->momentum, running[at_mean], running[at_variance]);
      case RunningStatistics::scaled:
        return move(norm, c, state->momentum / static_cast<double>(state->ghosts), running[at_mean],
                    running[at_variance]);
      case RunningStatistics::averaged:
      case RunningStatistics::total:
        return gather(norm, c, gathered[at_mean], gathered[at_variance], gathered[elements + at_mean]);
    }
  }

 private:
  GHOSTBATCH_HD double places_of(const NormStatistics& norm, int32_t ghost) const {
    return static_cast<double>(static_cast<int64_t>(ghosts.offsets[ghost + 1] - ghosts.offsets[ghost]) * norm.spatial);
  }

  GHOSTBATCH_HD void move(const NormStatistics& norm, int32_t c, double momentum, float& mean, float& variance) const {
    float m = mean, v = variance;
    for (int32_t ghost = 0; ghost < *ghosts.count; ++ghost) {
      const double n = places_of(norm, ghost);
      const int64_t i = static_cast<int64_t>(ghost) * norm.channels + c;
      // Rounded after each ghost: a batch in one pass and in several has the same bits.
      m = static_cast<float>((1 - momentum) * static_cast<double>(m) + momentum * static_cast<double>(norm.mean[i]));
      v = static_cast<float>((1 - momentum) * static_cast<double>(v) +
                             momentum * (n / (n - 1) * static_cast<double>(norm.variance[i])));
    }
    mean = m;
    variance = v;
  }

  GHOSTBATCH_HD void gather(const NormStatistics& norm, int32_t c, double& mean, double& variance,
                            double& places) const {
    for (int32_t ghost = 0; ghost < *ghosts.count; ++ghost) {
      const double n = places_of(norm, ghost);
      const int64_t i = static_cast<int64_t>(ghost) * norm.channels + c;
      const auto m = static_cast<double>(norm.mean[i]), v = static_cast<double>(norm.variance[i]);
      if (state->policy == RunningStatistics::averaged) {
        mean += m;
        variance += v * n / (n - 1);
      } else {  // mean and sum of squared deviations of all places so far (Chan et al. 1983)
        const double delta = m - mean, all = places + n;
        mean += delta * n / all;
        variance += v * n + delta * delta * places * n / all;
      }
      places += n;
    }
  }
};

/// Moves the running statistics at the end of a step, where the policy needs all its ghosts.
struct FinishStatistics {
  static constexpr int kPhases = 1, kThreads = 128;
  struct Shared {};
  struct Registers {};

  const NormStatistics* norms;
  const StatisticsState* state;
  float* running;
  const double* gathered;
  int64_t elements;
  int32_t parts;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    const bool averaged = state->policy == RunningStatistics::averaged;
    if (state->update == 0 || !(averaged || state->policy == RunningStatistics::total)) return;
    const NormStatistics norm = norms[place.block / parts];
    const int32_t c = place.block % parts * kThreads + place.thread;
    if (c >= norm.channels) return;
    const int64_t at_mean = norm.offset + c;
    const double of_mean = averaged ? 1.0 / static_cast<double>(state->ghosts) : 1.0;
    move(at_mean, of_mean);
    move(at_mean + norm.channels, averaged ? of_mean : 1.0 / (gathered[elements + at_mean] - 1));
  }

 private:
  GHOSTBATCH_HD void move(int64_t at, double factor) const {
    const double momentum = state->momentum;
    running[at] =
        static_cast<float>((1 - momentum) * static_cast<double>(running[at]) + momentum * (gathered[at] * factor));
  }
};

/// The norms of a network, in device memory, and their vectors.
struct StatisticsTable {
  const NormStatistics* norms;
  int64_t count;
  int64_t widest;    // channels of the widest norm
  float* running;    // [elements]
  double* gathered;  // [2, elements], zeroed before the first pass of a step
  int64_t elements;

  int64_t parts() const { return divide_up(widest, AddStatistics::kThreads); }
};

inline Launch<AddStatistics> add_statistics_launch(const StatisticsTable& table, const Ghosts& ghosts,
                                                   const StatisticsState* state) {
  return {{table.norms, ghosts, state, table.running, table.gathered, table.elements,
           static_cast<int32_t>(table.parts())},
          table.count * table.parts(),
          AddStatistics::kThreads};
}

inline Launch<FinishStatistics> finish_statistics_launch(const StatisticsTable& table, const StatisticsState* state) {
  return {{table.norms, state, table.running, table.gathered, table.elements, static_cast<int32_t>(table.parts())},
          table.count * table.parts(),
          FinishStatistics::kThreads};
}

/// After a pass, in the order of its ghosts in the step; ghosts hold at least 2 places a channel.
void add_statistics(const StatisticsTable& table, const Ghosts& ghosts, const StatisticsState* state, Stream stream);
/// After the last pass of a step.
void finish_statistics(const StatisticsTable& table, const StatisticsState* state, Stream stream);

}  // namespace ghostbatch::cuda
