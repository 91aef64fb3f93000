#include "cuda/cublaslt.h"

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

std::string text_of_version(size_t version) {  // 12.3.4 is 120304
  return text(version / 10000, ".", version % 10000 / 100, ".", version % 100);
}

}  // namespace

CublasLt::CublasLt(const std::string& folder, int cuda_major) {
  std::vector<std::string> folders = library_folders(folder);
  if (!folder.empty()) folders.emplace_back();  // cuBLAS need not lie where cuDNN does
  const LibraryName name{text("cuBLASLt ", cuda_major), text("libcublasLt.so.", cuda_major),
                         text("install it, as CUDA ", cuda_major, " or with pip install nvidia-cublas",
                              cuda_major < 13 ? text("-cu", cuda_major) : "")};
  const Library library(name, folders);
  path_ = library.path();
  library.find("cublasLtGetVersion", get_version);
  if (get_version() / 10000 != static_cast<size_t>(cuda_major)) {
    library.refuse(text("version ", text_of_version(get_version()), " in ", path_));
  }
  library.find("cublasLtGetStatusString", get_status_string);
  library.find("cublasLtCreate", create);
  library.find("cublasLtDestroy", destroy);
  library.find("cublasLtMatmulDescCreate", matmul_desc_create);
  library.find("cublasLtMatmulDescDestroy", matmul_desc_destroy);
  library.find("cublasLtMatmulDescSetAttribute", matmul_desc_set_attribute);
  library.find("cublasLtMatrixLayoutCreate", matrix_layout_create);
  library.find("cublasLtMatrixLayoutDestroy", matrix_layout_destroy);
  library.find("cublasLtMatmulPreferenceCreate", matmul_preference_create);
  library.find("cublasLtMatmulPreferenceDestroy", matmul_preference_destroy);
  library.find("cublasLtMatmulPreferenceSetAttribute", matmul_preference_set_attribute);
  library.find("cublasLtMatmulAlgoGetHeuristic", matmul_algo_get_heuristic);
  library.find("cublasLtMatmul", matmul);
}

const CublasLt& CublasLt::of_process(int cuda_major) {
  // Never destroyed: kernels may outlive static destructors.
  static const CublasLt& cublaslt = *new CublasLt(wanted_folder(), cuda_major);
  return cublaslt;
}

std::string CublasLt::description() const {
  return text("cuBLASLt ", text_of_version(get_version()), " (", path_, ")");
}

void CublasLt::check(int32_t status, const char* what) const {
  if (status != CUBLAS_STATUS_SUCCESS) fail("cublaslt", text(what, " to work"), get_status_string(status));
}

CublasLtHandle::CublasLtHandle(const CublasLt& cublaslt) : cublaslt_(cublaslt) {
  cublaslt.check(cublaslt.create(&handle_), "cublasLtCreate");
}

CublasLtHandle::~CublasLtHandle() {
  cublaslt_.destroy(handle_);
}

}  // namespace ghostbatch::cuda
