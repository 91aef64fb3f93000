#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"

namespace ghostbatch::cpu {
namespace {

class SimdPooling final : public Pooling {
 public:
  explicit SimdPooling(const PoolSpec& spec)
      : Pooling(spec),
        table_(*table_for("pooling", spec.type, simd_tables().pooling_f32, simd_tables().pooling_bf16)) {}

  const char* implementation() const override { return simd_implementation(); }

 private:
  void do_forward(const View& src, const View& dst, const View* workspace, int64_t rows) const override {
    if (spec_.kind == PoolKind::max) {
      table_.max_forward(call_on(rows), src.data, dst.data, workspace == nullptr ? nullptr : workspace->as<uint8_t>());
    } else {
      table_.average_forward(call_on(rows), src.data, dst.data);
    }
  }

  void do_backward(const View& diff_dst, const View& diff_src, const View* workspace, int64_t rows) const override {
    if (spec_.kind == PoolKind::max) {
      table_.max_backward(call_on(rows), diff_dst.data, workspace->as<uint8_t>(), diff_src.data);
    } else {
      table_.average_backward(call_on(rows), diff_dst.data, diff_src.data);
    }
  }

  PoolCall call_on(int64_t rows) const {
    return {rows,           spec_.height,   spec_.width, spec_.channels, spec_.window_h,     spec_.window_w,
            spec_.stride_h, spec_.stride_w, spec_.pad_h, spec_.pad_w,    spec_.out_height(), spec_.out_width()};
  }

  const PoolingTable& table_;
};

}  // namespace

Pooling* make_pooling(const PoolSpec& spec) {
  return new SimdPooling(spec);
}

}  // namespace ghostbatch::cpu
