// How the ghosts of a step move the running statistics.
#pragma once

#include <vector>

#include "engine/graph.h"

namespace ghostbatch {

/// Takes the statistics of a step's ghosts, in their order for each norm, and moves the running statistics by them: at
/// once where the policy goes ghost by ghost, at the end of the step where it needs them all.
class RunningStatisticsUpdate {
 public:
  /// `statistics`: the running ones, parameter_type; both must outlive this.
  RunningStatisticsUpdate(const Graph& graph, const View& statistics);

  void begin(RunningStatistics policy, double momentum, int64_t ghosts);
  /// mean, variance [ghosts, C] of the next ghosts of an operation; places[k]: values per channel of ghost k.
  void add(size_t operation, const View& mean, const View& variance, const int64_t* places, int32_t ghosts);
  void finish();

 private:
  bool ghost_by_ghost() const {
    return policy_ == RunningStatistics::sequential || policy_ == RunningStatistics::scaled;
  }
  int64_t channels(const Operation& op) const { return graph_.values()[static_cast<size_t>(op.dst)].channels; }

  const Graph& graph_;
  const View running_;
  RunningStatistics policy_ = RunningStatistics::sequential;
  double momentum_ = 0;
  int64_t ghosts_ = 1;
  std::vector<double> gathered_;  // over the step, mean then variance per norm
  std::vector<double> places_;    // gathered, per operation
};

}  // namespace ghostbatch
