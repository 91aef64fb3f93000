// Everything that follows from device, network and spec alone: kernels, plan, sizes.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "engine/block.h"
#include "engine/plan.h"
#include "engine/profile.h"

namespace ghostbatch {

constexpr int64_t kLine = 64;
inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/// The kernels of one operation and the places of its memory outside the arenas.
struct Kernels {
  Owned<Affine> affine;
  Owned<GhostBatchNorm> norm;
  Owned<Pooling> pool;
  int64_t packed = 0;         // bytes into the packed weights
  int64_t sum = 0;            // elements into the committed gradients that are packed
  int64_t lane_gradient = 0;  // elements into a lane's gradients: packed weights then bias, or gamma then beta
};

struct Compiled {
  Graph graph;
  EngineSpec spec;
  int64_t ghosts_per_micro_batch;
  Plan plan;
  std::vector<Kernels> kernels;
  Owned<Elementwise> elementwise;
  Owned<SoftmaxCrossEntropy> loss;
  Owned<BatchLoader> loader;
  int64_t packed_bytes = 0, sum_elements = 0, lane_elements = 0, scratch_bytes = 0;
  int64_t part_elements = 0;         // of a lane's second gradients: the widest affine operation
  int64_t widest_norm = 0;           // channels
  int64_t smallest_norm_places = 0;  // H W of the norm with the fewest; 0 without norms
  int64_t classes = 0;

  Compiled(Device& device, const Graph& network, const EngineSpec& engine);

  /// Micro-batches of the largest ghost.
  int64_t micros_per_ghost() const {
    if (!graph.has_norm() || spec.ghost <= spec.micro_batch) return 1;
    return (spec.ghost + spec.micro_batch - 1) / spec.micro_batch;
  }
  bool spans() const { return micros_per_ghost() > 1; }
  /// Micro-batches that a lane holds at a time where it runs whole ghosts.
  int64_t micros_per_lane() const { return spec.ghost_per_lane ? micros_per_ghost() : 1; }
  int64_t arenas(int32_t lanes) const { return std::max(lanes * micros_per_lane(), micros_per_ghost()); }
  int64_t partial_bytes_each() const { return spans() ? 2 * widest_norm * 8 : 0; }
  int64_t partial_bytes(int32_t lanes) const { return arenas(lanes) * partial_bytes_each(); }
  /// Everything but the arenas of micro-batches and their partial sums.
  int64_t fixed_bytes(int32_t lanes) const;
  int64_t bytes(int32_t lanes) const {
    return fixed_bytes(lanes) + partial_bytes(lanes) + arenas(lanes) * plan.arena_bytes;
  }
  /// The error for a device with too little memory. `more`: what an engine needs beside `bytes`.
  std::string cannot_fit(int32_t lanes, int64_t free, int64_t more = 0) const;

  const char* implementation(int32_t operation) const;

  // Entries of a profile: one an instruction, then the engine's own work.
  static constexpr size_t kExtraEntries = 4;
  enum Extra : size_t { kCommit, kWait, kPack, kUnpack };
  size_t profile_entries() const { return plan.instructions.size() + kExtraEntries; }
  const char* profile_name(int32_t index) const;
  void profile_entry(int32_t index, const Profile& profile, ProfileEntry& entry) const;

 private:
  void check_entry(int32_t index) const;
  void make_affine(Device& device, const Operation& op, Kernels& k);
  void make_norm(Device& device, const Operation& op, Kernels& k);
};

}  // namespace ghostbatch
