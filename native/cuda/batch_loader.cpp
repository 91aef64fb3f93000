#include "cuda/batch_loader.h"

#include <cstring>
#include <vector>

#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kKernel = "batch_loader";

/// Samples stay on the host: those of a call are gathered there and go to the device with it. (The engine has all of
/// them on the device instead.)
class CudaBatchLoader final : public BatchLoader {
 public:
  CudaBatchLoader(const Context& context, const LoadSpec& spec) : BatchLoader(spec), context_(context) {
    check_kernel_type(kKernel, spec.type);
    // Kernels count the values of a sample in 32 bits.
    check_range(kKernel, "values of a sample", row_elements(), 1, kMaxDimension);
  }

  const char* implementation() const override { return kCudaKernels; }

 private:
  void do_load(const Samples& samples, const int32_t* indices, int64_t rows, uint64_t seed, uint64_t epoch,
               bool augment, const View& dst, const View* labels) const override {
    const auto lock = context_.lock();
    const auto count = static_cast<size_t>(rows);
    const auto row_bytes = static_cast<size_t>(row_elements() * size_of(samples.type()));
    // LoadState; labels, numbers and indices of the rows; samples.
    const size_t labels_at = sizeof(LoadState), numbers_at = labels_at + count * sizeof(int32_t);
    const size_t indices_at = numbers_at + count * sizeof(int32_t), samples_at = indices_at + count * sizeof(int32_t);
    gathered_.resize(samples_at + count * row_bytes);
    const LoadState state{seed, epoch, augment ? 1 : 0};
    std::memcpy(gathered_.data(), &state, sizeof state);
    for (size_t row = 0; row < count; ++row) {
      const auto put = [&](size_t at, int64_t value) {
        const auto number = static_cast<int32_t>(value);
        std::memcpy(gathered_.data() + at + row * sizeof number, &number, sizeof number);
      };
      put(labels_at, samples.label(indices[row]));
      put(numbers_at, samples.number(indices[row]));
      put(indices_at, static_cast<int64_t>(row));
      std::memcpy(gathered_.data() + samples_at + row * row_bytes, samples.row(indices[row]), row_bytes);
    }
    const auto bytes = static_cast<int64_t>(gathered_.size());
    on_device_.reserve(bytes);
    copy_memory(on_device_.as<void>(), gathered_.data(), bytes, context_.stream());

    const auto at = [&](size_t offset) { return on_device_.as<int32_t>(static_cast<int64_t>(offset)); };
    const DeviceSamples on_device{samples.type(), at(samples_at), at(labels_at), at(numbers_at)};
    cuda::load(spec_, on_device, at(indices_at), dst.data, spec_.channels,
               labels == nullptr ? nullptr : labels->as<int32_t>(), on_device_.as<LoadState>(), nullptr, rows,
               context_.stream());
  }

  void do_perturb(const View& signs, int64_t rows, double epsilon, const View& dst) const override {
    const auto lock = context_.lock();
    cuda::perturb(spec_, signs.as<uint8_t>(), epsilon, dst.data, spec_.channels, nullptr, rows, context_.stream());
  }

  const Context& context_;
  // As large as the largest call.
  mutable std::vector<unsigned char> gathered_;
  mutable DeviceMemory on_device_;
};

}  // namespace

BatchLoader* make_batch_loader(const Context& context, const LoadSpec& spec) {
  return new CudaBatchLoader(context, spec);
}

}  // namespace ghostbatch::cuda
