// Ghost batch norm on one run of places [places, C], channels contiguous: see ghostbatch/ghost_batch_norm.h.
//
// Places are taken as rows of whole vectors: where C is not a multiple of the lanes, or small, `repeat` places make a
// row, and the channels' parameters are repeated alike, so that C = 1 or 3 runs as C = 64 does. Wide activations are
// cut into panels of kPanel channels. Within a panel, memory is read in order, some kilobytes of rows at a time; the
// channels' parameters and sums stay in registers for one such group of rows.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

constexpr int64_t kPanel = 2048;     // elements of the widest row
constexpr int64_t kGroup = 4096;     // elements of rows that are taken together
constexpr int64_t kTermsOfSum = 64;  // of a sum in f32, before it is added to one in double
constexpr int kWide = 4;             // vectors at a time, where a vector needs few registers
#if defined(__AVX512F__)
constexpr int kNarrow = 4;  // where it needs more: 32 registers
#else
constexpr int kNarrow = 2;  // 16 registers
#endif

int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/// A panel of channels as rows of vectors.
struct Rows {
  int64_t channel;   // first channel of the panel
  int64_t channels;  // of the panel
  int64_t repeat;    // places in a row
  int64_t width;     // elements of a row: repeat * channels
  int64_t stride;    // elements from row to row
  int64_t count;     // whole rows
  int64_t rest;      // elements of a last, shorter row

  Rows(int64_t places, int64_t all_channels, int64_t first_channel) : channel(first_channel) {
    channels = smaller(kPanel, all_channels - first_channel);
    repeat = 1;
    if (all_channels <= kPanel) {
      const int64_t best = kWide * kLanes / greatest_common_divisor(channels, kWide * kLanes);
      const int64_t least = kLanes / greatest_common_divisor(channels, kLanes);
      repeat = best * channels <= kPanel ? best : least * channels <= kPanel ? least : 1;
    }
    width = repeat * channels;
    stride = repeat == 1 ? all_channels : width;
    count = places / repeat;
    rest = places % repeat * channels;
  }
};

/// Runs body.operator()<U, kTail>(offset, rows, column, lanes) over rows [first, last) of a panel: U vectors at
/// `column` (or a part of one) of `rows` rows from element `offset`.
template <int kUnroll, typename Body>
GHOSTBATCH_INLINE void for_each_tile(int64_t first, int64_t last, int64_t stride, int64_t width, const Body& body) {
  const int64_t group = larger<int64_t>(8, kGroup / width);
  for (int64_t row = first; row < last; row += group) {
    const int64_t rows = smaller(group, last - row);
    const int64_t offset = row * stride;
    int64_t column = 0;
    for (; column + kUnroll * kLanes <= width; column += kUnroll * kLanes) {
      body.template operator()<kUnroll, false>(offset + column, rows, column, kLanes);
    }
    for (; column + kLanes <= width; column += kLanes) {
      body.template operator()<1, false>(offset + column, rows, column, kLanes);
    }
    if (column < width) body.template operator()<1, true>(offset + column, rows, column, width - column);
  }
}

/// The same over the last, shorter row of a panel.
template <typename Body>
GHOSTBATCH_INLINE void for_rest(const Rows& rows, const Body& body) {
  for (int64_t column = 0; column < rows.rest; column += kLanes) {
    body.template operator()<1, true>(rows.count * rows.stride + column, 1, column,
                                      smaller(kLanes, rows.rest - column));
  }
}

/// The same over a whole panel.
template <int kUnroll, typename Body>
GHOSTBATCH_INLINE void for_each_tile(const Rows& rows, const Body& body) {
  for_each_tile<kUnroll>(0, rows.count, rows.stride, rows.width, body);
  for_rest(rows, body);
}

using PanelValues = float[kPanel];

void repeat_values(const Rows& rows, float* values) {
  for (int64_t i = rows.channels; i < rows.width; ++i) values[i] = values[i - rows.channels];
}

double reciprocal_deviation(const NormCall& call, int64_t channel) {
  return 1.0 / __builtin_sqrt(static_cast<double>(call.variance[channel]) + call.epsilon);
}

/// What forward computes and backward's mask computes again: fma(x - mean, factor, beta).
struct Affine {
  alignas(64) PanelValues mean, factor, beta;

