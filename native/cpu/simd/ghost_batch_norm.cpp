// Ghost batch norm on one run of places [places, C], channels contiguous: see ghostbatch/ghost_batch_norm.h.
//
// Places are taken as rows of whole pairs of vectors: where C is not a multiple of a pair, or small, `repeat` places
// make a row, and the channels' parameters are repeated alike, so that C = 1 or 3 runs as C = 64 does. Wide activations
// are cut into panels of kPanel channels. Within a panel, kBlock rows are taken together: a few columns of pairs at a
// time, whose parameters and sums stay in registers.
//
// A pass that sums goes up, the pass after it down: it finds in cache what the first one read last.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

constexpr int64_t kPanel = 2048;  // elements of the widest row
constexpr int64_t kBlock = 64;    // rows that are taken together: terms of a sum in f32, before it is added in double
constexpr int64_t kBlockElements = 4096;  // of a block, at most, where nothing is summed
constexpr int64_t kRun = 512 * 1024;  // bytes that a pass downwards reads upwards, as memory likes it: half of an L2
// Pairs of vectors at a time, by what they keep in registers.
#if defined(__AVX512F__)
constexpr int kPairsOfStatistics = 4, kPairsOfNormalize = 2, kPairsOfBackward = 2;  // 32 registers
#else
constexpr int kPairsOfStatistics = 2, kPairsOfNormalize = 2, kPairsOfBackward = 1;  // 16 registers
#endif

int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/// A panel of channels as rows of pairs, kPairs of which are taken together.
template <typename T, int kPairs>
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
      const int64_t best = kPairs * kPair / greatest_common_divisor(channels, kPairs * kPair);
      const int64_t least = kPair / greatest_common_divisor(channels, kPair);
      repeat = best * channels <= kPanel ? best : least * channels <= kPanel ? least : 1;
    }
    width = repeat * channels;
    stride = repeat == 1 ? all_channels : width;
    count = places / repeat;
    rest = places % repeat * channels;
  }

  /// Elements of a row's pairs, of which the last may be a part.
  int64_t padded() const { return (width + kPair - 1) / kPair * kPair; }

  /// The channels' values as the pairs of a row hold them.
  void spread(const float* of_channel, float* of_row) const {
    const int64_t size = padded();
    float row[kPanel];
    for (int64_t i = 0; i < channels; ++i) row[i] = of_channel[i];
    for (int64_t filled = channels; filled < size; filled *= 2) {
      const int64_t part = smaller(filled, size - filled);
      for (int64_t i = 0; i < part; ++i) row[filled + i] = row[i];
    }
    to_lanes<T>(row, of_row, size);
  }

  /// The sum of each channel from the sums of a row's pairs; `repeat` is a power of two.
  void gather(const double* of_row, double* of_channel) const {
    double row[kPanel];
    from_lanes<T>(of_row, row, padded());
    for (int64_t half = width / 2; half >= channels; half /= 2) {
      for (int64_t i = 0; i < half; ++i) row[i] += row[half + i];
    }
    for (int64_t i = 0; i < channels; ++i) of_channel[i] = row[i];
  }

  /// Runs body.operator()<U, kTail>(offset, rows, column, n): U pairs at `column` (or the first n elements of one) of
  /// `rows` rows from element `offset`. Over one block of rows:
  template <typename Body>
  GHOSTBATCH_INLINE void in_block(int64_t first, int64_t rows, const Body& body) const {
    const int64_t offset = first * stride;
    int64_t column = 0;
    for (; column + kPairs * kPair <= width; column += kPairs * kPair) {
      body.template operator()<kPairs, false>(offset + column, rows, column, kPair);
    }
    for (; column + kPair <= width; column += kPair) {
      body.template operator()<1, false>(offset + column, rows, column, kPair);
    }
    if (column < width) body.template operator()<1, true>(offset + column, rows, column, width - column);
  }
  /// Over the last, shorter row:
  template <typename Body>
  GHOSTBATCH_INLINE void in_rest(const Body& body) const {
    for (int64_t column = 0; column < rest; column += kPair) {
      body.template operator()<1, true>(count * stride + column, 1, column, smaller(kPair, rest - column));
    }
  }
  /// Over the whole panel, from its end.
  template <typename Body>
  GHOSTBATCH_INLINE void downwards(const Body& body) const {
    in_rest(body);
    const int64_t block = larger<int64_t>(8, smaller(kBlock, kBlockElements / width));
    const int64_t run = larger<int64_t>(kRun / (block * stride * int64_t{sizeof(T)}), 1) * block;
    for (int64_t last = count; last > 0;) {
      const int64_t begin = (last - 1) / run * run;
      for (int64_t first = begin; first < last; first += block) in_block(first, smaller(block, last - first), body);
      last = begin;
    }
  }
};

