// Philox4x32-10 (Salmon et al., SC 2011): random numbers by key and counter, the same on every backend and in Java.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GHOSTBATCH_HOST_DEVICE __host__ __device__
#else
#define GHOSTBATCH_HOST_DEVICE
#endif

namespace ghostbatch {

/// What a stream of random numbers is for; part of the counter, so that streams never overlap.
enum class RandomPurpose : uint32_t {
  weights = 1,
  shuffle = 2,
  augment = 3,
  dropout = 4,
  noise = 5,
  probe = 6,
  direction = 7,
};

struct Philox4 {
  uint32_t v[4];
};

/// Four random words of key `seed` and counter (a, b, c, d).
GHOSTBATCH_HOST_DEVICE inline Philox4 philox(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * a;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c;
    const uint32_t na = static_cast<uint32_t>(p1 >> 32) ^ b ^ k0;
    const uint32_t nb = static_cast<uint32_t>(p1);
    const uint32_t nc = static_cast<uint32_t>(p0 >> 32) ^ d ^ k1;
    const uint32_t nd = static_cast<uint32_t>(p0);
    a = na, b = nb, c = nc, d = nd;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return Philox4{{a, b, c, d}};
}

/// Counter word `a` of a stream: the purpose in the top byte, a stream number (a layer, an epoch) below.
GHOSTBATCH_HOST_DEVICE inline uint32_t philox_stream(RandomPurpose purpose, uint32_t stream) {
  return (static_cast<uint32_t>(purpose) << 24) | (stream & 0xFFFFFFu);
}

}  // namespace ghostbatch