  Affine(const NormCall& call, const Rows& rows) {
    for (int64_t i = 0; i < rows.channels; ++i) {
      const int64_t c = rows.channel + i;
      mean[i] = call.mean[c];
      factor[i] = static_cast<float>(static_cast<double>(call.gamma[c]) * reciprocal_deviation(call, c));
      beta[i] = call.beta[c];
    }
    repeat_values(rows, mean);
    repeat_values(rows, factor);
    repeat_values(rows, beta);
  }
};

/// Two sums per element of a row: formed in f32 by `body` over at most kTermsOfSum rows, then added in double.
struct Sums {
  alignas(64) PanelValues a, b;
  double total_a[kPanel], total_b[kPanel];

  explicit Sums(const Rows& rows) {
    for (int64_t i = 0; i < rows.width; ++i) total_a[i] = total_b[i] = 0;
  }

  template <int kUnroll, typename Body>
  GHOSTBATCH_INLINE void add(const Rows& rows, const Body& body) {
    for (int64_t first = 0; first < rows.count; first += kTermsOfSum) {
      clear(rows.width);
      for_each_tile<kUnroll>(first, smaller(first + kTermsOfSum, rows.count), rows.stride, rows.width, body);
      flush(rows.width);
    }
    if (rows.rest != 0) {
      clear(rows.rest);
      for_rest(rows, body);
      flush(rows.rest);
    }
  }

  /// Sums of channel `i` of the panel.
  void of_channel(const Rows& rows, int64_t i, double& sum_a, double& sum_b) const {
    sum_a = sum_b = 0;
    for (int64_t j = i; j < rows.width; j += rows.channels) {
      sum_a += total_a[j];
      sum_b += total_b[j];
    }
  }

 private:
  void clear(int64_t width) {
    for (int64_t i = 0; i < width; ++i) a[i] = b[i] = 0;
  }
  void flush(int64_t width) {
    for (int64_t i = 0; i < width; ++i) {
      total_a[i] += static_cast<double>(a[i]);
      total_b[i] += static_cast<double>(b[i]);
    }
  }
};

/// A value near the mean, from the first places: eight, or one, so that the estimate of a constant is exact.
template <typename T>
void estimate_mean(const Rows& rows, const T* src, int64_t places, int64_t stride, float* estimate) {
  const int64_t count = places < 8 ? 1 : 8;
  for (int64_t i = 0; i < rows.channels; ++i) estimate[i] = to_float(src[i]);
  for (int64_t place = 1; place < count; ++place) {
    for (int64_t i = 0; i < rows.channels; ++i) estimate[i] += to_float(src[place * stride + i]);
  }
  for (int64_t i = 0; i < rows.channels; ++i) estimate[i] *= 1.0f / static_cast<float>(count);
}

template <typename T>
void statistics(const void* src_data, int64_t places, int64_t channels, double* mean, double* m2) {
  for (int64_t channel = 0; channel < channels; channel += kPanel) {
    const Rows rows(places, channels, channel);
    const T* src = static_cast<const T*>(src_data) + channel;
    alignas(64) PanelValues shift;
    estimate_mean(rows, src, places, channels, shift);
    repeat_values(rows, shift);
    Sums sums(rows);
    sums.add<kWide>(rows, [&]<int kVectors, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t lanes) {
      vf s[kVectors], sum[kVectors], square[kVectors];
      for (int u = 0; u < kVectors; ++u) {
        s[u] = get<kTail>(shift + column + u * kLanes, lanes);
        sum[u] = get<kTail>(sums.a + column + u * kLanes, lanes);
        square[u] = get<kTail>(sums.b + column + u * kLanes, lanes);
      }
      const T* x = src + offset;
      for (int64_t row = 0; row < count; ++row, x += rows.stride) {
        for (int u = 0; u < kVectors; ++u) {
          const vf d = get<kTail>(x + u * kLanes, lanes) - s[u];
          sum[u] = sum[u] + d;
          square[u] = fma(d, d, square[u]);
        }
      }
      for (int u = 0; u < kVectors; ++u) {
        set_at<kTail>(sums.a + column + u * kLanes, sum[u], lanes);
        set_at<kTail>(sums.b + column + u * kLanes, square[u], lanes);
      }
    });
    for (int64_t i = 0; i < rows.channels; ++i) {
      double sum, square;
      sums.of_channel(rows, i, sum, square);
      const double n = static_cast<double>(places);
      mean[channel + i] = static_cast<double>(shift[i]) + sum / n;
      const double deviations = square - sum * sum / n;
      m2[channel + i] = deviations < 0 ? 0 : deviations;
    }
  }
}

