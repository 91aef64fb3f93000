#include <algorithm>
#include <cmath>

#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

template <typename T>
class ReferencePooling final : public Pooling {
 public:
  explicit ReferencePooling(const PoolSpec& spec) : Pooling(spec) {}

  const char* implementation() const override { return "loops"; }

 protected:
  void do_forward(const View& src, const View& dst, const View* workspace, int64_t rows) const override {
    const T* const x = src.as<T>();
    for_outputs(rows, [&](int64_t n, int64_t p, int64_t q, int64_t c, int64_t output) {
      double best = 0, sum = 0;
      int64_t best_cell = -1, cells = 0;
      for_cells(p, q, [&](int64_t h, int64_t w, int64_t cell) {
        const auto value = static_cast<double>(x[source(n, h, w, c)]);
        if (best_cell < 0 || value > best || (std::isnan(value) && !std::isnan(best))) {
          best = value;
          best_cell = cell;
        }
        sum += value;
        ++cells;
      });
      if (spec_.kind == PoolKind::max) {
        dst.as<T>()[output] = static_cast<T>(best);
        if (workspace != nullptr) workspace->as<uint8_t>()[output] = static_cast<uint8_t>(best_cell);
      } else {
        dst.as<T>()[output] = static_cast<T>(sum / static_cast<double>(cells));
      }
    });
  }

  // Gathers: each source place sums over the windows that hold it, so that the sum can stay in double.
  void do_backward(const View& diff_dst, const View& diff_src, const View* workspace, int64_t rows) const override {
    const T* const dy = diff_dst.as<T>();
    const int64_t out_h = spec_.out_height(), out_w = spec_.out_width();
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t h = 0; h < spec_.height; ++h) {
        for (int64_t w = 0; w < spec_.width; ++w) {
          for (int64_t c = 0; c < spec_.channels; ++c) {
            double sum = 0;
            for (int64_t r = 0; r < spec_.window_h; ++r) {
              const int64_t p = (h + spec_.pad_h - r) / spec_.stride_h;
              if (h + spec_.pad_h - r < 0 || (h + spec_.pad_h - r) % spec_.stride_h != 0 || p >= out_h) continue;
              for (int64_t s = 0; s < spec_.window_w; ++s) {
                const int64_t q = (w + spec_.pad_w - s) / spec_.stride_w;
                if (w + spec_.pad_w - s < 0 || (w + spec_.pad_w - s) % spec_.stride_w != 0 || q >= out_w) continue;
                const int64_t output = ((n * out_h + p) * out_w + q) * spec_.channels + c;
                const auto g = static_cast<double>(dy[output]);
                if (spec_.kind == PoolKind::average) {
                  sum += g / static_cast<double>(cells_inside(p, q));
                } else if (workspace->as<uint8_t>()[output] == r * spec_.window_w + s) {
                  sum += g;
                }
              }
            }
            diff_src.as<T>()[source(n, h, w, c)] = static_cast<T>(sum);
          }
        }
      }
    }
  }

 private:
  int64_t source(int64_t n, int64_t h, int64_t w, int64_t c) const {
    return ((n * spec_.height + h) * spec_.width + w) * spec_.channels + c;
  }

  /// body(n, p, q, c, output) for every element of dst [rows,P,Q,C], in order.
  template <typename Body>
  void for_outputs(int64_t rows, const Body& body) const {
    int64_t output = 0;
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t p = 0; p < spec_.out_height(); ++p) {
        for (int64_t q = 0; q < spec_.out_width(); ++q) {
          for (int64_t c = 0; c < spec_.channels; ++c) body(n, p, q, c, output++);
        }
      }
    }
  }

  /// body(h, w, cell) for the cells of window (p, q) that lie in the image, in row order.
  template <typename Body>
  void for_cells(int64_t p, int64_t q, const Body& body) const {
    for (int64_t r = 0; r < spec_.window_h; ++r) {
      const int64_t h = p * spec_.stride_h - spec_.pad_h + r;
      if (h < 0 || h >= spec_.height) continue;
      for (int64_t s = 0; s < spec_.window_w; ++s) {
        const int64_t w = q * spec_.stride_w - spec_.pad_w + s;
        if (w >= 0 && w < spec_.width) body(h, w, r * spec_.window_w + s);
      }
    }
  }

  int64_t cells_inside(int64_t p, int64_t q) const {
    int64_t cells = 0;
    for_cells(p, q, [&](int64_t, int64_t, int64_t) { ++cells; });
    return cells;
  }
};

}  // namespace

Pooling* make_pooling(const PoolSpec& spec) {
  return with_type("pooling", spec.type,
                   [&](auto element) -> Pooling* { return new ReferencePooling<decltype(element)>(spec); });
}

}  // namespace ghostbatch::reference
