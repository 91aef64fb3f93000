#include "engine/compiled.h"

#include <algorithm>
#include <limits>
#include <string>

#include "common/check.h"

namespace ghostbatch {
namespace {

EngineSpec checked(Device& device, const Graph& graph, EngineSpec spec) {
  if (!device.supports(spec.type)) {
    throw Error(std::string("[engine] needs a precision that backend ") + device.name() + " supports, got " +
                name_of(spec.type) + ": " + device.precision_note(spec.type));
  }
  if (spec.micro_batch < 1 || spec.micro_batch > (1 << 20)) {
    throw Error("[engine] needs a micro-batch of 1 to 1048576 rows, got " + std::to_string(spec.micro_batch));
  }
  if (spec.ghost < 0 || spec.ghost > std::numeric_limits<int32_t>::max() / 2) {
    throw Error("[engine] needs a ghost batch of 0 to 2^30 rows, got " + std::to_string(spec.ghost));
  }
  if (graph.list().empty()) throw Error("[engine] needs a network with operations, got none");
  const Value& output = graph.values().back();
  if (output.height != 1 || output.width != 1) {
    throw Error("[engine] needs a network whose output is [N,classes], got [N," + std::to_string(output.height) + "," +
                std::to_string(output.width) + "," + std::to_string(output.channels) + "]");
  }
  if (spec.input_gradient && !spec.backward) {
    throw Error("[engine] needs backward for the gradient of the input, got a forward-only spec");
  }
  const Value& input = graph.values().front();
  spec.load.height = input.height;
  spec.load.width = input.width;
  spec.load.channels = input.channels;
  spec.load.type = spec.type;
  return spec;
}

/// Ghosts of a batch differ by at most one row and there are ceil(B / V): none is smaller than V / 2.
int64_t most_ghosts(const EngineSpec& spec) {
  if (spec.ghost == 0 || spec.ghost > spec.micro_batch) return 1;
  return std::max<int64_t>(1, spec.micro_batch / std::max<int64_t>(1, spec.ghost / 2));
}

}  // namespace

Compiled::Compiled(Device& device, const Graph& network, const EngineSpec& engine)
    : graph(network), spec(checked(device, network, engine)), ghosts_per_micro_batch(most_ghosts(engine)),
      plan(graph, spec, ghosts_per_micro_batch) {
  elementwise.reset(device.elementwise());
  loss.reset(device.softmax_cross_entropy());
  loader.reset(device.batch_loader(spec.load));
  kernels.resize(graph.list().size());
  for (size_t i = 0; i < kernels.size(); ++i) {
    const Operation& op = graph.list()[i];
    if (op.affine()) {
      make_affine(device, op, kernels[i]);
    } else if (op.kind == OperationKind::norm) {
      make_norm(device, op, kernels[i]);
    } else if (op.kind == OperationKind::pool) {
      PoolSpec pool = op.pool;
      pool.batch = spec.micro_batch;
      pool.type = spec.type;
      kernels[i].pool.reset(device.pooling(pool));
    }
  }
  scratch_bytes = round_up(scratch_bytes, kLine);
  if (micros_per_lane() == 1) part_elements = 0;
  classes = graph.values().back().row_elements();
}

void Compiled::make_affine(Device& device, const Operation& op, Kernels& k) {
  if (op.kind == OperationKind::convolution) {
    ConvolutionSpec convolution = op.convolution;
    convolution.batch = spec.micro_batch;
    convolution.type = spec.type;
    k.affine.reset(device.convolution(convolution, spec.backward));
  } else {
    LinearSpec linear = op.linear;
    linear.batch = spec.micro_batch;
    linear.type = spec.type;
    k.affine.reset(device.linear(linear, spec.backward));
  }
  k.packed = packed_bytes;
  packed_bytes += round_up(k.affine->packed_weights_bytes(), kLine);
  scratch_bytes = std::max(scratch_bytes, k.affine->scratch_bytes());
  if (!spec.backward) return;
  const int64_t packed = round_up(k.affine->packed_diff_weights_elements(), kLine);
  const int64_t with_bias = packed + round_up(k.affine->bias_elements(), kLine);
  k.sum = sum_elements;
  if (k.affine->packs_diff_weights()) sum_elements += packed;
  k.lane_gradient = lane_elements;
  lane_elements += with_bias;
  part_elements = std::max(part_elements, with_bias);
}

void Compiled::make_norm(Device& device, const Operation& op, Kernels& k) {
  const Value& to = graph.values()[static_cast<size_t>(op.dst)];
  GhostBatchNormSpec norm;
  norm.batch = spec.micro_batch;
  norm.height = to.height;
  norm.width = to.width;
  norm.channels = to.channels;
  norm.relu = op.relu;
  norm.residual = op.src2 >= 0;
  norm.epsilon = op.epsilon;
  norm.type = spec.type;
  k.norm.reset(device.ghost_batch_norm(norm));
  k.lane_gradient = lane_elements;
  if (spec.backward) lane_elements += 2 * round_up(to.channels, kLine);
  widest_norm = std::max(widest_norm, to.channels);
  const int64_t places = norm.spatial();
  smallest_norm_places = smallest_norm_places == 0 ? places : std::min(smallest_norm_places, places);
}

int64_t Compiled::fixed_bytes(int32_t lanes) const {
  const int64_t vectors_elements = graph.parameters() * (spec.backward ? 2 : 1) + graph.statistics();
  const int64_t elements = vectors_elements + sum_elements + lanes * (lane_elements + part_elements);
  return elements * size_of(parameter_type(spec.type)) + packed_bytes + lanes * (scratch_bytes + plan.lane_arena_bytes);
}

std::string Compiled::cannot_fit(int32_t lanes, int64_t free, int64_t more) const {
  std::string text =
      "[engine] needs " + std::to_string(bytes(lanes) + more) + " bytes, got " + std::to_string(free) + " free";
  const int64_t for_arenas = std::max<int64_t>(0, free - fixed_bytes(lanes) - more);
  if (!spans()) {
    const int64_t row = std::max<int64_t>(1, lanes * plan.arena_bytes / spec.micro_batch);
    return text + " for " + std::to_string(lanes) + " lanes of micro-batch " + std::to_string(spec.micro_batch) +
           ": use fewer threads, or a micro-batch of at most " + std::to_string(for_arenas / row);
  }
  const int64_t fit = for_arenas / (plan.arena_bytes + partial_bytes_each());
  const int64_t of_a_ghost = spec.ghost_per_lane ? fit / lanes : fit < lanes ? 0 : fit;
  return text + ": the largest ghost batch that fits is " + std::to_string(of_a_ghost * spec.micro_batch) +
         ", asked for " + std::to_string(spec.ghost);
}

const char* Compiled::implementation(int32_t operation) const {
  if (operation < 0 || operation >= static_cast<int32_t>(kernels.size())) {
    throw Error("[engine] needs an operation in [0, " + std::to_string(kernels.size()) + "), got " +
                std::to_string(operation));
  }
  const Kernels& k = kernels[static_cast<size_t>(operation)];
  return k.affine ? k.affine->implementation()
         : k.norm ? k.norm->implementation()
         : k.pool ? k.pool->implementation()
                  : elementwise->implementation();
}

void Compiled::check_entry(int32_t index) const {
  if (index < 0 || index >= static_cast<int32_t>(profile_entries())) {
    throw Error("[engine] needs a profile entry in [0, " + std::to_string(profile_entries()) + "), got " +
                std::to_string(index));
  }
}

const char* Compiled::profile_name(int32_t index) const {
  check_entry(index);
  const size_t i = static_cast<size_t>(index);
  if (i >= plan.instructions.size()) {
    constexpr const char* names[kExtraEntries] = {"commit", "wait", "pack weights", "unpack gradients"};
    return names[i - plan.instructions.size()];
  }
  const Instruction& instruction = plan.instructions[i];
  switch (instruction.code) {
    case Code::load: return "load";
    case Code::loss: return "loss";
    case Code::gradient_add: return "gradient add";
    case Code::give_input_gradient: return "input gradient";
    default: return graph.list()[static_cast<size_t>(instruction.operation)].name.c_str();
  }
}

void Compiled::profile_entry(int32_t index, const Profile& profile, ProfileEntry& entry) const {
  check_entry(index);
  const size_t i = static_cast<size_t>(index);
  entry = {};
  entry.operation = -1;
  entry.direction = 3;
  const Profile::Cell total = profile.total(i);
  entry.seconds = total.seconds;
  entry.calls = total.calls;
  if (i >= plan.instructions.size()) return;
  const Instruction& in = plan.instructions[i];
  if (in.operation < 0) return;
  entry.operation = in.operation;
  switch (in.code) {
    case Code::affine_backward_weights:
      entry.direction = 2;
      break;
    case Code::affine_backward_data:
    case Code::norm_backward_sums:
    case Code::norm_backward:
    case Code::relu_backward:
    case Code::pool_backward:
    case Code::dropout_backward:
      entry.direction = 1;
      break;
    default:
      entry.direction = 0;
  }
  const double calls = static_cast<double>(entry.calls);
  const Kernels& k = kernels[static_cast<size_t>(in.operation)];
  if (k.affine) entry.flops = calls * k.affine->flops();
  for (int32_t b : {in.src, in.src2, in.src3, in.dst, in.dst2, in.aux}) {
    if (b >= 0) entry.bytes += calls * static_cast<double>(plan.buffers[static_cast<size_t>(b)].bytes());
  }
}

}  // namespace ghostbatch
