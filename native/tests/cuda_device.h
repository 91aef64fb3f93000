// The CUDA backend beside the others, for tests that run all of them: its kernels on the host, on the runtime of
// cuda_runtime.cpp and stand-ins of NVIDIA's libraries.
#pragma once

#include "cuda/device.h"
#include "tests/support.h"

namespace ghostbatch::tests {

/// GPU 0 of the tests. Never destroyed.
const cuda::Context& cuda_context();

/// A device on that GPU.
Owned<Device> make_cuda_device(const cuda::Allowed& allowed = {});

/// As make_device, "cuda" among the names.
Owned<Device> make_any_device(const char* name);

constexpr const char* kAllDevices[] = {"reference", "cpu", "cuda"};

/// all_backends, and cuda.
std::vector<Backend> all_backends_and_cuda();

/// Name of the real GPU that whole engines are to be tested on, by GHOSTBATCH_TEST_DEVICE; null: none.
const char* real_gpu();

}  // namespace ghostbatch::tests
