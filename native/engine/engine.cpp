#include "ghostbatch/engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/bfloat16.h"
#include "common/check.h"
#include "engine/plan.h"

namespace ghostbatch {
namespace {

struct Destroy {
  void operator()(Resource* resource) const { resource->destroy(); }
};
template <typename T>
using Owned = std::unique_ptr<T, Destroy>;

constexpr int64_t kLine = 64;
int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Memory of the device, given back at the end.
class Block {
 public:
  Block() = default;
  Block(Device& device, int64_t bytes) : device_(&device), bytes_(bytes), data_(bytes > 0 ? device.allocate(bytes) : nullptr) {}
  Block(Block&& other) noexcept
      : device_(other.device_), bytes_(other.bytes_), data_(std::exchange(other.data_, nullptr)) {}
  Block& operator=(Block&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Block() {
    if (data_ != nullptr) device_->release(data_, bytes_);
  }
  char* at(int64_t offset) const { return static_cast<char*>(data_) + offset; }
  int64_t bytes() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  int64_t bytes_ = 0;
  void* data_ = nullptr;
};

/// The kernels of one operation and the places of its memory outside the arenas.
struct Kernels {
  Owned<Affine> affine;
  Owned<GhostBatchNorm> norm;
  Owned<Pooling> pool;
  int64_t packed = 0;         // bytes into the packed weights
  int64_t sum = 0;            // elements into the committed gradients, packed
  int64_t lane_gradient = 0;  // elements into a lane's gradients: packed weights then bias, or gamma then beta
};

/// Everything that follows from device, network and spec alone: kernels, plan, sizes.
struct Compiled {
  Graph graph;
  EngineSpec spec;
  int64_t ghosts_per_micro_batch;
  Plan plan;
  std::vector<Kernels> kernels;
  Owned<Elementwise> elementwise;
  Owned<SoftmaxCrossEntropy> loss;
  Owned<BatchLoader> loader;
  Owned<VectorKernels> vectors;
  int64_t packed_bytes = 0, sum_elements = 0, lane_elements = 0, scratch_bytes = 0;
  int64_t widest_norm = 0;           // channels
  int64_t smallest_norm_places = 0;  // H W of the norm with the fewest; 0 without norms
  int64_t classes = 0;

  Compiled(Device& device, const Graph& network, const EngineSpec& engine)
      : graph(network), spec(checked(device, network, engine)), ghosts_per_micro_batch(most_ghosts(engine)),
        plan(graph, spec, ghosts_per_micro_batch) {
    const DataType type = parameter_type(spec.type);
    elementwise.reset(device.elementwise());
    loss.reset(device.softmax_cross_entropy());
    loader.reset(device.batch_loader(spec.load));
    vectors.reset(device.vector_kernels());
    kernels.resize(graph.list().size());
    for (size_t i = 0; i < kernels.size(); ++i) {
      const Operation& op = graph.list()[i];
      Kernels& k = kernels[i];
      const Value& to = graph.values()[static_cast<size_t>(op.dst)];
      if (op.affine()) {
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
        if (spec.backward) {
          const int64_t packed = round_up(k.affine->packed_diff_weights_elements(), kLine);
          k.sum = sum_elements;
          sum_elements += packed;
          k.lane_gradient = lane_elements;
          lane_elements += packed + round_up(k.affine->bias_elements(), kLine);
        }
      } else if (op.kind == OperationKind::norm) {
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
      } else if (op.kind == OperationKind::pool) {
        PoolSpec pool = op.pool;
        pool.batch = spec.micro_batch;
        pool.type = spec.type;
        k.pool.reset(device.pooling(pool));
      }
    }
    scratch_bytes = round_up(scratch_bytes, kLine);
    const Value& output = graph.values().back();
    classes = output.row_elements();
    parameter_bytes_ = size_of(type);
  }

  bool spans() const { return graph.has_norm() && spec.ghost > spec.micro_batch; }
  int64_t arenas(int32_t lanes) const {
    const int64_t of_ghost = spans() ? (spec.ghost + spec.micro_batch - 1) / spec.micro_batch : 0;
    return std::max<int64_t>(lanes, of_ghost);
  }
  int64_t lane_bytes() const { return lane_elements * parameter_bytes_ + scratch_bytes; }
  int64_t partial_bytes_each() const { return 2 * widest_norm * 8; }
  int64_t partial_bytes(int32_t lanes) const { return spans() ? arenas(lanes) * partial_bytes_each() : 0; }
  /// Everything but the arenas.
  int64_t fixed_bytes(int32_t lanes) const {
    const int64_t vectors_elements = graph.parameters() * (spec.backward ? 2 : 1) + graph.statistics();
    return vectors_elements * parameter_bytes_ + packed_bytes + sum_elements * parameter_bytes_ +
           lanes * lane_bytes() + partial_bytes(lanes);
  }
  int64_t bytes(int32_t lanes) const { return fixed_bytes(lanes) + arenas(lanes) * plan.arena_bytes; }

 private:
  static EngineSpec checked(Device& device, const Graph& graph, EngineSpec spec) {
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
      throw Error("[engine] needs a network whose output is [N,classes], got [N," + std::to_string(output.height) +
                  "," + std::to_string(output.width) + "," + std::to_string(output.channels) + "]");
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
  static int64_t most_ghosts(const EngineSpec& spec) {
    if (spec.ghost == 0 || spec.ghost > spec.micro_batch) return 1;
    return std::max<int64_t>(1, spec.micro_batch / std::max<int64_t>(1, spec.ghost / 2));
  }

  int64_t parameter_bytes_ = 4;
};

template <typename F>
class Task : public LaneWork {
 public:
  explicit Task(F function) : function_(std::move(function)) {}
  void run(int64_t task, int32_t lane) override { function_(task, lane); }

