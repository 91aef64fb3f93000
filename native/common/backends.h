// The backends inside this library, each made by its own folder's device.cpp.
#pragma once

#include "ghostbatch/device.h"

namespace ghostbatch {

Device* create_cpu_device();
Device* create_reference_device();

}  // namespace ghostbatch
