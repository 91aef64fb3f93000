#include "engine/running_statistics.h"

#include <algorithm>

namespace ghostbatch {
namespace {

View part(const View& vector, int64_t first, int64_t elements) {
  return View(vector.as<char>() + first * size_of(vector.type), elements, vector.type);
}

double element(const View& view, int64_t i) {
  return view.type == DataType::f64 ? view.as<double>()[i] : static_cast<double>(view.as<float>()[i]);
}

}  // namespace

RunningStatisticsUpdate::RunningStatisticsUpdate(const Graph& graph, const View& statistics)
    : graph_(graph), running_(statistics), gathered_(static_cast<size_t>(graph.statistics())),
      places_(graph.list().size()) {}

void RunningStatisticsUpdate::begin(RunningStatistics policy, double momentum, int64_t ghosts) {
  policy_ = policy;
  momentum_ = momentum;
  ghosts_ = ghosts;
  std::fill(gathered_.begin(), gathered_.end(), 0.0);
  std::fill(places_.begin(), places_.end(), 0.0);
}

void RunningStatisticsUpdate::add(size_t operation, const View& mean, const View& variance, const int64_t* places,
                                  int32_t ghosts) {
  const Operation& op = graph_.list()[operation];
  const int64_t channels = this->channels(op);
  if (ghost_by_ghost()) {
    const double momentum =
        policy_ == RunningStatistics::scaled ? momentum_ / static_cast<double>(ghosts_) : momentum_;
    update_running_statistics(part(running_, op.statistics_offset, channels),
                              part(running_, op.statistics_offset + channels, channels), mean, variance, places,
                              ghosts, momentum);
    return;
  }
  double* means = gathered_.data() + op.statistics_offset;
  double* variances = means + channels;
  double& before = places_[operation];
  for (int32_t g = 0; g < ghosts; ++g) {
    const double n = static_cast<double>(places[g]);
    for (int64_t c = 0; c < channels; ++c) {
      const double m = element(mean, g * channels + c), v = element(variance, g * channels + c);
      if (policy_ == RunningStatistics::averaged) {
        means[c] += m;
        variances[c] += v * n / (n - 1);
      } else {  // mean and sum of squared deviations of all places so far (Chan et al. 1983)
        const double delta = m - means[c], all = before + n;
        means[c] += delta * n / all;
        variances[c] += v * n + delta * delta * before * n / all;
      }
    }
    before += n;
  }
}

void RunningStatisticsUpdate::finish() {
  if (ghost_by_ghost()) return;
  const bool averaged = policy_ == RunningStatistics::averaged;
  for (size_t i = 0; i < graph_.list().size(); ++i) {
    const Operation& op = graph_.list()[i];
    if (op.kind != OperationKind::norm) continue;
    const int64_t channels = this->channels(op);
    const double of_mean = averaged ? 1.0 / static_cast<double>(ghosts_) : 1.0;
    const double of_variance = averaged ? of_mean : 1.0 / (places_[i] - 1);
    for (int64_t c = 0; c < 2 * channels; ++c) {
      const int64_t at = op.statistics_offset + c;
      const double fresh = gathered_[static_cast<size_t>(at)] * (c < channels ? of_mean : of_variance);
      const double moved = (1 - momentum_) * element(running_, at) + momentum_ * fresh;
      if (running_.type == DataType::f64) {
        running_.as<double>()[at] = moved;
      } else {
        running_.as<float>()[at] = static_cast<float>(moved);
      }
    }
  }
}

}  // namespace ghostbatch
