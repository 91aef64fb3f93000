// CUDA's pooling on the host, against the reference.
#include "cuda/pooling.h"

#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using cuda::Order;
using cuda::RowRange;

std::vector<PoolSpec> grid() {
  std::vector<PoolSpec> specs;
  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    for (const int64_t channels : {1, 3, 4, 8, 15, 16, 17, 64}) {
      PoolSpec spec;
      spec.kind = kind;
      spec.batch = 3;
      spec.height = 8;
      spec.width = 7;
      spec.channels = channels;
      spec.window_h = spec.window_w = spec.stride_h = spec.stride_w = 2;
      specs.push_back(spec);
      spec.window_h = spec.window_w = 3;  // windows that overlap
      specs.push_back(spec);
      spec.extra_h = 1;  // Keras's `same` for an even height, of an odd width one on both sides
      spec.pad_w = 1;
      specs.push_back(spec);
      spec.extra_h = 0;
      spec.pad_h = 1;
      spec.stride_h = 1;
      spec.stride_w = 4;  // windows with gaps
      specs.push_back(spec);
      spec.pad_w = 0;
      spec.extra_w = 2;
      specs.push_back(spec);
      spec.window_h = spec.window_w = spec.stride_h = spec.stride_w = 2;  // windows apart, the last one cut
      spec.pad_h = 0;
      spec.extra_h = spec.extra_w = 1;
      specs.push_back(spec);
      spec.extra_h = spec.extra_w = 0;
      spec.window_h = 8;  // global
      spec.window_w = 7;
      specs.push_back(spec);
      spec.window_h = spec.window_w = 1;
      spec.stride_w = 3;
      specs.push_back(spec);
    }
  }
  PoolSpec wide;
  wide.kind = PoolKind::average;
  wide.height = wide.width = wide.window_h = wide.window_w = 20;  // more cells than a byte counts
  wide.channels = 5;
  specs.push_back(wide);
  return specs;
}

struct Result {
  std::vector<double> dst, workspace, diff_src;
};

Result of_reference(const PoolSpec& spec, const std::vector<double>& src, const std::vector<double>& diff_dst,
                    int64_t rows) {
  const auto device = make_device("reference");
  const auto kernel = own(device->pooling(spec));
  const Buffer x(spec.type, src), dy(spec.type, diff_dst), y(spec.type, spec.dst_elements());
  const Buffer dx(spec.type, spec.src_elements()), workspace(DataType::u8, kernel->workspace_elements());
  const View view = workspace.view(), *const optional = spec.kind == PoolKind::max ? &view : nullptr;
  kernel->forward(x.view(), y.view(), optional, rows);
  kernel->backward(dy.view(), dx.view(), optional, rows);
  return {y.values(), workspace.values(), dx.values()};
}

template <PoolKind kKind, typename T>
Result of_cuda(const PoolSpec& spec, const std::vector<double>& src, const std::vector<double>& diff_dst, int64_t rows,
               int64_t offset, Order order) {
  const Operand<T> x(src, offset), dy(diff_dst, offset), y(spec.dst_elements(), offset), again(spec.dst_elements(), 0);
  const Operand<T> dx(spec.src_elements(), offset);
  const bool kept = kKind == PoolKind::max;
  const Operand<uint8_t> workspace(kept ? spec.dst_elements() : 0, offset);
  uint8_t* const cells = kept ? workspace.data() : nullptr;
  const RowRange range{5, rows};
  run_on_host(cuda::pool_forward<kKind>(spec, static_cast<const T*>(x.data()), y.data(), cells, &range), order);
  run_on_host(cuda::pool_backward<kKind>(spec, static_cast<const T*>(dy.data()), dx.data(), cells, &range), order);
  run_on_host(cuda::pool_forward<kKind>(spec, static_cast<const T*>(x.data()), again.data(), nullptr, &range), order);
  expect_equal("dst without workspace", again.values(), y.values());
  return {y.values(), workspace.values(), dx.values()};
}

template <typename T>
Result of_cuda(const PoolSpec& spec, const std::vector<double>& src, const std::vector<double>& diff_dst, int64_t rows,
               int64_t offset, Order order) {
  return spec.kind == PoolKind::max ? of_cuda<PoolKind::max, T>(spec, src, diff_dst, rows, offset, order)
                                    : of_cuda<PoolKind::average, T>(spec, src, diff_dst, rows, offset, order);
}

TEST(CudaPooling, MatchesTheReferenceOverTheGrid) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    uint32_t seed = 1;
    for (PoolSpec spec : grid()) {
      spec.type = type_of<T>();
      for (const int64_t rows : {spec.batch, spec.batch - 1}) {
        SCOPED_TRACE(::testing::Message() << "kind " << static_cast<int>(spec.kind) << " channels " << spec.channels
                                          << " window " << spec.window_h << "," << spec.window_w << " stride "
                                          << spec.stride_h << "," << spec.stride_w << " pad " << spec.pad_h << ","
                                          << spec.pad_w << " rows " << rows);
        Random random(seed++);
        std::vector<double> src = random.values(spec.src_elements());
        for (double& x : src) x = std::round(4 * x);  // ties
        const std::vector<double> diff_dst = random.normals(spec.dst_elements());  // no sums at borders of rounding
        const Result expected = of_reference(spec, src, diff_dst, rows);
        const Result actual = of_cuda<T>(spec, src, diff_dst, rows, 0, Order::up);
        const double tolerance = spec.kind == PoolKind::max ? 0 : Tolerance::kPooling;
        expect_close_as(spec.type, "dst", actual.dst, expected.dst, tolerance);
        expect_equal("workspace", actual.workspace, expected.workspace);
        expect_close_as(spec.type, "diff_src", actual.diff_src, expected.diff_src, Tolerance::kPooling);
        for (const int64_t offset : {0, 3}) {
          const Result again = of_cuda<T>(spec, src, diff_dst, rows, offset, Order::down);
          expect_equal("dst again", again.dst, actual.dst);
          expect_equal("workspace again", again.workspace, actual.workspace);
          expect_equal("diff_src again", again.diff_src, actual.diff_src);
        }
      }
    }
  });
}

TEST(CudaPooling, LetsNaNWinAMaximumAndGivesTheLeastOfTheLowest) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    for (const int64_t channels : {1, 16, 17}) {
      PoolSpec spec;
      spec.type = type_of<T>();
      spec.height = spec.width = 4;
      spec.channels = channels;
      spec.window_h = spec.window_w = spec.stride_h = spec.stride_w = 2;
      Random random(3);
      std::vector<double> src = random.values(spec.src_elements());
      const std::vector<double> diff_dst = random.values(spec.dst_elements());
      src[static_cast<size_t>(channels)] = NAN;       // second cell of the first window
      src[static_cast<size_t>(10 * channels)] = NAN;  // first cell of the last window
      for (const size_t cell : {2u, 3u, 6u, 7u}) src[cell * static_cast<size_t>(channels)] = -INFINITY;
      const Result expected = of_reference(spec, src, diff_dst, 1);
      const Result actual = of_cuda<T>(spec, src, diff_dst, 1, 0, Order::up);
      EXPECT_TRUE(std::isnan(actual.dst[0]));
      EXPECT_EQ(actual.dst[static_cast<size_t>(channels)], -INFINITY);
      expect_equal("dst", actual.dst, expected.dst);
      expect_equal("workspace", actual.workspace, expected.workspace);
      expect_equal("diff_src", actual.diff_src, expected.diff_src);
    }
  });
}

}  // namespace
}  // namespace ghostbatch::tests
