// ReLU, sums, dropout and signs over flat vectors: see ghostbatch/elementwise.h.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

template <typename T>
void relu_forward(const void* src_data, void* dst_data, int64_t elements) {
  const T* src = static_cast<const T*>(src_data);
  T* dst = static_cast<T*>(dst_data);
  for_each_vector(elements,
                  [&]<bool kTail>(int64_t i, int64_t n) { set_at<kTail>(dst + i, relu(get<kTail>(src + i, n)), n); });
}

template <typename T>
void relu_backward(const void* dst_data, const void* diff_dst_data, void* diff_src_data, int64_t elements) {
  const T* dst = static_cast<const T*>(dst_data);
  const T* diff_dst = static_cast<const T*>(diff_dst_data);
  T* diff_src = static_cast<T*>(diff_src_data);
  for_each_vector(elements, [&]<bool kTail>(int64_t i, int64_t n) {
    const vm open = greater(get<kTail>(dst + i, n), zero());
    set_at<kTail>(diff_src + i, keep(open, get<kTail>(diff_dst + i, n)), n);
  });
}

template <typename T, bool kRelu>
void add_as(const void* a_data, const void* b_data, void* dst_data, int64_t elements) {
  const T* a = static_cast<const T*>(a_data);
  const T* b = static_cast<const T*>(b_data);
  T* dst = static_cast<T*>(dst_data);
  for_each_vector(elements, [&]<bool kTail>(int64_t i, int64_t n) {
    const vf sum = get<kTail>(a + i, n) + get<kTail>(b + i, n);
    set_at<kTail>(dst + i, kRelu ? relu(sum) : sum, n);
  });
}

template <typename T>
void add(const void* a, const void* b, void* dst, int64_t elements, bool relu) {
  relu ? add_as<T, true>(a, b, dst, elements) : add_as<T, false>(a, b, dst, elements);
}

constexpr int kBlocks = 16;  // Philox blocks of four words made together: loops that the compiler turns into vectors

/// words[4 i + w] = word w of Philox4x32-10 with counter (stream, step, row, first + i).
void philox_words(uint64_t seed, uint32_t stream, uint32_t step, uint32_t row, uint32_t first, uint32_t* words) {
  uint32_t a[kBlocks], b[kBlocks], c[kBlocks], d[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    a[i] = stream;
    b[i] = step;
    c[i] = row;
    d[i] = first + static_cast<uint32_t>(i);
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kBlocks; ++i) {
      const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * a[i];
      const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c[i];
      a[i] = static_cast<uint32_t>(p1 >> 32) ^ b[i] ^ k0;
      b[i] = static_cast<uint32_t>(p1);
      c[i] = static_cast<uint32_t>(p0 >> 32) ^ d[i] ^ k1;
      d[i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < kBlocks; ++i) {
    words[4 * i] = a[i];
    words[4 * i + 1] = b[i];
    words[4 * i + 2] = c[i];
    words[4 * i + 3] = d[i];
  }
}

template <typename T>
void dropout(const void* src_data, void* dst_data, int64_t elements, uint32_t threshold, float scale, uint64_t seed,
             uint32_t stream, uint32_t step, uint32_t row) {
  const T* src = static_cast<const T*>(src_data);
  T* dst = static_cast<T*>(dst_data);
  for (int64_t first = 0; first < elements; first += 4 * kBlocks) {
    uint32_t words[4 * kBlocks];
    philox_words(seed, stream, step, row, static_cast<uint32_t>(first / 4), words);
    const int64_t count = smaller<int64_t>(4 * kBlocks, elements - first);
    for (int64_t i = 0; i < count; ++i) {
      put(dst + first + i, words[i] >= threshold ? to_float(src[first + i]) * scale : 0.0f);
    }
  }
}

template <typename T>
void sign(const void* src_data, uint8_t* dst, int64_t elements) {
  const T* src = static_cast<const T*>(src_data);
  const vf one = set(1.0f);
  for_each_vector(elements, [&]<bool kTail>(int64_t i, int64_t n) {
    const vf value = get<kTail>(src + i, n);
    store(dst + i, one + keep(greater(value, zero()), one) - keep(greater(zero(), value), one), n);
  });
}

}  // namespace

extern const ElementwiseTable elementwise_f32;
extern const ElementwiseTable elementwise_bf16;
const ElementwiseTable elementwise_f32 = {relu_forward<float>, relu_backward<float>, add<float>, dropout<float>,
                                          sign<float>};
const ElementwiseTable elementwise_bf16 = {relu_forward<bf16>, relu_backward<bf16>, add<bf16>, dropout<bf16>,
                                           sign<bf16>};

}  // namespace ghostbatch::GHOSTBATCH_SIMD
