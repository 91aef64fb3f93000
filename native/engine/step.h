// What every engine asks of a step before it runs: whether it can be run at all, and into which ghosts its batch falls.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/compiled.h"
#include "ghostbatch/engine.h"

namespace ghostbatch {

/// The ghosts of a batch: ceil(B / V) of them, whose sizes differ by at most one; one, where nothing is normalized by
/// them.
struct GhostsOfStep {
  bool normalizing = false;
  int64_t count = 1;
  int64_t rows = 0;    // of the shorter ones
  int64_t longer = 0;  // so many, the first, have one row more
  int64_t of_micro_batch = 1;  // whole ones that a micro-batch holds, where it holds any

  GhostsOfStep() = default;
  GhostsOfStep(const Compiled& compiled, const StepSpec& spec, int64_t batch)
      : normalizing(compiled.graph.has_norm() && spec.mode != NormMode::running) {
    const int64_t wanted = spec.ghost == 0 ? batch : std::min(spec.ghost, batch);
    if (normalizing) count = (batch + wanted - 1) / wanted;
    rows = batch / count;
    longer = batch % count;
    const int64_t fit = std::min(compiled.ghosts_per_micro_batch, compiled.spec.micro_batch / longest());
    of_micro_batch = std::max<int64_t>(1, fit);
  }

  int64_t longest() const { return rows + (longer > 0 ? 1 : 0); }
  /// First row of a ghost, or of what follows the last.
  int64_t start(int64_t ghost) const { return ghost * rows + std::min(ghost, longer); }
};

/// Error that says what a step needs and what came. `recorded`: rows whose signs the engine has.
void check_step(const Compiled& compiled, const Samples& samples, const int32_t* indices, int64_t batch,
                const StepSpec& spec, const void* input_gradient, int64_t recorded);

}  // namespace ghostbatch
