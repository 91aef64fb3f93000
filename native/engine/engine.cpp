#include "ghostbatch/engine.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/bfloat16.h"
#include "common/host_device.h"
#include "engine/compiled.h"
#include "engine/ordered_sums.h"
#include "engine/profile.h"
#include "engine/running_statistics.h"
#include "engine/step.h"

namespace ghostbatch {
namespace {

template <typename F>
class Task : public LaneWork {
 public:
  explicit Task(F function) : function_(std::move(function)) {}
  void run(int64_t task, int32_t lane) override { function_(task, lane); }

 private:
  F function_;
};

/// One micro-batch on its way through the pass.
struct Micro {
  int64_t index = 0;      // in the step, in the order of commits; that of the ghost where a lane runs it whole
  int64_t first_row = 0;  // in the batch
  int64_t rows = 0;
  int32_t ghosts = 0;
  std::vector<int32_t> offsets;  // of the ghosts, in rows of the micro-batch
  int32_t whole[2] = {0, 0};     // the micro-batch as one range, for statistics that come from outside
  char* arena = nullptr;
  const struct Span* span = nullptr;  // the ghost that this is a part of, where that is larger
  bool first = true, last = true;     // of the micro-batches whose gradients and losses are committed as one
};

/// A ghost larger than a micro-batch: its micro-batches, and what they bring together at a norm. Its statistics lie in
/// the arena of the first.
struct Span {
  int64_t ghost = 0;  // in the step
  int64_t rows = 0;
  int64_t traced = -1;  // the micro-batch that a trace names for work on the whole
  Micro* micros = nullptr;
  int32_t count = 0;
  std::vector<int32_t> micro_rows;
  double* partials = nullptr;  // [count, 2, C]
  std::vector<double> sums;    // [2, C]
};

struct Lane {
  Block arena;      // what the micro-batch being run needs between two norms, where it is one of several of a ghost
  Block gradients;  // of the micro-batch being run, or of the micro-batches of a ghost so far
  LossResult loss;  // likewise
  Block part;       // gradients of a ghost's next micro-batch: one operation's, until they are added
  LossResult part_loss;
  Block scratch;
  std::vector<int64_t> places;  // values per channel of each ghost
  std::vector<int64_t> rows;    // of its part of each operation's gradient
};

class PassEngine : public Engine {
 public:
  PassEngine(HostDevice& device, Lanes& lanes, std::unique_ptr<Compiled> compiled)
      : device_(device), lanes_(lanes), c_(std::move(compiled)), bytes_(c_->bytes(lanes.threads())),
        vectors_(device.vector_kernels()),
        sums_in_order_(2 * c_->kernels.size() + 1, lanes.threads()),
        profile_(c_->profile_entries(), lanes.threads()) {
    const DataType type = parameter_type(c_->spec.type);
    const int32_t threads = lanes.threads();
    parameters_.reset(Tensor::create(device, type, c_->graph.parameters()));
    if (c_->spec.backward) gradients_.reset(Tensor::create(device, type, c_->graph.parameters()));
    if (c_->graph.has_norm()) {
      statistics_.reset(Tensor::create(device, type, c_->graph.statistics()));
      statistics_update_ = std::make_unique<RunningStatisticsUpdate>(c_->graph, statistics_->view());
    }
    squares_.resize(c_->kernels.size());
    packed_ = Block(device, c_->packed_bytes);
    sums_ = Block(device, c_->sum_elements * size_of(type));
    partials_ = Block(device, c_->partial_bytes(threads));
    for (int32_t i = 0; i < threads; ++i) {
      Lane& lane = lanes_state_.emplace_back();
      lane.arena = Block(device, c_->plan.lane_arena_bytes);
      lane.gradients = Block(device, c_->lane_elements * size_of(type));
      lane.part = Block(device, c_->part_elements * size_of(type));
      lane.scratch = Block(device, c_->scratch_bytes);
      lane.places.resize(static_cast<size_t>(c_->ghosts_per_micro_batch));
      lane.rows.resize(c_->kernels.size());
    }
    micros_.resize(static_cast<size_t>(c_->arenas(threads)));
    for (size_t i = 0; i < micros_.size(); ++i) {
      arenas_.emplace_back(device, c_->plan.arena_bytes);
      micros_[i].offsets.resize(static_cast<size_t>(c_->ghosts_per_micro_batch) + 1);
      micros_[i].arena = arenas_.back().at(0);
    }
    if (c_->spans()) {
      spans_.resize(c_->spec.ghost_per_lane ? static_cast<size_t>(threads) : 1);
      for (size_t i = 0; i < spans_.size(); ++i) {
        const int64_t first = static_cast<int64_t>(i) * c_->micros_per_ghost();
        spans_[i].micros = &micros_[static_cast<size_t>(first)];
        spans_[i].micro_rows.resize(static_cast<size_t>(c_->micros_per_ghost()));
        spans_[i].partials = reinterpret_cast<double*>(partials_.at(first * c_->partial_bytes_each()));
        spans_[i].sums.resize(2 * static_cast<size_t>(c_->widest_norm));
      }
    }
    // Touch everything now: no page fault in a step, and memory that is short shows here.
    fill_arenas(0);
    on_lanes(threads, [this](int64_t i, int32_t) {
      const Lane& lane = lanes_state_[static_cast<size_t>(i)];
      for (const Block* block : {&lane.gradients, &lane.part, &lane.scratch}) block->fill(0);
    });
    for (const Block* block : {&packed_, &sums_, &partials_}) block->fill(0);
  }

