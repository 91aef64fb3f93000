// Max and average pooling: see ghostbatch/pooling.h. A thread takes the neighbouring channels of one place, as many as
// 16 bytes hold: forward a place of dst, over its window; backward a place of diff_src, which adds up the windows that
// hold it, in row order, and is written once. So it is deterministic, needs no zeroing, and keeps bf16 sums in f32.
//
// Forward reads src and writes dst (and a byte a value of it) once, backward the other way round; what windows share,
// and what places of a window share, comes from the caches. The floor is those bytes over the memory's rate.
#pragma once

#include <cmath>

#include "cuda/grid.h"
#include "cuda/groups.h"
#include "ghostbatch/pooling.h"

namespace ghostbatch::cuda {

/// [begin, end).
struct PoolSpan {
  int32_t begin, end;
  GHOSTBATCH_HD int32_t count() const { return end - begin; }
};

/// One dimension of a pooling.
struct PoolAxis {
  int32_t size, outputs, window, stride, pad;

  /// Places inside the window of output `out`.
  GHOSTBATCH_HD PoolSpan places_of(int32_t out) const {
    const int32_t corner = out * stride - pad, end = corner + window;
    return {corner < 0 ? 0 : corner, end < size ? end : size};
  }
  /// Outputs whose windows hold `place`.
  GHOSTBATCH_HD PoolSpan windows_of(int32_t place) const {
    const int32_t least = place + pad - window + 1, last = (place + pad) / stride + 1;
    return {least <= 0 ? 0 : (least + stride - 1) / stride, last < outputs ? last : outputs};
  }
};

/// The channels of a place as groups, and the places of an image.
struct PoolShape {
  PoolAxis h, w;
  int32_t channels, groups;
  bool aligned;

  /// Of operands [.., channels] that are all aligned, or not.
  template <int kCount>
  static PoolShape of(const PoolSpec& spec, bool aligned) {
    const auto narrow = [](int64_t value) { return static_cast<int32_t>(value); };
    return {{narrow(spec.height), narrow(spec.out_height()), narrow(spec.window_h), narrow(spec.stride_h),
             narrow(spec.pad_h)},
            {narrow(spec.width), narrow(spec.out_width()), narrow(spec.window_w), narrow(spec.stride_w),
             narrow(spec.pad_w)},
            narrow(spec.channels),
            narrow(divide_up(spec.channels, kCount)),
            aligned && spec.channels % kCount == 0};
  }

  /// The element of place (n, y, x) that group `group` begins with, of images height x width.
  template <int kCount>
  GHOSTBATCH_HD int64_t element(int64_t n, int32_t height, int32_t width, int32_t y, int32_t x, int32_t group) const {
    return ((n * height + y) * width + x) * channels + group * kCount;
  }
};

/// Where a thread of a pooling is: a place (y, x) of image n, and its group of channels.
struct PoolItem {
  int64_t n;
  int32_t y, x, group;
};

GHOSTBATCH_HD inline PoolItem pool_item(int64_t item, int32_t height, int32_t width, int32_t groups) {
  const int64_t place = item / groups, line = place / width;
  return {line / height, static_cast<int32_t>(line % height), static_cast<int32_t>(place % width),
          static_cast<int32_t>(item % groups)};
}

template <typename T, PoolKind kKind>
struct PoolForward {
  static constexpr int kPhases = 1, kThreads = 256, kCount = Pack<T>::kSize;
  struct Shared {};
  struct Registers {};

  const T* src;
  T* dst;
  uint8_t* workspace;  // null for averages, and where no backward follows
  PoolShape shape;
  Extent extent;  // of groups of dst

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    const int64_t number = thread_of(place);
    if (number >= extent.elements()) return;
    const PoolItem item = pool_item(number, shape.h.outputs, shape.w.outputs, shape.groups);
    const int64_t rest = shape.channels - item.group * kCount;
    if (shape.aligned) {
      run(item, At<kCount, true>{0, 0, kCount});
    } else {
      run(item, At<kCount, false>{0, 0, rest < kCount ? static_cast<int>(rest) : kCount});
    }
  }

 private:
  template <class A>
  GHOSTBATCH_HD void run(const PoolItem& item, const A& at) const {
    const PoolSpan rows = shape.h.places_of(item.y), columns = shape.w.places_of(item.x);
    const int32_t top = item.y * shape.h.stride - shape.h.pad, left = item.x * shape.w.stride - shape.w.pad;
    float result[kCount];
    int32_t winner[kCount];
    for (int k = 0; k < kCount; ++k) {
      result[k] = kKind == PoolKind::max ? -INFINITY : 0;
      winner[k] = -1;
    }
    for (int32_t y = rows.begin; y < rows.end; ++y) {
      for (int32_t x = columns.begin; x < columns.end; ++x) {
        const Values<T, kCount> values =
            at.load(src + shape.element<kCount>(item.n, shape.h.size, shape.w.size, y, x, item.group));
        const int32_t cell = (y - top) * shape.w.window + x - left;
        for (int k = 0; k < kCount; ++k) {
          const float value = to_float(values.v[k]);
          if constexpr (kKind == PoolKind::average) {
            result[k] += value;
          } else if (winner[k] < 0 || value > result[k] || (value != value && result[k] == result[k])) {
            result[k] = value;
            winner[k] = cell;
          }
        }
      }
    }
    const int64_t to = shape.element<kCount>(item.n, shape.h.outputs, shape.w.outputs, item.y, item.x, item.group);
    const float share = kKind == PoolKind::average ? 1.0f / static_cast<float>(rows.count() * columns.count()) : 1.0f;
    Values<T, kCount> values;
    for (int k = 0; k < kCount; ++k) values.v[k] = from_float<T>(result[k] * share);
    at.store(dst + to, values);
    if constexpr (kKind == PoolKind::max) {
      if (workspace == nullptr) return;
      Values<uint8_t, kCount> cells;
      for (int k = 0; k < kCount; ++k) cells.v[k] = static_cast<uint8_t>(winner[k]);
      at.store(workspace + to, cells);
    }
  }
};

