// Host memory of the engine's own: large, aligned, and counted against what the container grants.
#pragma once

#include <cstdint>

namespace ghostbatch {

/// Fresh zeroed memory, 2 MiB aligned, huge pages asked for, not touched. Error naming bytes asked and free.
void* allocate_huge(int64_t bytes);
/// Gives back what `allocate_huge(bytes)` gave.
void release_huge(void* data, int64_t bytes);
/// Bytes that can still be had: what the kernel calls available, or what the control group grants, whichever is less.
int64_t available_memory();

}  // namespace ghostbatch