  Tensor* parameters() override { return parameters_.get(); }
  Tensor* gradients() override { return gradients_.get(); }
  Tensor* statistics() override { return statistics_.get(); }
  void parameters_changed() override { packed_valid_ = false; }
  double part_squares() const override {
    double sum = 0;
    for (const double square : squares_) sum += square;
    return sum;
  }
  int64_t parts() const override { return parts_; }
  int64_t bytes() const override { return bytes_; }
  int64_t micro_batch() const override { return c_->spec.micro_batch; }
  void poison() override { fill_arenas(0xFF); }  // all bits set: a NaN in every floating-point type

  const char* implementation(int32_t operation) const override { return c_->implementation(operation); }

  void step(const Samples& samples, const int32_t* indices, int64_t batch, const float* weights, const StepSpec& spec,
            void* logits, void* input_gradient, LossResult& result) override {
    check_step(*c_, samples, indices, batch, spec, input_gradient, recorded_);
    step_ = &spec;
    samples_ = &samples;
    indices_ = indices;
    weights_ = weights;
    logits_ = logits;
    input_gradient_ = input_gradient;
    batch_ = batch;
    if (spec.adversary == Adversary::record) make_room_for_signs();
    result_ = {};
    parts_ = 0;
    std::fill(squares_.begin(), squares_.end(), 0.0);
    failure_ = nullptr;
    sums_in_order_.begin();

    ghosts_ = GhostsOfStep(*c_, spec, batch);
    const bool normalizing = ghosts_.normalizing, moving = normalizing && spec.mode == NormMode::train;
    if (moving) statistics_update_->begin(spec.running_statistics, spec.momentum, ghosts_.count);

    pack();
    try {
      if (!normalizing) {
        const int64_t rows = c_->spec.micro_batch;
        on_lanes((batch + rows - 1) / rows, [this](int64_t index, int32_t lane) { run_rows(index, lane); });
      } else if (ghosts_.longest() <= c_->spec.micro_batch) {
        on_lanes((ghosts_.count + ghosts_.of_micro_batch - 1) / ghosts_.of_micro_batch,
                 [this](int64_t index, int32_t lane) { run_ghosts(index, lane); });
      } else if (c_->spec.ghost_per_lane) {
        on_lanes(ghosts_.count, [this](int64_t ghost, int32_t lane) { run_span(ghost, lane); });
      } else {
        int64_t micros = 0;
        for (int64_t ghost = 0; ghost < ghosts_.count; ++ghost) micros += share_span(ghost, micros);
      }
    } catch (...) {
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
      throw;
    }
    if (spec.backward) unpack();
    if (moving) statistics_update_->finish();
    if (spec.adversary == Adversary::record) recorded_ = batch;
    result = result_;
  }

  void set_profiling(bool on) override { profile_.set(on); }
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
  using Extra = Compiled::Extra;

  // Memory.

