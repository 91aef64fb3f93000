// The description of a network that the engine compiles: operations in order, each on values made before it.
#pragma once

#include "ghostbatch/affine.h"
#include "ghostbatch/ghost_batch_norm.h"
#include "ghostbatch/pooling.h"
#include "ghostbatch/types.h"

namespace ghostbatch {

/// Operations in topological order on values [N,H,W,C]; value 0 is the input. Every adding function returns the number
/// of the value it makes; the value of the last operation is the output (logits, H = W = 1). Specs come without batch
/// and type (the engine sets them) and their sizes must match the source value. Offsets are in elements, into the
/// parameter vector, or into the vector of running statistics: mean [C] at the offset, variance [C] behind it.
class Network : public Resource {
 public:
  static Network* create(int64_t height, int64_t width, int64_t channels);

  /// `bias` is read from bias_offset where spec.bias. `name` is for profiles and errors.
  virtual int32_t convolution(const char* name, int32_t src, const ConvolutionSpec& spec, int64_t weights_offset,
                              int64_t bias_offset) = 0;
  /// Takes the source value flattened in NHWC order: spec.in = H * W * C.
  virtual int32_t linear(const char* name, int32_t src, const LinearSpec& spec, int64_t weights_offset,
                         int64_t bias_offset) = 0;
  /// residual: a value of the same shape, or -1.
  virtual int32_t ghost_batch_norm(const char* name, int32_t src, int32_t residual, bool relu, double epsilon,
                                   int64_t gamma_offset, int64_t beta_offset, int64_t statistics_offset) = 0;
  virtual int32_t relu(const char* name, int32_t src) = 0;
  virtual int32_t add(const char* name, int32_t a, int32_t b, bool relu) = 0;
  virtual int32_t pool(const char* name, int32_t src, const PoolSpec& spec) = 0;
  virtual int32_t dropout(const char* name, int32_t src, double rate) = 0;

  virtual int64_t value_height(int32_t value) const = 0;
  virtual int64_t value_width(int32_t value) const = 0;
  virtual int64_t value_channels(int32_t value) const = 0;
  virtual int32_t operations() const = 0;
  /// One past the largest parameter, and statistics, element used.
  virtual int64_t parameters() const = 0;
  virtual int64_t statistics() const = 0;

 protected:
  Network() = default;
};

}  // namespace ghostbatch