template <typename T, bool kRelu, bool kResidual>
void normalize_as(const NormCall& call) {
  for (int64_t channel = 0; channel < call.channels; channel += kPanel) {
    const Rows rows(call.places, call.channels, channel);
    const Affine affine(call, rows);
    const T* src = static_cast<const T*>(call.src) + channel;
    const T* residual = kResidual ? static_cast<const T*>(call.residual) + channel : nullptr;
    T* dst = static_cast<T*>(call.out) + channel;
    for_each_tile<kWide>(rows,
                         [&]<int kVectors, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t lanes) {
                           vf mean[kVectors], factor[kVectors], beta[kVectors];
                           for (int u = 0; u < kVectors; ++u) {
                             mean[u] = get<kTail>(affine.mean + column + u * kLanes, lanes);
                             factor[u] = get<kTail>(affine.factor + column + u * kLanes, lanes);
                             beta[u] = get<kTail>(affine.beta + column + u * kLanes, lanes);
                           }
                           for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
                             for (int u = 0; u < kVectors; ++u) {
                               const int64_t at = offset + u * kLanes;
                               vf y = fma(get<kTail>(src + at, lanes) - mean[u], factor[u], beta[u]);
                               if constexpr (kResidual) y = y + get<kTail>(residual + at, lanes);
                               if constexpr (kRelu) y = relu(y);
                               set_at<kTail>(dst + at, y, lanes);
                             }
                           }
                         });
  }
}

template <typename T>
void normalize(const NormCall& call) {
  if (call.residual != nullptr) {
    call.relu ? normalize_as<T, true, true>(call) : normalize_as<T, false, true>(call);
  } else {
    call.relu ? normalize_as<T, true, false>(call) : normalize_as<T, false, false>(call);
  }
}

/// Where the ReLU's mask comes from.
enum class Mask { none, src, dst };

template <typename T, Mask kMask, bool kSecond, bool kWrite>
void backward_sums_as(const NormCall& call, double* sum_g, double* sum_g_xhat) {
  for (int64_t channel = 0; channel < call.channels; channel += kPanel) {
    const Rows rows(call.places, call.channels, channel);
    const Affine affine(call, rows);
    const T* src = static_cast<const T*>(call.src) + channel;
    const T* dst = kMask == Mask::dst ? static_cast<const T*>(call.dst) + channel : nullptr;
    const T* diff_dst = static_cast<const T*>(call.diff_dst) + channel;
    const T* diff_dst2 = kSecond ? static_cast<const T*>(call.diff_dst2) + channel : nullptr;
    T* out = kWrite ? static_cast<T*>(call.out) + channel : nullptr;
    Sums sums(rows);
    sums.add<kNarrow>(rows,
                      [&]<int kVectors, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t lanes) {
                        vf mean[kVectors], factor[kVectors], beta[kVectors], sum[kVectors], product[kVectors];
                        for (int u = 0; u < kVectors; ++u) {
                          mean[u] = get<kTail>(affine.mean + column + u * kLanes, lanes);
                          if constexpr (kMask == Mask::src) {
                            factor[u] = get<kTail>(affine.factor + column + u * kLanes, lanes);
                            beta[u] = get<kTail>(affine.beta + column + u * kLanes, lanes);
                          }
                          sum[u] = get<kTail>(sums.a + column + u * kLanes, lanes);
                          product[u] = get<kTail>(sums.b + column + u * kLanes, lanes);
                        }
                        for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
                          for (int u = 0; u < kVectors; ++u) {
                            const int64_t at = offset + u * kLanes;
                            const vf d = get<kTail>(src + at, lanes) - mean[u];
                            vf g = get<kTail>(diff_dst + at, lanes);
                            if constexpr (kSecond) g = g + get<kTail>(diff_dst2 + at, lanes);
                            if constexpr (kMask == Mask::src) g = keep(greater(fma(d, factor[u], beta[u]), zero()), g);
                            if constexpr (kMask == Mask::dst) g = keep(greater(get<kTail>(dst + at, lanes), zero()), g);
                            sum[u] = sum[u] + g;
                            product[u] = fma(g, d, product[u]);
                            if constexpr (kWrite) set_at<kTail>(out + at, g, lanes);
                          }
                        }
                        for (int u = 0; u < kVectors; ++u) {
                          set_at<kTail>(sums.a + column + u * kLanes, sum[u], lanes);
                          set_at<kTail>(sums.b + column + u * kLanes, product[u], lanes);
                        }
                      });
    for (int64_t i = 0; i < rows.channels; ++i) {
      double sum, product;
      sums.of_channel(rows, i, sum, product);
      sum_g[channel + i] = sum;
      sum_g_xhat[channel + i] = product * reciprocal_deviation(call, channel + i);
    }
  }
}

