// Runs a network over batches: passes over micro-batches on lanes, gradients and statistics committed in order.
#pragma once

#include "ghostbatch/device.h"
#include "ghostbatch/lanes.h"
#include "ghostbatch/network.h"

namespace ghostbatch {

/// What is fixed when an engine is compiled.
struct EngineSpec {
  DataType type = DataType::f32;
  int64_t micro_batch = 32;      // S: capacity of a pass, in rows
  int64_t ghost = 0;             // largest V of a step, in rows; V > S spans micro-batches; 0: no step needs ghosts
  bool ghost_per_lane = false;   // V > S: one lane runs a whole ghost (true), or all lanes share one at a time
  bool backward = true;          // false: forward only, memory reused more
  bool input_gradient = false;   // whether a step can also give the gradient of its input
  LoadSpec load;                 // height, width, channels as the network's input
};

/// What a step has to do with the adversary of its inputs: the sign of the gradient of the loss by each input value, 0
/// where that is 0 (fast gradient sign method; Goodfellow et al. 2014, arXiv 1412.6572, section 4).
enum class Adversary : int32_t {
  none = 0,
  record = 1,  // keeps the signs: a byte a value, allocated by the first step of a batch larger than those before
  apply = 2    // moves the inputs along the signs that the last `record` kept, of the same rows in the same order
};

/// What may change from step to step.
struct StepSpec {
  NormMode mode = NormMode::train;
  RunningStatistics running_statistics = RunningStatistics::sequential;
  double momentum = 0.1;        // of the running statistics: weight of the new
  int64_t ghost = 0;            // V of this step; 0: the whole batch is one ghost. Not above EngineSpec.ghost
  bool backward = true;         // false: loss only
  bool dropout = true;          // false: dropout is the identity
  bool augment = true;          // false: the loader does not augment
  double label_smoothing = 0;
  uint64_t seed = 1;            // of dropout and augmentation
  uint64_t step = 0;            // number of the update, for dropout
  int64_t first_row = 0;        // number of the first row, for dropout: a batch in parts draws as the batch in one
  uint64_t epoch = 0;           // for augmentation
  Adversary adversary = Adversary::none;
  double adversary_epsilon = 0;  // how far `apply` moves inputs: see BatchLoader::perturb
  bool part_norms = false;      // whether to take the norms of the parts' gradients, for `part_squares`
};

/// Time of one operation in one direction, summed over micro-batches and lanes since `reset_profile`.
struct ProfileEntry {
  int32_t operation = 0;   // in the network, -1: the engine's own work (loader, loss, commit, pack)
  int32_t direction = 0;   // 0 forward, 1 backward data, 2 backward weights, 3 other
  double seconds = 0;      // of lane time
  int64_t calls = 0;
  double flops = 0;
  double bytes = 0;        // touched at least, for operations bound by memory
};

/// One call of a kernel, or a piece of the engine's own work, on a lane.
struct TraceEvent {
  int32_t entry = 0;         // number of its profile entry, which says what it is
  int64_t begin = 0;         // nanoseconds of the steady clock (on Linux that of Java's System.nanoTime)
  int64_t end = 0;
  int64_t micro_batch = -1;  // in its step; -1: of none, or waiting for another
};

/// A network compiled for micro-batches of S rows on a device, with its vectors and its lanes' memory.
/// A batch is cut into ghosts (ceil(B / V), sizes that differ by at most one); with V <= S a micro-batch holds whole
/// ghosts. With V > S a ghost spans micro-batches, which go from one batch norm to the next one after another: on one
/// lane, which then holds the activations of a whole ghost, or on all lanes, which meet at every batch norm and hold
/// them once. But for that meeting lanes never wait for one another. Gradients and losses are summed over the
/// micro-batches of a lane's ghost, then committed in order of micro-batches or ghosts, running statistics in ghost
/// order: results have the same bits for any number of lanes. A step allocates nothing but what Adversary says.
/// One call at a time.
class Engine : public Resource {
 public:
  /// Error naming bytes needed, bytes free and the largest ghost that fits, before anything is allocated.
  static Engine* create(Device& device, Lanes& lanes, const Network& network, const EngineSpec& spec);
  /// Bytes that `create` would allocate (arenas, packed weights, vectors), without allocating; kernels are made.
  static int64_t predict_bytes(Device& device, int32_t lanes, const Network& network, const EngineSpec& spec);

  // The vectors: parameter_type(type), in natural layout. They live as long as the engine.
  virtual Tensor* parameters() = 0;
  virtual Tensor* gradients() = 0;   // null for forward-only engines
  virtual Tensor* statistics() = 0;  // running mean and variance; null where the network has none
  /// To be called after every change of parameters: the next call packs the weights again.
  virtual void parameters_changed() = 0;

  /// Loss (and gradients, overwritten: mean over the batch of weight * gradient) of samples[indices[0..batch)].
  /// `weights` [batch] or null: a factor for each sample's gradient and loss. `logits` host memory
  /// [batch, classes] of parameter_type(type), or null. `input_gradient` likewise [batch, H, W, C].
  virtual void step(const Samples& samples, const int32_t* indices, int64_t batch, const float* weights,
                    const StepSpec& spec, void* logits, void* input_gradient, LossResult& result) = 0;

  /// Of the last step, sum_k n_k ||G_k||^2 over the parts whose gradients were added up: micro-batches, or ghosts where
  /// one lane runs several micro-batches of each. G_k is the mean gradient of part k's n_k rows. 0 without
  /// StepSpec.part_norms, which is refused where lanes share a ghost. Formed in double, in the order of commits. Cost:
  /// each part's gradient read once more, and brought to its natural layout where the kernels have another.
  virtual double part_squares() const = 0;
  /// Number of the parts of the last step.
  virtual int64_t parts() const = 0;

  /// What `create` allocated.
  virtual int64_t bytes() const = 0;
  virtual int64_t micro_batch() const = 0;
  /// The implementation chosen for an operation, for logs and run folders.
  virtual const char* implementation(int32_t operation) const = 0;

  virtual void set_profiling(bool on) = 0;
  virtual void reset_profile() = 0;
  virtual int32_t profile_entries() const = 0;
  virtual void profile_entry(int32_t index, ProfileEntry& entry) const = 0;
  virtual const char* profile_name(int32_t index) const = 0;

  /// From now on, while profiling is on, each lane keeps its calls, up to so many; 0: none. Forgets those kept before.
  virtual void set_tracing(int64_t events) = 0;
  /// Calls that a lane has kept, in order of their ends.
  virtual int64_t trace_events(int32_t lane) const = 0;
  virtual void trace_event(int32_t lane, int64_t index, TraceEvent& event) const = 0;

  /// Fills all arenas with NaN: a test that no result depends on memory that was not written.
  virtual void poison() = 0;

 protected:
  Engine() = default;
};

}  // namespace ghostbatch
