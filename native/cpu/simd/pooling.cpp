// Max and average pooling, vectors along the channels: see ghostbatch/pooling.h.
//
// Where windows overlap, backward gathers: each place of diff_src adds up the windows that hold it, in row order, and
// is written once. So it is deterministic, needs no zeroing, and keeps bf16 sums in f32. Where they do not, it
// scatters.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

constexpr int kUnroll = 4;  // vectors of channels at a time

/// Runs body.operator()<U, kTail>(c, n) over the channels.
template <typename Body>
GHOSTBATCH_INLINE void for_each_channel(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kUnroll * kLanes <= channels; c += kUnroll * kLanes) body.template operator()<kUnroll, false>(c, kLanes);
  for (; c + kLanes <= channels; c += kLanes) body.template operator()<1, false>(c, kLanes);
  if (c < channels) body.template operator()<1, true>(c, channels - c);
}

/// [begin, end).
struct Span {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

/// Places of a dimension of `size` inside the window of output `out`.
Span places_of(int64_t out, int64_t window, int64_t stride, int64_t pad, int64_t size) {
  const int64_t corner = out * stride - pad;
  return {larger<int64_t>(corner, 0), smaller(corner + window, size)};
}

/// Outputs of a dimension whose windows hold `place`.
Span windows_of(int64_t place, int64_t window, int64_t stride, int64_t pad, int64_t outputs) {
  const int64_t least = place + pad - window + 1;
  return {least <= 0 ? 0 : (least + stride - 1) / stride, smaller((place + pad) / stride + 1, outputs)};
}

/// Runs body(dst, rows, columns, p, q, row) over the outputs: `dst` counts them, `rows` and `columns` are their places.
template <typename Body>
GHOSTBATCH_INLINE void for_each_window(const PoolCall& call, const Body& body) {
  int64_t dst = 0;
  for (int64_t row = 0; row < call.rows; ++row) {
    for (int64_t p = 0; p < call.out_height; ++p) {
      const Span rows = places_of(p, call.window_h, call.stride_h, call.pad_h, call.height);
      for (int64_t q = 0; q < call.out_width; ++q, ++dst) {
        body(row, p, q, rows, places_of(q, call.window_w, call.stride_w, call.pad_w, call.width), dst);
      }
    }
  }
}

/// Runs body(row, h, w, ps, qs, src) over the places of diff_src: `ps` and `qs` are the windows that hold them.
template <typename Body>
GHOSTBATCH_INLINE void for_each_place(const PoolCall& call, const Body& body) {
  int64_t src = 0;
  for (int64_t row = 0; row < call.rows; ++row) {
    for (int64_t h = 0; h < call.height; ++h) {
      const Span ps = windows_of(h, call.window_h, call.stride_h, call.pad_h, call.out_height);
      for (int64_t w = 0; w < call.width; ++w, ++src) {
        body(row, h, w, ps, windows_of(w, call.window_w, call.stride_w, call.pad_w, call.out_width), src);
      }
    }
  }
}

bool windows_are_apart(const PoolCall& call) {
  return (call.stride_h >= call.window_h || call.out_height == 1) &&
         (call.stride_w >= call.window_w || call.out_width == 1);
}

/// Zeroes diff_src where some of it lies in no window.
template <typename T>
void clear_gaps(const PoolCall& call, T* diff_src) {
  const int64_t end_h = (call.out_height - 1) * call.stride_h - call.pad_h + call.window_h;
  const int64_t end_w = (call.out_width - 1) * call.stride_w - call.pad_w + call.window_w;
  const bool covered = (call.stride_h == call.window_h || call.out_height == 1) && end_h >= call.height &&
                       (call.stride_w == call.window_w || call.out_width == 1) && end_w >= call.width;
  const uint64_t elements = static_cast<uint64_t>(call.rows * call.height * call.width * call.channels);
  if (!covered) __builtin_memset(diff_src, 0, elements * sizeof(T));
}

template <typename T, bool kWorkspace>
void max_forward_as(const PoolCall& call, const T* src, T* dst, uint8_t* workspace) {
  const int64_t channels = call.channels;
  for_each_window(call, [&](int64_t row, int64_t p, int64_t q, Span rows, Span columns, int64_t out) {
    const int64_t top = p * call.stride_h - call.pad_h, left = q * call.stride_w - call.pad_w;
    const T* image = src + row * call.height * call.width * channels;
    for_each_channel(channels, [&]<int kVectors, bool kTail>(int64_t c, int64_t n) {
      vf best[kVectors], winner[kVectors];
      const int64_t first_cell = (rows.begin - top) * call.window_w + columns.begin - left;
      for (int u = 0; u < kVectors; ++u) {
        best[u] = get<kTail>(image + (rows.begin * call.width + columns.begin) * channels + c + u * kLanes, n);
        winner[u] = set(static_cast<float>(first_cell));
      }
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        for (int64_t w = columns.begin; w < columns.end; ++w) {
          const T* x = image + (h * call.width + w) * channels + c;
          const vf cell = set(static_cast<float>((h - top) * call.window_w + w - left));
          for (int u = 0; u < kVectors; ++u) {
            const vf value = get<kTail>(x + u * kLanes, n);
            const vm wins = beats(value, best[u]);
            best[u] = select(wins, value, best[u]);
            if constexpr (kWorkspace) winner[u] = select(wins, cell, winner[u]);
          }
        }
      }
      for (int u = 0; u < kVectors; ++u) {
        const int64_t at = out * channels + c + u * kLanes;
        set_at<kTail>(dst + at, best[u], n);
        if constexpr (kWorkspace) store(workspace + at, winner[u], n);
      }
    });
  });
}

