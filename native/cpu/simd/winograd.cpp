// Convolution by Winograd's minimal filtering F(2x2, 3x3): see cpu/winograd_convolution.cpp.
//
// A tile of 2 x 2 outputs is A^T [U * (B^T d B)] A of the 4 x 4 places d that it reads, with 16 products a channel and
// filter in place of 36. Each of the 16 points is a matrix product over a block of tiles, whose operands stay in the
// nearest caches: the tiles' values are broadcast, vectors run over filters, as in a direct convolution.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {

#if defined(__AVX512F__)
namespace {

constexpr int64_t kPoints = 16;
constexpr int64_t kSide = 4;  // places of a tile's patch

/// From point to point where a block of tiles has so many elements: a line more, as all points of a tile would else be
/// of one set of a cache.
constexpr int64_t point_elements(int64_t elements) {
  return elements + kLanes;
}

/// The 2 x 2 outputs from (y, x) on.
struct Tile {
  int64_t image, y, x;
};

/// The tiles of a batch of images, one after another.
struct Tiles {
  int64_t images, height, width;
  Tile next{0, 0, 0};

  /// The next `most` tiles, or those that are left.
  int64_t take(int64_t most, Tile* to) {
    int64_t count = 0;
    for (; count < most && next.image < images; ++count) {
      to[count] = next;
      next.x += 2;
      if (next.x < width) continue;
      next.x = 0;
      next.y += 2;
      if (next.y < height) continue;
      next.y = 0;
      ++next.image;
    }
    return count;
  }
};

/// A block of tiles, and the one after it, whose memory is called for while this one is multiplied: where both took
/// turns, the arithmetic would wait for memory, and memory for the arithmetic.
template <int kTiles>
struct Blocks {
  Tiles tiles;
  Tile block[kTiles], following[kTiles];
  int64_t count, coming;

  explicit Blocks(const Tiles& all)
      : tiles(all), count(tiles.take(kTiles, block)), coming(tiles.take(kTiles, following)) {}

  void advance() {
    for (int64_t t = 0; t < coming; ++t) block[t] = following[t];
    count = coming;
    coming = tiles.take(kTiles, following);
  }

  /// Brings a tile's places, `below` lines further down, to the second cache.
  GHOSTBATCH_INLINE void fetch(const Tile& tile, int64_t below, const float* images, int64_t channels) const {
    const int64_t bottom = smaller(tile.y + below + 2, tiles.height);
    for (int64_t y = tile.y + below; y < bottom; ++y) {
      const float* const line = images + ((tile.image * tiles.height + y) * tiles.width + tile.x) * channels;
      for (int64_t i = 0; i < 2 * channels; i += kLanes) __builtin_prefetch(line + i, 0, 2);
    }
  }
};

/// The places [y, y + side) x [x, x + side) of an image: in place, or copied to `room` with zeros for those outside.
struct Patch {
  const float* data;
  int64_t row;  // elements

