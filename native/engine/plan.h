// Lowers a network to the instructions of one pass over a micro-batch, and places its memory.
#pragma once

#include <vector>

#include "engine/graph.h"
#include "ghostbatch/engine.h"

namespace ghostbatch {

enum class Code {
  load,
  affine_forward,
  norm_statistics,  // what a ghost that spans micro-batches brings together follows
  norm_forward,
  relu,
  add,
  pool,
  dropout,
  loss,
  gradient_add,
  affine_backward_weights,
  affine_backward_data,
  norm_recompute,
  norm_backward_sums,  // likewise
  norm_backward,
  relu_backward,
  pool_backward,
  dropout_backward,
  give_input_gradient,
};

/// One kernel call on buffers of the arena (numbers into Plan::buffers, -1: none).
struct Instruction {
  Code code;
  int32_t operation = -1;
  int32_t src = -1;
  int32_t src2 = -1;   // second operand: residual, gradient of the output
  int32_t src3 = -1;   // third: second summand of that gradient
  int32_t dst = -1;
  int32_t dst2 = -1;   // gradient of the residual
  int32_t aux = -1;    // labels, workspace, output of the forward pass
  bool for_input = false;  // needed by the gradient of the input alone

  bool meets() const { return code == Code::norm_statistics || code == Code::norm_backward_sums; }
};

/// A range of the micro-batch's arena, or of its lane's, occupied during instructions [first, last].
struct Buffer {
  int64_t elements = 0;
  DataType type = DataType::f32;
  int32_t first = 0;
  int32_t last = 0;
  int64_t offset = -1;
  bool of_lane = false;

  int64_t bytes() const { return elements * size_of(type); }
};

/// Instructions and memory of a pass. Forward values that backward needs stay; the output of a batch norm without
/// residual is computed again from its input instead (one read and one write, where keeping it would cost the same
/// read from memory further away), and forward-only plans work in place. Where a lane runs ghosts of several
/// micro-batches, what is made and used up between two norms lies in memory of the lane: the next micro-batch finds it
/// in cache.
struct Plan {
  std::vector<Instruction> instructions;
  std::vector<Buffer> buffers;
  int32_t loss = 0;             // index of the loss instruction; backward follows it
  int32_t labels = -1;          // buffer, s32 [S]
  int32_t logits = -1;          // buffer of the last value
  std::vector<int32_t> mean, variance;  // buffer per operation (norms), [ghosts, C]
  int64_t arena_bytes = 0;       // of a micro-batch
  int64_t lane_arena_bytes = 0;

  Plan(const Graph& graph, const EngineSpec& spec, int64_t ghosts_per_micro_batch);
};

}  // namespace ghostbatch
