#pragma once

#include <algorithm>
#include <cstdint>

#include "common/bfloat16.h"

namespace ghostbatch::cpu {

/// diff_bias [filters] = sum of diff_dst [images, places, filters] over images and places; filters in 16s. Overwrites.
template <typename T>
void sum_bias(const T* diff_dst, int64_t images, int64_t places, int64_t filters, float* diff_bias) {
  constexpr int64_t kFilters = 16;
  std::fill_n(diff_bias, filters, 0.0f);
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t first = 0; first < filters; first += kFilters) {
      float sums[kFilters] = {};  // of an image: the rounding error of one long sum would grow with N
      for (int64_t place = 0; place < places; ++place) {
        const T* const from = diff_dst + (n * places + place) * filters + first;
        for (int64_t f = 0; f < kFilters; ++f) {
          if constexpr (sizeof(T) == 2) {
            sums[f] += from_bfloat16(from[f]);
          } else {
            sums[f] += from[f];
          }
        }
      }
      for (int64_t f = 0; f < kFilters; ++f) diff_bias[first + f] += sums[f];
    }
  }
}

}  // namespace ghostbatch::cpu
