// One sample of a micro-batch: flipped, cropped or mapped, and normalized; and samples moved along signs. See
// ghostbatch/samples.h.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

template <typename In, typename Out>
class Loader {
 public:
  Loader(const LoadCall& call, const In* sample, Out* dst)
      : call_(call), sample_(sample), dst_(dst), row_elements_(call.width * call.channels) {}

  void run() const {
    if (call_.affine) {
      map();
      return;
    }
    for (int64_t y = 0; y < call_.height; ++y) {
      int64_t source_y = y + call_.crop_y;
      if (source_y < 0 || source_y >= call_.height) {
        if (!call_.repeat_edge) {
          for (int64_t x = 0; x < call_.width; ++x) fill_pixel(dst_ + y * row_elements_ + x * call_.channels);
          continue;
        }
        source_y = source_y < 0 ? 0 : call_.height - 1;
      }
      crop_row(sample_ + source_y * row_elements_, dst_ + y * row_elements_);
    }
  }

 private:
  /// dst = src * scale + shift, over n elements from a pixel's first.
  template <typename From>
  GHOSTBATCH_INLINE void normalize(const From* src, Out* dst, int64_t n) const {
    for (int64_t start = 0; start < n; start += call_.period) {
      for_each_vector(smaller(call_.period, n - start), [&]<bool kTail>(int64_t i, int64_t lanes) {
        const vf value = get<kTail>(src + start + i, lanes);
        set_at<kTail>(dst + start + i, fma(value, load(call_.scale + i), load(call_.shift + i)), lanes);
      });
    }
  }

  void fill_pixel(Out* dst) const {
    for (int64_t c = 0; c < call_.channels; ++c) put(dst + c, normalized(call_.fill, c));
  }

  /// One value by the arithmetic of a vector's lane.
  float normalized(float value, int64_t channel) const {
    const int64_t i = channel % call_.period;
    float lanes[kLanes];
    store(lanes, fma(set(value), set(call_.scale[i]), set(call_.shift[i])));
    return lanes[0];
  }

  void crop_row(const In* src, Out* dst) const {
    const int64_t channels = call_.channels, width = call_.width;
    // Columns [begin, end) of the crop lie inside the sample.
    const int64_t begin = smaller(larger<int64_t>(-call_.crop_x, 0), width);
    const int64_t end = larger(smaller(width - call_.crop_x, width), begin);
    const auto pixel = [&](int64_t x) { return dst + (call_.flip ? width - 1 - x : x) * channels; };
    for (int64_t x = 0; x < begin; ++x) outside(src, pixel(x));
    if (!call_.flip) {
      normalize(src + (begin + call_.crop_x) * channels, dst + begin * channels, (end - begin) * channels);
    } else {
      for (int64_t x = begin; x < end; ++x) normalize(src + (x + call_.crop_x) * channels, pixel(x), channels);
    }
    for (int64_t x = end; x < width; ++x) outside(src + (width - 1) * channels, pixel(x));
  }

  /// A pixel left or right of the sample, whose nearest is `edge`.
  void outside(const In* edge, Out* dst) const {
    if (call_.repeat_edge) {
      normalize(edge, dst, call_.channels);
    } else {
      fill_pixel(dst);
    }
  }

  /// Rotated and shifted, bilinear. A stretch of a row at a time: the source places of its pixels, their values, and
  /// these normalized; a stretch is as many pixels as fit into `kStretch` values, or a part of one.
  void map() const {
    const int64_t channels = call_.channels;
    const int64_t pixels = larger<int64_t>(1, smaller(kStretch / channels, call_.width));
    Place places[kStretch];
    float values[kStretch];
    for (int64_t y = 0; y < call_.height; ++y) {
      for (int64_t x = 0; x < call_.width; x += pixels) {
        const int64_t count = smaller(pixels, call_.width - x);
        find_places(y, x, count, places);
        Out* const dst = dst_ + y * row_elements_ + x * channels;
        if (channels == 1) {
          interpolate<1>(places, count, values);
        } else if (channels == 3) {
          interpolate<3>(places, count, values);
        } else if (channels <= kStretch) {
          for (int64_t i = 0; i < count; ++i) interpolate(places[i], 0, channels, values + i * channels);
        } else {  // one pixel; so many channels are normalized alike
          for (int64_t c = 0; c < channels; c += kStretch) {
            const int64_t part = smaller(kStretch, channels - c);
            interpolate(places[0], c, part, values);
            normalize(values, dst + c, part);
          }
          continue;
        }
        normalize(values, dst, count * channels);
      }
    }
  }