 private:
  F function_;
};

using Clock = std::chrono::steady_clock;

struct Cell {
  double seconds = 0;
  int64_t calls = 0;
};

/// One micro-batch on its way through the pass.
struct Micro {
  int64_t index = 0;      // in the step: the order of commits
  int64_t first_row = 0;  // in the batch
  int64_t rows = 0;
  int32_t ghosts = 0;
  std::vector<int32_t> offsets;  // of the ghosts, in rows of the micro-batch
  int32_t whole[2] = {0, 0};     // the micro-batch as one range, for statistics that come from outside
  char* arena = nullptr;
  int32_t arena_index = 0;
};

struct Lane {
  Block gradients;  // of the micro-batch being run
  Block scratch;
  LossResult loss;
  std::vector<int64_t> places;  // values per channel of each ghost
  std::vector<Cell> profile;
  std::vector<TraceEvent> trace;  // never beyond its capacity: a step allocates nothing
};

constexpr int64_t kNone = -1;

/// One sum that micro-batches add to, in their order. A lane that is done with its part publishes it and goes on; whoever
/// closes the gap adds all that follows it. A lane waits only where it would overwrite a part that is not yet added.
struct Slot {
  std::mutex mutex;
  std::condition_variable added;
  int64_t turn = 0;                // the micro-batch whose part comes next
  std::vector<int64_t> published;  // per lane: the micro-batch whose part lies in its memory, or kNone
};

class PassEngine : public Engine {
 public:
  PassEngine(Device& device, Lanes& lanes, std::unique_ptr<Compiled> compiled)
      : lanes_(lanes), c_(std::move(compiled)), slots_(2 * c_->kernels.size() + 1) {
    const DataType type = parameter_type(c_->spec.type);
    const int32_t threads = lanes.threads();
    bytes_ = c_->bytes(threads);
    parameters_.reset(Tensor::create(device, type, c_->graph.parameters()));
    if (c_->spec.backward) gradients_.reset(Tensor::create(device, type, c_->graph.parameters()));
    if (c_->graph.has_norm()) statistics_.reset(Tensor::create(device, type, c_->graph.statistics()));
    packed_ = Block(device, c_->packed_bytes);
    sums_ = Block(device, c_->sum_elements * size_of(type));
    partials_ = Block(device, c_->partial_bytes(threads));
    span_mean_.resize(static_cast<size_t>(c_->graph.statistics()));
    span_variance_.resize(span_mean_.size());
    span_sums_.resize(2 * static_cast<size_t>(c_->widest_norm));
    accumulated_.resize(static_cast<size_t>(c_->graph.statistics()));
    accumulated_places_.resize(c_->kernels.size());
    for (int32_t i = 0; i < threads; ++i) {
      Lane& lane = lanes_state_.emplace_back();
      lane.gradients = Block(device, c_->lane_elements * size_of(type));
      lane.scratch = Block(device, c_->scratch_bytes);
      lane.places.resize(static_cast<size_t>(c_->ghosts_per_micro_batch));
      lane.profile.resize(c_->plan.instructions.size() + kExtraEntries);
    }
    for (Slot& slot : slots_) slot.published.assign(static_cast<size_t>(threads), kNone);
    micros_.resize(static_cast<size_t>(c_->arenas(threads)));
    for (size_t i = 0; i < micros_.size(); ++i) {
      arenas_.emplace_back(device, c_->plan.arena_bytes);
      micros_[i].offsets.resize(static_cast<size_t>(c_->ghosts_per_micro_batch) + 1);
      micros_[i].arena = arenas_.back().at(0);
      micros_[i].arena_index = static_cast<int32_t>(i);
    }
    span_rows_.resize(micros_.size());
    // Touch everything now: no page fault in a step, and memory that is short shows here.
    fill_arenas(0);
    on_lanes(threads, [this](int64_t i, int32_t) {
      const Lane& lane = lanes_state_[static_cast<size_t>(i)];
      zero(lane.gradients);
      zero(lane.scratch);
    });
    for (const Block* block : {&packed_, &sums_, &partials_}) zero(*block);
  }

  Tensor* parameters() override { return parameters_.get(); }
  Tensor* gradients() override { return gradients_.get(); }
  Tensor* statistics() override { return statistics_.get(); }
  void parameters_changed() override { packed_valid_ = false; }
  int64_t bytes() const override { return bytes_; }
  int64_t micro_batch() const override { return c_->spec.micro_batch; }
  void poison() override { fill_arenas(0xFF); }  // all bits set: a NaN in every floating-point type

  const char* implementation(int32_t operation) const override {
    if (operation < 0 || operation >= static_cast<int32_t>(c_->kernels.size())) {
      throw Error("[engine] needs an operation in [0, " + std::to_string(c_->kernels.size()) + "), got " +
                  std::to_string(operation));
    }
    const Kernels& k = c_->kernels[static_cast<size_t>(operation)];
    return k.affine ? k.affine->implementation()
           : k.norm ? k.norm->implementation()
           : k.pool ? k.pool->implementation()
                    : c_->elementwise->implementation();
  }

  void step(const Samples& samples, const int32_t* indices, int64_t batch, const float* weights, const StepSpec& spec,
            void* logits, void* input_gradient, LossResult& result) override {
    check_step(samples, indices, batch, spec, input_gradient);
    step_ = &spec;
    samples_ = &samples;
    indices_ = indices;
    weights_ = weights;
    logits_ = logits;
    input_gradient_ = input_gradient;
    batch_ = batch;
    result_ = {};
    failed_.store(false, std::memory_order_relaxed);
    failure_ = nullptr;
    for (Slot& slot : slots_) {
      slot.turn = 0;
      std::fill(slot.published.begin(), slot.published.end(), kNone);
    }
    std::fill(accumulated_.begin(), accumulated_.end(), 0.0);
    std::fill(accumulated_places_.begin(), accumulated_places_.end(), 0.0);

    const bool normalizing = c_->graph.has_norm() && spec.mode != NormMode::running;
    const int64_t wanted = spec.ghost == 0 ? batch : std::min(spec.ghost, batch);
    ghosts_ = normalizing ? (batch + wanted - 1) / wanted : 1;
    ghost_rows_ = batch / ghosts_;
    longer_ghosts_ = batch % ghosts_;
    const int64_t longest = ghost_rows_ + (longer_ghosts_ > 0 ? 1 : 0);
    span_ = normalizing && longest > c_->spec.micro_batch;

    pack();
    try {
      if (span_) {
        run_spanning();
      } else {
        const int64_t fit = std::min(c_->ghosts_per_micro_batch, c_->spec.micro_batch / longest);
        ghosts_per_micro_ = normalizing ? std::max<int64_t>(1, fit) : 0;
        const int64_t unit = normalizing ? ghosts_per_micro_ : c_->spec.micro_batch;
        const int64_t total = normalizing ? ghosts_ : batch;
        on_lanes((total + unit - 1) / unit, [this](int64_t index, int32_t lane) { run_micro(index, lane); });
      }
    } catch (...) {
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
      throw;
    }
    if (spec.backward) unpack();
    if (normalizing && spec.mode == NormMode::train) finish_statistics();
    result = result_;
  }