template <typename T>
void max_forward(const PoolCall& call, const void* src, void* dst, uint8_t* workspace) {
  workspace != nullptr ? max_forward_as<T, true>(call, static_cast<const T*>(src), static_cast<T*>(dst), workspace)
                       : max_forward_as<T, false>(call, static_cast<const T*>(src), static_cast<T*>(dst), workspace);
}

template <typename T>
void max_backward_apart(const PoolCall& call, const T* diff_dst, const uint8_t* workspace, T* diff_src) {
  const int64_t channels = call.channels;
  clear_gaps(call, diff_src);
  for_each_window(call, [&](int64_t row, int64_t p, int64_t q, Span rows, Span columns, int64_t out) {
    const int64_t top = p * call.stride_h - call.pad_h, left = q * call.stride_w - call.pad_w;
    T* image = diff_src + row * call.height * call.width * channels;
    for_each_channel(channels, [&]<int kVectors, bool kTail>(int64_t c, int64_t n) {
      for (int u = 0; u < kVectors; ++u) {
        const int64_t at = c + u * kLanes;
        const vf g = get<kTail>(diff_dst + out * channels + at, n);
        const vf winner = get<kTail>(workspace + out * channels + at, n);
        for (int64_t h = rows.begin; h < rows.end; ++h) {
          for (int64_t w = columns.begin; w < columns.end; ++w) {
            const vf cell = set(static_cast<float>((h - top) * call.window_w + w - left));
            set_at<kTail>(image + (h * call.width + w) * channels + at, keep(equal(winner, cell), g), n);
          }
        }
      }
    });
  });
}

template <typename T>
void max_backward(const PoolCall& call, const void* diff_dst_data, const uint8_t* workspace, void* diff_src_data) {
  const int64_t channels = call.channels;
  const T* diff_dst = static_cast<const T*>(diff_dst_data);
  T* diff_src = static_cast<T*>(diff_src_data);
  if (windows_are_apart(call)) {
    max_backward_apart(call, diff_dst, workspace, diff_src);
    return;
  }
  for_each_place(call, [&](int64_t row, int64_t h, int64_t w, Span ps, Span qs, int64_t place) {
    for_each_channel(channels, [&]<int kVectors, bool kTail>(int64_t c, int64_t n) {
      vf sum[kVectors];
      for (int u = 0; u < kVectors; ++u) sum[u] = zero();
      for (int64_t p = ps.begin; p < ps.end; ++p) {
        const int64_t r = h + call.pad_h - p * call.stride_h;
        for (int64_t q = qs.begin; q < qs.end; ++q) {
          const int64_t s = w + call.pad_w - q * call.stride_w;
          const vf cell = set(static_cast<float>(r * call.window_w + s));
          const int64_t at = ((row * call.out_height + p) * call.out_width + q) * channels + c;
          for (int u = 0; u < kVectors; ++u) {
            const vm won = equal(get<kTail>(workspace + at + u * kLanes, n), cell);
            sum[u] = sum[u] + keep(won, get<kTail>(diff_dst + at + u * kLanes, n));
          }
        }
      }
      for (int u = 0; u < kVectors; ++u) set_at<kTail>(diff_src + place * channels + c + u * kLanes, sum[u], n);
    });
  });
}

