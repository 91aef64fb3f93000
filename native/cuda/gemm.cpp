#include "cuda/gemm.h"

#include <algorithm>

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kGemm = "gemm";
constexpr uintptr_t kWorkspaceAlignment = 256;  // cublasLtMatmul asks for it

int32_t cuda_type(DataType type) {
  if (type == DataType::f32) return CUDA_R_32F;
  if (type == DataType::bf16) return CUDA_R_16BF;
  fail(kGemm, "f32 or bf16 on backend cuda", name_of(type));
}

std::string shape_of(const MatmulSpec& spec) {
  const GemmSpec& gemm = spec.gemm;
  return text("m=", gemm.m, " n=", gemm.n, " k=", gemm.k, " transpose_a=", gemm.transpose_a,
              " transpose_b=", gemm.transpose_b, " type=", name_of(gemm.type), " result=", name_of(spec.result));
}

int32_t epilogue_of(const MatmulSpec& spec) {
  if (spec.bias_gradient) return CUBLASLT_EPILOGUE_BGRADB;  // their B is our A
  if (spec.gemm.bias) return spec.gemm.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
  return spec.gemm.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
}

CublasLtObject make_layout(const CublasLt& cublaslt, const MatmulPlan::Matrix& matrix) {
  void* layout = nullptr;
  cublaslt.check(cublaslt.matrix_layout_create(&layout, matrix.type, static_cast<uint64_t>(matrix.rows),
                                               static_cast<uint64_t>(matrix.columns), matrix.leading_dimension),
                 "cublasLtMatrixLayoutCreate");
  return CublasLtObject(layout, cublaslt.matrix_layout_destroy);
}

template <typename Value>
void set_operation(const CublasLt& cublaslt, const CublasLtObject& operation, int32_t name, const Value& value) {
  cublaslt.check(cublaslt.matmul_desc_set_attribute(operation.get(), name, &value, sizeof value),
                 "cublasLtMatmulDescSetAttribute");
}

template <typename Value>
void set_preference(const CublasLt& cublaslt, const CublasLtObject& preference, int32_t name, const Value& value) {
  cublaslt.check(cublaslt.matmul_preference_set_attribute(preference.get(), name, &value, sizeof value),
                 "cublasLtMatmulPreferenceSetAttribute");
}

CublasLtObject make_preference(const CublasLt& cublaslt, int64_t most_workspace_bytes) {
  void* made = nullptr;
  cublaslt.check(cublaslt.matmul_preference_create(&made), "cublasLtMatmulPreferenceCreate");
  CublasLtObject preference(made, cublaslt.matmul_preference_destroy);
  set_preference(cublaslt, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                 static_cast<uint64_t>(most_workspace_bytes));
  // Parts of sums in the compute type, f32: not added up in bf16, and in an order that does not depend on the clock.
  set_preference(cublaslt, preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  for (const int32_t name : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set_preference(cublaslt, preference, name, static_cast<uint32_t>(kLibraryAlignment));
  }
  return preference;
}

void check_alignment(const char* role, const void* pointer, uintptr_t alignment) {
  if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
    fail(kGemm, text(role, " aligned to ", alignment, " bytes"), text("address ", pointer));
  }
}

}  // namespace

MatmulPlan plan_matmul(const MatmulSpec& spec) {
  const GemmSpec& gemm = spec.gemm;
  if (spec.result != gemm.type && spec.result != DataType::f32) {
    fail(kGemm, text("a result of f32 or of its operands' type, ", name_of(gemm.type)), name_of(spec.result));
  }
  if (spec.bias_gradient && (gemm.bias || gemm.relu)) {
    fail(kGemm, "no bias and no relu beside the gradient of a bias", shape_of(spec));
  }
  const int32_t type = cuda_type(gemm.type);
  // A row-major [r,c] is [c,r] column-major, with c as the distance of its columns; as B and A change places as well,
  // each is transposed exactly where ours is.
  const auto matrix = [](int32_t of, int64_t rows, int64_t columns) {
    return MatmulPlan::Matrix{of, columns, rows, columns};
  };
  MatmulPlan plan{};
  plan.left = gemm.transpose_b ? matrix(type, gemm.n, gemm.k) : matrix(type, gemm.k, gemm.n);
  plan.right = gemm.transpose_a ? matrix(type, gemm.k, gemm.m) : matrix(type, gemm.m, gemm.k);
  plan.result = matrix(cuda_type(spec.result), gemm.m, gemm.n);
  plan.transpose_left = gemm.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  plan.transpose_right = gemm.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  plan.compute_type = spec.tf32 && gemm.type == DataType::f32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  plan.epilogue = epilogue_of(spec);
  return plan;
}