  /// A buffer of the micro-batch that a lane runs.
  View in_arena(const Micro& micro, const Lane& lane, int32_t buffer) const {
    const Buffer& b = c_->plan.buffers[static_cast<size_t>(buffer)];
    return View((b.of_lane ? lane.arena.at(0) : micro.arena) + b.offset, b.elements, b.type);
  }
  View lane_gradient(const Lane& lane, int64_t first, int64_t elements) const {
    const DataType type = parameter_type(c_->spec.type);
    return View(lane.gradients.at(first * size_of(type)), elements, type);
  }
  /// The gradient of an affine operation's weights, and of its bias, as a lane's gradients and its part hold them.
  struct AffineGradient {
    View weights, bias;
  };
  AffineGradient affine_gradient(const Kernels& k, const Block& block, int64_t first) const {
    const DataType type = parameter_type(c_->spec.type);
    const int64_t packed = k.affine->packed_diff_weights_elements(), bias = k.affine->bias_elements();
    AffineGradient gradient{View(block.at(first * size_of(type)), packed, type), {}};
    if (bias > 0) gradient.bias = View(block.at((first + round_up(packed, kLine)) * size_of(type)), bias, type);
    return gradient;
  }
  AffineGradient lane_gradient(const Kernels& k, const Lane& lane) const {
    return affine_gradient(k, lane.gradients, k.lane_gradient);
  }
  AffineGradient part_gradient(const Kernels& k, const Lane& lane) const { return affine_gradient(k, lane.part, 0); }
  static View slice(const View& vector, int64_t first, int64_t elements) {
    return View(vector.as<char>() + first * size_of(vector.type), elements, vector.type);
  }
  View parameter(int64_t first, int64_t elements) const { return slice(parameters_->view(), first, elements); }
  View packed_weights(const Kernels& k) const {
    return View(packed_.at(k.packed), k.affine->packed_weights_bytes(), DataType::u8);
  }
  View scratch(int32_t lane) const {
    const Block& block = lanes_state_[static_cast<size_t>(lane)].scratch;
    return View(block.at(0), block.bytes(), DataType::u8);
  }
  void fill_arenas(int byte) {
    on_lanes(static_cast<int64_t>(arenas_.size()),
             [&](int64_t i, int32_t) { arenas_[static_cast<size_t>(i)].fill(byte); });
    on_lanes(static_cast<int64_t>(lanes_state_.size()),
             [&](int64_t i, int32_t) { lanes_state_[static_cast<size_t>(i)].arena.fill(byte); });
  }

  template <typename F>
  void on_lanes(int64_t tasks, F function) {
    Task<F> task(std::move(function));
    lanes_.run(tasks, task);
  }

  // The adversary.

  int64_t input_elements() const { return c_->graph.values().front().row_elements(); }

  /// Those of the step before are gone from here on.
  void make_room_for_signs() {
    recorded_ = 0;
    const int64_t bytes = batch_ * input_elements();
    if (signs_.bytes() >= bytes) return;
    signs_ = Block();  // the smaller one goes first
    signs_ = Block(device_, bytes);
  }

  View signs(const Micro& micro) const {
    return View(signs_.at(micro.first_row * input_elements()), micro.rows * input_elements(), DataType::u8);
  }

  bool wants_input_gradient() const {
    return input_gradient_ != nullptr || step_->adversary == Adversary::record;
  }

  // Weights.

  void pack() {
    if (packed_valid_) return;
    on_lanes(static_cast<int64_t>(c_->kernels.size()), [this](int64_t i, int32_t lane) {
      const Kernels& k = c_->kernels[static_cast<size_t>(i)];
      if (!k.affine) return;
      const auto start = Clock::now();
      const Operation& op = c_->graph.list()[static_cast<size_t>(i)];
      k.affine->pack_weights(parameter(op.weights_offset, k.affine->weights_elements()), packed_weights(k),
                             scratch(lane));
      record(lane, Extra::kPack, start);
    });
    packed_valid_ = true;
  }

  void unpack() {
    const DataType type = parameter_type(c_->spec.type);
    on_lanes(static_cast<int64_t>(c_->kernels.size()), [this, type](int64_t i, int32_t lane) {
      const Kernels& k = c_->kernels[static_cast<size_t>(i)];
      if (!k.affine || !k.affine->packs_diff_weights()) return;
      const auto start = Clock::now();
      const Operation& op = c_->graph.list()[static_cast<size_t>(i)];
      const View sum(sums_.at(k.sum * size_of(type)), k.affine->packed_diff_weights_elements(), type);
      k.affine->unpack_diff_weights(
          sum, slice(gradients_->view(), op.weights_offset, k.affine->weights_elements()), scratch(lane));
      record(lane, Extra::kUnpack, start);
    });
  }

  // Running micro-batches.

  /// The micro-batch that a lane runs next, or the first of the ghost that it runs.
  Micro& micro_of(int32_t lane) { return micros_[static_cast<size_t>(lane * c_->micros_per_lane())]; }

