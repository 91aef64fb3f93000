// ReLU, sums, dropout, signs over flat vectors: see ghostbatch/elementwise.h. One thread a group of 16 bytes.
//
// Each reads its operands once and writes its result once, so the floor is their bytes over the memory's rate: relu 2
// elements, relu_backward and add 3, sign 1 and a byte. Dropout needs 80 integer instructions for four elements: at 4.8
// TB/s an H200 has time for them in f32; in bf16 they take half as long again as the memory.
#pragma once

#include "common/dropout_mask.h"
#include "cuda/grid.h"
#include "cuda/groups.h"
#include "ghostbatch/types.h"

namespace ghostbatch::cuda::elementwise {

/// What of a DropoutKey changes from step to step, in device memory. Rows are counted from first_row + RowRange::first.
struct DropoutState {
  uint64_t seed;
  uint64_t step;
  int64_t first_row;
  int32_t enabled;  // 0: dropout is the identity
};

/// operation(at) for every group of an extent. An operation says how its operands lie: kCount, lead().
template <class Operation>
struct Map {
  static constexpr int kPhases = 1, kThreads = 256;
  struct Shared {};
  struct Registers {};

  Operation operation;
  Extent extent;
  Lead lead;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    for_groups<Operation::kCount>(0, extent.elements(), lead, thread_of(place), threads_of(place), operation);
  }
};

template <class Operation>
Launch<Map<Operation>> map(const Operation& operation, const Extent& extent) {
  constexpr int kThreads = Map<Operation>::kThreads;
  const int64_t groups = groups_of<Operation::kCount>(extent.most_elements());
  return {{operation, extent, operation.lead()}, divide_up(groups, kThreads), kThreads};
}

/// max(0, value); NaN stays NaN.
GHOSTBATCH_HD inline float rectify(float value) {
  return value < 0 ? 0.0f : value;
}

template <typename T>
struct Relu {
  static constexpr int kCount = Pack<T>::kSize;
  const T* src;
  T* dst;

  Lead lead() const { return lead_of<kCount>(src, dst); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    Values<T, kCount> x = at.load(src);
    for (int k = 0; k < kCount; ++k) x.v[k] = from_float<T>(rectify(to_float(x.v[k])));
    at.store(dst, x);
  }
};

template <typename T>
struct ReluBackward {
  static constexpr int kCount = Pack<T>::kSize;
  const T *dst, *diff_dst;
  T* diff_src;

  Lead lead() const { return lead_of<kCount>(dst, diff_dst, diff_src); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    const Values<T, kCount> y = at.load(dst);
    Values<T, kCount> g = at.load(diff_dst);
    for (int k = 0; k < kCount; ++k) {
      if (!(to_float(y.v[k]) > 0)) g.v[k] = T(0);
    }
    at.store(diff_src, g);
  }
};

template <typename T>
struct Add {
  static constexpr int kCount = Pack<T>::kSize;
  const T *a, *b;
  T* dst;
  bool relu;

  Lead lead() const { return lead_of<kCount>(a, b, dst); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    Values<T, kCount> x = at.load(a);
    const Values<T, kCount> y = at.load(b);
    for (int k = 0; k < kCount; ++k) {
      const float sum = to_float(x.v[k]) + to_float(y.v[k]);
      x.v[k] = from_float<T>(relu ? rectify(sum) : sum);
    }
    at.store(dst, x);
  }
};

template <typename T>
struct Dropout {
  static constexpr int kCount = Pack<T>::kSize;
  static constexpr int kWords = 4;  // of a Philox block
  const T* src;
  T* dst;
  int64_t row_elements;
  uint32_t layer;
  uint32_t threshold;
  float scale;
  const DropoutState* state;
  const RowRange* rows;

  Lead lead() const { return lead_of<kCount>(src, dst); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    Values<T, kCount> x = at.load(src);
    if (state->enabled != 0) drop(at, x);
    at.store(dst, x);
  }

