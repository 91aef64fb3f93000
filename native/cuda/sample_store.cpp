#include "cuda/sample_store.h"

#include <algorithm>

namespace ghostbatch::cuda {
namespace {

constexpr int64_t kAlignment = 256;

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

DeviceSamples SampleStore::of(const Samples& samples) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.id == samples.id(); });
  if (found != entries_.end()) entries_.splice(entries_.begin(), entries_, found);
  if (found == entries_.end() || entries_.front().revision != samples.revision()) {
    const int64_t count = samples.count(), data = count * samples.sample_elements() * size_of(samples.type());
    const int64_t labels = count * int64_t{sizeof(int32_t)}, numbers = samples.numbers() != nullptr ? labels : 0;
    const int64_t bytes = aligned(data) + aligned(labels) + aligned(numbers);
    if (found == entries_.end()) {
      if (entries_.size() == kMost) entries_.pop_back();
      entries_.push_front(Entry{samples.id(), 0, DeviceMemory(bytes), {}});
    } else if (entries_.front().memory.bytes() < bytes) {  // numbers came
      entries_.front().memory = DeviceMemory();
      entries_.front().memory = DeviceMemory(bytes);
    }
    Entry& entry = entries_.front();
    auto* const labels_at = entry.memory.as<int32_t>(aligned(data));
    auto* const numbers_at = entry.memory.as<int32_t>(aligned(data) + aligned(labels));
    copy_memory(entry.memory.as<void>(), samples.row(0), data, context_.stream());
    copy_memory(labels_at, samples.labels(), labels, context_.stream());
    copy_memory(numbers_at, samples.numbers(), numbers, context_.stream());
    entry.samples = {samples.type(), entry.memory.as<void>(), labels_at, numbers > 0 ? numbers_at : nullptr};
    entry.revision = samples.revision();
  }
  return entries_.front().samples;
}

}  // namespace ghostbatch::cuda
