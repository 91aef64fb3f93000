#pragma once

#include "ghostbatch/affine.h"

namespace ghostbatch::cpu {

/// Whether this CPU can do a convolution of this shape by Winograd's minimal filtering. Where it can, that is the
/// fastest way: measured against oneDNN 3.11 on AVX-512 (Zen 5), images 32 to 4 wide with 16 to 512 channels, 1.3-1.8 times in
/// both directions of the data, 1.1-2.1 in the gradient of the weights.
bool has_winograd(const ConvolutionSpec& spec);

/// A convolution of such a shape, all directions by Winograd's filtering.
Affine* make_winograd_convolution(const ConvolutionSpec& spec, bool backward);

}  // namespace ghostbatch::cpu
