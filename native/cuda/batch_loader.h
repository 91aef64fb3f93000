// Micro-batches of samples that lie in device memory: gathered, augmented and normalized: see ghostbatch/samples.h.
// Blocks of threads take a sample, or a part of one; one thread draws its geometry, all make its values.
//
// Reads a byte a value (u8), writes one value; the floor is those bytes over the memory's rate: [4096, 32, 32, 3] in
// bf16 is 38 MB, 8 us at 4.8 TB/s, and the arithmetic of the places takes about as long, once a step.
#pragma once

#include <cmath>

#include "common/augmentation.h"
#include "cuda/grid.h"
#include "cuda/groups.h"

namespace ghostbatch::cuda {

/// Samples in device memory; see ghostbatch::Samples.
struct DeviceSamples {
  DataType type;           // u8 or f32
  const void* data;        // [count, H, W, C]
  const int32_t* labels;   // [count]
  const int32_t* numbers;  // [count], or null: row i is sample i
};

/// What changes from step to step, in device memory.
struct LoadState {
  uint64_t seed;
  uint64_t epoch;
  int32_t augment;
};

/// A factor of each channel.
struct ChannelFactors {
  static constexpr int kMost = 16;
  float v[kMost];
  int32_t channels;  // of the samples; more than kMost are not normalized, and all have the first

  GHOSTBATCH_HD float of(int32_t c) const { return v[channels <= kMost ? c : 0]; }
};

/// What a sample gets: its place among the samples, and where its values come from.
struct SampleMap {
  int64_t index;
  int32_t affine, flip, crop_y, crop_x;
  double cosine, sine, centre_y, centre_x, shift_y, shift_x;
};

/// A value (y, x, c) of a sample by bilinear interpolation between four pixels.
struct PixelPlace {
  int32_t top, left;
  float down, right;
};

template <typename S, typename T>
struct LoadSamples {
  static constexpr int kPhases = 2, kThreads = 128, kCount = Pack<T>::kSize;
  static constexpr int kGroupsOfThread = 8;  // so many, where samples are large
  struct Shared {
    SampleMap map;
  };
  struct Registers {};

  LoadSpec spec;
  const S* data;  // the DeviceSamples
  const int32_t* sample_labels;
  const int32_t* numbers;
  const int32_t* indices;  // [batch]
  T* dst;                  // [most_rows, H, W, dst_channels]
  int32_t* labels;         // [most_rows], or null
  const LoadState* state;
  Extent extent;  // row_elements: H x W x dst_channels
  int32_t height, width, channels, dst_channels;
  int32_t parts;  // blocks of threads a sample
  float fill;
  ChannelFactors scale, shift;
  Lead lead;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const int64_t row = place.block / parts, part = place.block % parts;
    const int64_t elements = extent.row_elements;
    if (row * elements >= extent.elements()) return;
    if constexpr (kPhase == 0) {
      if (place.thread != 0) return;
      shared.map = map_of(indices[row + (extent.rows == nullptr ? 0 : extent.rows->first)]);
      if (part == 0 && labels != nullptr) labels[row] = sample_labels[shared.map.index];
    } else {
      for_groups<kCount>(row * elements, (row + 1) * elements, lead, part * kThreads + place.thread,
                         static_cast<int64_t>(parts) * kThreads,
                         [&](const auto& at) { load(at, shared.map, row * elements); });
    }
  }

 private:
  GHOSTBATCH_HD SampleMap map_of(int32_t index) const {
    const bool augment = state->augment != 0 && spec.augmentation != Augmentation::none;
    const AugmentationDraw draw =
        augment ? draw_augmentation(spec, state->seed, state->epoch, numbers == nullptr ? index : numbers[index])
                : AugmentationDraw();
    SampleMap map{};
    map.index = index;
    map.affine = augment && spec.augmentation == Augmentation::affine ? 1 : 0;
    map.flip = draw.flip ? 1 : 0;
    map.crop_y = static_cast<int32_t>(draw.crop_y);
    map.crop_x = static_cast<int32_t>(draw.crop_x);
    if (map.affine != 0) {
      const AffineMap affine(spec, draw);
      map.cosine = affine.cosine;
      map.sine = affine.sine;
      map.centre_y = affine.centre_y;
      map.centre_x = affine.centre_x;
      map.shift_y = affine.shift_y;
      map.shift_x = affine.shift_x;
    }
    return map;
  }

