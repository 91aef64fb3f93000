// cuBLASLt, opened at run time: its numbers, its functions, and owners of what they make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "cuda/library.h"

namespace ghostbatch::cuda {

/// cuBLASLt's numbers under their names (cublasLt.h, cublas_api.h, library_types.h). CudaConstantsTest compares each
/// with those of the JavaCPP preset, so a line here is a name and a number.
enum CublasNumber : int32_t {
  CUBLAS_STATUS_SUCCESS = 0,

  CUDA_R_32F = 0,
  CUDA_R_16BF = 14,

  CUBLAS_COMPUTE_32F = 68,
  CUBLAS_COMPUTE_32F_FAST_TF32 = 77,

  CUBLAS_OP_N = 0,
  CUBLAS_OP_T = 1,

  CUBLASLT_EPILOGUE_DEFAULT = 1,
  CUBLASLT_EPILOGUE_RELU = 2,
  CUBLASLT_EPILOGUE_BIAS = 4,
  CUBLASLT_EPILOGUE_RELU_BIAS = 6,
  CUBLASLT_EPILOGUE_BGRADB = 512,

  CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2,

  CUBLASLT_MATMUL_DESC_TRANSA = 3,
  CUBLASLT_MATMUL_DESC_TRANSB = 4,
  CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
  CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,

  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
};

/// How a product is computed: cublasLtMatmulAlgo_t.
struct CublasLtAlgorithm {
  uint64_t data[8];
};

/// cublasLtMatmulHeuristicResult_t.
struct CublasLtHeuristic {
  CublasLtAlgorithm algorithm;
  size_t workspace_bytes;
  int32_t state;  // the rest holds only where this is CUBLAS_STATUS_SUCCESS
  float waves;
  int32_t reserved[4];
};
static_assert(sizeof(CublasLtHeuristic) == 96 && offsetof(CublasLtHeuristic, state) == 72);

/// cuBLASLt's functions. Enumerations are passed as int32_t, which they are in C.
class CublasLt {
 public:
  /// libcublasLt.so.`cuda_major` from the folders about `folder` (see library_folders), or else from where the loader
  /// finds it. Error that says what is wrong and what to do.
  CublasLt(const std::string& folder, int cuda_major);

  /// That of GHOSTBATCH_CUDNN, opened at the first call for the CUDA runtime of this major version; Error as above, at
  /// every call.
  static const CublasLt& of_process(int cuda_major);

  /// "cuBLASLt 13.1.0 (/folder/libcublasLt.so.13)".
  std::string description() const;

  /// Error "[cublaslt] needs `what` to work, got ..." where `status` is not success.
  void check(int32_t status, const char* what) const;

  size_t (*get_version)() = nullptr;
  const char* (*get_status_string)(int32_t status) = nullptr;
  int32_t (*create)(void** handle) = nullptr;
  int32_t (*destroy)(void* handle) = nullptr;
  int32_t (*matmul_desc_create)(void** desc, int32_t compute_type, int32_t scale_type) = nullptr;
  int32_t (*matmul_desc_destroy)(void* desc) = nullptr;
  int32_t (*matmul_desc_set_attribute)(void* desc, int32_t name, const void* value, size_t bytes) = nullptr;
  int32_t (*matrix_layout_create)(void** layout, int32_t type, uint64_t rows, uint64_t columns,
                                  int64_t leading_dimension) = nullptr;
  int32_t (*matrix_layout_destroy)(void* layout) = nullptr;
  int32_t (*matmul_preference_create)(void** preference) = nullptr;
  int32_t (*matmul_preference_destroy)(void* preference) = nullptr;
  int32_t (*matmul_preference_set_attribute)(void* preference, int32_t name, const void* value, size_t bytes) = nullptr;
  int32_t (*matmul_algo_get_heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference,
                                       int32_t wanted, CublasLtHeuristic* results, int32_t* count) = nullptr;
  int32_t (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                    void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                    const CublasLtAlgorithm* algorithm, void* workspace, size_t workspace_bytes,
                    Stream stream) = nullptr;

 private:
  std::string path_;
};

/// cuBLASLt on the device that is current at its making. Threads may share it.
class CublasLtHandle {
 public:
  explicit CublasLtHandle(const CublasLt& cublaslt);
  CublasLtHandle(const CublasLtHandle&) = delete;
  CublasLtHandle& operator=(const CublasLtHandle&) = delete;
  ~CublasLtHandle();

  const CublasLt& cublaslt() const { return cublaslt_; }
  void* get() const { return handle_; }

 private:
  const CublasLt& cublaslt_;
  void* handle_ = nullptr;
};

/// Something that cuBLASLt made, and the function that destroys it.
class CublasLtObject {
 public:
  CublasLtObject() = default;
  CublasLtObject(void* object, int32_t (*destroy)(void*)) : object_(object), destroy_(destroy) {}
  CublasLtObject(CublasLtObject&& other) noexcept
      : object_(std::exchange(other.object_, nullptr)), destroy_(other.destroy_) {}
  CublasLtObject& operator=(CublasLtObject&& other) noexcept {
    std::swap(object_, other.object_);
    std::swap(destroy_, other.destroy_);
    return *this;
  }
  ~CublasLtObject() {
    if (object_ != nullptr) destroy_(object_);
  }

  void* get() const { return object_; }

 private:
  void* object_ = nullptr;
  int32_t (*destroy_)(void*) = nullptr;
};

}  // namespace ghostbatch::cuda