Matmul::Matmul(const CublasLtHandle& handle, const MatmulSpec& spec, int64_t most_workspace_bytes)
    : handle_(handle),
      alpha_(static_cast<float>(spec.gemm.alpha)),
      beta_(static_cast<float>(spec.gemm.beta)),
      has_vector_(spec.gemm.bias || spec.bias_gradient) {
  MatmulPlan plan = plan_matmul(spec);
  std::string reason;
  if (choose(plan, most_workspace_bytes, reason)) return;
  fused_ = plan.epilogue == CUBLASLT_EPILOGUE_DEFAULT;
  if (!fused_) {
    has_vector_ = false;
    plan.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    if (choose(plan, most_workspace_bytes, reason)) return;
  }
  fail(kGemm, text("a product that cuBLASLt has with ", most_workspace_bytes, " bytes of workspace"),
       text(reason, " for ", shape_of(spec)));
}

bool Matmul::choose(const MatmulPlan& plan, int64_t most_workspace_bytes, std::string& reason) {
  const CublasLt& cublaslt = handle_.cublaslt();
  void* made = nullptr;
  cublaslt.check(cublaslt.matmul_desc_create(&made, plan.compute_type, CUDA_R_32F), "cublasLtMatmulDescCreate");
  operation_ = CublasLtObject(made, cublaslt.matmul_desc_destroy);
  set_operation(cublaslt, operation_, CUBLASLT_MATMUL_DESC_TRANSA, plan.transpose_left);
  set_operation(cublaslt, operation_, CUBLASLT_MATMUL_DESC_TRANSB, plan.transpose_right);
  set_operation(cublaslt, operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(plan.epilogue));
  if (has_vector_) {
    // Not read: heuristics take the alignment of the bias from its address.
    set_operation(cublaslt, operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<void*>(kLibraryAlignment));
  }
  left_ = make_layout(cublaslt, plan.left);
  right_ = make_layout(cublaslt, plan.right);
  result_ = make_layout(cublaslt, plan.result);
  const CublasLtObject preference = make_preference(cublaslt, most_workspace_bytes);

  constexpr int32_t kWanted = 8;
  CublasLtHeuristic results[kWanted] = {};
  int32_t count = 0;
  const int32_t status =
      cublaslt.matmul_algo_get_heuristic(handle_.get(), operation_.get(), left_.get(), right_.get(), result_.get(),
                                         result_.get(), preference.get(), kWanted, results, &count);
  if (status != CUBLAS_STATUS_SUCCESS) {
    reason = cublaslt.get_status_string(status);
    return false;
  }
  const auto fits = [&](const CublasLtHeuristic& result) {
    return result.state == CUBLAS_STATUS_SUCCESS && result.workspace_bytes <= static_cast<size_t>(most_workspace_bytes);
  };
  const CublasLtHeuristic* const end = results + std::clamp(count, 0, kWanted);
  const CublasLtHeuristic* const best = std::find_if(static_cast<const CublasLtHeuristic*>(results), end, fits);
  if (best == end) {
    reason = text("none of ", count, " algorithms");
    return false;
  }
  algorithm_ = best->algorithm;
  workspace_bytes_ = static_cast<int64_t>(best->workspace_bytes);
  return true;
}

void Matmul::run(const MatmulTensors& tensors, void* workspace, Stream stream) const {
  check_alignment("a", tensors.a, kLibraryAlignment);
  check_alignment("b", tensors.b, kLibraryAlignment);
  check_alignment("c", tensors.c, kLibraryAlignment);
  if (workspace_bytes_ > 0) check_alignment("workspace", workspace, kWorkspaceAlignment);
  if (has_vector_) check_alignment("bias", tensors.bias, kLibraryAlignment);
  if (!has_vector_ && tensors.bias != nullptr) fail(kGemm, "no bias, as the product has none", "one");
  const CublasLt& cublaslt = handle_.cublaslt();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (has_vector_) set_operation(cublaslt, operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, tensors.bias);
  cublaslt.check(cublaslt.matmul(handle_.get(), operation_.get(), &alpha_, tensors.b, left_.get(), tensors.a,
                                 right_.get(), &beta_, tensors.c, result_.get(), tensors.c, result_.get(), &algorithm_,
                                 workspace, static_cast<size_t>(workspace_bytes_), stream),
                 "cublasLtMatmul");
}

}  // namespace ghostbatch::cuda
