#include <algorithm>
#include <cmath>

#include "common/augmentation.h"
#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

template <typename T>
class ReferenceBatchLoader final : public BatchLoader {
 public:
  explicit ReferenceBatchLoader(const LoadSpec& spec) : BatchLoader(spec) {}

  const char* implementation() const override { return "loops"; }

 protected:
  void do_load(const Samples& samples, const int32_t* indices, int64_t rows, uint64_t seed, uint64_t epoch,
               bool augment, const View& dst, const View* labels) const override {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t index = indices[row];
      if (labels != nullptr) labels->as<int32_t>()[row] = samples.label(index);
      const Image image(spec_, samples.type(), samples.row(index));
      const AugmentationDraw draw =
          augment ? draw_augmentation(spec_, seed, epoch, samples.number(index)) : AugmentationDraw();
      const AffineMap map(spec_, draw);
      T* to = dst.as<T>() + row * samples.sample_elements();
      for (int64_t y = 0; y < spec_.height; ++y) {
        for (int64_t x = 0; x < spec_.width; ++x) {
          for (int64_t c = 0; c < spec_.channels; ++c) {
            const double value = augment && spec_.augmentation == Augmentation::affine ? image.moved(map, y, x, c)
                                                                                       : image.cropped(draw, y, x, c);
            // Channels beyond the sixteen of the spec need no normalization.
            const double mean = c < 16 ? static_cast<double>(spec_.mean[c]) : 0.0;
            const double std = c < 16 ? static_cast<double>(spec_.std[c]) : 1.0;
            *to++ = static_cast<T>((value * spec_.value_scale - mean) / std);
          }
        }
      }
    }
  }

  void do_perturb(const View& signs, int64_t rows, double epsilon, const View& dst) const override {
    for (int64_t i = 0; i < rows * row_elements(); ++i) {
      const int64_t c = i % spec_.channels;
      const double std = c < 16 ? static_cast<double>(spec_.std[c]) : 1.0;
      T& value = dst.as<T>()[i];
      value = static_cast<T>(static_cast<double>(value) + epsilon / std * (signs.as<uint8_t>()[i] - 1));
    }
  }

 private:
  /// One sample, with values outside it.
  class Image {
   public:
    Image(const LoadSpec& spec, DataType type, const void* data) : spec_(spec), type_(type), data_(data) {}

    double cropped(const AugmentationDraw& draw, int64_t y, int64_t x, int64_t c) const {
      int64_t from_y = y + draw.crop_y;
      int64_t from_x = (draw.flip ? spec_.width - 1 - x : x) + draw.crop_x;
      if (spec_.augmentation == Augmentation::crop_flip) {
        from_y = std::clamp<int64_t>(from_y, 0, spec_.height - 1);
        from_x = std::clamp<int64_t>(from_x, 0, spec_.width - 1);
      }
      return at(from_y, from_x, c);
    }

    /// Bilinear between the four pixels around the source place.
    double moved(const AffineMap& map, int64_t y, int64_t x, int64_t c) const {
      const double v = static_cast<double>(y) - map.centre_y - map.shift_y;
      const double u = static_cast<double>(x) - map.centre_x - map.shift_x;
      const double from_y = map.cosine * v - map.sine * u + map.centre_y;
      const double from_x = map.sine * v + map.cosine * u + map.centre_x;
      const double top = std::floor(from_y), left = std::floor(from_x);
      const double down = from_y - top, right = from_x - left;
      const auto h = static_cast<int64_t>(top), w = static_cast<int64_t>(left);
      const double above = at(h, w, c) * (1 - right) + at(h, w + 1, c) * right;
      const double below = at(h + 1, w, c) * (1 - right) + at(h + 1, w + 1, c) * right;
      return above * (1 - down) + below * down;
    }

   private:
    double at(int64_t y, int64_t x, int64_t c) const {
      if (y < 0 || y >= spec_.height || x < 0 || x >= spec_.width) return spec_.fill;
      const int64_t i = (y * spec_.width + x) * spec_.channels + c;
      return type_ == DataType::u8 ? static_cast<double>(static_cast<const uint8_t*>(data_)[i])
                                   : static_cast<double>(static_cast<const float*>(data_)[i]);
    }

    const LoadSpec& spec_;
    DataType type_;
    const void* data_;
  };
};

}  // namespace

BatchLoader* make_batch_loader(const LoadSpec& spec) {
  return with_type("batch_loader", spec.type,
                   [&](auto element) -> BatchLoader* { return new ReferenceBatchLoader<decltype(element)>(spec); });
}

}  // namespace ghostbatch::reference
