// The random geometry of augmentation: the same draws and source places on every backend, the GPU among them.
#pragma once

#include <cmath>
#include <cstdint>

#include "ghostbatch/philox.h"
#include "ghostbatch/samples.h"

namespace ghostbatch {

/// What one sample gets: result (y, x) of a crop is source (y + crop_y, x' + crop_x), x' = width - 1 - x where `flip`.
struct AugmentationDraw {
  bool flip = false;
  int64_t crop_y = 0;  // in [-pad, pad]
  int64_t crop_x = 0;
  double rotation = 0;  // radians, about the centre of the image
  double shift_y = 0;   // pixels, after the rotation
  double shift_x = 0;
};

/// floor(word / 2^32 * range): an integer in [0, range).
GHOSTBATCH_HOST_DEVICE inline int64_t random_below(uint32_t word, int64_t range) {
  return static_cast<int64_t>((static_cast<uint64_t>(word) * static_cast<uint64_t>(range)) >> 32);
}

/// In [-1, 1).
GHOSTBATCH_HOST_DEVICE inline double random_symmetric(uint32_t word) {
  return 2.0 * (static_cast<double>(word) / 4294967296.0) - 1.0;
}

/// The draw of sample `number` in `epoch`: one Philox block w, keyed by neither batch nor thread.
///   flip: top bit of w0; crop_y = floor(w1 / 2^32 (2 pad + 1)) - pad, crop_x likewise of w2;
///   affine: with u(w) = 2 w / 2^32 - 1, a rotation by u(w1) degrees, then a shift by u(w2) translate H down and
///   u(w3) translate W right.
GHOSTBATCH_HOST_DEVICE inline AugmentationDraw draw_augmentation(const LoadSpec& spec, uint64_t seed, uint64_t epoch,
                                                                 int64_t number) {
  const auto key = static_cast<uint64_t>(number);
  const Philox4 words = philox(seed, philox_stream(RandomPurpose::augment, static_cast<uint32_t>(epoch)),
                               static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), 0);
  AugmentationDraw draw;
  switch (spec.augmentation) {
    case Augmentation::none:
      break;
    case Augmentation::crop_flip:
    case Augmentation::pad_crop_flip:
      draw.crop_y = random_below(words.v[1], 2 * spec.pad + 1) - spec.pad;
      draw.crop_x = random_below(words.v[2], 2 * spec.pad + 1) - spec.pad;
      [[fallthrough]];
    case Augmentation::flip:
      draw.flip = (words.v[0] >> 31) != 0;
      break;
    case Augmentation::affine:
      draw.rotation = random_symmetric(words.v[1]) * spec.degrees * (3.14159265358979323846 / 180.0);
      draw.shift_y = random_symmetric(words.v[2]) * spec.translate * static_cast<double>(spec.height);
      draw.shift_x = random_symmetric(words.v[3]) * spec.translate * static_cast<double>(spec.width);
      break;
  }
  return draw;
}

/// Source places of an affine map's result: with v = y - centre_y - shift_y, u = x - centre_x - shift_x,
///   source = (cosine v - sine u + centre_y, sine v + cosine u + centre_x).
struct AffineMap {
  double cosine, sine, centre_y, centre_x, shift_y, shift_x;

  GHOSTBATCH_HOST_DEVICE AffineMap(const LoadSpec& spec, const AugmentationDraw& draw)
      : cosine(std::cos(draw.rotation)),
        sine(std::sin(draw.rotation)),
        centre_y(0.5 * static_cast<double>(spec.height - 1)),
        centre_x(0.5 * static_cast<double>(spec.width - 1)),
        shift_y(draw.shift_y),
        shift_x(draw.shift_x) {}
};

}  // namespace ghostbatch
