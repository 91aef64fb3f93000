// Ranges of elements in groups of neighbours: accesses of 16 bytes where all operands of a kernel are aligned alike,
// element by element at ragged ends, and where they are not.
#pragma once

#include "cuda/pack.h"

namespace ghostbatch::cuda {

/// Elements of a group, in registers.
template <typename T, int kCount>
struct Values {
  T v[kCount];
};

/// Where the group of a thread lies: v[k] is element first + k of the operands, for k in [begin, end). A whole group
/// has all of them, aligned; of any other the rest is zero when loaded, and not touched when stored.
template <int kCount, bool kWhole>
struct At {
  int64_t first;
  int begin, end;

  template <typename T>
  GHOSTBATCH_HD Values<T, kCount> load(const T* from) const {
    Values<T, kCount> values{};
    if constexpr (kWhole) {
      constexpr int kPack = pack_size<T>();
      for (int k = 0; k < kCount; k += kPack) {
        const Pack<T, kPack> pack = load_pack<T, kPack>(from + first + k);
        for (int i = 0; i < kPack; ++i) values.v[k + i] = pack.v[i];
      }
    } else {
      for (int k = 0; k < kCount; ++k) {
        if (k >= begin && k < end) values.v[k] = from[first + k];
      }
    }
    return values;
  }

  template <typename T>
  GHOSTBATCH_HD void store(T* to, const Values<T, kCount>& values) const {
    if constexpr (kWhole) {
      constexpr int kPack = pack_size<T>();
      for (int k = 0; k < kCount; k += kPack) {
        Pack<T, kPack> pack;
        for (int i = 0; i < kPack; ++i) pack.v[i] = values.v[k + i];
        store_pack(to + first + k, pack);
      }
    } else {
      for (int k = 0; k < kCount; ++k) {
        if (k >= begin && k < end) to[first + k] = values.v[k];
      }
    }
  }

 private:
  /// Elements of an access: the group, or 16 bytes of it.
  template <typename T>
  GHOSTBATCH_HD static constexpr int pack_size() {
    constexpr int kMost = kPackBytes / static_cast<int>(sizeof(T));
    return kCount < kMost ? kCount : kMost;
  }
};

/// How the operands of a kernel lie: groups begin `elements` before a multiple of their size, where they are aligned.
struct Lead {
  int32_t elements;
  bool aligned;
};

/// The lead that fits all operands, if there is one; null fits any.
template <int kCount, typename... T>
Lead lead_of(const T*... operands) {
  const auto fits = [](const auto* operand, int lead) {
    constexpr int64_t kSize = sizeof(*operand);
    constexpr int64_t kBytes = kCount * kSize < kPackBytes ? kCount * kSize : kPackBytes;
    return operand == nullptr || (static_cast<int64_t>(reinterpret_cast<uintptr_t>(operand) % kPackBytes) -
                                  lead * kSize) % kBytes == 0;
  };
  for (int lead = 0; lead < kCount; ++lead) {
    if ((fits(operands, lead) && ...)) return {lead, true};
  }
  return {0, false};
}

/// body(at) for groups `start`, `start` + `stride`, ... of elements [first, end): those of one thread.
template <int kCount, class Body>
GHOSTBATCH_HD void for_groups(int64_t first, int64_t end, Lead lead, int64_t start, int64_t stride, const Body& body) {
  const int64_t front = (first + lead.elements) / kCount;
  for (int64_t group = front + start;; group += stride) {
    const int64_t at = group * kCount - lead.elements;
    if (at >= end) return;
    if (lead.aligned && at >= first && at + kCount <= end) {
      body(At<kCount, true>{at, 0, kCount});
    } else {
      body(At<kCount, false>{at, at < first ? static_cast<int>(first - at) : 0,
                             at + kCount > end ? static_cast<int>(end - at) : kCount});
    }
  }
}

/// Groups that hold elements [0, elements), however they lead.
template <int kCount>
int64_t groups_of(int64_t elements) {
  return elements == 0 ? 0 : (elements + kCount - 1) / kCount + 1;
}

}  // namespace ghostbatch::cuda
