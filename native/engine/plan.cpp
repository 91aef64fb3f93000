#include "engine/plan.h"

#include <algorithm>
#include <string>

namespace ghostbatch {
namespace {

constexpr int64_t kAlignment = 256;  // keeps buffers off one another's cache lines and vectors aligned

class Lowering {
 public:
  Lowering(Plan& plan, const Graph& graph, const EngineSpec& spec, int64_t ghosts)
      : plan_(plan), graph_(graph), spec_(spec), ghosts_(ghosts) {}

  void run() {
    analyse();
    forward();
    if (spec_.backward) backward();
    for (int32_t statistics : lasting_) plan_.buffers[static_cast<size_t>(statistics)].last = now() - 1;
    if (spec_.ghost_per_lane && graph_.has_norm() && spec_.ghost > spec_.micro_batch) give_to_lanes();
    plan_.arena_bytes = place(false);
    plan_.lane_arena_bytes = place(true);
  }

 private:
  /// A gradient of a value, in a buffer that other values' gradients may share.
  struct Gradient {
    int32_t buffer;
    bool shared;
  };

  const Value& value(int32_t v) const { return graph_.values()[static_cast<size_t>(v)]; }
  int32_t now() const { return static_cast<int32_t>(plan_.instructions.size()); }

  int32_t buffer(int64_t elements, DataType type) {
    plan_.buffers.push_back({elements, type, now(), now(), -1});
    return static_cast<int32_t>(plan_.buffers.size()) - 1;
  }
  int32_t value_buffer(int32_t v) { return buffer(spec_.micro_batch * value(v).row_elements(), spec_.type); }

  void use(int32_t buffer) {
    if (buffer >= 0) plan_.buffers[static_cast<size_t>(buffer)].last = now();
  }
  void emit(Instruction instruction) {
    for (int32_t b : {instruction.src, instruction.src2, instruction.src3, instruction.dst, instruction.dst2,
                      instruction.aux}) {
      use(b);
    }
    plan_.instructions.push_back(instruction);
  }

  void analyse() {
    const size_t n = graph_.values().size();
    consumers_.assign(n, 0);
    kept_.assign(n, false);
    wants_input_.assign(n, false);
    for (const Operation& op : graph_.list()) {
      ++consumers_[static_cast<size_t>(op.src)];
      if (op.src2 >= 0) ++consumers_[static_cast<size_t>(op.src2)];
      if (!spec_.backward) continue;
      if (op.affine()) wants_input_[static_cast<size_t>(op.src)] = true;
      if (op.kind == OperationKind::norm) {
        kept_[static_cast<size_t>(op.src)] = true;
        if (op.relu && op.src2 >= 0) kept_[static_cast<size_t>(op.dst)] = true;
      }
      if (op.kind == OperationKind::relu || (op.kind == OperationKind::add && op.relu)) {
        kept_[static_cast<size_t>(op.dst)] = true;
      }
    }
    recomputed_.assign(n, false);
    for (size_t v = 0; v < n; ++v) {
      if (v + 1 < n && consumers_[v] == 0) {
        throw Error("[network] needs every value to be used, got value " + std::to_string(v) + " of " +
                    (value(static_cast<int32_t>(v)).producer < 0
                         ? std::string("the input")
                         : graph_.list()[static_cast<size_t>(value(static_cast<int32_t>(v)).producer)].name) +
                    " without a use");
      }
      if (!wants_input_[v] || kept_[v]) continue;
      const int32_t producer = value(static_cast<int32_t>(v)).producer;
      const bool cheap = producer >= 0 && graph_.list()[static_cast<size_t>(producer)].kind == OperationKind::norm &&
                         graph_.list()[static_cast<size_t>(producer)].src2 < 0;
      if (cheap) {
        recomputed_[v] = true;
      } else {
        kept_[v] = true;
      }
    }
  }

  /// The buffer of dst: that of src where nobody needs src afterwards.
  int32_t output(const Operation& op) {
    const size_t src = static_cast<size_t>(op.src);
    const bool last = consumers_[src] == 1 && !kept_[src] && op.src != 0 &&
                      value(op.src).row_elements() == value(op.dst).row_elements();
    values_.push_back(last ? values_[src] : value_buffer(op.dst));
    return values_.back();
  }