  void set_profiling(bool on) override { profiling_ = on; }
  void reset_profile() override {
    for (Lane& lane : lanes_state_) std::fill(lane.profile.begin(), lane.profile.end(), Cell{});
  }
  int32_t profile_entries() const override {
    return static_cast<int32_t>(c_->plan.instructions.size() + kExtraEntries);
  }
  const char* profile_name(int32_t index) const override {
    check_entry(index);
    const size_t i = static_cast<size_t>(index);
    if (i >= c_->plan.instructions.size()) {
      constexpr const char* names[] = {"commit", "wait", "pack weights", "unpack gradients"};
      return names[i - c_->plan.instructions.size()];
    }
    const Instruction& instruction = c_->plan.instructions[i];
    switch (instruction.code) {
      case Code::load: return "load";
      case Code::loss: return "loss";
      case Code::gradient_add: return "gradient add";
      case Code::give_input_gradient: return "input gradient";
      default: return c_->graph.list()[static_cast<size_t>(instruction.operation)].name.c_str();
    }
  }
  void profile_entry(int32_t index, ProfileEntry& entry) const override;

  void set_tracing(int64_t events) override {
    if (events < 0 || events > (1 << 20)) {
      throw Error("[engine] needs 0 to 1048576 events of a trace, got " + std::to_string(events));
    }
    trace_capacity_ = static_cast<size_t>(events);
    for (Lane& lane : lanes_state_) {
      lane.trace = {};
      lane.trace.reserve(trace_capacity_);
    }
  }
  int64_t trace_events(int32_t lane) const override { return static_cast<int64_t>(traced(lane).size()); }
  void trace_event(int32_t lane, int64_t index, TraceEvent& event) const override {
    const std::vector<TraceEvent>& events = traced(lane);
    if (index < 0 || index >= static_cast<int64_t>(events.size())) {
      throw Error("[engine] needs an event in [0, " + std::to_string(events.size()) + "), got " + std::to_string(index));
    }
    event = events[static_cast<size_t>(index)];
  }

 private:
  static constexpr size_t kExtraEntries = 4;
  enum Extra : size_t { kCommit, kWait, kPack, kUnpack };

  // Memory.

  View in_arena(const Micro& micro, int32_t buffer) const {
    const Buffer& b = c_->plan.buffers[static_cast<size_t>(buffer)];
    return View(micro.arena + b.offset, b.elements, b.type);
  }
  View lane_gradient(const Lane& lane, int64_t first, int64_t elements) const {
    const DataType type = parameter_type(c_->spec.type);
    return View(lane.gradients.at(first * size_of(type)), elements, type);
  }
  static View slice(const View& vector, int64_t first, int64_t elements) {
    return View(vector.as<char>() + first * size_of(vector.type), elements, vector.type);
  }
  View parameter(int64_t first, int64_t elements) const { return slice(parameters_->view(), first, elements); }
  View packed_weights(const Kernels& k) const {
    return View(packed_.at(k.packed), k.affine->packed_weights_bytes(), DataType::u8);
  }
  static View scratch(const Lane& lane) { return View(lane.scratch.at(0), lane.scratch.bytes(), DataType::u8); }
  static void zero(const Block& block) {
    if (block.bytes() > 0) std::memset(block.at(0), 0, static_cast<size_t>(block.bytes()));
  }
  void fill_arenas(int byte) {
    on_lanes(static_cast<int64_t>(arenas_.size()), [&](int64_t i, int32_t) {
      std::memset(arenas_[static_cast<size_t>(i)].at(0), byte, static_cast<size_t>(c_->plan.arena_bytes));
    });
  }

  template <typename F>
  void on_lanes(int64_t tasks, F function) {
    Task<F> task(std::move(function));
    lanes_.run(tasks, task);
  }

