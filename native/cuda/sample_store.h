// Copies of samples in device memory.
#pragma once

#include <cstdint>
#include <list>

#include "cuda/batch_loader.h"
#include "cuda/context.h"
#include "ghostbatch/samples.h"

namespace ghostbatch::cuda {

/// The samples that engines of a device have read last: copied when they are first asked for, and again after they
/// have changed. For callers that hold the context's lock.
class SampleStore {
 public:
  explicit SampleStore(const Context& context) : context_(context) {}

  /// Valid until the next call. Error naming bytes needed and free where they do not fit.
  DeviceSamples of(const Samples& samples);

 private:
  static constexpr size_t kMost = 4;  // training, test and validation data, and one more

  struct Entry {
    uint64_t id, revision;
    DeviceMemory memory;
    DeviceSamples samples;
  };

  const Context& context_;
  std::list<Entry> entries_;  // the last that was asked for first
};

}  // namespace ghostbatch::cuda