  void take(Micro& micro, int64_t index, int64_t first_row, int64_t rows) const {
    micro.index = index;
    micro.first_row = first_row;
    micro.rows = rows;
    micro.whole[1] = static_cast<int32_t>(rows);
    micro.span = nullptr;
    micro.first = micro.last = true;
  }

  /// Rows without ghosts through the whole pass on one lane.
  void run_rows(int64_t index, int32_t lane) {
    guarded([&] {
      Micro& micro = micro_of(lane);
      const int64_t first = index * c_->spec.micro_batch;
      take(micro, index, first, std::min(c_->spec.micro_batch, batch_ - first));
      run_instructions(0, end_of_pass(), micro, lane);
    });
  }

  /// Whole ghosts, as many as a micro-batch holds, likewise.
  void run_ghosts(int64_t index, int32_t lane) {
    guarded([&] {
      await_statistics(lane);
      Micro& micro = micro_of(lane);
      const int64_t first = index * ghosts_.of_micro_batch;
      const int64_t last = std::min(ghosts_.count, first + ghosts_.of_micro_batch);
      take(micro, index, ghosts_.start(first), ghosts_.start(last) - ghosts_.start(first));
      micro.ghosts = static_cast<int32_t>(last - first);
      for (int64_t g = first; g <= last; ++g) {
        micro.offsets[static_cast<size_t>(g - first)] = static_cast<int32_t>(ghosts_.start(g) - micro.first_row);
      }
      run_instructions(0, end_of_pass(), micro, lane);
    });
  }

  /// One ghost of several micro-batches on one lane: each of them from one norm to the next, so that what a kernel
  /// wrote is in cache when the next one reads it.
  void run_span(int64_t ghost, int32_t lane) {
    guarded([&] {
      await_statistics(lane);
      Span& span = spans_[static_cast<size_t>(lane)];
      cut(span, ghost);
      span.traced = ghost;
      for (int32_t i = 0; i < span.count; ++i) {
        Micro& micro = span.micros[i];
        micro.index = ghost;
        micro.first = i == 0;
        micro.last = i == span.count - 1;
      }
      from_norm_to_norm(span, lane, [&](int64_t first, int64_t last) {
        for (int32_t i = 0; i < span.count; ++i) run_instructions(first, last, span.micros[i], lane);
      });
    });
  }

  /// The same on all lanes: they meet at every norm. Counts its micro-batches, the first of which has number `index`.
  int64_t share_span(int64_t ghost, int64_t index) {
    Span& span = spans_.front();
    cut(span, ghost);
    for (int32_t i = 0; i < span.count; ++i) span.micros[i].index = index + i;
    from_norm_to_norm(span, 0, [&](int64_t first, int64_t last) {
      on_lanes(span.count, [&](int64_t i, int32_t lane) {
        guarded([&] { run_instructions(first, last, span.micros[i], lane); });
      });
    });
    return span.count;
  }

  void cut(Span& span, int64_t ghost) const {
    const int64_t start = ghosts_.start(ghost), end = ghosts_.start(ghost + 1), capacity = c_->spec.micro_batch;
    span.ghost = ghost;
    span.rows = end - start;
    span.count = static_cast<int32_t>((span.rows + capacity - 1) / capacity);
    for (int32_t i = 0; i < span.count; ++i) {
      Micro& micro = span.micros[i];
      const int64_t first = start + i * capacity;
      take(micro, 0, first, std::min(capacity, end - first));
      micro.span = &span;
      span.micro_rows[static_cast<size_t>(i)] = micro.whole[1];
    }
  }

  /// run(first, last) takes all micro-batches of a ghost through instructions [first, last), up to and with the next
  /// that needs something of the whole ghost; `lane` then makes it.
  template <typename F>
  void from_norm_to_norm(Span& span, int32_t lane, F run) {
    const int64_t end = end_of_pass();
    for (int64_t first = 0; first < end;) {
      int64_t last = first;
      while (last < end && !c_->plan.instructions[static_cast<size_t>(last)].meets()) ++last;
      const bool meets = last < end;
      if (meets) ++last;
      run(first, last);
      if (!meets) return;
      const Instruction& instruction = c_->plan.instructions[static_cast<size_t>(last - 1)];
      if (instruction.code == Code::norm_statistics) {
        meet_forward(instruction.operation, span, lane);
      } else {
        meet_backward(instruction.operation, span, lane);
      }
      first = last;
    }
  }

  int64_t end_of_pass() const {
    return step_->backward ? static_cast<int64_t>(c_->plan.instructions.size()) : c_->plan.loss + 1;
  }

