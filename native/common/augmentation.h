// The random geometry of augmentation: the same draws and source places on every backend.
#pragma once

#include <cstdint>

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

/// The draw of sample `number` in `epoch`: one Philox block w, keyed by neither batch nor thread.
///   flip: top bit of w0; crop_y = floor(w1 / 2^32 (2 pad + 1)) - pad, crop_x likewise of w2;
///   affine: with u(w) = 2 w / 2^32 - 1, a rotation by u(w1) degrees, then a shift by u(w2) translate H down and
///   u(w3) translate W right.
AugmentationDraw draw_augmentation(const LoadSpec& spec, uint64_t seed, uint64_t epoch, int64_t number);

/// Source places of an affine map's result: with v = y - centre_y - shift_y, u = x - centre_x - shift_x,
///   source = (cosine v - sine u + centre_y, sine v + cosine u + centre_x).
struct AffineMap {
  double cosine, sine, centre_y, centre_x, shift_y, shift_x;

  AffineMap(const LoadSpec& spec, const AugmentationDraw& draw);
};

}  // namespace ghostbatch
