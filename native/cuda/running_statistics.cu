#include "cuda/running_statistics.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {

void add_statistics(const StatisticsTable& table, const Ghosts& ghosts, const StatisticsState* state, Stream stream) {
  enqueue("running_statistics", add_statistics_launch(table, ghosts, state), stream);
}

void finish_statistics(const StatisticsTable& table, const StatisticsState* state, Stream stream) {
  enqueue("running_statistics", finish_statistics_launch(table, state), stream);
}

}  // namespace ghostbatch::cuda