template <typename T>
void average_forward(const PoolCall& call, const void* src_data, void* dst_data) {
  const int64_t channels = call.channels;
  const T* src = static_cast<const T*>(src_data);
  T* dst = static_cast<T*>(dst_data);
  for_each_window(call, [&](int64_t row, int64_t, int64_t, Span rows, Span columns, int64_t out) {
    const T* image = src + row * call.height * call.width * channels;
    const vf share = set(1.0f / static_cast<float>(rows.count() * columns.count()));
    for_each_channel(channels, [&]<int kVectors, bool kTail>(int64_t c, int64_t n) {
      vf sum[kVectors];
      for (int u = 0; u < kVectors; ++u) sum[u] = zero();
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        const T* x = image + (h * call.width + columns.begin) * channels + c;
        for (int64_t w = columns.begin; w < columns.end; ++w, x += channels) {
          for (int u = 0; u < kVectors; ++u) sum[u] = sum[u] + get<kTail>(x + u * kLanes, n);
        }
      }
      for (int u = 0; u < kVectors; ++u) set_at<kTail>(dst + out * channels + c + u * kLanes, sum[u] * share, n);
    });
  });
}

template <typename T>
void average_backward_apart(const PoolCall& call, const T* diff_dst, T* diff_src) {
  const int64_t channels = call.channels;
  clear_gaps(call, diff_src);
  for_each_window(call, [&](int64_t row, int64_t, int64_t, Span rows, Span columns, int64_t out) {
    T* image = diff_src + row * call.height * call.width * channels;
    const vf share = set(1.0f / static_cast<float>(rows.count() * columns.count()));
    for_each_channel(channels, [&]<int kVectors, bool kTail>(int64_t c, int64_t n) {
      vf g[kVectors];
      for (int u = 0; u < kVectors; ++u) g[u] = get<kTail>(diff_dst + out * channels + c + u * kLanes, n) * share;
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        T* x = image + (h * call.width + columns.begin) * channels + c;
        for (int64_t w = columns.begin; w < columns.end; ++w, x += channels) {
          for (int u = 0; u < kVectors; ++u) set_at<kTail>(x + u * kLanes, g[u], n);
        }
      }
    });
  });
}

template <typename T>
void average_backward(const PoolCall& call, const void* diff_dst_data, void* diff_src_data) {
  const int64_t channels = call.channels;
  const T* diff_dst = static_cast<const T*>(diff_dst_data);
  T* diff_src = static_cast<T*>(diff_src_data);
  if (windows_are_apart(call)) {
    average_backward_apart(call, diff_dst, diff_src);
    return;
  }
  for_each_place(call, [&](int64_t row, int64_t, int64_t, Span ps, Span qs, int64_t place) {
    for_each_channel(channels, [&]<int kVectors, bool kTail>(int64_t c, int64_t n) {
      vf sum[kVectors];
      for (int u = 0; u < kVectors; ++u) sum[u] = zero();
      for (int64_t p = ps.begin; p < ps.end; ++p) {
        const int64_t rows = places_of(p, call.window_h, call.stride_h, call.pad_h, call.height).count();
        for (int64_t q = qs.begin; q < qs.end; ++q) {
          const int64_t columns = places_of(q, call.window_w, call.stride_w, call.pad_w, call.width).count();
          const vf share = set(1.0f / static_cast<float>(rows * columns));
          const T* g = diff_dst + ((row * call.out_height + p) * call.out_width + q) * channels + c;
          for (int u = 0; u < kVectors; ++u) sum[u] = fma(get<kTail>(g + u * kLanes, n), share, sum[u]);
        }
      }
      for (int u = 0; u < kVectors; ++u) set_at<kTail>(diff_src + place * channels + c + u * kLanes, sum[u], n);
    });
  });
}

}  // namespace

extern const PoolingTable pooling_f32;
extern const PoolingTable pooling_bf16;
const PoolingTable pooling_f32 = {max_forward<float>, max_backward<float>, average_forward<float>,
                                  average_backward<float>};
const PoolingTable pooling_bf16 = {max_forward<bf16>, max_backward<bf16>, average_forward<bf16>,
                                   average_backward<bf16>};

}  // namespace ghostbatch::GHOSTBATCH_SIMD
