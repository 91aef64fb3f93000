// Direct convolution on images that lie padded in scratch: see cpu/direct_convolution.cpp.
//
// Vectors run over 16 filters; what they are multiplied with is broadcast from memory. An accumulator stays in its
// register for all of a sum. Taps that are neighbours along a row read the same places, so one broadcast serves all of
// them: with 3 taps that is 0.4 loads a multiply-add, where 2 loads and 2 multiply-adds can start in a cycle. bf16 goes
// in pairs, as vdpbf16ps takes them: of channels forward, of places in the gradient of the weights.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {

#if defined(__AVX512F__)
namespace {

/// Multiply-adds of vectors that hold 16 values, or 16 pairs, of T with one broadcast.
template <typename T>
struct Arithmetic;

template <>
struct Arithmetic<float> {
  static constexpr int64_t kPair = 1;
  using Vector = __m512;
  GHOSTBATCH_INLINE static Vector get(const float* p) { return _mm512_loadu_ps(p); }
  GHOSTBATCH_INLINE static Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
  GHOSTBATCH_INLINE static vf multiply_add(vf sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }
};

#if defined(__AVX512BF16__)
template <>
struct Arithmetic<bf16> {
  static constexpr int64_t kPair = 2;
  using Vector = __m512bh;
  GHOSTBATCH_INLINE static Vector get(const bf16* p) { return reinterpret_cast<Vector>(_mm512_loadu_si512(p)); }
  GHOSTBATCH_INLINE static Vector broadcast(const bf16* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return reinterpret_cast<Vector>(_mm512_set1_epi32(pair));
  }
  GHOSTBATCH_INLINE static vf multiply_add(vf sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, a, b); }
};
#endif

/// kPlaces outputs of one row from place `first` on, of kVectors x 16 filters; those that exist are stored.
template <typename T, int kTaps, int kPlaces, int kVectors>
GHOSTBATCH_INLINE void tile(const ConvolveCall& call, int64_t row, int64_t first, int64_t filter) {
  using A = Arithmetic<T>;
  constexpr int64_t kBlock = kLanes * A::kPair;
  const int64_t weights_of_vector = call.runs * call.channels * kTaps * kLanes;
  const T* weights = static_cast<const T*>(call.weights) + filter / kLanes * weights_of_vector;
  vf sum[kPlaces][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const vf start = call.bias == nullptr ? zero() : load(call.bias + filter + v * kLanes);
    for (int p = 0; p < kPlaces; ++p) sum[p][v] = start;
  }
  for (int64_t run = 0; run < call.runs; ++run) {
    const T* const x = static_cast<const T*>(call.src[run]) + row * call.src_row + first * call.src_place;
    for (int64_t channel = 0; channel < call.channels; channel += A::kPair) {
      typename A::Vector w[kTaps][kVectors];
      for (int t = 0; t < kTaps; ++t) {
        for (int v = 0; v < kVectors; ++v) w[t][v] = A::get(weights + t * kBlock + v * weights_of_vector);
      }
      weights += kTaps * kBlock;
      // Places that are kTaps apart share no output: the sums of one are done when the next of its outputs comes.
#pragma GCC unroll 8
      for (int phase = 0; phase < kTaps; ++phase) {
        const T* place = x + channel + phase * call.src_place;
#pragma GCC unroll 32
        for (int q = phase; q < kPlaces + kTaps - 1; q += kTaps, place += kTaps * call.src_place) {
          const typename A::Vector value = A::broadcast(place);
#pragma GCC unroll 8
          for (int t = 0; t < kTaps; ++t) {
            const int p = q - t;
            if (p < 0 || p >= kPlaces) continue;
#pragma GCC unroll 2
            for (int v = 0; v < kVectors; ++v) sum[p][v] = A::multiply_add(sum[p][v], w[t][v], value);
          }
        }
      }
    }
  }
  T* const dst = static_cast<T*>(call.dst) + row * call.dst_row + first * call.dst_place + filter;
  const int64_t places = call.places - first;
#pragma GCC unroll 32
  for (int p = 0; p < kPlaces; ++p) {
    if (p >= places) break;
    for (int v = 0; v < kVectors; ++v) {
      store(dst + p * call.dst_place + v * kLanes, call.relu ? relu(sum[p][v]) : sum[p][v]);
    }
  }
}