template <typename T>
void backward_sums(const NormCall& call, double* sum_g, double* sum_g_xhat) {
  if (call.out == nullptr) {
    call.relu ? backward_sums_as<T, Mask::src, false, false>(call, sum_g, sum_g_xhat)
              : backward_sums_as<T, Mask::none, false, false>(call, sum_g, sum_g_xhat);
  } else if (call.diff_dst2 == nullptr) {
    call.relu ? backward_sums_as<T, Mask::dst, false, true>(call, sum_g, sum_g_xhat)
              : backward_sums_as<T, Mask::none, false, true>(call, sum_g, sum_g_xhat);
  } else {
    call.relu ? backward_sums_as<T, Mask::dst, true, true>(call, sum_g, sum_g_xhat)
              : backward_sums_as<T, Mask::none, true, true>(call, sum_g, sum_g_xhat);
  }
}

/// diff_src = factor g + slope (x - mean) + offset, with slope and offset 0 for constant statistics.
template <typename T, bool kMask>
void backward_apply_as(const NormCall& call) {
  for (int64_t channel = 0; channel < call.channels; channel += kPanel) {
    const Rows rows(call.places, call.channels, channel);
    const Affine affine(call, rows);
    alignas(64) PanelValues slope, shift;
    for (int64_t i = 0; i < rows.channels; ++i) {
      const int64_t c = channel + i;
      slope[i] = shift[i] = 0;
      if (call.sum_g != nullptr) {
        const double rstd = reciprocal_deviation(call, c);
        const double share = static_cast<double>(call.gamma[c]) * rstd / static_cast<double>(call.ghost_places);
        slope[i] = static_cast<float>(-share * rstd * call.sum_g_xhat[c]);
        shift[i] = static_cast<float>(-share * call.sum_g[c]);
      }
    }
    repeat_values(rows, slope);
    repeat_values(rows, shift);
    const T* src = static_cast<const T*>(call.src) + channel;
    const T* diff_dst = static_cast<const T*>(call.diff_dst) + channel;
    T* out = static_cast<T*>(call.out) + channel;
    for_each_tile<kNarrow>(rows,
                           [&]<int kVectors, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t lanes) {
                             vf mean[kVectors], factor[kVectors], beta[kVectors], a[kVectors], b[kVectors];
                             for (int u = 0; u < kVectors; ++u) {
                               mean[u] = get<kTail>(affine.mean + column + u * kLanes, lanes);
                               factor[u] = get<kTail>(affine.factor + column + u * kLanes, lanes);
                               if constexpr (kMask) beta[u] = get<kTail>(affine.beta + column + u * kLanes, lanes);
                               a[u] = get<kTail>(slope + column + u * kLanes, lanes);
                               b[u] = get<kTail>(shift + column + u * kLanes, lanes);
                             }
                             for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
                               for (int u = 0; u < kVectors; ++u) {
                                 const int64_t at = offset + u * kLanes;
                                 const vf d = get<kTail>(src + at, lanes) - mean[u];
                                 vf g = get<kTail>(diff_dst + at, lanes);
                                 if constexpr (kMask) g = keep(greater(fma(d, factor[u], beta[u]), zero()), g);
                                 set_at<kTail>(out + at, fma(g, factor[u], fma(d, a[u], b[u])), lanes);
                               }
                             }
                           });
  }
}

template <typename T>
void backward_apply(const NormCall& call) {
  call.relu ? backward_apply_as<T, true>(call) : backward_apply_as<T, false>(call);
}

}  // namespace

extern const GhostBatchNormTable ghost_batch_norm_f32;
extern const GhostBatchNormTable ghost_batch_norm_bf16;
const GhostBatchNormTable ghost_batch_norm_f32 = {statistics<float>, normalize<float>, backward_sums<float>,
                                                  backward_apply<float>};
const GhostBatchNormTable ghost_batch_norm_bf16 = {statistics<bf16>, normalize<bf16>, backward_sums<bf16>,
                                                   backward_apply<bf16>};

}  // namespace ghostbatch::GHOSTBATCH_SIMD