  void run_instructions(int64_t first, int64_t last, Micro& micro, int32_t lane) {
    for (int64_t i = first; i < last; ++i) {
      const Instruction& instruction = c_->plan.instructions[static_cast<size_t>(i)];
      if (instruction.meets() && micro.span == nullptr) continue;  // norm_forward, norm_backward do it all
      if (instruction.for_input && !wants_input_gradient()) continue;
      const int32_t sum = sum_of(instruction, micro);
      if (sum >= 0 && micro.first) await(sum, lane);
      const auto start = Clock::now();
      execute(instruction, micro, lane);
      profile_.record(lane, static_cast<size_t>(i), start, micro.index);
      if (sum >= 0 && !micro.first) add_part(sum, micro, lane);
      if (sum < 0 || !micro.last) continue;
      if (is_gradient(sum)) rows_of(sum, lane) = micro.first ? micro.rows : micro.span->rows;
      commit(sum, micro.index, lane, micro.index);
    }
  }

  /// Runs a lane's task. After the first error no task does anything, and nobody waits for what will not come.
  template <typename F>
  void guarded(F task) {
    if (sums_in_order_.failed()) return;
    try {
      task();
    } catch (...) {
      {
        std::scoped_lock lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      sums_in_order_.fail();
      throw;
    }
  }

  void record(int32_t lane, Extra entry, Clock::time_point start, int64_t micro_batch = -1) {
    profile_.record(lane, c_->plan.instructions.size() + entry, start, micro_batch);
  }

  // Sums over the step: two an operation (gradient, statistics), one for the loss.

  static int32_t gradient_sum(int32_t operation) { return 2 * operation; }
  static int32_t statistics_sum(int32_t operation) { return 2 * operation + 1; }
  int32_t loss_sum() const { return static_cast<int32_t>(2 * c_->kernels.size()); }
  bool is_gradient(int32_t sum) const { return sum % 2 == 0 && sum != loss_sum(); }
  int64_t& rows_of(int32_t gradient_sum, int32_t lane) {
    return lanes_state_[static_cast<size_t>(lane)].rows[static_cast<size_t>(gradient_sum / 2)];
  }

  /// The sum that an instruction adds to, or -1. A ghost larger than a micro-batch adds those of a norm where it meets.
  int32_t sum_of(const Instruction& instruction, const Micro& micro) const {
    switch (instruction.code) {
      case Code::loss:
        return loss_sum();
      case Code::affine_backward_weights:
        return gradient_sum(instruction.operation);
      case Code::norm_backward:
        return micro.span == nullptr ? gradient_sum(instruction.operation) : -1;
      case Code::norm_forward:
        return micro.span == nullptr && step_->mode == NormMode::train ? statistics_sum(instruction.operation) : -1;
      default:
        return -1;
    }
  }

  /// Waits until the lane's part of a sum may be overwritten.
  void await(int32_t sum, int32_t lane) {
    const auto start = Clock::now();
    sums_in_order_.await(sum, lane, [&] { record(lane, Extra::kWait, start); });
  }
  /// Likewise for all statistics, which lie in the arenas, under the ghosts that the lane ran before.
  void await_statistics(int32_t lane) {
    for (size_t i = 0; i < c_->kernels.size(); ++i) {
      if (c_->kernels[i].norm) await(statistics_sum(static_cast<int32_t>(i)), lane);
    }
  }

  /// Publishes the lane's part of a sum, and adds all parts whose turn has come.
  void commit(int32_t sum, int64_t index, int32_t lane, int64_t traced) {
    const auto start = Clock::now();
    sums_in_order_.commit(sum, index, lane, [&](int64_t part, int32_t of) { apply(sum, part, of, lane); });
    record(lane, Extra::kCommit, start, traced);
  }

  void add(const View& from, const View& to, bool first) const {
    if (first) {
      std::memcpy(to.data, from.data, static_cast<size_t>(from.bytes()));
    } else {
      vectors_->axpy_block(1.0, from.data, to.data, from.type, from.elements);
    }
  }

  /// Adds what the ghost's next micro-batch brought to what its lane has of the ghost.
  void add_part(int32_t sum, const Micro& micro, int32_t lane) {
    const auto start = Clock::now();
    Lane& state = lanes_state_[static_cast<size_t>(lane)];
    if (sum == loss_sum()) {
      state.loss.loss += state.part_loss.loss;
      state.loss.correct += state.part_loss.correct;
    } else {
      const Kernels& k = c_->kernels[static_cast<size_t>(sum / 2)];
      const AffineGradient part = part_gradient(k, state), to = lane_gradient(k, state);
      add(part.weights, to.weights, false);
      if (part.bias.data != nullptr) add(part.bias, to.bias, false);
    }
    record(lane, Extra::kCommit, start, micro.index);
  }

  /// Adds part `index` of a sum, which lies in the memory of lane `of`; the caller runs on lane `by`.
  void apply(int32_t sum, int64_t index, int32_t of, int32_t by) {
    const Lane& lane = lanes_state_[static_cast<size_t>(of)];
    if (sum == loss_sum()) {
      result_.loss += lane.loss.loss;
      result_.correct += lane.loss.correct;
      ++parts_;
      return;
    }
    const size_t i = static_cast<size_t>(sum / 2);
    const Operation& op = c_->graph.list()[i];
    const Kernels& k = c_->kernels[i];
    if (sum % 2 == 1) {
      const Micro& micro = micro_of(of);
      const Statistics s = statistics_of(sum / 2, micro);
      std::vector<int64_t>& places = lanes_state_[static_cast<size_t>(by)].places;
      for (int32_t g = 0; g < s.ghosts; ++g) {
        const int64_t rows = micro.span != nullptr ? micro.span->rows : s.offsets[g + 1] - s.offsets[g];
        places[static_cast<size_t>(g)] = rows * k.norm->spec().spatial();
      }
      statistics_update_->add(i, s.mean, s.variance, places.data(), s.ghosts);
      return;
    }
    const bool first = index == 0;
    const DataType type = parameter_type(c_->spec.type);
    const View gradients = gradients_->view();
    if (k.affine) {
      const AffineGradient part = lane_gradient(k, lane);
      const int64_t elements = part.weights.elements;
      add(part.weights,
          k.affine->packs_diff_weights() ? View(sums_.at(k.sum * size_of(type)), elements, type)
                                         : slice(gradients, op.weights_offset, elements),
          first);
      if (part.bias.data != nullptr) add(part.bias, slice(gradients, op.bias_offset, part.bias.elements), first);
    } else {
      const int64_t channels = k.norm->spec().channels;
      add(diff_gamma(k, lane), slice(gradients, op.weights_offset, channels), first);
      add(diff_beta(k, lane), slice(gradients, op.bias_offset, channels), first);
    }
    if (step_->part_norms) squares_[i] += part_square(i, lane, by);
  }

  /// n ||G||^2 of the part of a gradient that lies in a lane's memory as G n / B, for n of the batch's B rows. Weights
  /// are brought to their natural layout in the place that their sum takes at the end of the step.
  double part_square(size_t i, const Lane& lane, int32_t by) const {
    const Kernels& k = c_->kernels[i];
    double square = 0;
    if (k.norm) {
      square = square_of(diff_gamma(k, lane)) + square_of(diff_beta(k, lane));
    } else {
      const AffineGradient part = lane_gradient(k, lane);
      View weights = part.weights;
      if (k.affine->packs_diff_weights()) {
        weights = slice(gradients_->view(), c_->graph.list()[i].weights_offset, k.affine->weights_elements());
        k.affine->unpack_diff_weights(part.weights, weights, scratch(by));
      }
      square = square_of(weights) + (part.bias.data != nullptr ? square_of(part.bias) : 0);
    }
    const double batch = static_cast<double>(batch_);
    return batch * batch / static_cast<double>(lane.rows[i]) * square;
  }
  double square_of(const View& x) const { return vectors_->dot_block(x.data, x.data, x.type, x.elements); }

  // Batch norm.

  View diff_gamma(const Kernels& k, const Lane& lane) const {
    return lane_gradient(lane, k.lane_gradient, k.norm->spec().channels);
  }
  View diff_beta(const Kernels& k, const Lane& lane) const {
    const int64_t channels = k.norm->spec().channels;
    return lane_gradient(lane, k.lane_gradient + round_up(channels, kLine), channels);
  }

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
    const auto statistics = [&](int32_t buffer) {  // these outlive a pass: never in a lane's arena
      const Buffer& b = c_->plan.buffers[static_cast<size_t>(buffer)];
      return View((micro.span != nullptr ? micro.span->micros[0] : micro).arena + b.offset, b.elements, b.type);
    };
    View mean = statistics(c_->plan.mean[i]), variance = statistics(c_->plan.variance[i]);
    if (micro.span != nullptr) {
      mean.elements = variance.elements = channels;
      return {mean, variance, micro.whole, 1};
    }
    mean.elements = variance.elements = micro.ghosts * channels;
    return {mean, variance, micro.offsets.data(), micro.ghosts};
  }

