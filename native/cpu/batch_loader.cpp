#include <vector>

#include "common/augmentation.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"

namespace ghostbatch::cpu {
namespace {

constexpr int64_t kNormalizedChannels = 16;  // more have mean 0 and deviation 1
constexpr int64_t kLanes = 16;               // of the widest vectors

class SimdBatchLoader final : public BatchLoader {
 public:
  explicit SimdBatchLoader(const LoadSpec& spec)
      : BatchLoader(spec),
        table_(*table_for("batch_loader", spec.type, simd_tables().loader_f32, simd_tables().loader_bf16)) {
    const int64_t channels = spec_.channels <= kNormalizedChannels ? spec_.channels : 1;
    for (int64_t i = 0; i < channels * kLanes; ++i) {
      const double mean = static_cast<double>(spec_.mean[i % channels]),
                   std = static_cast<double>(spec_.std[i % channels]);
      scale_.push_back(static_cast<float>(spec_.value_scale / std));
      shift_.push_back(static_cast<float>(-mean / std));
    }
  }

  const char* implementation() const override { return simd_implementation(); }

 private:
  void do_load(const Samples& samples, const int32_t* indices, int64_t rows, uint64_t seed, uint64_t epoch,
               bool augment, const View& dst, const View* labels) const override {
    LoadCall call{};
    call.height = spec_.height;
    call.width = spec_.width;
    call.channels = spec_.channels;
    call.bytes = samples.type() == DataType::u8;
    call.affine = augment && spec_.augmentation == Augmentation::affine;
    call.repeat_edge = spec_.augmentation == Augmentation::crop_flip;
    call.fill = static_cast<float>(spec_.fill);
    call.scale = scale_.data();
    call.shift = shift_.data();
    call.period = static_cast<int64_t>(scale_.size());
    const int64_t row_bytes = samples.sample_elements() * size_of(spec_.type);
    for (int64_t row = 0; row < rows; ++row) {
      const AugmentationDraw draw =
          augment ? draw_augmentation(spec_, seed, epoch, samples.number(indices[row])) : AugmentationDraw();
      call.flip = draw.flip;
      call.crop_y = draw.crop_y;
      call.crop_x = draw.crop_x;
      if (call.affine) {
        const AffineMap map(spec_, draw);
        call.cosine = map.cosine;
        call.sine = map.sine;
        call.centre_y = map.centre_y;
        call.centre_x = map.centre_x;
        call.shift_y = map.shift_y;
        call.shift_x = map.shift_x;
      }
      table_.load(call, samples.row(indices[row]), dst.as<char>() + row * row_bytes);
      if (labels != nullptr) labels->as<int32_t>()[row] = samples.label(indices[row]);
    }
  }

  void do_perturb(const View& signs, int64_t rows, double epsilon, const View& dst) const override {
    float step[kNormalizedChannels * kLanes];
    const int64_t period = static_cast<int64_t>(scale_.size()), channels = period / kLanes;
    for (int64_t i = 0; i < period; ++i) {
      step[i] = static_cast<float>(epsilon / static_cast<double>(spec_.std[i % channels]));
    }
    table_.perturb(signs.as<uint8_t>(), step, period, dst.data, rows * row_elements());
  }

  const LoaderTable& table_;
  std::vector<float> scale_, shift_;  // [period], see LoadCall
};

}  // namespace

BatchLoader* make_batch_loader(const LoadSpec& spec) {
  return new SimdBatchLoader(spec);
}

}  // namespace ghostbatch::cpu
