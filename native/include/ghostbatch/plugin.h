// The one door between this library and a backend in a shared object of its own. Not for Java.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ghostbatch/device.h"

namespace ghostbatch {

/// Raised whenever a header of this folder changes; a plug-in built for another number must refuse.
constexpr int32_t kPluginAbi = 5;

/// Type of the function `ghostbatch_device` that libghostbatch_cuda.so exports as extern "C": makes device `ordinal`,
/// which may use TF32 where `tf32` is not 0, and time kernels to choose them where `autotune` is not 0; or returns null
/// after writing one sentence into `error` [error_size], zero-terminated. Throws nothing.
using PluginFactory = Device* (*)(int32_t abi, int32_t ordinal, int32_t tf32, int32_t autotune, char* error,
                                  size_t error_size);

}  // namespace ghostbatch
