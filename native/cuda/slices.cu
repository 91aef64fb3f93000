#include "cuda/slices.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {

SliceTable::SliceTable(const std::vector<Slice>& all, const float* x, DataType type_of_y, void* y, Stream stream)
    : x_(x), y_(y), type_(type_of_y), first_pieces_{0}, memory_(bytes(all)) {
  for (const Slice& slice : all) first_pieces_.push_back(first_pieces_.back() + slices::pieces_of(slice));
  with_type("slices", type_, [&](auto element) {
    const std::vector<slices::Piece> table = slices::cut(all, x_, static_cast<const decltype(element)*>(y_));
    copy_memory(memory_.as<void>(), table.data(), memory_.bytes(), stream);
  });
}

int64_t SliceTable::bytes(const std::vector<Slice>& all) {
  int64_t pieces = 0;
  for (const Slice& slice : all) pieces += slices::pieces_of(slice);
  return pieces * int64_t{sizeof(slices::Piece)};
}

void SliceTable::copy(int64_t first, int64_t end, Stream stream) const {
  with_type("slices", type_, [&](auto element) {
    using Y = decltype(element);
    const int64_t count = first_piece(end) - first_piece(first);
    enqueue("slices", slices::apply<slices::Copy<Y>>(pieces(first), count, x_, static_cast<Y*>(y_)), stream);
  });
}

void SliceTable::add(int64_t first, int64_t end, Stream stream) const {
  if (type_ != DataType::f32) fail("slices", "f32 to add to", name_of(type_));
  const int64_t count = first_piece(end) - first_piece(first);
  enqueue("slices", slices::apply<slices::Add>(pieces(first), count, x_, static_cast<float*>(y_)), stream);
}

}  // namespace ghostbatch::cuda