using PanelValues = float[kPanel];

/// What forward computes and backward's mask computes again: fma(x - mean, factor, beta).
struct Affine {
  alignas(64) PanelValues mean, factor, beta;
  double rstd[kPanel];  // of the channels; the others as the pairs of a row hold them

  template <typename RowsOfType>
  Affine(const NormCall& call, const RowsOfType& rows) {
    PanelValues factors;
    const float* const gamma = call.gamma + rows.channel;
    const float* const variance = call.variance + rows.channel;
    for (int64_t i = 0; i < rows.channels; ++i) {
      rstd[i] = 1.0 / __builtin_sqrt(static_cast<double>(variance[i]) + call.epsilon);
      factors[i] = static_cast<float>(static_cast<double>(gamma[i]) * rstd[i]);
    }
    rows.spread(call.mean + rows.channel, mean);
    rows.spread(factors, factor);
    rows.spread(call.beta + rows.channel, beta);
  }
};

/// Two sums per element of a row: formed in f32 by `body` over one block of rows, then added in double.
template <typename T, int kPairs>
struct Sums {
  const Rows<T, kPairs>& rows;
  alignas(64) PanelValues a, b;
  double total_a[kPanel], total_b[kPanel];

  explicit Sums(const Rows<T, kPairs>& of) : rows(of) {
    const int64_t size = rows.padded();
    for (int64_t i = 0; i < size; ++i) total_a[i] = total_b[i] = 0;
  }

  template <typename Body>
  GHOSTBATCH_INLINE void add(const Body& body) {
    for (int64_t first = 0; first < rows.count; first += kBlock) {
      rows.in_block(first, smaller(kBlock, rows.count - first), body);
      flush(rows.padded());
    }
    rows.in_rest(body);
    flush((rows.rest + kPair - 1) / kPair * kPair);
  }

  void of_channels(double* sum_a, double* sum_b) const {
    rows.gather(total_a, sum_a);
    rows.gather(total_b, sum_b);
  }

 private:
  void flush(int64_t size) {
    for (int64_t i = 0; i < size; ++i) {
      total_a[i] += static_cast<double>(a[i]);
      total_b[i] += static_cast<double>(b[i]);
    }
  }
};

/// A value near the mean, from the first places: eight, or one, so that the estimate of a constant is exact.
template <typename T>
void estimate_mean(const T* src, int64_t places, int64_t channels, int64_t stride, float* estimate) {
  const int64_t count = places < 8 ? 1 : 8;
  for (int64_t i = 0; i < channels; ++i) estimate[i] = to_float(src[i]);
  for (int64_t place = 1; place < count; ++place) {
    for (int64_t i = 0; i < channels; ++i) estimate[i] += to_float(src[place * stride + i]);
  }
  for (int64_t i = 0; i < channels; ++i) estimate[i] *= 1.0f / static_cast<float>(count);
}