  /// A group of the sample that begins with element `first` of dst.
  template <class A>
  GHOSTBATCH_HD void load(const A& at, const SampleMap& map, int64_t first) const {
    Values<T, kCount> values{};
    const auto begin = static_cast<int32_t>(at.first + at.begin - first);
    const int32_t pixel = begin / dst_channels;
    int32_t c = begin % dst_channels, y = pixel / width, x = pixel % width;
    PixelPlace from = place(map, y, x);
    for (int k = 0; k < kCount; ++k) {
      if (k < at.begin || k >= at.end) continue;
      values.v[k] = from_float<T>(value(map, from, c));
      if (++c == dst_channels) {
        c = 0;
        if (++x == width) x = 0, ++y;
        from = place(map, y, x);
      }
    }
    at.store(dst, values);
  }

  /// Where pixel (y, x) of dst comes from; outside the sample, if that is to be filled.
  GHOSTBATCH_HD PixelPlace place(const SampleMap& map, int32_t y, int32_t x) const {
    if (map.affine == 0) {
      int32_t from_y = y + map.crop_y, from_x = (map.flip != 0 ? width - 1 - x : x) + map.crop_x;
      if (spec.augmentation == Augmentation::crop_flip) {
        from_y = within(from_y, 0, height - 1);
        from_x = within(from_x, 0, width - 1);
      }
      return {from_y, from_x, 0, 0};
    }
    const double v = y - map.centre_y - map.shift_y, u = x - map.centre_x - map.shift_x;
    // Places beyond the border are fill, however far they are.
    const double at_y = within<double>(map.cosine * v - map.sine * u + map.centre_y, -2, height);
    const double at_x = within<double>(map.sine * v + map.cosine * u + map.centre_x, -2, width);
    const double top = std::floor(at_y), left = std::floor(at_x);
    return {static_cast<int32_t>(top), static_cast<int32_t>(left), static_cast<float>(at_y - top),
            static_cast<float>(at_x - left)};
  }

  template <typename V>
  GHOSTBATCH_HD static V within(V value, V low, V high) {
    return value < low ? low : value > high ? high : value;
  }

  /// Channel `c` there, normalized; zero in channels that only dst has.
  GHOSTBATCH_HD float value(const SampleMap& map, const PixelPlace& from, int32_t c) const {
    if (c >= channels) return 0;
    const S* const sample = data + map.index * height * width * channels;
    float value = pixel(sample, from.top, from.left, c);
    if (map.affine != 0) {
      const float above = value + from.right * (pixel(sample, from.top, from.left + 1, c) - value);
      const float left = pixel(sample, from.top + 1, from.left, c);
      const float below = left + from.right * (pixel(sample, from.top + 1, from.left + 1, c) - left);
      value = above + from.down * (below - above);
    }
    return std::fma(value, scale.of(c), shift.of(c));
  }

  GHOSTBATCH_HD float pixel(const S* sample, int32_t y, int32_t x, int32_t c) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return fill;
    return static_cast<float>(sample[(static_cast<int64_t>(y) * width + x) * channels + c]);
  }
};

/// `of` (channel's mean, channel's deviation) for each channel.
template <class Of>
ChannelFactors channel_factors(const LoadSpec& spec, const Of& of) {
  ChannelFactors factors{};
  factors.channels = static_cast<int32_t>(spec.channels);
  for (int c = 0; c < ChannelFactors::kMost; ++c) {
    factors.v[c] = static_cast<float>(of(static_cast<double>(spec.mean[c]), static_cast<double>(spec.std[c])));
  }
  return factors;
}

template <typename S, typename T>
Launch<LoadSamples<S, T>> load_samples(const LoadSpec& spec, const DeviceSamples& samples, const int32_t* indices,
                                       T* dst, int64_t dst_channels, int32_t* labels, const LoadState* state,
                                       const RowRange* rows, int64_t most_rows) {
  using Kernel = LoadSamples<S, T>;
  const Extent extent{rows, most_rows, spec.height * spec.width * dst_channels};
  const int64_t parts =
      divide_up(groups_of<Kernel::kCount>(extent.row_elements), Kernel::kThreads * Kernel::kGroupsOfThread);
  const auto narrow = [](int64_t value) { return static_cast<int32_t>(value); };
  const auto scale = channel_factors(spec, [&](double, double std) { return spec.value_scale / std; });
  const auto shift = channel_factors(spec, [](double mean, double std) { return -mean / std; });
  return {{spec, static_cast<const S*>(samples.data), samples.labels, samples.numbers, indices, dst, labels, state,
           extent, narrow(spec.height), narrow(spec.width), narrow(spec.channels), narrow(dst_channels), narrow(parts),
           static_cast<float>(spec.fill), scale, shift, lead_of<Kernel::kCount>(dst)},
          most_rows * parts,
          Kernel::kThreads};
}

