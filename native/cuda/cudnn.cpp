#include "cuda/cudnn.h"

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kMajor = "9";

/// What cuDNN opens by name while it works: cuBLAS and NVRTC of the CUDA it was built for, then its own parts, each
/// after those that it needs.
const std::vector<std::string>& dependencies() {
  static const std::vector<std::string> names{
      "libcublasLt.so.13",
      "libcublasLt.so.12",
      "libcublas.so.13",
      "libcublas.so.12",
      "libnvrtc-builtins.so.*",
      "libnvrtc.so.13",
      "libnvrtc.so.12",
      "libcudnn_graph.so.9",
      "libcudnn_ops.so.9",
      "libcudnn_cnn.so.9",
      "libcudnn_adv.so.9",
      "libcudnn_engines_precompiled.so.9",
      "libcudnn_engines_runtime_compiled.so.9",
      "libcudnn_heuristic.so.9",
  };
  return names;
}

std::string text_of_version(size_t version) {  // 8.9.7 is 8907, 9.1.0 is 90100
  const size_t of_major = version < 90000 ? 1000 : 10000;
  return text(version / of_major, ".", version % of_major / 100, ".", version % 100);
}

}  // namespace

Cudnn::Cudnn(const std::string& folder) {
  const std::vector<std::string> folders = library_folders(folder);
  open_all(dependencies(), folders);
  const Library library({"cuDNN 9", "libcudnn.so.9", "install it, as with pip install nvidia-cudnn-cu13"}, folders);
  path_ = library.path();
  library.find("cudnnGetVersion", get_version);
  const std::string version = text_of_version(get_version());
  if (version.substr(0, version.find('.')) != kMajor) {
    library.refuse(text("version ", version, " in ", path_));
  }
  library.find("cudnnGetErrorString", get_error_string);
  library.find("cudnnGetLastErrorString", get_last_error_string);
  library.find("cudnnCreate", create);
  library.find("cudnnDestroy", destroy);
  library.find("cudnnSetStream", set_stream);
  library.find("cudnnBackendCreateDescriptor", create_descriptor);
  library.find("cudnnBackendDestroyDescriptor", destroy_descriptor);
  library.find("cudnnBackendFinalize", finalize);
  library.find("cudnnBackendSetAttribute", set_attribute);
  library.find("cudnnBackendGetAttribute", get_attribute);
  library.find("cudnnBackendExecute", execute);
}

const Cudnn& Cudnn::of_process() {
  // Never destroyed: kernels may outlive static destructors.
  static const Cudnn& cudnn = *new Cudnn(wanted_folder());
  return cudnn;
}

std::string Cudnn::version() const {
  return text("cuDNN ", text_of_version(get_version()));
}

std::string Cudnn::description() const {
  return text(version(), " (", path_, ")");
}

std::string Cudnn::reason_of(int32_t status) const {
  char message[512] = "";
  get_last_error_string(message, sizeof message);
  return text(get_error_string(status), message[0] != 0 ? ": " : "", message);
}

void Cudnn::check(int32_t status, const char* what) const {
  if (status != CUDNN_STATUS_SUCCESS) fail("cudnn", text(what, " to work"), reason_of(status));
}

CudnnHandle::CudnnHandle(const Cudnn& cudnn, Stream stream) : cudnn_(cudnn), stream_(stream) {
  cudnn.check(cudnn.create(&handle_), "cudnnCreate");
  const int32_t status = cudnn.set_stream(handle_, stream);
  if (status == CUDNN_STATUS_SUCCESS) return;
  const std::string reason = cudnn.reason_of(status);
  cudnn.destroy(handle_);
  fail("cudnn", "cudnnSetStream to work", reason);
}

CudnnHandle::~CudnnHandle() {
  cudnn_.destroy(handle_);
}

Descriptor::Descriptor(const Cudnn& cudnn, int32_t type) : cudnn_(&cudnn) {
  cudnn.check(cudnn.create_descriptor(type, &descriptor_), "cudnnBackendCreateDescriptor");
}

Descriptor::~Descriptor() {
  if (descriptor_ != nullptr) cudnn_->destroy_descriptor(descriptor_);
}

void Descriptor::set(int32_t name, int32_t type, int64_t count, const void* values) {
  const int32_t status = cudnn_->set_attribute(descriptor_, name, type, count, values);
  if (status == CUDNN_STATUS_SUCCESS) return;
  fail("cudnn", text("cudnnBackendSetAttribute of attribute ", name, " to work"), cudnn_->reason_of(status));
}

void Descriptor::finalize() {
  cudnn_->check(try_to_finalize(), "cudnnBackendFinalize");
}

int32_t Descriptor::try_to_finalize() {
  return cudnn_->finalize(descriptor_);
}

int64_t Descriptor::get(int32_t name, int32_t type, int64_t wanted, void* values) const {
  int64_t count = 0;
  const int32_t status = cudnn_->get_attribute(descriptor_, name, type, wanted, &count, values);
  if (status == CUDNN_STATUS_SUCCESS) return count;
  fail("cudnn", text("cudnnBackendGetAttribute of attribute ", name, " to work"), cudnn_->reason_of(status));
}

}  // namespace ghostbatch::cuda