  static View partial(const Micro& micro, int64_t channels) {
    const Span& span = *micro.span;
    return View(span.partials + (&micro - span.micros) * 2 * channels, 2 * channels, DataType::f64);
  }

  /// Statistics of a ghost from those of its micro-batches, in their order.
  void meet_forward(int32_t operation, Span& span, int32_t lane) {
    const auto start = Clock::now();
    const GhostBatchNorm& norm = *c_->kernels[static_cast<size_t>(operation)].norm;
    const Statistics s = statistics_of(operation, span.micros[0]);
    const View partials(span.partials, span.count * 2 * norm.spec().channels, DataType::f64);
    norm.combine(partials, span.micro_rows.data(), span.count, s.mean, s.variance);
    record(lane, Extra::kCommit, start, span.traced);
    if (step_->mode == NormMode::train) commit(statistics_sum(operation), span.ghost, lane, span.traced);
  }

  /// Sums of a ghost from those of its micro-batches, in their order: sum g, the gradient of beta, and sum g xhat, that
  /// of gamma.
  void meet_backward(int32_t operation, Span& span, int32_t lane) {
    await(gradient_sum(operation), lane);
    const auto start = Clock::now();
    const Kernels& k = c_->kernels[static_cast<size_t>(operation)];
    const int64_t channels = k.norm->spec().channels;
    std::fill(span.sums.begin(), span.sums.end(), 0.0);
    for (int32_t m = 0; m < span.count; ++m) {
      const double* sums = partial(span.micros[m], channels).as<double>();
      for (size_t c = 0; c < static_cast<size_t>(2 * channels); ++c) span.sums[c] += sums[c];
    }
    const Lane& state = lanes_state_[static_cast<size_t>(lane)];
    const View beta = diff_beta(k, state), gamma = diff_gamma(k, state);
    for (int64_t c = 0; c < channels; ++c) {
      set(beta, c, span.sums[static_cast<size_t>(c)]);
      set(gamma, c, span.sums[static_cast<size_t>(channels + c)]);
    }
    record(lane, Extra::kCommit, start, span.traced);
    rows_of(gradient_sum(operation), lane) = span.rows;
    commit(gradient_sum(operation), span.ghost, lane, span.traced);
  }

