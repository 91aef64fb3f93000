// Many slices of one vector to their places in another, in one launch: the gradients of a pass to their sums, all
// weights to the type of activations. A block of threads takes a piece of a slice.
//
// A launch a slice would take microseconds, for the work of nanoseconds: most slices have some kilobytes. The floor is
// that of the bytes: an element 8 where f32 is copied, 12 where it is added, 6 from f32 to bf16.
#pragma once

#include <algorithm>
#include <vector>

#include "cuda/context.h"
#include "cuda/vector_kernels.h"

namespace ghostbatch::cuda {

/// Elements [from, from + count) of one vector, [to, to + count) of another.
struct Slice {
  int64_t from, to, count;
};

namespace slices {

/// A part of a slice, and how both vectors lie there.
struct Piece {
  int64_t from, to;
  int32_t count;
  Lead lead;
};

/// y = x
template <typename T>
struct Copy {
  using Y = T;
  static constexpr int kCount = vector::group_size<float, Y>();
  const float* x;
  Y* y;

  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    vector::Copy<float, Y>{x, y}(at, {});
  }
};

/// y += x
struct Add {
  using Y = float;
  static constexpr int kCount = vector::group_size<float>();
  const float* x;
  float* y;

  template <class A>
  GHOSTBATCH_HD void operator()(const A& at) const {
    const Values<float, kCount> from = at.load(x);
    Values<float, kCount> to = at.load(y);
    for (int k = 0; k < kCount; ++k) to.v[k] += from.v[k];
    at.store(y, to);
  }
};

/// Rule{x, y}(at) for every group of every piece.
template <class Rule>
struct Apply {
  static constexpr int kPhases = 1, kThreads = vector::kVectorThreads;
  struct Shared {};
  struct Registers {};

  const Piece* pieces;  // one a block
  const float* x;
  typename Rule::Y* y;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    const Piece piece = pieces[place.block];
    for_groups<Rule::kCount>(0, piece.count, piece.lead, place.thread, place.threads,
                             Rule{x + piece.from, y + piece.to});
  }
};

template <class Rule>
Launch<Apply<Rule>> apply(const Piece* pieces, int64_t count, const float* x, typename Rule::Y* y) {
  return {{pieces, x, y}, count, Apply<Rule>::kThreads};
}

inline int64_t pieces_of(const Slice& slice) {
  return divide_up(slice.count, vector::kPiece);
}

/// The pieces of slices, in their order.
template <typename Y>
std::vector<Piece> cut(const std::vector<Slice>& all, const float* x, const Y* y) {
  std::vector<Piece> pieces;
  for (const Slice& slice : all) {
    for (int64_t at = 0; at < slice.count; at += vector::kPiece) {
      const int64_t from = slice.from + at, to = slice.to + at, count = std::min(vector::kPiece, slice.count - at);
      const Lead lead = lead_of<vector::group_size<float, Y>()>(x + from, y + to);
      pieces.push_back({from, to, static_cast<int32_t>(count), lead});
    }
  }
  return pieces;
}

}  // namespace slices

/// Slices of a vector x of f32 and of a vector y of f32 or bf16, neither of which moves, as a table in device memory:
/// one launch does as many as one likes, and a captured graph can be replayed.
class SliceTable {
 public:
  SliceTable() = default;
  /// No slice of y overlaps another.
  SliceTable(const std::vector<Slice>& all, const float* x, DataType type_of_y, void* y, Stream stream);

  /// Of the device memory that such a table has.
  static int64_t bytes(const std::vector<Slice>& all);

  // Slices [first, end), by one launch; nothing where there are none. Enqueue.

  /// y = x.
  void copy(int64_t first, int64_t end, Stream stream) const;
  /// y += x, where y is of f32.
  void add(int64_t first, int64_t end, Stream stream) const;

 private:
  const slices::Piece* pieces(int64_t slice) const { return memory_.as<slices::Piece>() + first_piece(slice); }
  int64_t first_piece(int64_t slice) const { return first_pieces_[static_cast<size_t>(slice)]; }

  const float* x_ = nullptr;
  void* y_ = nullptr;
  DataType type_ = DataType::f32;
  std::vector<int64_t> first_pieces_;  // of every slice, and the number of all
  DeviceMemory memory_;
};

}  // namespace ghostbatch::cuda