/// dst += step[c] * (signs - 1) over the pass's rows of the batch's signs; step = epsilon / deviation.
template <typename T>
struct Perturb {
  static constexpr int kPhases = 2, kThreads = 256, kCount = Pack<T>::kSize;
  struct Shared {
    ChannelFactors steps;
  };
  struct Registers {};

  const uint8_t* signs;  // [batch, H, W, dst_channels]
  T* dst;                // [most_rows, H, W, dst_channels]
  Scalar epsilon;
  Extent extent;
  int32_t dst_channels;
  ChannelFactors deviations;
  Lead lead;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    if constexpr (kPhase == 0) {
      const int c = place.thread;
      if (c == 0) shared.steps.channels = deviations.channels;
      if (c < ChannelFactors::kMost) {
        shared.steps.v[c] = static_cast<float>(epsilon.get() / static_cast<double>(deviations.v[c]));
      }
    } else {
      for_groups<kCount>(0, extent.elements(), lead, thread_of(place), threads_of(place),
                         [&](const auto& at) { move(at, shared.steps); });
    }
  }

 private:
  template <class A>
  GHOSTBATCH_HD void move(const A& at, const ChannelFactors& steps) const {
    const int64_t first = extent.rows == nullptr ? 0 : extent.rows->first * extent.row_elements;
    const Values<uint8_t, kCount> of = at.load(signs + first);
    Values<T, kCount> values = at.load(dst);
    auto c = static_cast<int32_t>((at.first + at.begin) % dst_channels);
    for (int k = 0; k < kCount; ++k) {
      if (k < at.begin || k >= at.end) continue;
      const float step = c < steps.channels ? steps.of(c) : 0;
      values.v[k] = from_float<T>(std::fma(static_cast<float>(of.v[k] - 1), step, to_float(values.v[k])));
      if (++c == dst_channels) c = 0;
    }
    at.store(dst, values);
  }
};

template <typename T>
Launch<Perturb<T>> perturb_samples(const LoadSpec& spec, const uint8_t* signs, const Scalar& epsilon, T* dst,
                                  int64_t dst_channels, const RowRange* rows, int64_t most_rows) {
  using Kernel = Perturb<T>;
  const Extent extent{rows, most_rows, spec.height * spec.width * dst_channels};
  // The first row is known in device memory only: rows of whole groups keep any of them aligned.
  const Lead lead = extent.row_elements % Kernel::kCount == 0 ? lead_of<Kernel::kCount>(signs, dst) : Lead{0, false};
  return {{signs, dst, epsilon, extent, static_cast<int32_t>(dst_channels),
           channel_factors(spec, [](double, double std) { return std; }), lead},
          divide_up(groups_of<Kernel::kCount>(extent.most_elements()), Kernel::kThreads),
          Kernel::kThreads};
}

// Enqueue on `stream`; a spec that BatchLoader takes, dst f32 or bf16, everything in device memory. dst may have more
// channels than the samples (`dst_channels`), for the vector width of convolutions: they are zero, and stay so.

/// Rows [first, first + count) of `indices` [batch] to rows from 0 on of dst [most_rows, H, W, dst_channels] and labels
/// (or null). Indices are in [0, count), which is checked where they are made.
void load(const LoadSpec& spec, const DeviceSamples& samples, const int32_t* indices, void* dst, int64_t dst_channels,
          int32_t* labels, const LoadState* state, const RowRange* rows, int64_t most_rows, Stream stream);
/// BatchLoader::perturb, with signs u8 [batch, H, W, dst_channels] taken from row `first` on.
void perturb(const LoadSpec& spec, const uint8_t* signs, const Scalar& epsilon, void* dst, int64_t dst_channels,
             const RowRange* rows, int64_t most_rows, Stream stream);

}  // namespace ghostbatch::cuda