  Patch(const float* image, const Tiles& tiles, int64_t channels, int64_t y, int64_t x, int64_t side, float* room)
      : data(room), row(side * channels) {
    const int64_t first = (y * tiles.width + x) * channels, line = tiles.width * channels;
    if (y >= 0 && x >= 0 && y + side <= tiles.height && x + side <= tiles.width) {
      data = image + first;
      row = line;
      return;
    }
    for (int64_t i = 0; i < side; ++i) {
      for (int64_t j = 0; j < side; ++j, room += channels) {
        const bool inside = y + i >= 0 && y + i < tiles.height && x + j >= 0 && x + j < tiles.width;
        for (int64_t c = 0; c < channels; c += kLanes) {
          store(room + c, inside ? load(image + first + i * line + j * channels + c) : zero());
        }
      }
    }
  }
};

/// B^T d B of 16 channels; point p goes to out + p * of_point.
GHOSTBATCH_INLINE void transform_src(const float* d, int64_t row, int64_t place, float* out, int64_t of_point) {
  vf t[kSide][kSide];
#pragma GCC unroll 4
  for (int j = 0; j < kSide; ++j) {
    const float* const p = d + j * place;
    const vf d0 = load(p), d1 = load(p + row), d2 = load(p + 2 * row), d3 = load(p + 3 * row);
    t[0][j] = d0 - d2;
    t[1][j] = d1 + d2;
    t[2][j] = d2 - d1;
    t[3][j] = d1 - d3;
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSide; ++i, out += kSide * of_point) {
    store(out, t[i][0] - t[i][2]);
    store(out + of_point, t[i][1] + t[i][2]);
    store(out + 2 * of_point, t[i][2] - t[i][1]);
    store(out + 3 * of_point, t[i][1] - t[i][3]);
  }
}

/// A g A^T of 2 x 2 gradients of outputs, likewise.
GHOSTBATCH_INLINE void transform_diff(const float* g, int64_t row, int64_t place, float* out, int64_t of_point) {
  vf t[kSide][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const vf g0 = load(g + j * place), g1 = load(g + row + j * place);
    t[0][j] = g0;
    t[1][j] = g0 + g1;
    t[2][j] = g0 - g1;
    t[3][j] = zero() - g1;
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSide; ++i, out += kSide * of_point) {
    store(out, t[i][0]);
    store(out + of_point, t[i][0] + t[i][1]);
    store(out + 2 * of_point, t[i][0] - t[i][1]);
    store(out + 3 * of_point, zero() - t[i][1]);
  }
}

/// A^T m A: the 2 x 2 outputs from the points, m + p * of_point.
GHOSTBATCH_INLINE void transform_points(const float* m, int64_t of_point, vf (&out)[2][2]) {
  vf t[2][kSide];
#pragma GCC unroll 4
  for (int j = 0; j < kSide; ++j) {
    const float* const p = m + j * of_point;
    const vf m0 = load(p), m1 = load(p + 4 * of_point), m2 = load(p + 8 * of_point), m3 = load(p + 12 * of_point);
    t[0][j] = m0 + m1 + m2;
    t[1][j] = m1 - m2 - m3;
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    out[i][0] = t[i][0] + t[i][1] + t[i][2];
    out[i][1] = t[i][1] - t[i][2] - t[i][3];
  }
}

/// One point of kTiles tiles and kVectors x 16 filters: sums over the channels.
/// src [channels / 16, kTiles, 16], weights [channels, kVectors, 16], dst [kTiles, kVectors, 16].
template <int kTiles, int kVectors>
GHOSTBATCH_INLINE void multiply(const float* src, const float* weights, int64_t channels, float* dst) {
  vf sum[kTiles][kVectors];
  for (int t = 0; t < kTiles; ++t) {
    for (int v = 0; v < kVectors; ++v) sum[t][v] = zero();
  }
  for (int64_t c = 0; c < channels; c += kLanes, src += kTiles * kLanes) {
    for (int64_t i = 0; i < kLanes; ++i, weights += kVectors * kLanes) {
      vf w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = load(weights + v * kLanes);
#pragma GCC unroll 32
      for (int t = 0; t < kTiles; ++t) {
        const vf value = set(src[t * kLanes + i]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[t][v] = fma(value, w[v], sum[t][v]);
      }
    }
  }
  for (int t = 0; t < kTiles; ++t) {
    for (int v = 0; v < kVectors; ++v) store(dst + (t * kVectors + v) * kLanes, sum[t][v]);
  }
}

template <int kTiles, int kVectors>
void convolve_blocks(const WinogradCall& call) {
  constexpr int64_t kGroup = kVectors * kLanes;  // filters
  const int64_t src_image = call.height * call.width * call.channels, dst_line = call.width * call.filters;
  const int64_t src_point = point_elements(call.channels * kTiles), dst_point = point_elements(kTiles * kGroup);
  float* const src = call.scratch;
  float* const dst = src + kPoints * src_point;
  float* const room = dst + kPoints * dst_point;
  for (Blocks<kTiles> blocks({call.images, call.height, call.width}); blocks.count > 0; blocks.advance()) {
    for (int64_t t = 0; t < blocks.count; ++t) {
      const Tile& tile = blocks.block[t];
      const Patch patch(call.src + tile.image * src_image, blocks.tiles, call.channels, tile.y - 1, tile.x - 1, kSide,
                        room);
      for (int64_t c = 0; c < call.channels; c += kLanes) {
        transform_src(patch.data + c, patch.row, call.channels, src + c * kTiles + t * kLanes, src_point);
      }
    }
    const float* weights = call.weights;
    for (int64_t filter = 0; filter < call.filters; filter += kGroup) {
      for (int64_t point = 0; point < kPoints; ++point, weights += call.channels * kGroup) {
        if (filter == 0) {
          if (point < blocks.count) blocks.fetch(blocks.block[point], 0, call.dst, call.filters);
          if (point < blocks.coming) blocks.fetch(blocks.following[point], 1, call.src, call.channels);
        }
        multiply<kTiles, kVectors>(src + point * src_point, weights, call.channels, dst + point * dst_point);
      }
      for (int64_t t = 0; t < blocks.count; ++t) {
        const Tile& tile = blocks.block[t];
        float* const to = call.dst + (tile.image * call.height + tile.y) * dst_line + tile.x * call.filters + filter;
        for (int64_t v = 0; v < kVectors; ++v) {
          vf out[2][2];
          transform_points(dst + t * kGroup + v * kLanes, dst_point, out);
          const vf bias = call.bias == nullptr ? zero() : load(call.bias + filter + v * kLanes);
          for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 2; ++j) {
              if (tile.y + i >= call.height || tile.x + j >= call.width) continue;
              const vf y = call.bias == nullptr ? out[i][j] : out[i][j] + bias;
              store(to + i * dst_line + j * call.filters + v * kLanes, call.relu ? relu(y) : y);
            }
          }
        }
      }
    }
  }
}