  void forward() {
    plan_.labels = buffer(spec_.micro_batch, DataType::s32);
    values_.push_back(value_buffer(0));
    emit({.code = Code::load, .dst = values_[0], .aux = plan_.labels});
    plan_.mean.assign(graph_.list().size(), -1);
    plan_.variance.assign(graph_.list().size(), -1);
    workspace_.assign(graph_.list().size(), -1);
    for (size_t i = 0; i < graph_.list().size(); ++i) {
      const Operation& op = graph_.list()[i];
      const int32_t index = static_cast<int32_t>(i);
      const int32_t src = values_[static_cast<size_t>(op.src)];
      const int32_t src2 = op.src2 < 0 ? -1 : values_[static_cast<size_t>(op.src2)];
      switch (op.kind) {
        case OperationKind::convolution:
        case OperationKind::linear:
          values_.push_back(value_buffer(op.dst));
          emit({.code = Code::affine_forward, .operation = index, .src = src, .dst = values_.back()});
          break;
        case OperationKind::norm: {
          const DataType type = parameter_type(spec_.type);
          plan_.mean[i] = buffer(ghosts_ * value(op.dst).channels, type);
          plan_.variance[i] = buffer(ghosts_ * value(op.dst).channels, type);
          lasting_.insert(lasting_.end(), {plan_.mean[i], plan_.variance[i]});
          emit({.code = Code::norm_statistics, .operation = index, .src = src});
          const int32_t dst = output(op);
          emit({.code = Code::norm_forward, .operation = index, .src = src, .src2 = src2, .dst = dst});
          break;
        }
        case OperationKind::relu: {
          const int32_t dst = output(op);
          emit({.code = Code::relu, .operation = index, .src = src, .dst = dst});
          break;
        }
        case OperationKind::add: {
          const int32_t dst = output(op);
          emit({.code = Code::add, .operation = index, .src = src, .src2 = src2, .dst = dst});
          break;
        }
        case OperationKind::pool:
          values_.push_back(value_buffer(op.dst));
          if (spec_.backward && op.pool.kind == PoolKind::max) {
            workspace_[i] = buffer(spec_.micro_batch * value(op.dst).row_elements(), DataType::u8);
          }
          emit({.code = Code::pool, .operation = index, .src = src, .dst = values_.back(), .aux = workspace_[i]});
          break;
        case OperationKind::dropout: {
          const int32_t dst = output(op);
          emit({.code = Code::dropout, .operation = index, .src = src, .dst = dst});
          break;
        }
      }
    }
    plan_.logits = values_.back();
    plan_.loss = now();
    int32_t diff_logits = -1;
    if (spec_.backward) diff_logits = value_buffer(static_cast<int32_t>(values_.size()) - 1);
    emit({.code = Code::loss, .src = plan_.logits, .dst = diff_logits, .aux = plan_.labels});
    gradients_.resize(values_.size());
    if (spec_.backward) gradients_.back().push_back({diff_logits, false});
  }

  /// One buffer with the sum of a value's gradients.
  Gradient total(int32_t v) {
    std::vector<Gradient>& list = gradients_[static_cast<size_t>(v)];
    while (list.size() > 1) {
      const Gradient a = list[list.size() - 2];
      const Gradient b = list.back();
      list.pop_back();
      const int32_t sum = !a.shared ? a.buffer : !b.shared ? b.buffer : value_buffer(v);
      emit({.code = Code::gradient_add, .src = a.buffer, .src2 = b.buffer, .dst = sum});
      list.back() = {sum, false};
    }
    return list.front();
  }

  bool needs_gradient(int32_t v) const { return v != 0 || spec_.input_gradient; }
  void give(int32_t v, int32_t buffer, bool shared) {
    gradients_[static_cast<size_t>(v)].push_back({buffer, shared});
  }

  void backward() {
    recompute_.assign(values_.size(), -1);
    for (size_t i = graph_.list().size(); i-- > 0;) {
      const Operation& op = graph_.list()[i];
      const int32_t index = static_cast<int32_t>(i);
      switch (op.kind) {
        case OperationKind::convolution:
        case OperationKind::linear: {
          const Gradient g = total(op.dst);
          emit({.code = Code::affine_backward_weights, .operation = index, .src = input_of(op), .src2 = g.buffer});
          if (needs_gradient(op.src)) {
            const int32_t dst = value_buffer(op.src);
            emit({.code = Code::affine_backward_data, .operation = index, .src = g.buffer, .dst = dst,
                  .for_input = op.src == 0});
            give(op.src, dst, false);
          }
          break;
        }
        case OperationKind::norm:
          norm_backward(op, index);
          break;
        case OperationKind::relu: {
          const int32_t g = total(op.dst).buffer;
          const int32_t dst = writable(op.dst, g);
          emit({.code = Code::relu_backward, .operation = index, .src = values_[static_cast<size_t>(op.dst)],
                .src2 = g, .dst = dst});
          give(op.src, dst, false);
          break;
        }
        case OperationKind::add: {
          int32_t g = total(op.dst).buffer;
          if (op.relu) {
            const int32_t dst = writable(op.dst, g);
            emit({.code = Code::relu_backward, .operation = index, .src = values_[static_cast<size_t>(op.dst)],
                  .src2 = g, .dst = dst});
            g = dst;
          }
          give(op.src, g, true);
          give(op.src2, g, true);
          break;
        }
        case OperationKind::pool: {
          const Gradient g = total(op.dst);
          const int32_t dst = value_buffer(op.src);
          emit({.code = Code::pool_backward, .operation = index, .src = g.buffer, .dst = dst, .aux = workspace_[i]});
          give(op.src, dst, false);
          break;
        }
        case OperationKind::dropout: {
          const int32_t g = total(op.dst).buffer;
          const int32_t dst = writable(op.dst, g);
          emit({.code = Code::dropout_backward, .operation = index, .src = g, .dst = dst});
          give(op.src, dst, false);
          break;
        }
      }
    }
    if (!spec_.input_gradient) return;
    const int32_t first = now();
    emit({.code = Code::give_input_gradient, .src = total(0).buffer});
    for (int32_t i = first; i < now(); ++i) plan_.instructions[static_cast<size_t>(i)].for_input = true;
  }

