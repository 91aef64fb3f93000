#include "engine/step.h"

#include <cmath>
#include <limits>
#include <string>

namespace ghostbatch {

void check_step(const Compiled& compiled, const Samples& samples, const int32_t* indices, int64_t batch,
                const StepSpec& spec, const void* input_gradient, int64_t recorded) {
  const LoadSpec& load = compiled.spec.load;
  if (samples.height() != load.height || samples.width() != load.width || samples.channels() != load.channels) {
    throw Error("[engine] needs samples [" + std::to_string(load.height) + "," + std::to_string(load.width) + "," +
                std::to_string(load.channels) + "], got [" + std::to_string(samples.height()) + "," +
                std::to_string(samples.width()) + "," + std::to_string(samples.channels()) + "]");
  }
  if (samples.classes() > compiled.classes) {
    throw Error("[engine] needs samples of at most " + std::to_string(compiled.classes) +
                " classes, the outputs of the network, got " + std::to_string(samples.classes()));
  }
  if (batch < 1 || batch > std::numeric_limits<int32_t>::max() || indices == nullptr) {
    throw Error("[engine] needs a batch of 1 to 2^31 - 1 indices, got " + std::to_string(batch));
  }
  for (int64_t i = 0; i < batch; ++i) {
    if (indices[i] < 0 || indices[i] >= samples.count()) {
      throw Error("[engine] needs indices in [0, " + std::to_string(samples.count()) + "), got " +
                  std::to_string(indices[i]) + " at " + std::to_string(i));
    }
  }
  if (spec.backward && !compiled.spec.backward) {
    throw Error("[engine] needs to be compiled with backward to give gradients");
  }
  if (spec.part_norms && !spec.backward) throw Error("[engine] needs a step with backward for norms of parts");
  if (input_gradient != nullptr && !(spec.backward && compiled.spec.input_gradient)) {
    throw Error("[engine] needs to be compiled and run with the gradient of the input to give it");
  }
  if (spec.adversary == Adversary::record && !(spec.backward && compiled.spec.input_gradient)) {
    throw Error("[engine] needs to be compiled and run with the gradient of the input to record its signs");
  }
  if (spec.adversary == Adversary::apply && recorded != batch) {
    throw Error("[engine] needs the signs of the batch of " + std::to_string(batch) + " recorded, got " +
                std::to_string(recorded) + " rows of them");
  }
  if (!(spec.adversary_epsilon >= 0 && std::isfinite(spec.adversary_epsilon))) {
    throw Error("[engine] needs a finite epsilon of the adversary >= 0, got " +
                std::to_string(spec.adversary_epsilon));
  }
  if (spec.ghost < 0 || !(spec.momentum >= 0 && spec.momentum <= 1)) {
    throw Error("[engine] needs ghost >= 0 and momentum in [0, 1], got ghost " + std::to_string(spec.ghost) +
                ", momentum " + std::to_string(spec.momentum));
  }
  if (spec.first_row < 0 || spec.first_row > std::numeric_limits<int32_t>::max()) {
    throw Error("[engine] needs a first row in [0, 2^31), got " + std::to_string(spec.first_row));
  }
  if (!compiled.graph.has_norm() || spec.mode == NormMode::running) return;
  const GhostsOfStep ghosts(compiled, spec, batch);
  const int64_t longest = ghosts.longest(), most = std::max(compiled.spec.ghost, compiled.spec.micro_batch);
  if (longest > most) {
    throw Error("[engine] needs ghosts of at most " + std::to_string(most) + " rows, as compiled, got " +
                std::to_string(longest));
  }
  if (spec.part_norms && longest > compiled.spec.micro_batch && !compiled.spec.ghost_per_lane) {
    throw Error("[engine] needs ghosts that one lane runs whole for norms of parts, as rows of a ghost depend on each "
                "other, got ghosts of " + std::to_string(longest) + " rows that lanes share");
  }
  if (ghosts.rows * compiled.smallest_norm_places < 2) {
    throw Error("[engine] needs at least 2 values per channel in a ghost, got 1: batch " + std::to_string(batch) +
                ", ghosts " + std::to_string(ghosts.count));
  }
}

}  // namespace ghostbatch