constexpr int kWideTiles = 12;    // times two vectors of filters
constexpr int kNarrowTiles = 16;  // times one
constexpr int kGradientTiles = 64;
constexpr int kFewGradientTiles = 16;  // of 16 channels and filters, that all points stay in the nearest cache

int64_t group(int64_t filters) {
  return filters % (2 * kLanes) == 0 ? 2 * kLanes : kLanes;
}

void convolve(const WinogradCall& call) {
  if (group(call.filters) == kLanes) {
    convolve_blocks<kNarrowTiles, 1>(call);
  } else {
    convolve_blocks<kWideTiles, 2>(call);
  }
}

/// One point of kChannels channels and kVectors x 16 filters: sums over the tiles, added to `sum`.
/// src [tiles, 16], diff [kVectors, kTiles, 16], sum [kChannels, filters].
template <int kTiles, int kChannels, int kVectors>
GHOSTBATCH_INLINE void multiply_gradient(const float* src, const float* diff, int64_t tiles, int64_t filters,
                                         float* sum) {
  vf s[kChannels][kVectors];
  for (int c = 0; c < kChannels; ++c) {
    for (int v = 0; v < kVectors; ++v) s[c][v] = zero();
  }
  for (int64_t t = 0; t < tiles; ++t, src += kLanes, diff += kLanes) {
    vf g[kVectors];
    for (int v = 0; v < kVectors; ++v) g[v] = load(diff + v * kTiles * kLanes);
#pragma GCC unroll 16
    for (int c = 0; c < kChannels; ++c) {
      const vf value = set(src[c]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) s[c][v] = fma(value, g[v], s[c][v]);
    }
  }
  for (int c = 0; c < kChannels; ++c, sum += filters) {
    for (int v = 0; v < kVectors; ++v) store(sum + v * kLanes, load(sum + v * kLanes) + s[c][v]);
  }
}

template <int kTiles>
void gradient_blocks(const WinogradGradientCall& call) {
  const int64_t image = call.height * call.width;
  const int64_t src_point = point_elements(call.channels * kTiles);
  const int64_t diff_point = point_elements(call.filters * kTiles);
  float* const src = call.scratch;
  float* const diff = src + kPoints * src_point;
  float* const room = diff + kPoints * diff_point;
  for (Blocks<kTiles> blocks({call.images, call.height, call.width}); blocks.count > 0; blocks.advance()) {
    for (int64_t t = 0; t < blocks.count; ++t) {
      const Tile& tile = blocks.block[t];
      const Patch d(call.src + tile.image * image * call.channels, blocks.tiles, call.channels, tile.y - 1, tile.x - 1,
                    kSide, room);
      for (int64_t c = 0; c < call.channels; c += kLanes) {
        transform_src(d.data + c, d.row, call.channels, src + c * kTiles + t * kLanes, src_point);
      }
      const Patch g(call.diff + tile.image * image * call.filters, blocks.tiles, call.filters, tile.y, tile.x, 2, room);
      for (int64_t f = 0; f < call.filters; f += kLanes) {
        transform_diff(g.data + f, g.row, call.filters, diff + f * kTiles + t * kLanes, diff_point);
      }
    }
    for (int64_t point = 0; point < kPoints; ++point) {
      for (int64_t t = point; t < blocks.coming; t += kPoints) {
        blocks.fetch(blocks.following[t], 1, call.src, call.channels);
        blocks.fetch(blocks.following[t], 0, call.diff, call.filters);
      }
      float* sum = call.sum + point * call.channels * call.filters;
      for (int64_t c = 0; c < call.channels; c += kLanes, sum += kLanes * call.filters) {
        const float* const of_src = src + point * src_point + c * kTiles;
        const float* const of_diff = diff + point * diff_point;
        int64_t f = 0;
        for (; f + 2 * kLanes <= call.filters; f += 2 * kLanes) {
          const float* const g = of_diff + f * kTiles;
          multiply_gradient<kTiles, 8, 2>(of_src, g, blocks.count, call.filters, sum + f);
          multiply_gradient<kTiles, 8, 2>(of_src + 8, g, blocks.count, call.filters, sum + 8 * call.filters + f);
        }
        if (f == call.filters) continue;
        multiply_gradient<kTiles, 16, 1>(of_src, of_diff + f * kTiles, blocks.count, call.filters, sum + f);
      }
    }
  }
}