  /// g itself where only value v holds it, else a new buffer.
  int32_t writable(int32_t v, int32_t g) {
    const std::vector<Gradient>& list = gradients_[static_cast<size_t>(v)];
    return list.size() == 1 && list[0].buffer == g && !list[0].shared ? g : value_buffer(v);
  }

  /// The source of an affine operation, for its gradient of weights: kept, or computed again now.
  int32_t input_of(const Operation& op) {
    const size_t v = static_cast<size_t>(op.src);
    if (!recomputed_[v]) return values_[v];
    if (recompute_[v] < 0) {
      const int32_t producer = value(op.src).producer;
      recompute_[v] = value_buffer(op.src);
      emit({.code = Code::norm_recompute,
            .operation = producer,
            .src = values_[static_cast<size_t>(graph_.list()[static_cast<size_t>(producer)].src)],
            .dst = recompute_[v]});
    }
    return recompute_[v];
  }

  void norm_backward(const Operation& op, int32_t index) {
    std::vector<Gradient>& list = gradients_[static_cast<size_t>(op.dst)];
    const bool residual = op.src2 >= 0;
    Gradient g{}, g2{-1, false};
    if (residual && list.size() == 2) {  // the kernel forms the sum itself
      g = list[0];
      g2 = list[1];
    } else {
      g = total(op.dst);
    }
    const int32_t x = values_[static_cast<size_t>(op.src)];
    const int32_t y = op.relu && residual ? values_[static_cast<size_t>(op.dst)] : -1;
    const int32_t diff_residual = !residual ? -1 : g.shared ? value_buffer(op.dst) : g.buffer;
    const auto both = [&](Code code, int32_t dst) {
      emit({.code = code, .operation = index, .src = x, .src2 = g.buffer, .src3 = g2.buffer, .dst = dst,
            .dst2 = diff_residual, .aux = y});
    };
    both(Code::norm_backward_sums, -1);
    const int32_t diff_src = residual || g.shared ? value_buffer(op.dst) : g.buffer;
    both(Code::norm_backward, diff_src);
    give(op.src, diff_src, false);
    if (residual) give(op.src2, diff_residual, false);
  }

  /// All buffers that do not live beyond an instruction where micro-batches of a ghost meet.
  void give_to_lanes() {
    for (Buffer& buffer : plan_.buffers) {
      const auto begin = plan_.instructions.begin();
      buffer.of_lane = std::none_of(begin + buffer.first, begin + buffer.last,
                                    [](const Instruction& instruction) { return instruction.meets(); });
    }
  }

  /// Places the buffers of an arena, of the lane's or the micro-batch's, and gives its size: largest first, each at the
  /// lowest place where nothing that lives at the same time lies.
  int64_t place(bool of_lane) {
    std::vector<int32_t> order;
    for (size_t b = 0; b < plan_.buffers.size(); ++b) {
      if (plan_.buffers[b].of_lane == of_lane) order.push_back(static_cast<int32_t>(b));
    }
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return plan_.buffers[static_cast<size_t>(a)].bytes() > plan_.buffers[static_cast<size_t>(b)].bytes();
    });
    std::vector<const Buffer*> placed;  // by offset
    int64_t bytes = 0;
    for (int32_t b : order) {
      Buffer& buffer = plan_.buffers[static_cast<size_t>(b)];
      int64_t offset = 0;
      for (const Buffer* other : placed) {
        if (other->last < buffer.first || buffer.last < other->first) continue;
        if (offset + buffer.bytes() <= other->offset) break;
        offset = std::max(offset, other->offset + (other->bytes() + kAlignment - 1) / kAlignment * kAlignment);
      }
      buffer.offset = offset;
      bytes = std::max(bytes, offset + buffer.bytes());
      placed.insert(std::upper_bound(placed.begin(), placed.end(), &buffer,
                                     [](const Buffer* a, const Buffer* c) { return a->offset < c->offset; }),
                    &buffer);
    }
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  Plan& plan_;
  const Graph& graph_;
  const EngineSpec& spec_;
  const int64_t ghosts_;
  std::vector<int32_t> consumers_;                     // per value
  std::vector<bool> kept_, wants_input_, recomputed_;  // per value: needed by backward as it is; by a gradient of weights
  std::vector<int32_t> values_;                        // buffer per value
  std::vector<int32_t> recompute_;                     // buffer per value, made in backward
  std::vector<int32_t> workspace_;                     // buffer per operation
  std::vector<int32_t> lasting_;                       // statistics: committed at the end of the pass
  std::vector<std::vector<Gradient>> gradients_;       // per value
};

}  // namespace

Plan::Plan(const Graph& graph, const EngineSpec& spec, int64_t ghosts_per_micro_batch) {
  Lowering(*this, graph, spec, ghosts_per_micro_batch).run();
}

}  // namespace ghostbatch