template <typename T, PoolKind kKind>
struct PoolBackward {
  static constexpr int kPhases = 1, kThreads = 256, kCount = Pack<T>::kSize;
  struct Shared {};
  struct Registers {};

  const T* diff_dst;
  T* diff_src;
  const uint8_t* workspace;
  PoolShape shape;
  Extent extent;  // of groups of diff_src

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    const int64_t number = thread_of(place);
    if (number >= extent.elements()) return;
    const PoolItem item = pool_item(number, shape.h.size, shape.w.size, shape.groups);
    const int64_t rest = shape.channels - item.group * kCount;
    if (shape.aligned) {
      run(item, At<kCount, true>{0, 0, kCount});
    } else {
      run(item, At<kCount, false>{0, 0, rest < kCount ? static_cast<int>(rest) : kCount});
    }
  }

 private:
  template <class A>
  GHOSTBATCH_HD void run(const PoolItem& item, const A& at) const {
    const PoolSpan rows = shape.h.windows_of(item.y), columns = shape.w.windows_of(item.x);
    float sums[kCount] = {};
    for (int32_t p = rows.begin; p < rows.end; ++p) {
      const int32_t r = item.y + shape.h.pad - p * shape.h.stride;
      for (int32_t q = columns.begin; q < columns.end; ++q) {
        const int64_t from = shape.element<kCount>(item.n, shape.h.outputs, shape.w.outputs, p, q, item.group);
        const Values<T, kCount> g = at.load(diff_dst + from);
        if constexpr (kKind == PoolKind::max) {
          const int32_t cell = r * shape.w.window + item.x + shape.w.pad - q * shape.w.stride;
          const Values<uint8_t, kCount> winners = at.load(workspace + from);
          for (int k = 0; k < kCount; ++k) sums[k] += winners.v[k] == cell ? to_float(g.v[k]) : 0.0f;
        } else {
          const float share = 1.0f / static_cast<float>(shape.h.places_of(p).count() * shape.w.places_of(q).count());
          for (int k = 0; k < kCount; ++k) sums[k] = std::fma(to_float(g.v[k]), share, sums[k]);
        }
      }
    }
    Values<T, kCount> values;
    for (int k = 0; k < kCount; ++k) values.v[k] = from_float<T>(sums[k]);
    at.store(diff_src + shape.element<kCount>(item.n, shape.h.size, shape.w.size, item.y, item.x, item.group), values);
  }
};

template <PoolKind kKind, typename T>
Launch<PoolForward<T, kKind>> pool_forward(const PoolSpec& spec, const T* src, T* dst, uint8_t* workspace,
                                           const RowRange* rows) {
  using Kernel = PoolForward<T, kKind>;
  const Lead lead = lead_of<Kernel::kCount>(src, dst, workspace);
  const auto shape = PoolShape::of<Kernel::kCount>(spec, lead.aligned && lead.elements == 0);
  const Extent extent{rows, spec.batch, spec.out_height() * spec.out_width() * shape.groups};
  return {{src, dst, workspace, shape, extent}, divide_up(extent.most_elements(), Kernel::kThreads), Kernel::kThreads};
}

template <PoolKind kKind, typename T>
Launch<PoolBackward<T, kKind>> pool_backward(const PoolSpec& spec, const T* diff_dst, T* diff_src,
                                             const uint8_t* workspace, const RowRange* rows) {
  using Kernel = PoolBackward<T, kKind>;
  const Lead lead = lead_of<Kernel::kCount>(diff_dst, diff_src, workspace);
  const auto shape = PoolShape::of<Kernel::kCount>(spec, lead.aligned && lead.elements == 0);
  const Extent extent{rows, spec.batch, spec.height * spec.width * shape.groups};
  return {{diff_dst, diff_src, workspace, shape, extent},
          divide_up(extent.most_elements(), Kernel::kThreads),
          Kernel::kThreads};
}

// Enqueue on `stream`; a spec that Pooling takes, f32 or bf16, operands in device memory; rows beyond those of `rows`
// are neither read nor written, all of the batch's where it is null. `workspace` [dst_elements] as Pooling has it.

void pool_forward(const PoolSpec& spec, const void* src, void* dst, uint8_t* workspace, const RowRange* rows,
                  Stream stream);
void pool_backward(const PoolSpec& spec, const void* diff_dst, void* diff_src, const uint8_t* workspace,
                   const RowRange* rows, Stream stream);

}  // namespace ghostbatch::cuda