template <typename T, int kTaps>
void convolve_taps(const ConvolveCall& call) {
  int64_t filter = 0;
  for (; filter + 2 * kLanes <= call.filters; filter += 2 * kLanes) {
    for (int64_t row = 0; row < call.rows; ++row) {
      for (int64_t first = 0; first < call.places; first += 8) tile<T, kTaps, 8, 2>(call, row, first, filter);
    }
  }
  if (filter == call.filters) return;
  for (int64_t row = 0; row < call.rows; ++row) {
    int64_t first = 0;
    for (; first + 8 < call.places; first += 16) tile<T, kTaps, 16, 1>(call, row, first, filter);
    if (first < call.places) tile<T, kTaps, 8, 1>(call, row, first, filter);
  }
}

template <typename T>
void convolve(const ConvolveCall& call) {
  switch (call.taps) {
    case 1:
      return convolve_taps<T, 1>(call);
    case 2:
      return convolve_taps<T, 2>(call);
    case 3:
      return convolve_taps<T, 3>(call);
    default:
      return convolve_taps<T, 5>(call);
  }
}

/// Taps of one line of the filter that meet one phase of src: tap t, in column kw - t stride, brings place q of the
/// phase to place q + offset + t of diff.
struct Taps {
  int64_t count, kw, offset;

  Taps(const GradientCall& call, int64_t phase) {
    const int64_t first = (phase + call.pad) % call.stride;
    count = first < call.kernel ? (call.kernel - 1 - first) / call.stride + 1 : 0;
    kw = first + (count - 1) * call.stride;
    offset = (phase + call.pad - kw) / call.stride;
  }
};

/// Sums over rows [begin, end) of products of kTaps x kChannels weights with 16 filters, added to `sum`. x is what row
/// 0 of diff meets.
template <typename T, int kTaps, int kChannels>
GHOSTBATCH_INLINE void gradient_tile(const GradientCall& call, int64_t begin, int64_t end, int64_t columns, const T* x,
                                     int64_t filter, const Taps& taps, float* sum) {
  using A = Arithmetic<T>;
  vf s[kTaps][kChannels];
  const T* g[kTaps];
  const int64_t step = call.filters * A::kPair;
  for (int t = 0; t < kTaps; ++t) {
    const int64_t offset = taps.offset + t;
    const bool odd = A::kPair == 2 && (offset & 1) != 0;
    g[t] = static_cast<const T*>(odd ? call.shifted : call.diff) + filter * A::kPair +
           (A::kPair == 2 ? (offset + (odd ? 1 : 0)) / 2 : offset) * step;
    for (int c = 0; c < kChannels; ++c) s[t][c] = zero();
  }
  for (int64_t i = begin; i < end; ++i) {
    const T* values = x + i * call.stride * call.src_line;
    int64_t at = i * call.diff_row;
    for (int64_t j = 0; j < columns; ++j, values += call.src_column, at += step) {
      typename A::Vector v[kTaps];
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t) v[t] = A::get(g[t] + at);
#pragma GCC unroll 16
      for (int c = 0; c < kChannels; ++c) {
        const typename A::Vector value = A::broadcast(values + c * A::kPair);
#pragma GCC unroll 8
        for (int t = 0; t < kTaps; ++t) s[t][c] = A::multiply_add(s[t][c], v[t], value);
      }
    }
  }
  for (int t = 0; t < kTaps; ++t) {
    float* to = sum + (taps.kw - t * call.stride) * call.channels * kLanes;
    for (int c = 0; c < kChannels; ++c, to += kLanes) store(to, load(to) + s[t][c]);
  }
}

template <typename T, int kTaps, int kChannels>
void gradient_taps(const GradientCall& call, int64_t begin, int64_t end, int64_t columns, const T* x, int64_t filter,
                   const Taps& taps, float* sum) {
  int64_t c = 0;
  for (; c + kChannels <= call.channels; c += kChannels) {
    gradient_tile<T, kTaps, kChannels>(call, begin, end, columns, x + c * Arithmetic<T>::kPair, filter, taps,
                                       sum + c * kLanes);
  }
  for (; c < call.channels; c += 4) {
    gradient_tile<T, kTaps, 4>(call, begin, end, columns, x + c * Arithmetic<T>::kPair, filter, taps, sum + c * kLanes);
  }
}

