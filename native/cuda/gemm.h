// Matrix products through cuBLASLt: C [m,n] = alpha op(A) op(B) + beta C, + bias [n], then max(0, .), row-major as
// ghostbatch/gemm.h has it; and beside a weight gradient that of the bias.
//
// A product moves (m k + k n + m n (1, or 2 with beta)) elements and computes 2 m n k flops; the floor is the larger of
// the two times, 4.3 TB/s and 790 TFLOP/s in bf16 (60 in f32). F1's 6000 x 512 x 512 in bf16: 12.8 MB, 3.0 us; 3.1
// GFLOP, 4.0 us. The bias costs nothing where the epilogue takes it, and reading C again, 1.4 us each way, where not.
#pragma once

#include <mutex>
#include <string>

#include "cuda/cublaslt.h"
#include "ghostbatch/gemm.h"

namespace ghostbatch::cuda {

/// A product, with what cuBLASLt can do beside it.
struct MatmulSpec {
  GemmSpec gemm;                    // f32 or bf16; its type is that of A and B
  DataType result = DataType::f32;  // of C: that of A and B, or f32
  bool bias_gradient = false;       // also the sum of op(A) over k, [m]; excludes bias and relu
  bool tf32 = false;                // f32 operands may be rounded to TF32
};

/// A product in cuBLASLt's terms, where matrices are column-major: what lies in memory row-major as [r,c] is [c,r] to
/// it, so it is asked for transpose(C) [n,m] = op(B)^T op(A)^T. Its left operand is B, its right operand A.
struct MatmulPlan {
  struct Matrix {
    int32_t type;  // CUDA_R_*
    int64_t rows, columns, leading_dimension;
  };
  Matrix left, right, result;
  int32_t transpose_left, transpose_right;  // CUBLAS_OP_*
  int32_t compute_type;                     // CUBLAS_COMPUTE_*
  int32_t epilogue;                         // CUBLASLT_EPILOGUE_*
};

/// The plan for a product, with all that the spec asks for in the epilogue. Error for types that cuBLASLt has no such
/// product of.
MatmulPlan plan_matmul(const MatmulSpec& spec);

/// Device memory of a product, each 16 bytes aligned.
struct MatmulTensors {
  const void* a;
  const void* b;
  void* c;
  void* bias;  // [n], of the type of C, or where bias_gradient is asked for, that [m], of the type of C; else null
};

/// A product, ready to run: descriptors made, algorithm chosen by cuBLASLt's heuristics among those that sum in f32 in
/// a fixed order. Enqueues only, and may be captured. The same bits for the same arguments, on any stream. Threads may
/// share it, each with its own workspace.
class Matmul {
 public:
  /// Error where no algorithm does with `most_workspace_bytes`.
  Matmul(const CublasLtHandle& handle, const MatmulSpec& spec, int64_t most_workspace_bytes);

  /// `workspace` [workspace_bytes()] is aligned to 256 bytes.
  void run(const MatmulTensors& tensors, void* workspace, Stream stream) const;

  int64_t workspace_bytes() const { return workspace_bytes_; }
  /// Whether `run` does all of the spec. False: cuBLASLt has no such epilogue, and bias and ReLU, or the gradient of
  /// the bias, are left to the caller; the tensors' bias is null.
  bool fused() const { return fused_; }
  const char* implementation() const { return "cublaslt"; }

 private:
  bool choose(const MatmulPlan& plan, int64_t most_workspace_bytes, std::string& reason);

  const CublasLtHandle& handle_;
  float alpha_;
  float beta_;
  bool fused_ = true;
  bool has_vector_;  // bias, or gradient of one
  int64_t workspace_bytes_ = 0;
  CublasLtAlgorithm algorithm_{};
  CublasLtObject operation_, left_, right_, result_;
  mutable std::mutex mutex_;  // the bias is an attribute of the operation
};

}  // namespace ghostbatch::cuda