 private:
  template <class A>
  GHOSTBATCH_HD void drop(const A& at, Values<T, kCount>& x) const {
    DropoutKey key;
    key.seed = state->seed;
    key.layer = layer;
    key.step = state->step;
    key.first_row = state->first_row + (rows == nullptr ? 0 : rows->first);
    const int64_t first = at.first + at.begin;
    int64_t row = first / row_elements, e = first % row_elements;
    if (at.end - at.begin == kCount && e % kWords == 0 && e + kCount <= row_elements) {
      for (int k = 0; k < kCount; k += kWords) {
        const Philox4 words = dropout_words(key, row, (e + k) / kWords);
        for (int i = 0; i < kWords; ++i) x.v[k + i] = kept(words.v[i], x.v[k + i]);
      }
      return;
    }
    Philox4 words{};
    for (int k = 0; k < kCount; ++k) {
      if (k < at.begin || k >= at.end) continue;
      if (k == at.begin || e % kWords == 0) words = dropout_words(key, row, e / kWords);
      x.v[k] = kept(word_of(words, e), x.v[k]);
      if (++e == row_elements) e = 0, ++row;
    }
  }
  /// words.v[e % 4], without an address: they stay in registers.
  GHOSTBATCH_HD static uint32_t word_of(const Philox4& words, int64_t e) {
    const uint32_t even = e % 4 < 2 ? words.v[0] : words.v[2], odd = e % 4 < 2 ? words.v[1] : words.v[3];
    return e % 2 == 0 ? even : odd;
  }
  GHOSTBATCH_HD T kept(uint32_t word, T value) const {
    return word >= threshold ? from_float<T>(to_float(value) * scale) : T(0);
  }
};

/// Signs of a batch: those of the pass's rows go behind those of the rows before.
template <typename T>
struct Sign {
  static constexpr int kCount = Pack<T>::kSize;
  const T* src;
  uint8_t* dst;
  int64_t row_elements;
  const RowRange* rows;

  Lead lead() const {
    // The first row is known in device memory only: rows of whole groups keep any of them aligned.
    return row_elements % kCount == 0 ? lead_of<kCount>(src, dst) : Lead{0, false};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    const Values<T, kCount> x = at.load(src);
    Values<uint8_t, kCount> signs;
    for (int k = 0; k < kCount; ++k) {
      const float value = to_float(x.v[k]);
      signs.v[k] = static_cast<uint8_t>(value > 0 ? 2 : value < 0 ? 0 : 1);
    }
    at.store(dst + (rows == nullptr ? 0 : rows->first * row_elements), signs);
  }
};

/// Zeroes the bytes of rows [rows->count, most_rows): those that hold no sample. Mostly there are none: few blocks, and
/// each goes on as long as there is something to do.
struct ZeroRows {
  static constexpr int kPhases = 1, kThreads = 256, kCount = kPackBytes, kMostBlocks = 264;
  struct Shared {};
  struct Registers {};

  uint8_t* dst;
  Extent extent;  // row_elements: bytes
  Lead lead;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    for_groups<kCount>(extent.elements(), extent.most_elements(), lead, thread_of(place), threads_of(place),
                       [&](const auto& at) { at.store(dst, Values<uint8_t, kCount>{}); });
  }
};

inline Launch<ZeroRows> zero_rows_launch(void* dst, const Extent& bytes) {
  auto* const to = static_cast<uint8_t*>(dst);
  const int64_t blocks = divide_up(groups_of<ZeroRows::kCount>(bytes.most_elements()), ZeroRows::kThreads);
  return {{to, bytes, lead_of<ZeroRows::kCount>(to)},
          blocks < ZeroRows::kMostBlocks ? blocks : ZeroRows::kMostBlocks, ZeroRows::kThreads};
}

template <typename T>
Launch<Map<Dropout<T>>> dropout_launch(const T* src, T* dst, double rate, uint32_t layer, const DropoutState* state,
                                       const Extent& extent) {
  return map(Dropout<T>{src, dst, extent.row_elements, layer, dropout_threshold(rate),
                        static_cast<float>(1.0 / (1.0 - rate)), state, extent.rows},
             extent);
}

template <typename T>
Launch<Map<Sign<T>>> sign_launch(const T* src, uint8_t* dst, const Extent& extent) {
  return map(Sign<T>{src, dst, extent.row_elements, extent.rows}, extent);
}

// Enqueue on `stream`; operands in device memory, f32 or bf16, rows beyond the extent's neither read nor written. In
// place where ghostbatch/elementwise.h says so. Error where CUDA refuses the launch.

void relu(DataType type, const void* src, void* dst, const Extent& extent, Stream stream);
void relu_backward(DataType type, const void* dst, const void* diff_dst, void* diff_src, const Extent& extent,
                   Stream stream);
void add(DataType type, const void* a, const void* b, void* dst, bool relu, const Extent& extent, Stream stream);
/// rate in [0, 1); `layer` is the number of the dropout layer in its network. Its own backward.
void dropout(DataType type, const void* src, void* dst, double rate, uint32_t layer, const DropoutState* state,
             const Extent& extent, Stream stream);
/// dst u8 [batch, row_elements]: rows [first, first + count) of it.
void sign(DataType type, const void* src, uint8_t* dst, const Extent& extent, Stream stream);
/// Zeroes rows [count, most_rows) of dst [most_rows, row_elements].
void zero_rows(DataType type, void* dst, const Extent& extent, Stream stream);

}  // namespace ghostbatch::cuda::elementwise