template <typename T>
void gradient(const GradientCall& call) {
  constexpr int64_t kCache = 24 << 10;  // bytes of rows that are gone over again and again
  constexpr int64_t kPair = Arithmetic<T>::kPair;
  const int64_t width_of_phase = (call.width + call.stride - 1) / call.stride;
  const int64_t bytes = (width_of_phase * call.stride * call.stride * call.channels + 2 * width_of_phase * kLanes) *
                        static_cast<int64_t>(sizeof(T));
  const int64_t group = larger<int64_t>(1, kCache / bytes);
  for (int64_t first = 0; first < call.rows; first += group) {
    const int64_t last = smaller(call.rows, first + group);
    for (int64_t filter = 0; filter < call.filters; filter += kLanes) {
      for (int64_t kh = 0; kh < call.kernel; ++kh) {
        // Rows whose line, row stride + kh - pad, is there.
        const int64_t begin = larger(first, (larger<int64_t>(0, call.pad - kh) + call.stride - 1) / call.stride);
        const int64_t lowest = call.height - 1 + call.pad - kh;  // what the last line is, counted from row 0's
        const int64_t end = lowest < 0 ? 0 : smaller(last, lowest / call.stride + 1);
        if (begin >= end) continue;
        float* const sum = call.sum + (filter * call.kernel + kh * kLanes) * call.kernel * call.channels;
        for (int64_t phase = 0; phase < smaller(call.stride, call.width); ++phase) {
          const Taps taps(call, phase);
          const T* const x = static_cast<const T*>(call.src) + phase * call.src_phase + (kh - call.pad) * call.src_line;
          const int64_t places = (call.width - phase + call.stride - 1) / call.stride;
          const int64_t columns = (places + kPair - 1) / kPair;
          switch (taps.count) {
            case 0:
              break;
            case 1:
              gradient_taps<T, 1, 16>(call, begin, end, columns, x, filter, taps, sum);
              break;
            case 2:
              gradient_taps<T, 2, 8>(call, begin, end, columns, x, filter, taps, sum);
              break;
            case 3:
              gradient_taps<T, 3, 8>(call, begin, end, columns, x, filter, taps, sum);
              break;
            default:
              gradient_taps<T, 5, 4>(call, begin, end, columns, x, filter, taps, sum);
          }
        }
      }
    }
  }
}

GHOSTBATCH_INLINE void column(const float* place, const float*, int64_t channels, float* dst) {
  for_each_vector(channels,
                  [&]<bool kTail>(int64_t c, int64_t n) { set_at<kTail>(dst + c, get<kTail>(place + c, n), n); });
}

#if defined(__AVX512BF16__)
/// Either may be null, for zeros.
GHOSTBATCH_INLINE void column(const bf16* even, const bf16* odd, int64_t channels, bf16* dst) {
  const auto half = [](const bf16* place, int64_t c, int64_t n) {
    if (place == nullptr) return _mm512_setzero_si512();
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), place + c));
  };
  for_each_vector(channels, [&]<bool kTail>(int64_t c, int64_t n) {
    const int64_t lanes = kTail ? n : kLanes;
    const __m512i pair = _mm512_or_si512(half(even, c, lanes), _mm512_slli_epi32(half(odd, c, lanes), 16));
    _mm512_mask_storeu_epi32(dst + 2 * c, first(lanes), pair);
  });
}
#endif

template <typename T>
void columns(const void* src_data, int64_t places, int64_t channels, int64_t first_place, int64_t step, void* dst_data,
             int64_t count, int64_t width) {
  constexpr int64_t kPair = Arithmetic<T>::kPair;
  const T* const src = static_cast<const T*>(src_data);
  T* dst = static_cast<T*>(dst_data);
  int64_t even = first_place;
  for (int64_t j = 0; j < count; ++j, dst += width, even += kPair * step) {
    const int64_t odd = kPair == 2 ? even + step : even;
    if (even >= 0 && odd < places) {
      column(src + even * channels, src + odd * channels, channels, dst);
    } else if (kPair == 2 && odd >= 0 && even < places) {
      column(even < 0 ? nullptr : src + even * channels, odd < places ? src + odd * channels : nullptr, channels, dst);
    }
  }
}

}  // namespace

extern const ConvolutionTable convolution_f32;
const ConvolutionTable convolution_f32 = {convolve<float>, gradient<float>, columns<float>};
extern const ConvolutionTable convolution_bf16;
#if defined(__AVX512BF16__)
const ConvolutionTable convolution_bf16 = {convolve<bf16>, gradient<bf16>, columns<bf16>};
#else
const ConvolutionTable convolution_bf16 = {};
#endif

#else  // 16 registers are too few for this

extern const ConvolutionTable convolution_f32, convolution_bf16;
const ConvolutionTable convolution_f32 = {}, convolution_bf16 = {};

#endif

}  // namespace ghostbatch::GHOSTBATCH_SIMD
