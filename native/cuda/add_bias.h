// Bias and ReLU of convolutions, linear layers and products, where no kernel of the libraries takes them along.
//
// Reads and writes dst once: for the 6000 x 512 of F1 in bf16, 12.3 MB, 2.9 us at 4.3 TB/s.
#pragma once

#include <cstdint>

#include "cuda/emulate.h"
#include "cuda/library.h"
#include "cuda/pack.h"
#include "ghostbatch/types.h"

namespace ghostbatch::cuda {

/// dst [rows, channels] += bias, then max(0, .), in place: kWidth neighbours an access, which divides `channels` and to
/// which dst is aligned. Computed in f32 and rounded once; NaN stays NaN.
template <typename T, int kWidth>
struct AddBias {
  struct Shared {};
  struct Registers {};
  static constexpr int kPhases = 1, kThreads = 256;

  T* dst;
  const float* bias;  // [channels]; null: ReLU alone
  int64_t rows;
  int64_t channels;
  bool relu;

  /// A thread keeps to its channels, so that it reads their bias once.
  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    const int64_t packs = channels / kWidth;  // of a row
    const int64_t thread = static_cast<int64_t>(place.block) * place.threads + place.thread;
    const int64_t rows_at_once = static_cast<int64_t>(place.blocks) * place.threads / packs;
    const int64_t first = thread / packs;
    if (first >= rows_at_once) return;  // threads that make no whole row
    const int64_t channel = thread % packs * kWidth;
    float shift[kWidth];
    for (int i = 0; i < kWidth; ++i) shift[i] = bias != nullptr ? bias[channel + i] : 0;
    for (int64_t row = first; row < rows; row += rows_at_once) {
      T* const at = dst + row * channels + channel;
      Pack<T, kWidth> pack = load_pack<T, kWidth>(at);
      for (int i = 0; i < kWidth; ++i) {
        const float sum = to_float(pack.v[i]) + shift[i];
        pack.v[i] = from_float<T>(relu && sum < 0 ? 0 : sum);
      }
      store_pack(at, pack);
    }
  }

  /// Blocks to launch: enough for one row at a time, and else a few accesses a thread.
  int32_t blocks() const {
    constexpr int64_t kAccesses = 8, kMost = 4096;
    const int64_t packs = channels / kWidth;
    const int64_t least = (packs + kThreads - 1) / kThreads;
    const int64_t wanted = (rows * packs + kThreads * kAccesses - 1) / (kThreads * kAccesses);
    return static_cast<int32_t>(wanted <= least ? least : wanted <= kMost ? wanted : kMost < least ? least : kMost);
  }
};

/// AddBias on `dst` [rows * channels] of f32 or bf16, wherever it lies; `bias` null: ReLU alone. Enqueues. Error where
/// `channels` does not divide dst, or CUDA refuses the launch.
void add_bias(const View& dst, const float* bias, int64_t channels, bool relu, Stream stream);

}  // namespace ghostbatch::cuda