  static void set(const View& view, int64_t i, double value) {
    if (view.type == DataType::f64) {
      view.as<double>()[i] = value;
    } else {
      view.as<float>()[i] = static_cast<float>(value);
    }
  }

  void execute(const Instruction& instruction, Micro& micro, int32_t lane_number);
  void zero_unused_rows(const Micro& micro, const View& view) const {
    if (micro.rows == c_->spec.micro_batch) return;
    const int64_t row = view.elements / c_->spec.micro_batch;
    c_->elementwise->zero(view, micro.rows * row, view.elements - micro.rows * row);
  }
  void copy_out(const Micro& micro, const View& from, void* to) const;

  Device& device_;
  Lanes& lanes_;
  std::unique_ptr<Compiled> c_;
  const int64_t bytes_;
  Owned<BlockVectorKernels> vectors_;
  Owned<Tensor> parameters_, gradients_, statistics_;
  std::unique_ptr<RunningStatisticsUpdate> statistics_update_;  // null without norms
  Block packed_;    // weights in the kernels' layouts
  Block sums_;      // gradients of weights in kernels' own layouts, committed so far
  Block partials_;  // of the spans
  Block signs_;     // of the gradient of the input in the last step that recorded them, u8 [recorded_, H, W, C]
  int64_t recorded_ = 0;
  std::vector<Block> arenas_;
  std::vector<Micro> micros_;  // one an arena: a lane's, one after another, then those that only a shared ghost has
  std::vector<Span> spans_;    // one a lane where each runs whole ghosts, or the one that all share
  std::vector<Lane> lanes_state_;
  OrderedSums sums_in_order_;
  Profile profile_;
  bool packed_valid_ = false;

