#include "cuda/engine.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/bfloat16.h"
#include "common/check.h"
#include "cuda/elementwise.h"
#include "cuda/ghost_batch_norm.h"
#include "cuda/pooling.h"
#include "cuda/running_statistics.h"
#include "cuda/slices.h"
#include "cuda/softmax_cross_entropy.h"
#include "cuda/vector_kernels.h"
#include "engine/compiled.h"
#include "engine/profile.h"
#include "engine/step.h"

namespace ghostbatch::cuda {
namespace {

constexpr int64_t kAlignment = 256;

/// What a micro-batch is, in device memory; its ghosts' offsets [most ghosts + 1] follow.
struct MicroState {
  RowRange rows;
  norm::Step norm;
  LoadState load;
  elementwise::DropoutState dropout;
  LossState loss;
  double adversary_epsilon;
};

/// What is run as one: a micro-batch, or those of a ghost larger than one. Rows of each [most micro-batches] follow,
/// then their states.
struct UnitState {
  StatisticsState statistics;
  int32_t count;          // micro-batches
  int32_t ghosts;         // whose statistics are those of the unit's first micro-batch
  int32_t ghost_rows[2];  // offsets of the one ghost that they are parts of
};

/// The same on the host.
struct Unit {
  int64_t index;      // in the step
  int64_t first_row;  // in the batch
  int64_t rows;
  int32_t count;
  int32_t ghosts;  // that a norm sees in each of its micro-batches
};

/// Where the parts of a unit's state lie.
struct StateLayout {
  int64_t most_ghosts, most_micros, micro_bytes, unit_bytes;

  explicit StateLayout(const Compiled& compiled)
      : most_ghosts(compiled.ghosts_per_micro_batch), most_micros(compiled.micros_per_ghost()),
        micro_bytes(round_up(int64_t{sizeof(MicroState)} + (most_ghosts + 1) * 4, 16)),
        unit_bytes(round_up(micro(most_micros), kAlignment)) {}

