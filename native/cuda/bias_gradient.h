// Gradient of a bias: sums of diff_dst [rows, places, filters] over rows and places.
//
// Reads diff_dst once. A block of threads sums kPlaces places of a group of filters, each of its threads up to
// kPlacesOfThread of them in f32, those in double; a second launch adds the blocks' sums in a fixed order. Places are
// cut where their number says, so that the bits do not depend on the launch.
#pragma once

#include "cuda/grid.h"
#include "cuda/groups.h"
#include "ghostbatch/types.h"

namespace ghostbatch::cuda {

/// partials [runs of places, filters].
template <typename T>
struct BiasRuns {
  static constexpr int kPhases = 2, kThreads = 256, kCount = Pack<T>::kSize;
  static constexpr int kGroups = 4;  // of filters, side by side: 64 bytes of a place
  static constexpr int kLines = kThreads / kGroups, kPlacesOfThread = 32, kPlaces = kLines * kPlacesOfThread;
  struct Shared {
    float sums[kLines][kGroups * kCount];
  };
  struct Registers {};

  const T* diff_dst;
  double* partials;
  Extent extent;  // of places
  int64_t filters;
  int32_t parts;  // blocks of threads side by side
  bool aligned;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const int64_t run = place.block / parts;
    const int64_t first_filter = static_cast<int64_t>(place.block % parts) * kGroups * kCount;
    const int64_t places = extent.elements(), begin = run * kPlaces;
    if (begin >= places) return;
    if constexpr (kPhase == 0) {
      const int line = place.thread / kGroups, group = place.thread % kGroups;
      const int64_t end = begin + kPlaces < places ? begin + kPlaces : places;
      const int64_t filter = first_filter + group * kCount, rest = filters - filter;
      float sums[kCount] = {};
      for (int64_t i = begin + line; i < end && rest > 0; i += kLines) {
        Values<T, kCount> values;
        if (aligned) {
          values = At<kCount, true>{0, 0, kCount}.load(diff_dst + i * filters + filter);
        } else {
          const int count = rest < kCount ? static_cast<int>(rest) : kCount;
          values = At<kCount, false>{0, 0, count}.load(diff_dst + i * filters + filter);
        }
        for (int k = 0; k < kCount; ++k) sums[k] += to_float(values.v[k]);
      }
      for (int k = 0; k < kCount; ++k) shared.sums[line][group * kCount + k] = sums[k];
    } else if (place.thread < kGroups * kCount && first_filter + place.thread < filters) {
      double sum = 0;
      for (int line = 0; line < kLines; ++line) sum += static_cast<double>(shared.sums[line][place.thread]);
      partials[run * filters + first_filter + place.thread] = sum;
    }
  }
};

/// diff_bias [filters] from the partials, in a fixed tree: kLines threads a filter.
template <typename T>
struct BiasTotal {
  static constexpr int kPhases = 2, kThreads = 256, kFilters = 16, kLines = kThreads / kFilters;
  struct Shared {
    double sums[kLines][kFilters];
  };
  struct Registers {};

  const double* partials;
  float* diff_bias;
  Extent extent;  // of places
  int64_t filters;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const int line = place.thread / kFilters, column = place.thread % kFilters;
    const int64_t filter = static_cast<int64_t>(place.block) * kFilters + column;
    if (filter >= filters) return;
    if constexpr (kPhase == 0) {
      constexpr int64_t kPlaces = BiasRuns<T>::kPlaces;
      const int64_t runs = (extent.elements() + kPlaces - 1) / kPlaces;
      double sum = 0;
      for (int64_t run = line; run < runs; run += kLines) sum += partials[run * filters + filter];
      shared.sums[line][column] = sum;
    } else if (line == 0) {
      double sum = 0;
      for (int i = 0; i < kLines; ++i) sum += shared.sums[i][column];
      diff_bias[filter] = static_cast<float>(sum);
    }
  }
};

/// Doubles of the workspace for diff_dst of type T.
template <typename T>
int64_t bias_workspace(const Extent& places, int64_t filters) {
  return divide_up(places.most_elements(), BiasRuns<T>::kPlaces) * filters;
}

template <typename T>
Launch<BiasRuns<T>> bias_runs(const T* diff_dst, double* partials, const Extent& places, int64_t filters) {
  using Kernel = BiasRuns<T>;
  const int64_t parts = divide_up(filters, Kernel::kGroups * Kernel::kCount);
  const bool aligned = is_aligned(diff_dst) && filters % Kernel::kCount == 0;
  return {{diff_dst, partials, places, filters, static_cast<int32_t>(parts), aligned},
          divide_up(places.most_elements(), Kernel::kPlaces) * parts,
          Kernel::kThreads};
}

template <typename T>
Launch<BiasTotal<T>> bias_total(const double* partials, float* diff_bias, const Extent& places, int64_t filters) {
  return {{partials, diff_bias, places, filters}, divide_up(filters, BiasTotal<T>::kFilters), BiasTotal<T>::kThreads};
}

/// diff_bias [filters] f32 = sum of diff_dst [places, filters], f32 or bf16, over the places of the extent;
/// overwritten. Enqueues on `stream`; `workspace` holds bias_workspace doubles.
void sum_bias(DataType type, const void* diff_dst, float* diff_bias, double* workspace, const Extent& places,
              int64_t filters, Stream stream);
int64_t bias_workspace(DataType type, const Extent& places, int64_t filters);

}  // namespace ghostbatch::cuda