template <typename T>
void statistics(const void* src_data, int64_t places, int64_t channels, double* mean, double* m2) {
  for (int64_t channel = 0; channel < channels; channel += kPanel) {
    const Rows<T, kPairsOfStatistics> rows(places, channels, channel);
    const T* src = static_cast<const T*>(src_data) + channel;
    alignas(64) PanelValues estimate, minus_estimate;
    estimate_mean(src, places, rows.channels, channels, estimate);
    rows.spread(estimate, minus_estimate);
    for (int64_t i = 0; i < rows.padded(); ++i) minus_estimate[i] = -minus_estimate[i];
    Sums sums(rows);
    sums.add([&]<int kPairs, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t n) {
      vp shift[kPairs], sum[kPairs], square[kPairs];
      for (int u = 0; u < kPairs; ++u) {
        shift[u] = load_pair(minus_estimate + column + u * kPair);
        sum[u] = square[u] = set_pair(0);
      }
      for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
        for (int u = 0; u < kPairs; ++u) {
          // A sum as a product with one: the adders of a core have enough to do.
          vp d = fma(get_pair<kTail>(src + offset + u * kPair, n), set_pair(1), shift[u]);
          if constexpr (kTail) d = keep_first<T>(d, n);
          sum[u] = sum[u] + d;
          square[u] = fma(d, d, square[u]);
        }
      }
      for (int u = 0; u < kPairs; ++u) {
        store_pair(sums.a + column + u * kPair, sum[u]);
        store_pair(sums.b + column + u * kPair, square[u]);
      }
    });
    sums.of_channels(mean + channel, m2 + channel);
    const double share = 1.0 / static_cast<double>(places);
    for (int64_t i = 0; i < rows.channels; ++i) {
      const double sum = mean[channel + i], deviations = m2[channel + i] - sum * sum * share;
      mean[channel + i] = static_cast<double>(estimate[i]) + sum * share;
      m2[channel + i] = deviations < 0 ? 0 : deviations;
    }
  }
}

/// Whether all whole pairs of a row of `out` lie as streams want them.
template <typename RowsOfType, typename T>
bool streams(const NormCall& call, const RowsOfType& rows, const T* out) {
  return call.stream && reinterpret_cast<uintptr_t>(out) % kStreamAlignment == 0 &&
         rows.stride * int64_t{sizeof(T)} % kStreamAlignment == 0;
}

template <bool kTail, typename T>
GHOSTBATCH_INLINE void put_pair(bool stream, T* p, vp v, int64_t n) {
  if (!kTail && stream) {
    stream_pair(p, v);
  } else {
    set_pair_at<kTail>(p, v, n);
  }
}

