// Convolutions through cuDNN's backend (graph) API: src [N,H,W,C], weights [K,R,S,C/G], dst [N,P,Q,K] as
// ghostbatch/affine.h has them, in f32 or bf16 with sums in f32.
//
// A direction moves src, weights and dst once and computes 2 N P Q K R S C/G flops; the floor is the larger of the two
// times, 4.3 TB/s and 790 TFLOP/s in bf16 (60 in f32). ResNet-44's [128,32,32,16] 3x3 in bf16: 8.4 MB, 2.0 us, and 0.6
// GFLOP, 0.8 us: bound by memory, as are all stages of that network, so bias and ReLU belong into the same kernel.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/cudnn.h"
#include "cuda/engine_choices.h"
#include "ghostbatch/affine.h"

namespace ghostbatch::cuda {

enum class Direction { forward, backward_data, backward_weights };

/// cuDNN's unique ids of the tensors of a convolution, and of their gradients.
enum TensorId : int64_t { kSrcId = 1, kWeightsId, kDstId, kBiasId, kSumId, kShiftedId };

/// One attribute of a descriptor. Numbers of every type are kept as int64_t; a descriptor is its position in the graph;
/// a handle is 0.
struct Attribute {
  int32_t name;
  int32_t type;
  std::vector<int64_t> values;
};

/// A descriptor as it is to be made: type, attributes in the order in which they are set, then finalized.
struct DescriptorRecord {
  int32_t type;
  std::vector<Attribute> attributes;
};

/// An operation graph: descriptors in the order in which they are made, each after those it names; the last is the
/// graph. `tensors` are the ids of those that a run gives memory to.
struct GraphRecord {
  std::vector<DescriptorRecord> descriptors;
  std::vector<int64_t> tensors;
};

/// The graph of one direction of `spec`. With `fused`, forward adds the bias and applies ReLU as the spec says;
/// without, it is the convolution alone. The tensor that backward_weights writes is of type `diff_weights`. Error for
/// types that cuDNN is not asked for here.
GraphRecord convolution_graph(const ConvolutionSpec& spec, Direction direction, bool fused,
                              DataType diff_weights = DataType::f32);

/// What engines may do.
struct ConvolutionLimits {
  bool tf32 = false;  // f32 operands may be rounded to TF32
  int64_t most_workspace_bytes = 0;
};

/// Device memory of a convolution, each 16 bytes aligned. In a backward direction: diff_src, diff_weights, diff_dst
/// where it has them.
struct ConvolutionTensors {
  void* src;      // [N,H,W,C]
  void* weights;  // [K,R,S,C/G]; diff_weights of diff_weights_type()
  void* dst;      // [N,P,Q,K]
  void* bias;     // [K] f32 where forward is fused and has one; else not looked at
};

/// Engines that are chosen otherwise than by heuristics.
struct Tuning {
  EngineChoices* choices = nullptr;  // one that is there for the convolution is taken; null: none
  bool measure = false;              // where there is none, all engines are timed, and the fastest goes to `choices`
};

struct ConvolutionForm;
struct EngineCandidate;

/// One direction of a convolution, ready to run: the first engine of cuDNN's heuristics (mode A, then B, then fallback)
/// that is deterministic, sums in f32 and, unless asked to, does not round f32 to TF32; or, of those, as `Tuning` says.
/// Enqueues only, and may be captured. The same bits for the same arguments, on any stream. Threads may share it, each
/// with its own handle and workspace.
class ConvolutionPlan {
 public:
  /// Error, with what became of the engines, where none is left; where the engine of a choice may not be used; where
  /// there is no memory to time engines on, which is done on the stream of `handle`.
  ConvolutionPlan(const CudnnHandle& handle, const ConvolutionSpec& spec, Direction direction,
                  const ConvolutionLimits& limits, const Tuning& tuning = {});

  /// On the stream of `handle`. `workspace` [workspace_bytes()] is aligned to 256 bytes.
  void run(const CudnnHandle& handle, const ConvolutionTensors& tensors, void* workspace) const;

  int64_t workspace_bytes() const { return workspace_bytes_; }
  /// Whether forward does all of the spec. False: no engine does, and bias and ReLU are left to the caller.
  bool fused() const { return fused_; }
  /// What backward_weights writes: f32, or bf16 where no engine writes f32 from bf16; to be widened by the caller.
  DataType diff_weights_type() const { return diff_weights_type_; }
  const char* implementation() const { return implementation_.c_str(); }

 private:
  void take(const ConvolutionForm& form, EngineCandidate candidate);

  bool fused_ = true;
  DataType diff_weights_type_ = DataType::f32;
  DataType type_;
  int64_t workspace_bytes_ = 0;
  std::string implementation_;
  std::vector<int64_t> tensors_;
  std::vector<Descriptor> descriptors_;  // the graph's, the engine's, and last the plan
  mutable std::mutex mutex_;             // cuDNN does not promise plans that two threads may execute at once
};

}  // namespace ghostbatch::cuda