bool few(int64_t channels, int64_t filters) {
  return channels + filters <= 2 * kLanes;
}

void gradient(const WinogradGradientCall& call) {
  if (few(call.channels, call.filters)) {
    gradient_blocks<kFewGradientTiles>(call);
  } else {
    gradient_blocks<kGradientTiles>(call);
  }
}

/// U = G g G^T of the 3 x 3 taps of one channel and filter.
void transform_weights(const float (&g)[3][3], float (&u)[kSide][kSide]) {
  float t[kSide][3];
  for (int j = 0; j < 3; ++j) {
    const float even = 0.5f * (g[0][j] + g[2][j]), odd = 0.5f * g[1][j];
    t[0][j] = g[0][j];
    t[1][j] = even + odd;
    t[2][j] = even - odd;
    t[3][j] = g[2][j];
  }
  for (int i = 0; i < kSide; ++i) {
    const float even = 0.5f * (t[i][0] + t[i][2]), odd = 0.5f * t[i][1];
    u[i][0] = t[i][0];
    u[i][1] = even + odd;
    u[i][2] = even - odd;
    u[i][3] = t[i][2];
  }
}

void pack(const WinogradPackCall& call) {
  const int64_t width = group(call.out);
  for (int64_t out = 0; out < call.out; ++out) {
    float* const to = call.packed + (out / width * kPoints * call.in) * width + out % width;
    for (int64_t in = 0; in < call.in; ++in) {
      const float* const from = call.weights + out * call.of_out + in * call.of_in;
      float g[3][3], u[kSide][kSide];
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) g[i][j] = call.turned ? from[((2 - i) * 3 + 2 - j) * call.of_tap]
                                                          : from[(i * 3 + j) * call.of_tap];
      }
      transform_weights(g, u);
      for (int64_t point = 0; point < kPoints; ++point) {
        to[(point * call.in + in) * width] = u[point / kSide][point % kSide];
      }
    }
  }
}

/// G^T u G.
void unpack(const float* sum, int64_t channels, int64_t filters, float* weights) {
  const int64_t of_point = channels * filters;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t f = 0; f < filters; f += kLanes) {
      const float* const u = sum + c * filters + f;
      vf t[3][kSide];
      for (int j = 0; j < kSide; ++j) {
        const float* const p = u + j * of_point;
        const vf u0 = load(p), u1 = load(p + 4 * of_point), u2 = load(p + 8 * of_point), u3 = load(p + 12 * of_point);
        t[0][j] = u0 + set(0.5f) * (u1 + u2);
        t[1][j] = set(0.5f) * (u1 - u2);
        t[2][j] = u3 + set(0.5f) * (u1 + u2);
      }
      for (int i = 0; i < 3; ++i) {
        alignas(64) float taps[3][kLanes];
        store(taps[0], t[i][0] + set(0.5f) * (t[i][1] + t[i][2]));
        store(taps[1], set(0.5f) * (t[i][1] - t[i][2]));
        store(taps[2], t[i][3] + set(0.5f) * (t[i][1] + t[i][2]));
        for (int j = 0; j < 3; ++j) {
          float* const to = weights + (f * 9 + i * 3 + j) * channels + c;
          for (int64_t lane = 0; lane < kLanes; ++lane) to[lane * 9 * channels] = taps[j][lane];
        }
      }
    }
  }
}

int64_t convolve_scratch(int64_t channels, int64_t filters) {
  const int64_t tiles = group(filters) == kLanes ? kNarrowTiles : kWideTiles;
  return kPoints * (point_elements(channels * tiles) + point_elements(tiles * group(filters)) + channels);
}

int64_t gradient_scratch(int64_t channels, int64_t filters) {
  return kPoints * (point_elements(channels * kGradientTiles) + point_elements(filters * kGradientTiles) +
                    larger(channels, filters));
}

}  // namespace

extern const WinogradTable winograd_f32;
const WinogradTable winograd_f32 = {convolve, gradient, pack, unpack, convolve_scratch, gradient_scratch};

#else  // 16 registers are too few for this

extern const WinogradTable winograd_f32;
const WinogradTable winograd_f32 = {};

#endif

}  // namespace ghostbatch::GHOSTBATCH_SIMD
