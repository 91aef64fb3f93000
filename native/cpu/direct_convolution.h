#pragma once

#include "ghostbatch/affine.h"

namespace ghostbatch::cpu {

/// Which of a convolution's directions run on own SIMD.
struct Directions {
  bool forward = false;
  bool backward_data = false;
  bool backward_weights = false;
};

/// The directions that own SIMD can do of a convolution of this shape, on this CPU.
Directions direct_directions(const ConvolutionSpec& spec);

/// Those of them in which it is faster than oneDNN.
Directions faster_directions(const ConvolutionSpec& spec);

/// A convolution that does these directions on own SIMD and the others on oneDNN.
Affine* make_direct_convolution(const ConvolutionSpec& spec, bool backward, Directions directions);

}  // namespace ghostbatch::cpu