template <typename T, bool kRelu, bool kResidual>
void normalize_as(const NormCall& call) {
  for (int64_t channel = 0; channel < call.channels; channel += kPanel) {
    const Rows<T, kPairsOfNormalize> rows(call.places, call.channels, channel);
    const Affine affine(call, rows);
    const T* src = static_cast<const T*>(call.src) + channel;
    const T* residual = kResidual ? static_cast<const T*>(call.residual) + channel : nullptr;
    T* dst = static_cast<T*>(call.out) + channel;
    const bool stream = streams(call, rows, dst);
    rows.downwards([&]<int kPairs, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t n) {
      vp mean[kPairs], factor[kPairs], beta[kPairs];
      for (int u = 0; u < kPairs; ++u) {
        mean[u] = load_pair(affine.mean + column + u * kPair);
        factor[u] = load_pair(affine.factor + column + u * kPair);
        beta[u] = load_pair(affine.beta + column + u * kPair);
      }
      for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
        for (int u = 0; u < kPairs; ++u) {
          const int64_t at = offset + u * kPair;
          vp y = fma(get_pair<kTail>(src + at, n) - mean[u], factor[u], beta[u]);
          if constexpr (kResidual) y = y + get_pair<kTail>(residual + at, n);
          if constexpr (kRelu) y = relu(y);
          put_pair<kTail>(stream, dst + at, y, n);
        }
      }
    });
    if (stream) end_of_stream();
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
    const Rows<T, kPairsOfBackward> rows(call.places, call.channels, channel);
    const Affine affine(call, rows);
    const T* src = static_cast<const T*>(call.src) + channel;
    const T* dst = kMask == Mask::dst ? static_cast<const T*>(call.dst) + channel : nullptr;
    const T* diff_dst = static_cast<const T*>(call.diff_dst) + channel;
    const T* diff_dst2 = kSecond ? static_cast<const T*>(call.diff_dst2) + channel : nullptr;
    T* out = kWrite ? static_cast<T*>(call.out) + channel : nullptr;
    Sums sums(rows);
    sums.add([&]<int kPairs, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t n) {
      vp mean[kPairs], factor[kPairs], beta[kPairs], sum[kPairs], product[kPairs];
      for (int u = 0; u < kPairs; ++u) {
        mean[u] = load_pair(affine.mean + column + u * kPair);
        if constexpr (kMask == Mask::src) {
          factor[u] = load_pair(affine.factor + column + u * kPair);
          beta[u] = load_pair(affine.beta + column + u * kPair);
        }
        sum[u] = product[u] = set_pair(0);
      }
      for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
        for (int u = 0; u < kPairs; ++u) {
          const int64_t at = offset + u * kPair;
          const vp d = get_pair<kTail>(src + at, n) - mean[u];
          vp g = get_pair<kTail>(diff_dst + at, n);
          if constexpr (kSecond) g = g + get_pair<kTail>(diff_dst2 + at, n);
          if constexpr (kMask == Mask::src) g = keep_where_positive(fma(d, factor[u], beta[u]), g);
          if constexpr (kMask == Mask::dst) g = keep_where_positive(get_pair<kTail>(dst + at, n), g);
          sum[u] = sum[u] + g;
          product[u] = fma(g, d, product[u]);
          if constexpr (kWrite) set_pair_at<kTail>(out + at, g, n);
        }
      }
      for (int u = 0; u < kPairs; ++u) {
        store_pair(sums.a + column + u * kPair, sum[u]);
        store_pair(sums.b + column + u * kPair, product[u]);
      }
    });
    sums.of_channels(sum_g + channel, sum_g_xhat + channel);
    for (int64_t i = 0; i < rows.channels; ++i) sum_g_xhat[channel + i] *= affine.rstd[i];
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
  const double per_place = 1.0 / static_cast<double>(call.ghost_places);
  for (int64_t channel = 0; channel < call.channels; channel += kPanel) {
    const Rows<T, kPairsOfBackward> rows(call.places, call.channels, channel);
    const Affine affine(call, rows);
    alignas(64) PanelValues slopes, shifts, slope, shift;
    for (int64_t i = 0; i < rows.channels; ++i) {
      slopes[i] = shifts[i] = 0;
      if (call.sum_g != nullptr) {
        const double share = static_cast<double>(call.gamma[channel + i]) * affine.rstd[i] * per_place;
        slopes[i] = static_cast<float>(-share * affine.rstd[i] * call.sum_g_xhat[channel + i]);
        shifts[i] = static_cast<float>(-share * call.sum_g[channel + i]);
      }
    }
    rows.spread(slopes, slope);
    rows.spread(shifts, shift);
    const T* src = static_cast<const T*>(call.src) + channel;
    const T* diff_dst = static_cast<const T*>(call.diff_dst) + channel;
    T* out = static_cast<T*>(call.out) + channel;
    const bool stream = streams(call, rows, out);
    rows.downwards([&]<int kPairs, bool kTail>(int64_t offset, int64_t count, int64_t column, int64_t n) {
      vp mean[kPairs], factor[kPairs], beta[kPairs], a[kPairs], b[kPairs];
      for (int u = 0; u < kPairs; ++u) {
        mean[u] = load_pair(affine.mean + column + u * kPair);
        factor[u] = load_pair(affine.factor + column + u * kPair);
        if constexpr (kMask) beta[u] = load_pair(affine.beta + column + u * kPair);
        a[u] = load_pair(slope + column + u * kPair);
        b[u] = load_pair(shift + column + u * kPair);
      }
      for (int64_t row = 0; row < count; ++row, offset += rows.stride) {
        for (int u = 0; u < kPairs; ++u) {
          const int64_t at = offset + u * kPair;
          const vp d = get_pair<kTail>(src + at, n) - mean[u];
          vp g = get_pair<kTail>(diff_dst + at, n);
          if constexpr (kMask) g = keep_where_positive(fma(d, factor[u], beta[u]), g);
          put_pair<kTail>(stream, out + at, fma(g, factor[u], fma(d, a[u], b[u])), n);
        }
      }
    });
    if (stream) end_of_stream();
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