  void check_step(const Samples& samples, const int32_t* indices, int64_t batch, const StepSpec& spec,
                  void* input_gradient) const {
    const LoadSpec& load = c_->spec.load;
    if (samples.height() != load.height || samples.width() != load.width || samples.channels() != load.channels) {
      throw Error("[engine] needs samples [" + std::to_string(load.height) + "," + std::to_string(load.width) + "," +
                  std::to_string(load.channels) + "], got [" + std::to_string(samples.height()) + "," +
                  std::to_string(samples.width()) + "," + std::to_string(samples.channels()) + "]");
    }
    if (samples.classes() > c_->classes) {
      throw Error("[engine] needs samples of at most " + std::to_string(c_->classes) +
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
    if (spec.backward && !c_->spec.backward) throw Error("[engine] needs to be compiled with backward to give gradients");
    if (input_gradient != nullptr && !(spec.backward && c_->spec.input_gradient)) {
      throw Error("[engine] needs to be compiled and run with the gradient of the input to give it");
    }
    if (spec.ghost < 0 || !(spec.momentum >= 0 && spec.momentum <= 1)) {
      throw Error("[engine] needs ghost >= 0 and momentum in [0, 1], got ghost " + std::to_string(spec.ghost) +
                  ", momentum " + std::to_string(spec.momentum));
    }
    if (!c_->graph.has_norm() || spec.mode == NormMode::running) return;
    const int64_t wanted = spec.ghost == 0 ? batch : std::min(spec.ghost, batch);
    const int64_t count = (batch + wanted - 1) / wanted;
    const int64_t longest = (batch + count - 1) / count;
    if (longest > std::max(c_->spec.ghost, c_->spec.micro_batch)) {
      throw Error("[engine] needs ghosts of at most " + std::to_string(std::max(c_->spec.ghost, c_->spec.micro_batch)) +
                  " rows, as compiled, got " + std::to_string(longest));
    }
    if (batch / count * c_->smallest_norm_places < 2) {
      throw Error("[engine] needs at least 2 values per channel in a ghost, got 1: batch " + std::to_string(batch) +
                  ", ghosts " + std::to_string(count));
    }
  }

  // Weights.

  void pack() {
    if (packed_valid_) return;
    on_lanes(static_cast<int64_t>(c_->kernels.size()), [this](int64_t i, int32_t lane) {
      const Kernels& k = c_->kernels[static_cast<size_t>(i)];
      if (!k.affine) return;
      const auto start = Clock::now();
      const Operation& op = c_->graph.list()[static_cast<size_t>(i)];
      Lane& state = lanes_state_[static_cast<size_t>(lane)];
      k.affine->pack_weights(parameter(op.weights_offset, k.affine->weights_elements()), packed_weights(k),
                             scratch(state));
      record(state, c_->plan.instructions.size() + kPack, start);
    });
    packed_valid_ = true;
  }

  void unpack() {
    const DataType type = parameter_type(c_->spec.type);
    on_lanes(static_cast<int64_t>(c_->kernels.size()), [this, type](int64_t i, int32_t lane) {
      const Kernels& k = c_->kernels[static_cast<size_t>(i)];
      if (!k.affine) return;
      const auto start = Clock::now();
      const Operation& op = c_->graph.list()[static_cast<size_t>(i)];
      Lane& state = lanes_state_[static_cast<size_t>(lane)];
      const View sum(sums_.at(k.sum * size_of(type)), k.affine->packed_diff_weights_elements(), type);
      k.affine->unpack_diff_weights(
          sum, slice(gradients_->view(), op.weights_offset, k.affine->weights_elements()), scratch(state));
      record(state, c_->plan.instructions.size() + kUnpack, start);
    });
  }

  // Running micro-batches.

  int64_t ghost_start(int64_t ghost) const { return ghost * ghost_rows_ + std::min(ghost, longer_ghosts_); }

  /// Whole ghosts, or plain rows where there are none, through the whole pass on one lane.
  void run_micro(int64_t index, int32_t lane) {
    Micro& micro = micros_[static_cast<size_t>(lane)];
    // Statistics that others may still add lie in this arena, under the ghosts of the micro-batch before.
    for (size_t i = 0; i < c_->kernels.size(); ++i) {
      if (c_->kernels[i].norm) await(statistics_slot(static_cast<int32_t>(i)), lane);
    }
    micro.index = index;
    if (ghosts_per_micro_ > 0) {
      const int64_t first = index * ghosts_per_micro_;
      const int64_t last = std::min(ghosts_, first + ghosts_per_micro_);
      micro.first_row = ghost_start(first);
      micro.rows = ghost_start(last) - micro.first_row;
      micro.ghosts = static_cast<int32_t>(last - first);
      for (int64_t g = first; g <= last; ++g) {
        micro.offsets[static_cast<size_t>(g - first)] = static_cast<int32_t>(ghost_start(g) - micro.first_row);
      }
    } else {
      micro.first_row = index * c_->spec.micro_batch;
      micro.rows = std::min(c_->spec.micro_batch, batch_ - micro.first_row);
    }
    micro.whole[1] = static_cast<int32_t>(micro.rows);
    run_instructions(0, end_of_pass(), micro, lane);
  }

  int64_t end_of_pass() const {
    return step_->backward ? static_cast<int64_t>(c_->plan.instructions.size()) : c_->plan.loss + 1;
  }

  /// Ghosts larger than a micro-batch: all micro-batches of a ghost up to the next meeting, then combine, then on.
  void run_spanning() {
    ghosts_per_micro_ = 0;
    int64_t index = 0;
    for (ghost_ = 0; ghost_ < ghosts_; ++ghost_) {
      const int64_t start = ghost_start(ghost_), end = ghost_start(ghost_ + 1), capacity = c_->spec.micro_batch;
      const int64_t count = (end - start + capacity - 1) / capacity;
      span_count_ = static_cast<int32_t>(count);
      span_ghost_rows_ = end - start;
      for (int64_t i = 0; i < count; ++i) {
        Micro& micro = micros_[static_cast<size_t>(i)];
        micro.index = index++;
        micro.first_row = start + i * capacity;
        micro.rows = std::min(capacity, end - micro.first_row);
        micro.whole[1] = static_cast<int32_t>(micro.rows);
        span_rows_[static_cast<size_t>(i)] = static_cast<int32_t>(micro.rows);
      }
      int64_t first = 0;
      const int64_t last = end_of_pass();
      while (first < last) {
        int64_t stop = first;
        while (stop < last && !c_->plan.instructions[static_cast<size_t>(stop)].meets()) ++stop;
        const bool meets = stop < last;
        if (meets) ++stop;
        on_lanes(count, [this, first, stop](int64_t i, int32_t lane) {
          run_instructions(first, stop, micros_[static_cast<size_t>(i)], lane);
        });
        if (meets) meet(c_->plan.instructions[static_cast<size_t>(stop - 1)]);
        first = stop;
      }
    }
  }

  void run_instructions(int64_t first, int64_t last, Micro& micro, int32_t lane) {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      Lane& state = lanes_state_[static_cast<size_t>(lane)];
      for (int64_t i = first; i < last; ++i) {
        const Instruction& instruction = c_->plan.instructions[static_cast<size_t>(i)];
        if (instruction.meets() && !span_) continue;  // norm_forward, norm_backward do it all
        const int32_t slot = slot_of(instruction);
        if (slot >= 0) await(slot, lane);
        const auto start = Clock::now();
        execute(instruction, micro, state);
        record(state, static_cast<size_t>(i), start, micro.index);
        if (slot >= 0) commit(slot, micro, lane);
      }
    } catch (...) {
      {
        std::scoped_lock lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      failed_.store(true, std::memory_order_relaxed);
      for (Slot& slot : slots_) {
        std::scoped_lock lock(slot.mutex);  // a lane that is about to wait sees `failed_` or is woken
        slot.added.notify_all();
      }
      throw;
    }
  }

  void record(Lane& lane, size_t entry, Clock::time_point start, int64_t micro_batch = -1) const {
    if (!profiling_) return;
    const auto now = Clock::now();
    lane.profile[entry].seconds += std::chrono::duration<double>(now - start).count();
    ++lane.profile[entry].calls;
    if (lane.trace.size() < trace_capacity_) {
      lane.trace.push_back({static_cast<int32_t>(entry), nanoseconds(start), nanoseconds(now), micro_batch});
    }
  }
  static int64_t nanoseconds(Clock::time_point time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  }
  const std::vector<TraceEvent>& traced(int32_t lane) const {
    if (lane < 0 || lane >= static_cast<int32_t>(lanes_state_.size())) {
      throw Error("[engine] needs a lane in [0, " + std::to_string(lanes_state_.size()) + "), got " + std::to_string(lane));
    }
    return lanes_state_[static_cast<size_t>(lane)].trace;
  }

  // Commits.

  static int32_t gradient_slot(int32_t operation) { return 2 * operation; }
  static int32_t statistics_slot(int32_t operation) { return 2 * operation + 1; }
  int32_t loss_slot() const { return static_cast<int32_t>(slots_.size()) - 1; }

  /// The sum that an instruction adds to, or -1.
  int32_t slot_of(const Instruction& instruction) const {
    switch (instruction.code) {
      case Code::loss:
        return loss_slot();
      case Code::affine_backward_weights:
        return gradient_slot(instruction.operation);
      case Code::norm_backward:
        return span_ ? -1 : gradient_slot(instruction.operation);  // a spanning ghost gives its sums where it meets
      case Code::norm_forward:
        return step_->mode == NormMode::train && !span_ ? statistics_slot(instruction.operation) : -1;
      default:
        return -1;
    }
  }

  /// Waits until the lane's part of a sum may be overwritten.
  void await(int32_t slot_number, int32_t lane) {
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    std::unique_lock lock(slot.mutex);
    const int64_t& mine = slot.published[static_cast<size_t>(lane)];
    if (mine == kNone) return;
    const auto start = Clock::now();
    slot.added.wait(lock, [&] { return mine == kNone || failed_.load(std::memory_order_relaxed); });
    record(lanes_state_[static_cast<size_t>(lane)], c_->plan.instructions.size() + kWait, start);
    if (mine != kNone) throw Error("[engine] stopped: another micro-batch failed");
  }

  /// Publishes the lane's part of a sum, and adds all parts whose turn has come.
  void commit(int32_t slot_number, const Micro& micro, int32_t lane) {
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    Lane& state = lanes_state_[static_cast<size_t>(lane)];
    const auto start = Clock::now();
    std::scoped_lock lock(slot.mutex);
    slot.published[static_cast<size_t>(lane)] = micro.index;
    bool added = false;
    for (auto next = slot.published.begin();
         (next = std::find(slot.published.begin(), slot.published.end(), slot.turn)) != slot.published.end();) {
      apply(slot_number, slot.turn, static_cast<size_t>(next - slot.published.begin()), state);
      *next = kNone;
      ++slot.turn;
      added = true;
    }
    if (added) slot.added.notify_all();
    record(state, c_->plan.instructions.size() + kCommit, start, micro.index);
  }

  void add(const View& from, const View& to, bool first) const {
    if (first) {
      std::memcpy(to.data, from.data, static_cast<size_t>(from.bytes()));
    } else {
      c_->vectors->axpy_block(1.0, from.data, to.data, from.type, from.elements);
    }
  }

  /// Adds the part of micro-batch `index`, which lies in the memory of lane `of`; the caller runs on lane `by`.
  void apply(int32_t slot, int64_t index, size_t of, Lane& by) {
    const Lane& lane = lanes_state_[of];
    if (slot == loss_slot()) {
      result_.loss += lane.loss.loss;
      result_.correct += lane.loss.correct;
      return;
    }
    const size_t i = static_cast<size_t>(slot / 2);
    const Operation& op = c_->graph.list()[i];
    const Kernels& k = c_->kernels[i];
    if (slot % 2 == 1) {
      const Statistics s = statistics_of(slot / 2, micros_[of]);
      for (int32_t g = 0; g < s.ghosts; ++g) {
        by.places[static_cast<size_t>(g)] = (s.offsets[g + 1] - s.offsets[g]) * k.norm->spec().spatial();
      }
      commit_statistics(i, s.mean, s.variance, by.places.data(), s.ghosts);
      return;
    }
    const bool first = index == 0;
    const DataType type = parameter_type(c_->spec.type);
    const View gradients = gradients_->view();
    if (k.affine) {
      const int64_t packed = k.affine->packed_diff_weights_elements(), bias = k.affine->bias_elements();
      add(lane_gradient(lane, k.lane_gradient, packed), View(sums_.at(k.sum * size_of(type)), packed, type), first);
      if (bias > 0) {
        add(lane_gradient(lane, k.lane_gradient + round_up(packed, kLine), bias), slice(gradients, op.bias_offset, bias),
            first);
      }
    } else {
      const int64_t channels = k.norm->spec().channels;
      add(lane_gradient(lane, k.lane_gradient, channels), slice(gradients, op.weights_offset, channels), first);
      add(lane_gradient(lane, k.lane_gradient + round_up(channels, kLine), channels),
          slice(gradients, op.bias_offset, channels), first);
    }
  }

  // Batch norm.

  struct Statistics {
    View mean, variance;
    const int32_t* offsets;
    int32_t ghosts;
  };

  /// Statistics that a norm normalizes a micro-batch with: running, of the spanning ghost, or of its own ghosts.
  Statistics statistics_of(int32_t operation, const Micro& micro) const {
    const size_t i = static_cast<size_t>(operation);
    const Operation& op = c_->graph.list()[i];
    const int64_t channels = c_->kernels[i].norm->spec().channels;
    if (step_->mode == NormMode::running) {
      return {slice(statistics_->view(), op.statistics_offset, channels),
              slice(statistics_->view(), op.statistics_offset + channels, channels), micro.whole, 1};
    }
    if (span_) return {span_view(span_mean_, op, channels), span_view(span_variance_, op, channels), micro.whole, 1};
    View mean = in_arena(micro, c_->plan.mean[i]), variance = in_arena(micro, c_->plan.variance[i]);
    mean.elements = variance.elements = micro.ghosts * channels;
    return {mean, variance, micro.offsets.data(), micro.ghosts};
  }

  View span_view(const std::vector<double>& memory, const Operation& op, int64_t channels) const {
    return View(const_cast<double*>(memory.data() + op.statistics_offset), channels, parameter_type(c_->spec.type));
  }
  View partial(int32_t arena, int64_t channels) const {
    return View(partials_.at(arena * 2 * channels * 8), 2 * channels, DataType::f64);
  }

  /// Combines the partial sums of a ghost's micro-batches, in their order.
  void meet(const Instruction& instruction) {
    const size_t i = static_cast<size_t>(instruction.operation);
    const Operation& op = c_->graph.list()[i];
    const GhostBatchNorm& norm = *c_->kernels[i].norm;
    const int64_t channels = norm.spec().channels;
    if (instruction.code == Code::norm_statistics) {
      const View mean = span_view(span_mean_, op, channels), variance = span_view(span_variance_, op, channels);
      norm.combine(View(partials_.at(0), span_count_ * 2 * channels, DataType::f64), span_rows_.data(), span_count_,
                   mean, variance);
      const int64_t places = span_ghost_rows_ * norm.spec().spatial();
      if (step_->mode == NormMode::train) commit_statistics(i, mean, variance, &places, 1);
      return;
    }
    std::fill(span_sums_.begin(), span_sums_.end(), 0.0);
    for (int32_t m = 0; m < span_count_; ++m) {
      const double* sums = partial(m, channels).as<double>();
      for (size_t c = 0; c < static_cast<size_t>(2 * channels); ++c) span_sums_[c] += sums[c];
    }
    const auto give = [&](int64_t offset, const double* sum) {  // sum g is the gradient of beta, sum g xhat of gamma
      const View to = slice(gradients_->view(), offset, channels);
      for (int64_t c = 0; c < channels; ++c) {
        if (to.type == DataType::f64) {
          to.as<double>()[c] = (ghost_ == 0 ? 0 : to.as<double>()[c]) + sum[c];
        } else {
          to.as<float>()[c] = (ghost_ == 0 ? 0 : to.as<float>()[c]) + static_cast<float>(sum[c]);
        }
      }
    };
    give(op.bias_offset, span_sums_.data());
    give(op.weights_offset, span_sums_.data() + channels);
  }

  static double element(const View& view, int64_t i) {
    return view.type == DataType::f64 ? view.as<double>()[i] : static_cast<double>(view.as<float>()[i]);
  }

  /// Moves the running statistics by those of the next ghosts, or gathers them for `finish_statistics`.
  void commit_statistics(size_t i, const View& mean, const View& variance, const int64_t* places, int32_t ghosts) {
    const Operation& op = c_->graph.list()[i];
    const int64_t channels = c_->kernels[i].norm->spec().channels;
    const RunningStatistics policy = step_->running_statistics;
    if (policy == RunningStatistics::sequential || policy == RunningStatistics::scaled) {
      const double momentum = policy == RunningStatistics::scaled ? step_->momentum / static_cast<double>(ghosts_)
                                                                  : step_->momentum;
      update_running_statistics(slice(statistics_->view(), op.statistics_offset, channels),
                                slice(statistics_->view(), op.statistics_offset + channels, channels), mean, variance,
                                places, ghosts, momentum);
      return;
    }
    double* means = accumulated_.data() + op.statistics_offset;
    double* variances = means + channels;
    double& before = accumulated_places_[i];
    for (int32_t g = 0; g < ghosts; ++g) {
      const double n = static_cast<double>(places[g]);
      for (int64_t c = 0; c < channels; ++c) {
        const double m = element(mean, g * channels + c), v = element(variance, g * channels + c);
        if (policy == RunningStatistics::averaged) {
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

  void finish_statistics() {
    const RunningStatistics policy = step_->running_statistics;
    if (policy == RunningStatistics::sequential || policy == RunningStatistics::scaled) return;
    for (size_t i = 0; i < c_->kernels.size(); ++i) {
      if (!c_->kernels[i].norm) continue;
      const Operation& op = c_->graph.list()[i];
      const int64_t channels = c_->kernels[i].norm->spec().channels;
      const bool averaged = policy == RunningStatistics::averaged;
      const double of_mean = averaged ? 1.0 / static_cast<double>(ghosts_) : 1.0;
      const double of_variance = averaged ? of_mean : 1.0 / (accumulated_places_[i] - 1);
      for (int64_t c = 0; c < 2 * channels; ++c) {
        const int64_t at = op.statistics_offset + c;
        const double fresh = accumulated_[static_cast<size_t>(at)] * (c < channels ? of_mean : of_variance);
        const double moved = (1 - step_->momentum) * element(statistics_->view(), at) + step_->momentum * fresh;
        if (statistics_->type() == DataType::f64) {
          statistics_->view().as<double>()[at] = moved;
        } else {
          statistics_->view().as<float>()[at] = static_cast<float>(moved);
        }
      }
    }
  }

  void execute(const Instruction& instruction, Micro& micro, Lane& lane);
  void zero_unused_rows(const Micro& micro, const View& view) const {
    if (micro.rows == c_->spec.micro_batch) return;
    const int64_t row = view.elements / c_->spec.micro_batch;
    c_->elementwise->zero(view, micro.rows * row, view.elements - micro.rows * row);
  }
  void copy_out(const Micro& micro, const View& from, void* to) const;
  void check_entry(int32_t index) const {
    if (index < 0 || index >= profile_entries()) {
      throw Error("[engine] needs a profile entry in [0, " + std::to_string(profile_entries()) + "), got " +
                  std::to_string(index));
    }
  }

  Lanes& lanes_;
  std::unique_ptr<Compiled> c_;
  int64_t bytes_ = 0;
  Owned<Tensor> parameters_, gradients_, statistics_;
  Block packed_;    // weights in the kernels' layouts
  Block sums_;      // gradients of weights in the kernels' layouts, committed so far
  Block partials_;  // of a spanning ghost: [micro-batch, 2, C] in f64
  std::vector<Block> arenas_;
  std::vector<Micro> micros_;  // one an arena
  std::vector<Lane> lanes_state_;
  std::vector<Slot> slots_;  // two an operation (gradient, statistics), one for the loss
  bool packed_valid_ = false;
  bool profiling_ = false;
  size_t trace_capacity_ = 0;  // events a lane keeps

  // The step being run.
  const StepSpec* step_ = nullptr;
  const Samples* samples_ = nullptr;
  const int32_t* indices_ = nullptr;
  const float* weights_ = nullptr;
  void* logits_ = nullptr;
  void* input_gradient_ = nullptr;
  int64_t batch_ = 0;
  int64_t ghosts_ = 0, ghost_rows_ = 0, longer_ghosts_ = 0;  // the first `longer_ghosts_` have one row more
  int64_t ghosts_per_micro_ = 0;                             // 0: micro-batches are plain runs of rows
  LossResult result_;
  std::vector<double> accumulated_;         // statistics gathered over the step, mean then variance per norm
  std::vector<double> accumulated_places_;  // per operation
  std::atomic<bool> failed_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;

  // The spanning ghost being run.
  bool span_ = false;
  int64_t ghost_ = 0, span_ghost_rows_ = 0;
  int32_t span_count_ = 0;
  std::vector<int32_t> span_rows_;
  std::vector<double> span_mean_, span_variance_;  // room for f64; hold parameter_type
  std::vector<double> span_sums_;
};

/// Rows of the micro-batch to their places in the batch, as parameter_type.
void PassEngine::copy_out(const Micro& micro, const View& from, void* to) const {
  const int64_t row = from.elements / c_->spec.micro_batch, first = micro.first_row * row, count = micro.rows * row;
  if (from.type == DataType::bf16) {
    widen_bfloat16(from.as<uint16_t>(), static_cast<float*>(to) + first, count);
    return;
  }
  const int64_t width = size_of(from.type);
  std::memcpy(static_cast<char*>(to) + first * width, from.data, static_cast<size_t>(count * width));
}

void PassEngine::execute(const Instruction& in, Micro& micro, Lane& lane) {
  const auto buffer = [&](int32_t b) { return in_arena(micro, b); };
  const bool has_operation = in.operation >= 0;
  const Operation* op = has_operation ? &c_->graph.list()[static_cast<size_t>(in.operation)] : nullptr;
  const Kernels* k = has_operation ? &c_->kernels[static_cast<size_t>(in.operation)] : nullptr;
  const auto row_elements = [&](int32_t b) {
    return c_->plan.buffers[static_cast<size_t>(b)].elements / c_->spec.micro_batch;
  };
  const bool running = step_->mode == NormMode::running;

  switch (in.code) {
    case Code::load: {
      const View labels = buffer(in.aux);
      c_->loader->load(*samples_, indices_ + micro.first_row, micro.rows, step_->seed, step_->epoch, step_->augment,
                       buffer(in.dst), &labels);
      return;
    }
    case Code::affine_forward: {
      View bias;
      if (k->affine->bias_elements() > 0) bias = parameter(op->bias_offset, k->affine->bias_elements());
      k->affine->forward(buffer(in.src), packed_weights(*k), bias.data ? &bias : nullptr, buffer(in.dst), scratch(lane));
      return;
    }
    case Code::affine_backward_weights: {
      const View src = buffer(in.src), diff_dst = buffer(in.src2);
      zero_unused_rows(micro, src);
      zero_unused_rows(micro, diff_dst);
      const int64_t packed = k->affine->packed_diff_weights_elements();
      View bias;
      if (k->affine->bias_elements() > 0) {
        bias = lane_gradient(lane, k->lane_gradient + round_up(packed, kLine), k->affine->bias_elements());
      }
      k->affine->backward_weights(src, diff_dst, lane_gradient(lane, k->lane_gradient, packed),
                                  bias.data ? &bias : nullptr, scratch(lane));
      return;
    }
    case Code::affine_backward_data:
      k->affine->backward_data(buffer(in.src), packed_weights(*k), buffer(in.dst), scratch(lane));
      return;

    case Code::norm_statistics:
      k->norm->statistics(buffer(in.src), micro.rows, partial(micro.arena_index, k->norm->spec().channels));
      return;
    case Code::norm_forward:
    case Code::norm_recompute: {
      const int64_t channels = k->norm->spec().channels;
      const View gamma = parameter(op->weights_offset, channels), beta = parameter(op->bias_offset, channels);
      View residual;
      if (in.src2 >= 0) residual = buffer(in.src2);
      const View* r = residual.data ? &residual : nullptr;
      const Statistics s = statistics_of(in.operation, micro);
      if (in.code == Code::norm_recompute || running || span_) {
        k->norm->normalize(buffer(in.src), s.mean, s.variance, gamma, beta, r, buffer(in.dst), s.offsets, s.ghosts);
        return;
      }
      k->norm->forward(buffer(in.src), gamma, beta, r, buffer(in.dst), s.mean, s.variance, s.offsets, s.ghosts);
      return;
    }
    case Code::norm_backward_sums:
    case Code::norm_backward: {
      const int64_t channels = k->norm->spec().channels;
      const View gamma = parameter(op->weights_offset, channels), beta = parameter(op->bias_offset, channels);
      View y, g2, diff_residual;
      if (in.aux >= 0) y = buffer(in.aux);
      if (in.src3 >= 0) g2 = buffer(in.src3);
      if (in.dst2 >= 0) diff_residual = buffer(in.dst2);
      const auto optional = [](const View& view) { return view.data ? &view : nullptr; };
      const Statistics s = statistics_of(in.operation, micro);
      if (in.code == Code::norm_backward_sums) {
        k->norm->backward_sums(buffer(in.src), optional(y), buffer(in.src2), optional(g2), s.mean, s.variance, gamma,
                               beta, optional(diff_residual), micro.rows, partial(micro.arena_index, channels));
        return;
      }
      if (span_) {
        const View sums(span_sums_.data(), 2 * channels, DataType::f64);
        k->norm->backward_apply(buffer(in.src), buffer(in.src2), s.mean, s.variance, gamma, beta,
                                optional(diff_residual), sums, span_ghost_rows_, micro.rows, buffer(in.dst));
        return;
      }
      k->norm->backward(buffer(in.src), optional(y), buffer(in.src2), optional(g2), s.mean, s.variance, gamma, beta,
                        buffer(in.dst), optional(diff_residual), lane_gradient(lane, k->lane_gradient, channels),
                        lane_gradient(lane, k->lane_gradient + round_up(channels, kLine), channels), s.offsets,
                        s.ghosts, running);
      return;
    }

    case Code::relu:
      c_->elementwise->relu(buffer(in.src), buffer(in.dst), micro.rows * row_elements(in.dst));
      return;
    case Code::add:
      c_->elementwise->add(buffer(in.src), buffer(in.src2), buffer(in.dst), micro.rows * row_elements(in.dst), op->relu);
      return;
    case Code::gradient_add:
      c_->elementwise->add(buffer(in.src), buffer(in.src2), buffer(in.dst), micro.rows * row_elements(in.dst), false);
      return;
    case Code::relu_backward:
      c_->elementwise->relu_backward(buffer(in.src), buffer(in.src2), buffer(in.dst),
                                     micro.rows * row_elements(in.dst));
      return;
    case Code::pool: {
      View workspace;
      if (in.aux >= 0) workspace = buffer(in.aux);
      k->pool->forward(buffer(in.src), buffer(in.dst), workspace.data ? &workspace : nullptr, micro.rows);
      return;
    }
    case Code::pool_backward: {
      View workspace;
      if (in.aux >= 0) workspace = buffer(in.aux);
      k->pool->backward(buffer(in.src), buffer(in.dst), workspace.data ? &workspace : nullptr, micro.rows);
      return;
    }
    case Code::dropout:
    case Code::dropout_backward: {
      const DropoutKey key{step_->seed, op->dropout_layer, step_->step, micro.first_row};
      // Rate 0 is the identity: how dropout is switched off without a second plan.
      c_->elementwise->dropout(buffer(in.src), buffer(in.dst), micro.rows, row_elements(in.dst),
                               step_->dropout ? op->rate : 0.0, key);
      return;
    }

    case Code::loss: {
      const View logits = buffer(in.src);
      if (logits_ != nullptr) copy_out(micro, logits, logits_);
      View labels = buffer(in.aux), weights, diff_logits;
      labels.elements = micro.rows;
      View rows = logits;
      rows.elements = micro.rows * c_->classes;
      if (weights_ != nullptr) {
        weights = View(const_cast<float*>(weights_ + micro.first_row), micro.rows, DataType::f32);
      }
      if (step_->backward) {
        diff_logits = buffer(in.dst);
        diff_logits.elements = rows.elements;
      }
      c_->loss->run(rows, labels, weights.data ? &weights : nullptr, micro.rows, c_->classes, step_->label_smoothing,
                    1.0 / static_cast<double>(batch_), diff_logits.data ? &diff_logits : nullptr, lane.loss);
      return;
    }
    case Code::give_input_gradient:
      if (input_gradient_ != nullptr) copy_out(micro, buffer(in.src), input_gradient_);
      return;
  }
}

void PassEngine::profile_entry(int32_t index, ProfileEntry& entry) const {
  check_entry(index);
  const size_t i = static_cast<size_t>(index);
  entry = {};
  entry.operation = -1;
  entry.direction = 3;
  for (const Lane& lane : lanes_state_) {
    entry.seconds += lane.profile[i].seconds;
    entry.calls += lane.profile[i].calls;
  }
  if (i >= c_->plan.instructions.size()) return;
  const Instruction& in = c_->plan.instructions[i];
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
  const Kernels& k = c_->kernels[static_cast<size_t>(in.operation)];
  if (k.affine) entry.flops = calls * k.affine->flops();
  for (int32_t b : {in.src, in.src2, in.src3, in.dst, in.dst2, in.aux}) {
    if (b >= 0) entry.bytes += calls * static_cast<double>(c_->plan.buffers[static_cast<size_t>(b)].bytes());
  }
}

const Graph& graph_of(const Network& network) { return static_cast<const Graph&>(network); }

}  // namespace

int64_t Engine::predict_bytes(Device& device, int32_t lanes, const Network& network, const EngineSpec& spec) {
  return Compiled(device, graph_of(network), spec).bytes(lanes);
}

Engine* Engine::create(Device& device, Lanes& lanes, const Network& network, const EngineSpec& spec) {
  auto compiled = std::make_unique<Compiled>(device, graph_of(network), spec);
  const int32_t threads = lanes.threads();
  const int64_t needed = compiled->bytes(threads), free = device.available_bytes();
  if (needed > free) {
    std::string text = "[engine] needs " + std::to_string(needed) + " bytes, got " + std::to_string(free) + " free";
    if (compiled->spans()) {
      const int64_t beside = compiled->fixed_bytes(threads) - compiled->partial_bytes(threads);
      const int64_t each = compiled->plan.arena_bytes + compiled->partial_bytes_each();
      const int64_t fit = (free - beside) / each, arenas = fit < threads ? 0 : fit;
      text += ": the largest ghost batch that fits is " +
              std::to_string(arenas * compiled->spec.micro_batch) + ", asked for " +
              std::to_string(compiled->spec.ghost);
    } else {
      text += " for " + std::to_string(threads) + " lanes of micro-batch " + std::to_string(compiled->spec.micro_batch) +
              ": use fewer threads or a smaller micro-batch";
    }
    throw Error(text);
  }
  return new PassEngine(device, lanes, std::move(compiled));
}

}  // namespace ghostbatch
