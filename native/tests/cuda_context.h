// The CUDA backend's context on the host: NVIDIA's libraries are stand-ins, the GPU's memory is the host's.
#pragma once

#include <dlfcn.h>

#include "common/check.h"
#include "cuda/context.h"
#include "tests/fakes/fake_cublaslt.h"
#include "tests/fakes/fake_cudnn.h"
#include "tests/support.h"

namespace ghostbatch::tests {

/// With stand-ins as they begin, and as they are left; kernels are destroyed before it.
class HostContext {
 public:
  explicit HostContext(const cuda::Allowed& allowed = {}) {
    reset();
    context_ = std::make_unique<cuda::Context>(0, cudnn_, cublaslt_, allowed);
  }
  HostContext(const HostContext&) = delete;
  HostContext& operator=(const HostContext&) = delete;
  ~HostContext() {
    context_.reset();
    reset();
  }

  const cuda::Context& operator*() const { return *context_; }
  const cuda::Context* operator->() const { return context_.get(); }
  cuda::Stream stream() const { return context_->stream(); }
  FakeCudnn& fake_cudnn() const { return *shared<FakeCudnn>("libcudnn.so.9", "fake_cudnn"); }
  FakeCublasLt& fake_cublaslt() const { return *shared<FakeCublasLt>("libcublasLt.so.13", "fake_cublaslt"); }

 private:
  void reset() const {
    fake_cudnn() = FakeCudnn();
    const int64_t objects = fake_cublaslt().objects;
    fake_cublaslt() = FakeCublasLt();
    fake_cublaslt().objects = objects;
  }

  /// What a stand-in that is open shares.
  template <typename Shared>
  static Shared* shared(const char* file, const char* function) {
    void* const library = dlopen(text(GHOSTBATCH_FAKES "/good/", file).c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) throw Error(text("no stand-in ", file));
    return reinterpret_cast<Shared* (*)()>(dlsym(library, function))();
  }

  cuda::Cudnn cudnn_{GHOSTBATCH_FAKES "/good"};
  cuda::CublasLt cublaslt_{GHOSTBATCH_FAKES "/good", 13};
  std::unique_ptr<cuda::Context> context_;
};

}  // namespace ghostbatch::tests