  // The step being run.
  const StepSpec* step_ = nullptr;
  const Samples* samples_ = nullptr;
  const int32_t* indices_ = nullptr;
  const float* weights_ = nullptr;
  void* logits_ = nullptr;
  void* input_gradient_ = nullptr;
  int64_t batch_ = 0;
  GhostsOfStep ghosts_;
  LossResult result_;
  int64_t parts_ = 0;
  std::vector<double> squares_;  // of each operation's gradient, over the parts so far
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
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

void PassEngine::execute(const Instruction& in, Micro& micro, int32_t lane_number) {
  Lane& lane = lanes_state_[static_cast<size_t>(lane_number)];
  const auto buffer = [&](int32_t b) { return in_arena(micro, lane, b); };
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
      if (step_->adversary == Adversary::apply) {
        c_->loader->perturb(signs(micro), micro.rows, step_->adversary_epsilon, buffer(in.dst));
      }
      return;
    }
    case Code::affine_forward: {
      View bias;
      if (k->affine->bias_elements() > 0) bias = parameter(op->bias_offset, k->affine->bias_elements());
      k->affine->forward(buffer(in.src), packed_weights(*k), bias.data ? &bias : nullptr, buffer(in.dst),
                         scratch(lane_number));
      return;
    }
    case Code::affine_backward_weights: {
      const View src = buffer(in.src), diff_dst = buffer(in.src2);
      zero_unused_rows(micro, src);
      zero_unused_rows(micro, diff_dst);
      const AffineGradient to = micro.first ? lane_gradient(*k, lane) : part_gradient(*k, lane);
      k->affine->backward_weights(src, diff_dst, to.weights, to.bias.data ? &to.bias : nullptr, scratch(lane_number));
      return;
    }
    case Code::affine_backward_data:
      k->affine->backward_data(buffer(in.src), packed_weights(*k), buffer(in.dst), scratch(lane_number));
      return;

    case Code::norm_statistics:
      k->norm->statistics(buffer(in.src), micro.rows, partial(micro, k->norm->spec().channels));
      return;
    case Code::norm_forward:
    case Code::norm_recompute: {
      const int64_t channels = k->norm->spec().channels;
      const View gamma = parameter(op->weights_offset, channels), beta = parameter(op->bias_offset, channels);
      View residual;
      if (in.src2 >= 0) residual = buffer(in.src2);
      const View* r = residual.data ? &residual : nullptr;
      const Statistics s = statistics_of(in.operation, micro);
      if (in.code == Code::norm_recompute || running || micro.span != nullptr) {
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
                               beta, optional(diff_residual), micro.rows, partial(micro, channels));
        return;
      }
      if (micro.span != nullptr) {
        const View sums(const_cast<double*>(micro.span->sums.data()), 2 * channels, DataType::f64);
        k->norm->backward_apply(buffer(in.src), buffer(in.src2), s.mean, s.variance, gamma, beta,
                                optional(diff_residual), sums, micro.span->rows, micro.rows, buffer(in.dst));
        return;
      }
      k->norm->backward(buffer(in.src), optional(y), buffer(in.src2), optional(g2), s.mean, s.variance, gamma, beta,
                        buffer(in.dst), optional(diff_residual), diff_gamma(*k, lane), diff_beta(*k, lane), s.offsets,
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
      const DropoutKey key{step_->seed, op->dropout_layer, step_->step, step_->first_row + micro.first_row};
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
                    1.0 / static_cast<double>(batch_), diff_logits.data ? &diff_logits : nullptr,
                    micro.first ? lane.loss : lane.part_loss);
      return;
    }
    case Code::give_input_gradient:
      if (input_gradient_ != nullptr) copy_out(micro, buffer(in.src), input_gradient_);
      if (step_->adversary == Adversary::record) {
        c_->elementwise->sign(buffer(in.src), signs(micro), micro.rows * input_elements());
      }
      return;
  }
}

const Graph& graph_of(const Network& network) { return static_cast<const Graph&>(network); }

}  // namespace

int64_t Engine::predict_bytes(Device& device, int32_t lanes, const Network& network, const EngineSpec& spec) {
  return device.predict_engine_bytes(lanes, network, spec);
}

Engine* Engine::create(Device& device, Lanes& lanes, const Network& network, const EngineSpec& spec) {
  return device.make_engine(lanes, network, spec);
}

int64_t HostDevice::predict_engine_bytes(int32_t lanes, const Network& network, const EngineSpec& spec) {
  return Compiled(*this, graph_of(network), spec).bytes(lanes);
}

Engine* HostDevice::make_engine(Lanes& lanes, const Network& network, const EngineSpec& spec) {
  auto compiled = std::make_unique<Compiled>(*this, graph_of(network), spec);
  const int32_t threads = lanes.threads();
  const int64_t free = available_bytes();
  if (compiled->bytes(threads) > free) throw Error(compiled->cannot_fit(threads, free));
  return new PassEngine(*this, lanes, std::move(compiled));
}

}  // namespace ghostbatch