  /// The pixel above and left of a source place, and how far below and right of it the place lies.
  struct Place {
    int32_t top, left;
    float down, right;
  };

  static constexpr int64_t kStretch = 256;

  void find_places(int64_t y, int64_t x, int64_t count, Place* places) const {
    const double v = static_cast<double>(y) - call_.centre_y - call_.shift_y;
    // Places beyond the border are fill, however far they are.
    const auto height = static_cast<double>(call_.height), width = static_cast<double>(call_.width);
    for (int64_t i = 0; i < count; ++i) {
      const double u = static_cast<double>(x + i) - call_.centre_x - call_.shift_x;
      const double at_y = larger(-2.0, smaller(height, call_.cosine * v - call_.sine * u + call_.centre_y));
      const double at_x = larger(-2.0, smaller(width, call_.sine * v + call_.cosine * u + call_.centre_x));
      const double top = __builtin_floor(at_y), left = __builtin_floor(at_x);
      places[i] = {static_cast<int32_t>(top), static_cast<int32_t>(left), static_cast<float>(at_y - top),
                   static_cast<float>(at_x - left)};
    }
  }

  static GHOSTBATCH_INLINE float between(const Place& at, float a, float b, float d, float e) {
    const float above = a + at.right * (b - a), below = d + at.right * (e - d);
    return above + at.down * (below - above);
  }

  GHOSTBATCH_INLINE bool inside(const Place& at) const {
    return at.top >= 0 && at.left >= 0 && at.top < call_.height - 1 && at.left < call_.width - 1;
  }

  /// All channels of `count` pixels.
  template <int64_t kChannels>
  GHOSTBATCH_INLINE void interpolate(const Place* places, int64_t count, float* values) const {
    for (int64_t i = 0; i < count; ++i, values += kChannels) {
      const Place& at = places[i];
      if (!inside(at)) {
        interpolate(at, 0, kChannels, values);
        continue;
      }
      const In* const above = sample_ + at.top * row_elements_ + at.left * kChannels;
      const In* const below = above + row_elements_;
      for (int64_t c = 0; c < kChannels; ++c) {
        values[c] = between(at, static_cast<float>(above[c]), static_cast<float>(above[c + kChannels]),
                            static_cast<float>(below[c]), static_cast<float>(below[c + kChannels]));
      }
    }
  }

  /// Channels [first, first + count) of a pixel, wherever it comes from.
  void interpolate(const Place& at, int64_t first, int64_t count, float* values) const {
    const int64_t top = at.top, left = at.left;
    for (int64_t c = first; c < first + count; ++c) {
      *values++ = between(at, value(top, left, c), value(top, left + 1, c), value(top + 1, left, c),
                          value(top + 1, left + 1, c));
    }
  }

  float value(int64_t y, int64_t x, int64_t c) const {
    if (y < 0 || y >= call_.height || x < 0 || x >= call_.width) return call_.fill;
    return static_cast<float>(sample_[y * row_elements_ + x * call_.channels + c]);
  }

  const LoadCall& call_;
  const In* sample_;
  Out* dst_;
  int64_t row_elements_;
};

template <typename Out>
void load_sample(const LoadCall& call, const void* sample, void* dst) {
  if (call.bytes) {
    Loader<uint8_t, Out>(call, static_cast<const uint8_t*>(sample), static_cast<Out*>(dst)).run();
  } else {
    Loader<float, Out>(call, static_cast<const float*>(sample), static_cast<Out*>(dst)).run();
  }
}

template <typename T>
void perturb(const uint8_t* signs, const float* step, int64_t period, void* dst_data, int64_t elements) {
  T* const dst = static_cast<T*>(dst_data);
  const vf one = set(1.0f);
  for (int64_t start = 0; start < elements; start += period) {
    for_each_vector(smaller(period, elements - start), [&]<bool kTail>(int64_t i, int64_t n) {
      const vf sign = get<kTail>(signs + start + i, n) - one;
      set_at<kTail>(dst + start + i, fma(sign, load(step + i), get<kTail>(dst + start + i, n)), n);
    });
  }
}

}  // namespace

extern const LoaderTable loader_f32;
extern const LoaderTable loader_bf16;
const LoaderTable loader_f32 = {load_sample<float>, perturb<float>};
const LoaderTable loader_bf16 = {load_sample<bf16>, perturb<bf16>};

}  // namespace ghostbatch::GHOSTBATCH_SIMD
