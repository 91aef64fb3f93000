#include "engine/graph.h"

#include <algorithm>
#include <memory>

namespace ghostbatch {
namespace {

constexpr int64_t kLargest = int64_t{1} << 40;  // sizes and offsets beyond this are mistakes, and would overflow

std::string shape_text(const Value& v) {
  return "[N," + std::to_string(v.height) + "," + std::to_string(v.width) + "," + std::to_string(v.channels) + "]";
}

}  // namespace

Network* Network::create(int64_t height, int64_t width, int64_t channels) { return new Graph(height, width, channels); }

Graph::Graph(int64_t height, int64_t width, int64_t channels) {
  for (int64_t size : {height, width, channels}) {
    if (size < 1 || size > (int64_t{1} << 20)) {
      throw Error("[network] needs an input of positive height, width and channels, got [N," + std::to_string(height) +
                  "," + std::to_string(width) + "," + std::to_string(channels) + "]");
    }
  }
  values_.push_back({height, width, channels, -1});
}

const Value& Graph::at(const char* what, int32_t value) const {
  if (value < 0 || value >= static_cast<int32_t>(values_.size())) {
    throw Error(std::string("[network ") + what + "] needs a value in [0, " + std::to_string(values_.size()) +
                "), got " + std::to_string(value));
  }
  return values_[static_cast<size_t>(value)];
}

int32_t Graph::push(Operation operation, int64_t height, int64_t width, int64_t channels) {
  if (height < 1 || width < 1 || channels < 1 || height > kLargest / width / channels) {
    throw Error("[network " + operation.name + "] needs an output of positive size, got [N," + std::to_string(height) +
                "," + std::to_string(width) + "," + std::to_string(channels) + "] from source " +
                shape_text(values_[static_cast<size_t>(operation.src)]));
  }
  operation.dst = static_cast<int32_t>(values_.size());
  values_.push_back({height, width, channels, static_cast<int32_t>(operations_.size())});
  operations_.push_back(std::move(operation));
  return operations_.back().dst;
}

void Graph::use_parameters(const char* name, int64_t offset, int64_t elements) {
  if (offset < 0 || offset > kLargest || elements < 1 || elements > kLargest) {
    throw Error(std::string("[network ") + name + "] needs parameters at an offset in [0, 2^40], got offset " +
                std::to_string(offset) + ", elements " + std::to_string(elements));
  }
  for (const auto& [first, end] : used_) {
    if (offset < end && first < offset + elements) {
      throw Error(std::string("[network ") + name + "] needs parameters of its own, got [" + std::to_string(offset) +
                  ", " + std::to_string(offset + elements) + "), which overlaps [" + std::to_string(first) + ", " +
                  std::to_string(end) + ")");
    }
  }
  used_.emplace_back(offset, offset + elements);
  parameters_ = std::max(parameters_, offset + elements);
}

int32_t Graph::convolution(const char* name, int32_t src, const ConvolutionSpec& spec, int64_t weights_offset,
                           int64_t bias_offset) {
  const Value& from = at(name, src);
  if (spec.height != from.height || spec.width != from.width || spec.channels != from.channels) {
    throw Error(std::string("[network ") + name + "] needs a spec for source " + shape_text(from) + ", got [N," +
                std::to_string(spec.height) + "," + std::to_string(spec.width) + "," + std::to_string(spec.channels) +
                "]");
  }
  for (int64_t positive : {spec.filters, spec.kernel_h, spec.kernel_w, spec.stride_h, spec.stride_w, spec.dilation_h,
                           spec.dilation_w, spec.groups}) {
    if (positive < 1 || positive > (int64_t{1} << 20)) {
      throw Error(std::string("[network ") + name +
                  "] needs filters, kernel, stride, dilation and groups of at least 1, got " + std::to_string(positive));
    }
  }
  for (int64_t pad : {spec.pad_h, spec.pad_w}) {
    if (pad < 0 || pad > (int64_t{1} << 20)) {
      throw Error(std::string("[network ") + name + "] needs padding of at least 0, got " + std::to_string(pad));
    }
  }
  if (spec.channels % spec.groups != 0 || spec.filters % spec.groups != 0) {
    throw Error(std::string("[network ") + name + "] needs groups that divide channels and filters, got groups " +
                std::to_string(spec.groups) + ", channels " + std::to_string(spec.channels) + ", filters " +
                std::to_string(spec.filters));
  }
  Operation operation(OperationKind::convolution, name, src);
  operation.convolution = spec;
  operation.weights_offset = weights_offset;
  operation.bias_offset = spec.bias ? bias_offset : -1;
  use_parameters(name, weights_offset, spec.weights_elements());
  if (spec.bias) use_parameters(name, bias_offset, spec.filters);
  const int64_t reach_h = from.height + 2 * spec.pad_h - spec.dilation_h * (spec.kernel_h - 1);
  const int64_t reach_w = from.width + 2 * spec.pad_w - spec.dilation_w * (spec.kernel_w - 1);
  return push(std::move(operation), reach_h < 1 ? 0 : spec.out_height(), reach_w < 1 ? 0 : spec.out_width(),
              spec.filters);
}

int32_t Graph::linear(const char* name, int32_t src, const LinearSpec& spec, int64_t weights_offset,
                      int64_t bias_offset) {
  const Value& from = at(name, src);
  if (spec.in != from.row_elements()) {
    throw Error(std::string("[network ") + name + "] needs in = " + std::to_string(from.row_elements()) +
                ", the size of source " + shape_text(from) + ", got " + std::to_string(spec.in));
  }
  if (spec.out < 1 || spec.out > kLargest / spec.in) {
    throw Error(std::string("[network ") + name + "] needs out of at least 1, got " + std::to_string(spec.out));
  }
  Operation operation(OperationKind::linear, name, src);
  operation.linear = spec;
  operation.weights_offset = weights_offset;
  operation.bias_offset = spec.bias ? bias_offset : -1;
  use_parameters(name, weights_offset, spec.in * spec.out);
  if (spec.bias) use_parameters(name, bias_offset, spec.out);
  return push(std::move(operation), 1, 1, spec.out);
}

int32_t Graph::ghost_batch_norm(const char* name, int32_t src, int32_t residual, bool relu, double epsilon,
                                int64_t gamma_offset, int64_t beta_offset, int64_t statistics_offset) {
  const Value from = at(name, src);
  if (residual != -1) {
    const Value& other = at(name, residual);
    if (other.height != from.height || other.width != from.width || other.channels != from.channels) {
      throw Error(std::string("[network ") + name + "] needs a residual of shape " + shape_text(from) + ", got " +
                  shape_text(other));
    }
  }
  if (!(epsilon > 0)) {
    throw Error(std::string("[network ") + name + "] needs epsilon > 0, got " + std::to_string(epsilon));
  }
  if (statistics_offset < 0 || statistics_offset > kLargest) {
    throw Error(std::string("[network ") + name + "] needs a statistics offset in [0, 2^40], got " +
                std::to_string(statistics_offset));
  }
  for (const Operation& other : operations_) {
    if (other.kind != OperationKind::norm) continue;
    const int64_t channels = values_[static_cast<size_t>(other.dst)].channels;
    if (statistics_offset < other.statistics_offset + 2 * channels &&
        other.statistics_offset < statistics_offset + 2 * from.channels) {
      throw Error(std::string("[network ") + name + "] needs statistics of its own, got an offset " +
                  std::to_string(statistics_offset) + " inside those of " + other.name);
    }
  }
  Operation operation(OperationKind::norm, name, src, residual);
  operation.relu = relu;
  operation.epsilon = epsilon;
  operation.weights_offset = gamma_offset;
  operation.bias_offset = beta_offset;
  operation.statistics_offset = statistics_offset;
  use_parameters(name, gamma_offset, from.channels);
  use_parameters(name, beta_offset, from.channels);
  statistics_ = std::max(statistics_, statistics_offset + 2 * from.channels);
  return push(std::move(operation), from.height, from.width, from.channels);
}

int32_t Graph::relu(const char* name, int32_t src) {
  const Value from = at(name, src);
  Operation operation(OperationKind::relu, name, src);
  return push(std::move(operation), from.height, from.width, from.channels);
}

int32_t Graph::add(const char* name, int32_t a, int32_t b, bool relu) {
  const Value from = at(name, a);
  const Value& other = at(name, b);
  if (other.height != from.height || other.width != from.width || other.channels != from.channels) {
    throw Error(std::string("[network ") + name + "] needs two values of one shape, got " + shape_text(from) + " and " +
                shape_text(other));
  }
  Operation operation(OperationKind::add, name, a, b);
  operation.relu = relu;
  return push(std::move(operation), from.height, from.width, from.channels);
}

int32_t Graph::pool(const char* name, int32_t src, const PoolSpec& spec) {
  const Value& from = at(name, src);
  if (spec.height != from.height || spec.width != from.width || spec.channels != from.channels) {
    throw Error(std::string("[network ") + name + "] needs a spec for source " + shape_text(from) + ", got [N," +
                std::to_string(spec.height) + "," + std::to_string(spec.width) + "," + std::to_string(spec.channels) +
                "]");
  }
  if (spec.window_h < 1 || spec.window_w < 1 || spec.stride_h < 1 || spec.stride_w < 1 || spec.pad_h < 0 ||
      spec.pad_w < 0 || spec.extra_h < 0 || spec.extra_w < 0) {
    throw Error(std::string("[network ") + name + "] needs window and stride of at least 1 and padding of at least 0");
  }
  Operation operation(OperationKind::pool, name, src);
  operation.pool = spec;
  const bool fits = from.height + 2 * spec.pad_h + spec.extra_h >= spec.window_h &&
                    from.width + 2 * spec.pad_w + spec.extra_w >= spec.window_w;
  return push(std::move(operation), fits ? spec.out_height() : 0, fits ? spec.out_width() : 0, from.channels);
}

int32_t Graph::dropout(const char* name, int32_t src, double rate) {
  const Value from = at(name, src);
  if (!(rate >= 0 && rate < 1)) {
    throw Error(std::string("[network ") + name + "] needs a rate in [0, 1), got " + std::to_string(rate));
  }
  Operation operation(OperationKind::dropout, name, src);
  operation.rate = rate;
  operation.dropout_layer = dropouts_++;
  return push(std::move(operation), from.height, from.width, from.channels);
}

}  // namespace ghostbatch
