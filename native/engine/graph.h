#pragma once

#include <string>
#include <vector>

#include "ghostbatch/network.h"

namespace ghostbatch {

enum class OperationKind { convolution, linear, norm, relu, add, pool, dropout };

/// One operation of a network, as described: specs without batch and type.
struct Operation {
  OperationKind kind;
  std::string name;
  int32_t src = -1;
  int32_t src2 = -1;  // second summand, or residual of a norm
  int32_t dst = -1;
  ConvolutionSpec convolution;
  LinearSpec linear;
  PoolSpec pool;
  bool relu = false;
  double epsilon = 0;
  double rate = 0;               // of dropout
  uint32_t dropout_layer = 0;    // number among the network's dropouts
  int64_t weights_offset = -1;   // gamma for a norm
  int64_t bias_offset = -1;      // beta for a norm
  int64_t statistics_offset = -1;

  Operation(OperationKind kind_, const char* name_, int32_t src_, int32_t src2_ = -1)
      : kind(kind_), name(name_), src(src_), src2(src2_) {}
  bool affine() const { return kind == OperationKind::convolution || kind == OperationKind::linear; }
};

struct Value {
  int64_t height, width, channels;
  int32_t producer;  // operation, -1 for the input
  int64_t row_elements() const { return height * width * channels; }
};

/// The description behind `Network`.
class Graph : public Network {
 public:
  Graph(int64_t height, int64_t width, int64_t channels);
  Graph(const Graph& other)
      : operations_(other.operations_), values_(other.values_), used_(other.used_), parameters_(other.parameters_),
        statistics_(other.statistics_), dropouts_(other.dropouts_) {}

  int32_t convolution(const char* name, int32_t src, const ConvolutionSpec& spec, int64_t weights_offset,
                      int64_t bias_offset) override;
  int32_t linear(const char* name, int32_t src, const LinearSpec& spec, int64_t weights_offset,
                 int64_t bias_offset) override;
  int32_t ghost_batch_norm(const char* name, int32_t src, int32_t residual, bool relu, double epsilon,
                           int64_t gamma_offset, int64_t beta_offset, int64_t statistics_offset) override;
  int32_t relu(const char* name, int32_t src) override;
  int32_t add(const char* name, int32_t a, int32_t b, bool relu) override;
  int32_t pool(const char* name, int32_t src, const PoolSpec& spec) override;
  int32_t dropout(const char* name, int32_t src, double rate) override;

  int64_t value_height(int32_t value) const override { return at("value_height", value).height; }
  int64_t value_width(int32_t value) const override { return at("value_width", value).width; }
  int64_t value_channels(int32_t value) const override { return at("value_channels", value).channels; }
  int32_t operations() const override { return static_cast<int32_t>(operations_.size()); }
  int64_t parameters() const override { return parameters_; }
  int64_t statistics() const override { return statistics_; }

  const std::vector<Operation>& list() const { return operations_; }
  const std::vector<Value>& values() const { return values_; }
  bool has_norm() const { return statistics_ > 0; }

 private:
  const Value& at(const char* what, int32_t value) const;
  int32_t push(Operation operation, int64_t height, int64_t width, int64_t channels);
  void use_parameters(const char* name, int64_t offset, int64_t elements);

  std::vector<Operation> operations_;
  std::vector<Value> values_;
  std::vector<std::pair<int64_t, int64_t>> used_;  // ranges of the parameter vector
  int64_t parameters_ = 0;
  int64_t statistics_ = 0;
  uint32_t dropouts_ = 0;
};

}  // namespace ghostbatch
