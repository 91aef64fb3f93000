// A product with bias and ReLU, whatever of it cuBLASLt takes: what Gemm and the forward pass of linear layers share.
#pragma once

#include <string>

#include "cuda/context.h"
#include "cuda/gemm.h"
#include "cuda/scratch.h"

namespace ghostbatch::cuda {

/// Bytes that an algorithm of cuBLASLt may want as its workspace: what NVIDIA's documentation advises for Hopper and
/// Blackwell. Fixed, so that the choice of algorithms does not hang on what memory is free.
constexpr int64_t kMostMatmulWorkspace = int64_t{32} << 20;

/// C = alpha op(A) op(B) + beta C + bias, then max(0, .), with the bias in f32 wherever it lies. Bias and ReLU go along
/// where cuBLASLt has such an epilogue, which wants a bias in C's type: beside bf16 it is rounded as the weights are.
/// Else they follow, in f32 upon a C that is rounded already.
class BiasedMatmul {
 public:
  /// `spec` says whether there are bias and ReLU; its result may be of any type that Matmul has.
  BiasedMatmul(const Context& context, const MatmulSpec& spec);

  /// `bias` is null where there is none; each of a, b and c is aligned to 16 bytes. Enqueues.
  void run(const void* a, const void* b, const View* bias, const View& c, const View& scratch) const;

  int64_t scratch_bytes() const { return layout_.bytes(); }
  const std::string& implementation() const { return implementation_; }

 private:
  const Context& context_;
  Matmul matmul_;
  DataType result_;
  int64_t columns_;
  bool relu_;
  ScratchLayout layout_;
  int64_t workspace_, bias_;  // places in scratch
  std::string implementation_;
};

}  // namespace ghostbatch::cuda