  int64_t micro_rows() const { return sizeof(UnitState); }
  int64_t micro(int64_t i) const { return round_up(micro_rows() + most_micros * 4, 16) + i * micro_bytes; }
  int64_t offsets(int64_t i) const { return micro(i) + int64_t{sizeof(MicroState)}; }
};

/// Host memory that the GPU reads by itself.
class Pinned {
 public:
  Pinned() = default;
  explicit Pinned(int64_t bytes) : data_(allocate_pinned(bytes)), bytes_(bytes) {
    if (data_ == nullptr) fail("cuda", text(bytes, " bytes of pinned host memory"), "none free");
  }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(Pinned&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Pinned() {
    if (data_ != nullptr) release_pinned(data_);
  }
  char* at(int64_t offset) const { return static_cast<char*>(data_) + offset; }
  /// Grows to `bytes`, and loses what it held. Nothing that is enqueued may use it.
  void reserve(int64_t bytes) {
    if (bytes_ < bytes) *this = Pinned(bytes);
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

/// What a norm has beside its kernel: how its passes are cut into blocks.
struct NormPlans {
  norm::Plan forward{}, backward{}, span{};
};

/// What of the vectors of parameters and gradients goes where. Packed weights and their gradients lie as the parameters
/// do, one operation behind another.
struct Slices {
  std::vector<Slice> packs;           // parameters to packed weights
  std::vector<Slice> commits;         // gradients of a unit to the vector: those of affine operations, then of norms
  std::vector<int64_t> of_operation;  // its first one of `commits`; the first norm's after the last operation

  explicit Slices(const Compiled& c) {
    const std::vector<Operation>& operations = c.graph.list();
    for (size_t i = 0; i < operations.size(); ++i) {
      const Operation& op = operations[i];
      const Kernels& k = c.kernels[i];
      of_operation.push_back(static_cast<int64_t>(commits.size()));
      if (!k.affine) continue;
      const int64_t weights = k.affine->weights_elements(), bias = k.affine->bias_elements();
      packs.push_back({op.weights_offset, k.packed / size_of(c.spec.type), weights});
      if (!c.spec.backward) continue;
      commits.push_back({k.lane_gradient, op.weights_offset, weights});
      if (bias > 0) commits.push_back({k.lane_gradient + round_up(weights, kLine), op.bias_offset, bias});
    }
    of_operation.push_back(static_cast<int64_t>(commits.size()));
    for (size_t i = 0; i < operations.size() && c.spec.backward; ++i) {
      if (!c.kernels[i].norm) continue;
      const int64_t gamma = c.kernels[i].lane_gradient, channels = c.kernels[i].norm->spec().channels;
      commits.push_back({gamma, operations[i].weights_offset, channels});
      commits.push_back({gamma + round_up(channels, kLine), operations[i].bias_offset, channels});
    }
  }
};

/// Device memory of an engine beside that of `Compiled`.
struct Sizes {
  StateLayout state;
  Slices slices;
  int64_t norm_workspace = 0, losses, gathered, norms, sums, squares;
  std::vector<NormPlans> plans;  // an operation

  Sizes(const Compiled& c, const BlockLimits& limits)
      : state(c), slices(c), losses(c.spec.micro_batch * int64_t{sizeof(LossResult)}),
        gathered(2 * c.graph.statistics() * int64_t{sizeof(double)}), norms(0),
        sums(c.spans() ? 2 * c.widest_norm * int64_t{sizeof(double)} : 0),
        squares((vector::sum_workspace(std::max<int64_t>(1, c.lane_elements)) + 1) * int64_t{sizeof(double)}),
        plans(c.kernels.size()) {
    norm::Capacity capacity;
    capacity.limits = limits;
    capacity.ghosts = static_cast<int32_t>(c.ghosts_per_micro_batch);
    const bool whole = c.spec.ghost > 0 && c.spec.ghost <= c.spec.micro_batch;
    capacity.ghost_rows = static_cast<int32_t>(whole ? c.spec.ghost : c.spec.micro_batch);
    norm::Capacity of_span;
    of_span.ghost_rows = static_cast<int32_t>(c.spec.micro_batch);
    for (size_t i = 0; i < plans.size(); ++i) {
      if (!c.kernels[i].norm) continue;
      const GhostBatchNormSpec& spec = c.kernels[i].norm->spec();
      NormPlans& p = plans[i];
      p.forward = norm::make_plan(spec, capacity, norm::Pass::forward);
      p.backward = norm::make_plan(spec, capacity, norm::Pass::backward);
      p.span = norm::make_plan(spec, of_span, norm::Pass::span);
      for (const norm::Plan* plan : {&p.forward, &p.backward, &p.span}) {
        norm_workspace = std::max(norm_workspace, plan->workspace_bytes());
      }
      norms += int64_t{sizeof(NormStatistics)};
    }
  }

  /// Without what grows with the batch: a unit's state and result, an index and a weight a row.
  int64_t bytes() const {
    int64_t all = 0;
    for (const int64_t part :
         {state.unit_bytes, norm_workspace, losses, gathered, norms, sums, squares, SliceTable::bytes(slices.packs),
          SliceTable::bytes(slices.commits), state.most_micros * int64_t{sizeof(LossResult)}}) {
      all += round_up(part, kAlignment);
    }
    return all;
  }
};

class CudaEngine final : public Engine {
 public:
  CudaEngine(Device& device, const Context& context, SampleStore& samples, std::unique_ptr<Compiled> compiled)
      : context_(context), store_(samples), c_(std::move(compiled)), sizes_(*c_, context.limits()),
        bytes_(c_->bytes(1) + sizes_.bytes()), type_(c_->spec.type), profile_(c_->profile_entries(), 1) {
    const DataType type = DataType::f32;
    parameters_.reset(Tensor::create(device, type, c_->graph.parameters()));
    if (c_->spec.backward) gradients_.reset(Tensor::create(device, type, c_->graph.parameters()));
    if (c_->graph.has_norm()) statistics_.reset(Tensor::create(device, type, c_->graph.statistics()));
    packed_ = zeroed(c_->packed_bytes);
    partials_ = zeroed(c_->partial_bytes(1));
    lane_arena_ = zeroed(c_->plan.lane_arena_bytes);
    lane_gradients_ = zeroed(c_->lane_elements * kFloat);
    part_ = zeroed(c_->part_elements * kFloat);
    scratch_ = zeroed(c_->scratch_bytes);
    for (int64_t i = 0; i < c_->arenas(1); ++i) arenas_.push_back(zeroed(c_->plan.arena_bytes));
    state_ = zeroed(sizes_.state.unit_bytes);
    unit_results_ = zeroed(sizes_.state.most_micros * int64_t{sizeof(LossResult)});
    norm_workspace_ = zeroed(sizes_.norm_workspace);
    losses_ = zeroed(sizes_.losses);
    gathered_ = zeroed(sizes_.gathered);
    norms_ = zeroed(sizes_.norms);
    span_sums_ = zeroed(sizes_.sums);
    squares_ = zeroed(sizes_.squares);
    packs_ = SliceTable(sizes_.slices.packs, parameters_->view().as<float>(), type_, packed_.as<void>(),
                        context_.stream());
    if (gradients_ != nullptr) {
      commits_ = SliceTable(sizes_.slices.commits, lane_gradients_.as<float>(), type, gradients_->view().data,
                            context_.stream());
    }
    if (statistics_ != nullptr) write_table();
    synchronize(context_.stream());
  }
  ~CudaEngine() override { settle(); }

  Tensor* parameters() override { return parameters_.get(); }
  Tensor* gradients() override { return gradients_.get(); }
  Tensor* statistics() override { return statistics_.get(); }
  void parameters_changed() override { packed_valid_ = false; }
  double part_squares() const override { return part_squares_; }
  int64_t parts() const override { return parts_; }
  int64_t bytes() const override { return bytes_; }
  int64_t micro_batch() const override { return c_->spec.micro_batch; }

  void poison() override {
    const auto lock = context_.lock();
    for (const DeviceMemory& arena : arenas_) fill(arena, 0xFF);
    fill(lane_arena_, 0xFF);
  }

  const char* implementation(int32_t operation) const override { return c_->implementation(operation); }

  void step(const Samples& samples, const int32_t* indices, int64_t batch, const float* weights, const StepSpec& spec,
            void* logits, void* input_gradient, LossResult& result) override {
    const auto lock = context_.lock();
    check_step(*c_, samples, indices, batch, spec, input_gradient, recorded_);
    if (spec.adversary == Adversary::record) make_room_for_signs(batch);
    step_ = &spec;
    batch_ = batch;
    logits_ = logits;
    input_gradient_ = input_gradient;
    weighted_ = weights != nullptr;
    part_squares_ = 0;
    ghosts_ = GhostsOfStep(*c_, spec, batch);
    spans_ = ghosts_.normalizing && ghosts_.longest() > c_->spec.micro_batch;
    parts_are_units_ = !spans_ || c_->spec.ghost_per_lane;
    cut();
    try {
      upload(indices, weights);
      samples_ = store_.of(samples);
      const bool moving = ghosts_.normalizing && spec.mode == NormMode::train;
      if (moving) fill(gathered_, 0);
      pack();
      for (const Unit& unit : units_) run(unit);
      if (moving) finish_statistics(table(), &current()->statistics, context_.stream());
      collect(result);
    } catch (...) {
      abandon_capture(context_.stream());
      settle();
      throw;
    }
    if (spec.adversary == Adversary::record) recorded_ = batch;
  }

  void set_profiling(bool on) override {
    profile_.set(on);
    profiling_ = on;
  }
  void reset_profile() override { profile_.reset(); }
  int32_t profile_entries() const override { return static_cast<int32_t>(c_->profile_entries()); }
  const char* profile_name(int32_t index) const override { return c_->profile_name(index); }
  void profile_entry(int32_t index, ProfileEntry& entry) const override { c_->profile_entry(index, profile_, entry); }
  void set_tracing(int64_t events) override { profile_.set_tracing(events); }
  int64_t trace_events(int32_t lane) const override { return static_cast<int64_t>(profile_.trace(lane).size()); }
  void trace_event(int32_t lane, int64_t index, TraceEvent& event) const override {
    event = profile_.trace_event(lane, index);
  }

 private:
  static constexpr int64_t kFloat = sizeof(float);

  /// Waits until nothing uses this engine's memory.
  void settle() const noexcept {
    try {
      const auto lock = context_.lock();
      synchronize(context_.stream());
    } catch (const std::exception&) {  // of work that has failed: its caller has seen it, or will
    }
  }

  DeviceMemory zeroed(int64_t bytes) const {
    DeviceMemory memory(bytes);
    fill(memory, 0);
    return memory;
  }
  void fill(const DeviceMemory& memory, int byte) const {
    fill_memory(memory.as<void>(), byte, memory.bytes(), context_.stream());
  }

  // What the step is, on the host, then in device memory.

  /// The units of the step, and their states in pinned memory.
  void cut() {
    const int64_t capacity = c_->spec.micro_batch;
    units_.clear();
    if (!ghosts_.normalizing) {
      for (int64_t first = 0; first < batch_; first += capacity) add_unit(first, std::min(capacity, batch_ - first), 1);
    } else if (!spans_) {
      for (int64_t ghost = 0; ghost < ghosts_.count; ghost += ghosts_.of_micro_batch) {
        const int64_t end = std::min(ghosts_.count, ghost + ghosts_.of_micro_batch);
        add_unit(ghosts_.start(ghost), ghosts_.start(end) - ghosts_.start(ghost), 1);
      }
    } else {
      for (int64_t ghost = 0; ghost < ghosts_.count; ++ghost) {
        const int64_t rows = ghosts_.start(ghost + 1) - ghosts_.start(ghost);
        add_unit(ghosts_.start(ghost), rows, static_cast<int32_t>((rows + capacity - 1) / capacity));
      }
    }
    host_states_.reserve(static_cast<int64_t>(units_.size()) * sizes_.state.unit_bytes);
    int64_t ghost = 0;
    for (Unit& unit : units_) {
      unit.ghosts = write_state(unit, ghost);
      ghost += unit.ghosts;
    }
  }

  void add_unit(int64_t first_row, int64_t rows, int32_t count) {
    units_.push_back({static_cast<int64_t>(units_.size()), first_row, rows, count, 1});
  }

  /// The state of a unit whose first ghost is `ghost`; gives its ghosts.
  int32_t write_state(const Unit& unit, int64_t ghost) {
    const StateLayout& layout = sizes_.state;
    char* const at = host_states_.at(unit.index * layout.unit_bytes);
    const int64_t capacity = c_->spec.micro_batch;
    int32_t ghosts = 0;
    for (int32_t i = 0; i < unit.count; ++i) {
      const int64_t first = unit.first_row + i * capacity;
      const int64_t rows = std::min(capacity, unit.first_row + unit.rows - first);
      reinterpret_cast<int32_t*>(at + layout.micro_rows())[i] = static_cast<int32_t>(rows);
      auto* const offsets = reinterpret_cast<int32_t*>(at + layout.offsets(i));
      int64_t count = 1;
      if (spans_) {
        offsets[0] = 0;
        offsets[1] = static_cast<int32_t>(rows);
      } else if (ghosts_.normalizing) {
        while (ghost + count < ghosts_.count && ghosts_.start(ghost + count) < first + rows) ++count;
        for (int64_t g = 0; g <= count; ++g) offsets[g] = static_cast<int32_t>(ghosts_.start(ghost + g) - first);
      } else {  // statistics are given: any cut will do, and this one keeps all blocks of threads busy
        count = std::min(layout.most_ghosts, rows);
        for (int64_t g = 0; g <= count; ++g) offsets[g] = static_cast<int32_t>(rows * g / count);
      }
      ghosts = spans_ ? 1 : static_cast<int32_t>(count);
      const MicroState micro{
          {first, rows},
          {static_cast<int32_t>(count), ghosts_.normalizing ? 0 : 1, static_cast<int32_t>(spans_ ? unit.rows : 0)},
          {step_->seed, step_->epoch, step_->augment ? 1 : 0},
          {step_->seed, step_->step, step_->first_row, step_->dropout ? 1 : 0},
          {step_->label_smoothing, 1.0 / static_cast<double>(batch_)},
          step_->adversary_epsilon};
      std::memcpy(at + layout.micro(i), &micro, sizeof micro);
    }
    const bool moving = ghosts_.normalizing && step_->mode == NormMode::train;
    const UnitState state{{step_->running_statistics, moving ? 1 : 0, step_->momentum, ghosts_.count},
                          unit.count,
                          ghosts,
                          {0, static_cast<int32_t>(unit.rows)}};
    std::memcpy(at, &state, sizeof state);
    return ghosts;
  }

  /// By way of pinned memory, as the GPU may still be busy with the update before this step: a copy from elsewhere
  /// would wait for it. One of each is enough: a step ends with its results, for which the host waits (`collect`,
  /// `settle`), so that the next step finds this memory unused.
  void upload(const int32_t* indices, const float* weights) {
    const auto count = static_cast<int64_t>(units_.size());
    states_.reserve(count * sizes_.state.unit_bytes);
    results_.reserve(count * sizes_.state.most_micros * int64_t{sizeof(LossResult)});
    copy_memory(states_.as<char>(), host_states_.at(0), count * sizes_.state.unit_bytes, context_.stream());
    upload_rows(indices, host_indices_, indices_);
    if (weights != nullptr) upload_rows(weights, host_weights_, weights_);
  }

  /// Four bytes a row.
  void upload_rows(const void* from, Pinned& by, DeviceMemory& to) {
    const int64_t bytes = batch_ * 4;
    by.reserve(bytes);
    reserve_for_graphs(to, bytes);
    std::memcpy(by.at(0), from, static_cast<size_t>(bytes));
    copy_memory(to.as<char>(), by.at(0), bytes, context_.stream());
  }

  /// Memory whose address captured passes hold.
  void reserve_for_graphs(DeviceMemory& memory, int64_t bytes) {
    if (memory.bytes() < bytes) graphs_.clear();
    memory.reserve(bytes);
  }

  const UnitState* current() const { return state_.as<UnitState>(); }
  const MicroState* micro_state(int32_t i) const {
    return state_.as<MicroState>(sizes_.state.micro(i));
  }
  const int32_t* offsets(int32_t i) const {
    return state_.as<int32_t>(sizes_.state.offsets(i));
  }

  // The adversary.

  int64_t input_elements() const { return c_->graph.values().front().row_elements(); }

  void make_room_for_signs(int64_t batch) {
    recorded_ = 0;
    reserve_for_graphs(signs_, batch * input_elements());
  }
  bool wants_input_gradient() const {
    return input_gradient_ != nullptr || step_->adversary == Adversary::record;
  }

  // Weights.

  View parameter(int64_t first, int64_t elements) const { return slice(parameters_->view(), first, elements); }
  static View slice(const View& vector, int64_t first, int64_t elements) {
    return View(vector.as<char>() + first * size_of(vector.type), elements, vector.type);
  }
  View packed_weights(const Kernels& k) const {
    return View(packed_.as<char>(k.packed), k.affine->packed_weights_bytes(), DataType::u8);
  }
  View scratch() const { return View(scratch_.as<char>(), scratch_.bytes(), DataType::u8); }

  void pack() {
    if (packed_valid_) return;
    const auto start = Clock::now();
    packs_.copy(0, static_cast<int64_t>(sizes_.slices.packs.size()), context_.stream());
    packed_valid_ = true;
    record(Compiled::kPack, start);
  }

  // Running units.

  /// All that decides what a unit enqueues, but what lies in its state.
  using Variant = std::tuple<int32_t, int32_t, bool, bool, bool, bool, bool, bool, bool, Adversary, DataType,
                             const void*, const int32_t*, const int32_t*>;
  Variant variant_of(const Unit& unit) const {
    return {unit.count,         unit.ghosts,         spans_,           is_full(unit, unit.count - 1), unit.index == 0,
            step_->backward,    ghosts_.normalizing, parts_are_units_, weighted_,                     step_->adversary,
            samples_.type,      samples_.data,       samples_.labels,  samples_.numbers};
  }
  /// Whether a micro-batch has all the rows that it may have.
  bool is_full(const Unit& unit, int32_t micro) const {
    return unit.rows >= (micro + 1) * c_->spec.micro_batch;
  }
  struct Captured {
    bool seen = false;  // once, when all that is loaded at first use was
    std::unique_ptr<CapturedGraph> graph;
  };

  void run(const Unit& unit) {
    const StateLayout& layout = sizes_.state;
    const Stream stream = context_.stream();
    copy_memory(state_.as<char>(), states_.as<char>(unit.index * layout.unit_bytes), layout.unit_bytes, stream);
    // What the host does between two kernels has no place in a graph.
    const bool by_host = logits_ != nullptr || input_gradient_ != nullptr || profiling_;
    Captured& captured = graphs_[variant_of(unit)];
    if (by_host || !captured.seen) {
      enqueue_pass(unit);
      captured.seen = captured.seen || !by_host;
    } else {
      if (captured.graph == nullptr) {
        begin_capture(stream);
        enqueue_pass(unit);
        captured.graph = std::make_unique<CapturedGraph>(stream);
      }
      captured.graph->launch(stream);
    }
    if (step_->part_norms) add_part_square(unit);
    copy_memory(results_.as<LossResult>() + unit.index * layout.most_micros, unit_results_.as<char>(),
                unit.count * int64_t{sizeof(LossResult)}, stream);
  }

  void enqueue_pass(const Unit& unit) {
    const int64_t end =
        step_->backward ? static_cast<int64_t>(c_->plan.instructions.size()) : int64_t{c_->plan.loss} + 1;
    for (int64_t first = 0; first < end;) {
      int64_t last = first;
      while (last < end && !(spans_ && instruction(last).meets())) ++last;
      const bool meets = last < end;
      if (meets) ++last;
      for (int32_t i = 0; i < unit.count; ++i) {
        for (int64_t at = first; at < last; ++at) run_instruction(at, unit, i);
      }
      if (meets && instruction(last - 1).code == Code::norm_statistics) {
        meet_forward(instruction(last - 1).operation);
      } else if (meets) {
        meet_backward(instruction(last - 1).operation);
      }
      first = last;
    }
    if (step_->backward) commit(unit);
  }

  const Instruction& instruction(int64_t i) const { return c_->plan.instructions[static_cast<size_t>(i)]; }

  void run_instruction(int64_t number, const Unit& unit, int32_t micro) {
    const Instruction& in = instruction(number);
    if (in.meets() && !spans_) return;  // norm_forward, norm_backward do it all
    if (in.for_input && !wants_input_gradient()) return;
    const auto start = Clock::now();
    execute(in, unit, micro);
    if (profiling_) synchronize(context_.stream());
    profile_.record(0, static_cast<size_t>(number), start, unit.index);
  }

  void record(Compiled::Extra entry, Clock::time_point start) {
    if (profiling_) synchronize(context_.stream());
    profile_.record(0, c_->plan.instructions.size() + entry, start);
  }

  // Memory of a micro-batch.

  View buffer(int32_t micro, int32_t number) const {
    const Buffer& b = c_->plan.buffers[static_cast<size_t>(number)];
    const DeviceMemory& memory = b.of_lane ? lane_arena_ : arenas_[static_cast<size_t>(micro)];
    return View(memory.as<char>(b.offset), b.elements, b.type);
  }
  void* pointer(int32_t micro, int32_t number) const { return number < 0 ? nullptr : buffer(micro, number).data; }
  int64_t row_elements(int32_t number) const {
    return c_->plan.buffers[static_cast<size_t>(number)].elements / c_->spec.micro_batch;
  }
  Extent extent(int32_t micro, int32_t number) const {
    return {&micro_state(micro)->rows, c_->spec.micro_batch, row_elements(number)};
  }

  struct AffineGradient {
    View weights, bias;

    /// From the first of the weights to the last of the bias.
    int64_t elements() const {
      return bias.data == nullptr ? weights.elements : bias.as<float>() + bias.elements - weights.as<float>();
    }
  };
  AffineGradient affine_gradient(const Kernels& k, const DeviceMemory& memory, int64_t first) const {
    const int64_t packed = k.affine->packed_diff_weights_elements(), bias = k.affine->bias_elements();
    float* const weights = memory.as<float>() + first;
    AffineGradient gradient{View(weights, packed, DataType::f32), {}};
    if (bias > 0) gradient.bias = View(weights + round_up(packed, kLine), bias, DataType::f32);
    return gradient;
  }
  float* diff_gamma(const Kernels& k) const { return lane_gradients_.as<float>() + k.lane_gradient; }
  float* diff_beta(const Kernels& k) const { return diff_gamma(k) + round_up(k.norm->spec().channels, kLine); }

  // Sums over the step.

  /// Whether the gradients of a unit's micro-batch are those of a part of their own, or begin that of the unit.
  bool begins_part(int32_t micro) const { return !parts_are_units_ || micro == 0; }

  /// Gradients of the unit to the sums over the step, in the order of the units: those of affine operations, unless its
  /// micro-batches have committed these, and those of norms.
  void commit(const Unit& unit) {
    const auto start = Clock::now();
    commit(parts_are_units_ ? 0 : sizes_.slices.of_operation.back(),
           static_cast<int64_t>(sizes_.slices.commits.size()), unit.index == 0);
    record(Compiled::kCommit, start);
  }
  void commit(int64_t first_slice, int64_t end, bool first) const {
    if (first) {
      commits_.copy(first_slice, end, context_.stream());
    } else {
      commits_.add(first_slice, end, context_.stream());
    }
  }

  /// n ||G||^2 of the unit's part.
  void add_part_square(const Unit& unit) {
    double square = 0;
    const auto add_square = [&](const void* x, int64_t n) {
      auto* const result = squares_.as<double>();
      vector::dot(DataType::f32, x, x, n, result + 1, result, context_.stream());
      double value = 0;
      copy_memory(&value, result, sizeof value, context_.stream());
      synchronize(context_.stream());
      square += value;
    };
    for (size_t i = 0; i < c_->kernels.size(); ++i) {
      const Kernels& k = c_->kernels[i];
      if (k.norm) {
        add_square(diff_gamma(k), k.norm->spec().channels);
        add_square(diff_beta(k), k.norm->spec().channels);
      } else if (k.affine) {
        const AffineGradient part = affine_gradient(k, lane_gradients_, k.lane_gradient);
        add_square(part.weights.data, part.weights.elements);
        if (part.bias.data != nullptr) add_square(part.bias.data, part.bias.elements);
      }
    }
    const auto batch = static_cast<double>(batch_);
    part_squares_ += batch * batch / static_cast<double>(unit.rows) * square;
  }

  /// The losses of the step, in the order of its micro-batches.
  void collect(LossResult& result) {
    const auto units = static_cast<int64_t>(units_.size());
    const int64_t bytes = units * sizes_.state.most_micros * int64_t{sizeof(LossResult)};
    host_results_.reserve(bytes);
    copy_memory(host_results_.at(0), results_.as<char>(), bytes, context_.stream());
    synchronize(context_.stream());
    result = {};
    parts_ = 0;
    const auto* const results = reinterpret_cast<const LossResult*>(host_results_.at(0));
    for (const Unit& unit : units_) {
      for (int32_t i = 0; i < unit.count; ++i) {
        result.loss += results[unit.index * sizes_.state.most_micros + i].loss;
        result.correct += results[unit.index * sizes_.state.most_micros + i].correct;
      }
      parts_ += parts_are_units_ ? 1 : unit.count;
    }
  }

  // Batch norm.

  /// Where a norm's statistics lie: those of a ghost larger than a micro-batch in its first one's arena.
  norm::Statistics statistics_of(int32_t operation, int32_t micro) const {
    const size_t i = static_cast<size_t>(operation);
    const Operation& op = c_->graph.list()[i];
    const int64_t channels = c_->kernels[i].norm->spec().channels;
    const int32_t owner = spans_ ? 0 : micro;
    const float* const running = statistics_->view().as<float>() + op.statistics_offset;
    const float* const parameters = parameters_->view().as<float>();
    return {static_cast<float*>(pointer(owner, c_->plan.mean[i])),
            static_cast<float*>(pointer(owner, c_->plan.variance[i])),
            running,
            running + channels,
            parameters + op.weights_offset,
            parameters + op.bias_offset};
  }

  norm::Tensors norm_tensors(const Instruction& in, int32_t micro) const {
    norm::Tensors tensors{};
    tensors.step = &micro_state(micro)->norm;
    tensors.offsets = offsets(micro);
    tensors.src = pointer(micro, in.src);
    tensors.statistics = statistics_of(in.operation, micro);
    tensors.workspace = norm_workspace_.as<char>();
    return tensors;
  }

  double* partial(int32_t micro, const Kernels& k) const {
    return partials_.as<double>() + micro * 2 * k.norm->spec().channels;
  }
  const int32_t* micro_rows() const { return state_.as<int32_t>(sizes_.state.micro_rows()); }

  /// Statistics of a ghost from those of its micro-batches, in their order.
  void meet_forward(int32_t operation) {
    const auto start = Clock::now();
    const Kernels& k = c_->kernels[static_cast<size_t>(operation)];
    const norm::Statistics s = statistics_of(operation, 0);
    norm::combine(sizes_.plans[static_cast<size_t>(operation)].span, partial(0, k), micro_rows(), &current()->count,
                  s.mean, s.variance, context_.stream());
    record(Compiled::kCommit, start);
  }

  /// Sums of a ghost from those of its micro-batches, in their order, and the gradients of gamma and beta.
  void meet_backward(int32_t operation) {
    const auto start = Clock::now();
    const Kernels& k = c_->kernels[static_cast<size_t>(operation)];
    norm::combine_sums(sizes_.plans[static_cast<size_t>(operation)].span, partial(0, k), &current()->count,
                       span_sums_.as<double>(), diff_beta(k), diff_gamma(k), context_.stream());
    record(Compiled::kCommit, start);
  }

  StatisticsTable table() const {
    return {norms_.as<NormStatistics>(),        norms_.bytes() / int64_t{sizeof(NormStatistics)},
            c_->widest_norm,                    statistics_->view().as<float>(),
            gathered_.as<double>(),             c_->graph.statistics()};
  }
  void write_table() {
    std::vector<NormStatistics> norms;
    for (size_t i = 0; i < c_->kernels.size(); ++i) {
      if (!c_->kernels[i].norm) continue;
      const GhostBatchNormSpec& spec = c_->kernels[i].norm->spec();
      norms.push_back({static_cast<const float*>(pointer(0, c_->plan.mean[i])),
                       static_cast<const float*>(pointer(0, c_->plan.variance[i])),
                       c_->graph.list()[i].statistics_offset, static_cast<int32_t>(spec.channels),
                       static_cast<int32_t>(spec.spatial())});
    }
    copy_memory(norms_.as<char>(), norms.data(), norms_.bytes(), context_.stream());
  }

  // What a pass is made of.

  /// Rows of a micro-batch to their places in the batch, as f32 in memory of the host.
  void copy_out(const Unit& unit, int32_t micro, int32_t from, void* to) {
    const int64_t row = row_elements(from), capacity = c_->spec.micro_batch;
    const int64_t begin = unit.first_row + micro * capacity;
    const int64_t count = std::min(capacity, unit.first_row + unit.rows - begin) * row;
    const View view = buffer(micro, from);
    float* const at = static_cast<float*>(to) + begin * row;
    if (view.type == DataType::bf16) {
      narrow_.resize(static_cast<size_t>(count));
      copy_memory(narrow_.data(), view.data, count * 2, context_.stream());
      synchronize(context_.stream());
      widen_bfloat16(narrow_.data(), at, count);
      return;
    }
    copy_memory(at, view.data, count * kFloat, context_.stream());
    synchronize(context_.stream());
  }

  void execute(const Instruction& in, const Unit& unit, int32_t micro);

  const Context& context_;
  SampleStore& store_;
  std::unique_ptr<Compiled> c_;
  const Sizes sizes_;
  const int64_t bytes_;
  const DataType type_;
  Owned<Tensor> parameters_, gradients_, statistics_;
  DeviceMemory packed_, partials_, lane_arena_, lane_gradients_, part_, scratch_;
  SliceTable packs_, commits_;
  std::vector<DeviceMemory> arenas_;
  DeviceMemory state_;           // of the unit that runs: what kernels, captured or not, look at
  DeviceMemory unit_results_;    // losses of its micro-batches
  DeviceMemory norm_workspace_, losses_, gathered_, norms_, span_sums_, squares_;
  DeviceMemory states_, results_, indices_, weights_;  // of the step
  DeviceMemory signs_;     // of the gradient of the input in the last step that recorded them, u8 [recorded_, H, W, C]
  int64_t recorded_ = 0;
  Pinned host_states_, host_indices_, host_weights_, host_results_;
  std::vector<uint16_t> narrow_;
  Profile profile_;
  bool profiling_ = false;
  bool packed_valid_ = false;
  std::map<Variant, Captured> graphs_;

  // The step being run.
  const StepSpec* step_ = nullptr;
  DeviceSamples samples_{};
  int64_t batch_ = 0;
  void* logits_ = nullptr;
  void* input_gradient_ = nullptr;
  bool weighted_ = false;
  GhostsOfStep ghosts_;
  bool spans_ = false, parts_are_units_ = true;
  std::vector<Unit> units_;
  int64_t parts_ = 0;
  double part_squares_ = 0;
};

void CudaEngine::execute(const Instruction& in, const Unit& unit, int32_t micro) {
  const Stream stream = context_.stream();
  const auto number = static_cast<size_t>(in.operation);
  const Operation* const op = in.operation >= 0 ? &c_->graph.list()[number] : nullptr;
  const Kernels* const k = in.operation >= 0 ? &c_->kernels[number] : nullptr;
  const NormPlans* const plans = in.operation >= 0 ? &sizes_.plans[number] : nullptr;
  // With blocks for the ghosts that there are: a batch may have half as many as there is room for.
  const auto of_unit = [&](norm::Plan plan) {
    plan.ghosts = unit.ghosts;
    return plan;
  };
  const auto at = [&](int32_t b) { return pointer(micro, b); };
  const auto view = [&](int32_t b) { return buffer(micro, b); };
  const MicroState* const state = micro_state(micro);

  switch (in.code) {
    case Code::load: {
      const LoadSpec& spec = c_->spec.load;
      const int64_t rows = c_->spec.micro_batch;
      cuda::load(spec, samples_, indices_.as<int32_t>(), at(in.dst), spec.channels, static_cast<int32_t*>(at(in.aux)),
                 &state->load, &state->rows, rows, stream);
      if (step_->adversary == Adversary::apply) {
        perturb(spec, signs_.as<uint8_t>(), &state->adversary_epsilon, at(in.dst), spec.channels, &state->rows, rows,
                stream);
      }
      return;
    }
    case Code::give_input_gradient:
      if (input_gradient_ != nullptr) copy_out(unit, micro, in.src, input_gradient_);
      if (step_->adversary == Adversary::record) {
        elementwise::sign(type_, at(in.src), signs_.as<uint8_t>(), extent(micro, in.src), stream);
      }
      return;

    case Code::affine_forward: {
      View bias;
      if (k->affine->bias_elements() > 0) bias = parameter(op->bias_offset, k->affine->bias_elements());
      k->affine->forward(view(in.src), packed_weights(*k), bias.data ? &bias : nullptr, view(in.dst), scratch());
      return;
    }
    case Code::affine_backward_weights: {
      if (!is_full(unit, micro)) {
        for (const int32_t b : {in.src, in.src2}) elementwise::zero_rows(type_, at(b), extent(micro, b), stream);
      }
      const AffineGradient of_part = affine_gradient(*k, lane_gradients_, k->lane_gradient);
      const bool begins = begins_part(micro);
      const AffineGradient to = begins ? of_part : affine_gradient(*k, part_, 0);
      k->affine->backward_weights(view(in.src), view(in.src2), to.weights, to.bias.data ? &to.bias : nullptr,
                                  scratch());
      if (!begins) {  // with what lies between weights and bias, and is not read
        vector::axpy(DataType::f32, 1.0, to.weights.data, DataType::f32, of_part.weights.data, to.elements(), stream);
      }
      if (!parts_are_units_) {
        const std::vector<int64_t>& slices = sizes_.slices.of_operation;
        commit(slices[number], slices[number + 1], unit.index == 0 && micro == 0);
      }
      return;
    }
    case Code::affine_backward_data:
      k->affine->backward_data(view(in.src), packed_weights(*k), view(in.dst), scratch());
      return;

    case Code::norm_statistics:
      norm::statistics(plans->span, norm_tensors(in, micro), partial(micro, *k), stream);
      return;
    case Code::norm_forward:
    case Code::norm_recompute: {
      norm::Tensors tensors = norm_tensors(in, micro);
      tensors.residual = at(in.src2);
      tensors.dst = at(in.dst);
      if (spans_) {
        norm::normalize(plans->span, tensors, stream);
      } else if (in.code == Code::norm_recompute || !ghosts_.normalizing) {
        norm::normalize(of_unit(plans->forward), tensors, stream);
      } else {
        norm::forward(of_unit(plans->forward), tensors, stream);
      }
      return;
    }
    case Code::norm_backward_sums:
    case Code::norm_backward: {
      norm::Tensors tensors = norm_tensors(in, micro);
      tensors.dst = at(in.aux);
      tensors.diff_dst = at(in.src2);
      tensors.diff_dst2 = at(in.src3);
      tensors.diff_residual = at(in.dst2);
      tensors.diff_src = at(in.dst);
      if (in.code == Code::norm_backward_sums) {
        norm::backward_sums(plans->span, tensors, partial(micro, *k), stream);
        return;
      }
      if (spans_) {
        norm::backward_apply(plans->span, tensors, span_sums_.as<double>(), stream);
        return;
      }
      tensors.diff_gamma = diff_gamma(*k);
      tensors.diff_beta = diff_beta(*k);
      norm::backward(of_unit(plans->backward), tensors, stream);
      return;
    }

    case Code::relu:
      elementwise::relu(type_, at(in.src), at(in.dst), extent(micro, in.dst), stream);
      return;
    case Code::add:
      elementwise::add(type_, at(in.src), at(in.src2), at(in.dst), op->relu, extent(micro, in.dst), stream);
      return;
    case Code::gradient_add:
      elementwise::add(type_, at(in.src), at(in.src2), at(in.dst), false, extent(micro, in.dst), stream);
      return;
    case Code::relu_backward:
      elementwise::relu_backward(type_, at(in.src), at(in.src2), at(in.dst), extent(micro, in.dst), stream);
      return;
    case Code::pool:
      pool_forward(k->pool->spec(), at(in.src), at(in.dst), static_cast<uint8_t*>(at(in.aux)), &state->rows, stream);
      return;
    case Code::pool_backward:
      pool_backward(k->pool->spec(), at(in.src), at(in.dst), static_cast<const uint8_t*>(at(in.aux)), &state->rows,
                    stream);
      return;
    case Code::dropout:
    case Code::dropout_backward:
      elementwise::dropout(type_, at(in.src), at(in.dst), op->rate, op->dropout_layer, &state->dropout,
                           extent(micro, in.dst), stream);
      return;

    case Code::loss:
      if (logits_ != nullptr) copy_out(unit, micro, in.src, logits_);
      softmax_cross_entropy(type_, at(in.src), static_cast<const int32_t*>(at(in.aux)),
                            weighted_ ? weights_.as<float>() : nullptr, step_->backward ? at(in.dst) : nullptr,
                            losses_.as<LossResult>(), unit_results_.as<LossResult>() + micro, &state->loss,
                            {&state->rows, c_->spec.micro_batch, c_->classes}, stream);
      if (ghosts_.normalizing && micro == unit.count - 1) {
        const int32_t* const of_ghosts = spans_ ? current()->ghost_rows : offsets(0);
        add_statistics(table(), {of_ghosts, &current()->ghosts}, &current()->statistics, stream);
      }
      return;
  }
}

}  // namespace

Engine* make_engine(Device& device, const Context& context, SampleStore& samples, const Network& network,
                    const EngineSpec& spec) {
  const auto lock = context.lock();
  auto compiled = std::make_unique<Compiled>(device, static_cast<const Graph&>(network), spec);
  const int64_t more = Sizes(*compiled, context.limits()).bytes(), free = device.available_bytes();
  if (compiled->bytes(1) + more > free) throw Error(compiled->cannot_fit(1, free, more));
  return new CudaEngine(device, context, samples, std::move(compiled));
}

int64_t predict_engine_bytes(Device& device, const Context& context, const Network& network,
                             const EngineSpec& spec) {
  const auto lock = context.lock();
  const Compiled compiled(device, static_cast<const Graph&>(network), spec);
  return compiled.bytes(1) + Sizes(compiled, context.limits()).bytes();
}

}  // namespace ghostbatch::cuda
