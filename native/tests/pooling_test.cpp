#include "ghostbatch/pooling.h"

#include "tests/cuda_device.h"

namespace ghostbatch::tests {
namespace {

struct PoolResult {
  std::vector<double> dst, workspace, diff_src;
};

int64_t out_size(int64_t size, int64_t padding, int64_t window, int64_t stride) {
  return (size + padding - window) / stride + 1;
}

/// Each window by its cells; the gradient goes to the first largest, or in equal shares to the cells inside.
PoolResult formula(const PoolSpec& spec, const std::vector<double>& src, const std::vector<double>& diff_dst,
                   int64_t rows) {
  const int64_t out_h = out_size(spec.height, 2 * spec.pad_h + spec.extra_h, spec.window_h, spec.stride_h);
  const int64_t out_w = out_size(spec.width, 2 * spec.pad_w + spec.extra_w, spec.window_w, spec.stride_w);
  PoolResult result;
  result.dst.assign(static_cast<size_t>(spec.batch * out_h * out_w * spec.channels), NAN);
  result.workspace.assign(result.dst.size(), 255);
  result.diff_src.assign(src.size(), NAN);
  for (size_t i = 0; i < static_cast<size_t>(rows * spec.height * spec.width * spec.channels); ++i) {
    result.diff_src[i] = 0;
  }
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t p = 0; p < out_h; ++p)
      for (int64_t q = 0; q < out_w; ++q)
        for (int64_t c = 0; c < spec.channels; ++c) {
          std::vector<size_t> places;
          std::vector<double> cells;
          for (int64_t r = 0; r < spec.window_h; ++r)
            for (int64_t s = 0; s < spec.window_w; ++s) {
              const int64_t h = p * spec.stride_h - spec.pad_h + r, w = q * spec.stride_w - spec.pad_w + s;
              if (h < 0 || w < 0 || h >= spec.height || w >= spec.width) continue;
              places.push_back(static_cast<size_t>(((n * spec.height + h) * spec.width + w) * spec.channels + c));
              cells.push_back(static_cast<double>(r * spec.window_w + s));
            }
          const auto out = static_cast<size_t>(((n * out_h + p) * out_w + q) * spec.channels + c);
          if (spec.kind == PoolKind::max) {
            size_t best = 0;
            for (size_t i = 1; i < places.size(); ++i) {
              if (std::isnan(src[places[best]])) break;
              if (std::isnan(src[places[i]]) || src[places[i]] > src[places[best]]) best = i;
            }
            result.dst[out] = src[places[best]];
            result.workspace[out] = cells[best];
            result.diff_src[places[best]] += diff_dst[out];
          } else {
            double sum = 0;
            for (const size_t place : places) sum += src[place];
            result.dst[out] = sum / static_cast<double>(places.size());
            for (const size_t place : places)
              result.diff_src[place] += diff_dst[out] / static_cast<double>(places.size());
          }
        }
  if (spec.kind == PoolKind::average) result.workspace.clear();
  return result;
}

PoolResult run(Device& device, PoolSpec spec, DataType type, const std::vector<double>& values,
               const std::vector<double>& gradient, int64_t rows) {
  spec.type = type;
  const auto kernel = own(device.pooling(spec));
  const Buffer src(type, values), diff_dst(type, gradient), dst(type, spec.dst_elements());
  const Buffer diff_src(type, spec.src_elements()), workspace(DataType::u8, kernel->workspace_elements());
  const View workspace_view = workspace.view();
  const View* const optional = spec.kind == PoolKind::max ? &workspace_view : nullptr;
  kernel->forward(src.view(), dst.view(), optional, rows);
  kernel->backward(diff_dst.view(), diff_src.view(), optional, rows);
  if (spec.kind == PoolKind::max) {  // for inference
    const Buffer again(type, spec.dst_elements());
    kernel->forward(src.view(), again.view(), nullptr, rows);
    expect_equal("dst without workspace", again.values(), dst.values());
  }
  return {dst.values(), workspace.values(), diff_src.values()};
}

std::vector<PoolSpec> grid() {
  std::vector<PoolSpec> specs;
  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    for (const int64_t channels : {1, 3, 15, 16, 17, 64}) {
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
      specs.push_back(spec);
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
      spec.stride_h = 1;
      spec.stride_w = 4;
      spec.window_h = 8;  // global
      spec.window_w = 7;
      spec.pad_h = spec.pad_w = 0;
      specs.push_back(spec);
      spec.window_h = spec.window_w = 1;
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

std::string describe(const PoolSpec& spec) {
  std::ostringstream out;
  out << (spec.kind == PoolKind::max ? "max" : "average") << " [" << spec.batch << "," << spec.height << ","
      << spec.width << "," << spec.channels << "] window=" << spec.window_h << "," << spec.window_w
      << " stride=" << spec.stride_h << "," << spec.stride_w << " pad=" << spec.pad_h << "," << spec.pad_w
      << " extra=" << spec.extra_h << "," << spec.extra_w;
  return out.str();
}

TEST(Pooling, RefusesBadSpecsAndArguments) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const auto good = [] {
      PoolSpec spec;
      spec.batch = 2;
      spec.height = spec.width = 6;
      spec.channels = 3;
      spec.window_h = spec.window_w = spec.stride_h = spec.stride_w = 2;
      return spec;
    };
    const auto refuse = [&](const std::function<void(PoolSpec&)>& change, const char* part) {
      PoolSpec spec = good();
      change(spec);
      expect_error([&] { own(device->pooling(spec)); }, part);
    };
    refuse([](auto& s) { s.kind = static_cast<PoolKind>(9); }, "kind max or average, got kind 9");
    refuse([](auto& s) { s.batch = 0; }, "batch in [1,");
    refuse([](auto& s) { s.channels = 0; }, "channels in [1,");
    refuse([](auto& s) { s.stride_h = 0; }, "stride_h in [1,");
    refuse([](auto& s) { s.window_w = 0; }, "window_w in [1,");
    refuse([](auto& s) { s.window_h = 7; }, "window_h in [1, 6], got 7");
    refuse([](auto& s) { s.pad_h = 2; }, "pad_h in [0, 1], got 2");
    refuse([](auto& s) { s.pad_w = -1; }, "pad_w in [0, 1]");
    refuse([](auto& s) { s.extra_h = -1; }, "extra_h in [0, 1]");
    refuse([](auto& s) { s.pad_w = s.extra_w = 1; }, "extra_w in [0, 0], got 1");
    refuse([](auto& s) { s.height = s.width = s.window_h = s.window_w = 16; }, "at most 255 cells");
    refuse([](auto& s) { s.batch = s.height = s.width = 2000000000; }, "at most 2^48 elements");
    refuse([](auto& s) { s.type = DataType::u8; }, "got u8");

    const auto kernel = own(device->pooling(good()));
    const Buffer src(DataType::f32, kernel->spec().src_elements()), dst(DataType::f32, kernel->spec().dst_elements());
    const Buffer workspace(DataType::u8, kernel->workspace_elements());
    const View s = src.view(), d = dst.view(), w = workspace.view();
    expect_error([&] { kernel->forward(s, d, &w, 3); }, "rows in [0, 2], got 3");
    expect_error([&] { kernel->forward(s, s, &w, 2); }, "dst of 54 f32, got 216 f32");
    expect_error([&] { kernel->forward(s, d, &d, 2); }, "workspace of 54 u8");
    expect_error([&] { kernel->backward(d, s, nullptr, 2); }, "workspace, got null");
  }
}

TEST(Pooling, MatchesTheFormulaOverTheGrid) {
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  const std::vector<Backend> backends = all_backends_and_cuda();
  uint32_t seed = 1;
  for (const PoolSpec& spec : grid()) {
    for (const int64_t rows : {spec.batch, spec.batch - 1}) {
      SCOPED_TRACE(describe(spec));
      Random random(seed++);
      std::vector<double> src = random.values(spec.src_elements());
      for (double& x : src) x = std::round(4 * x);  // ties
      const std::vector<double> diff_dst = random.values(spec.dst_elements());
      const PoolResult expected = formula(spec, src, diff_dst, rows);
      for (const Backend& backend : backends) {
        SCOPED_TRACE(describe(backend));
        const DataType type = backend.type;
        const std::string name = backend.name;
        Device& device = name == "cpu" ? *cpu : name == "cuda" ? *cuda : *reference;
        const PoolResult actual = run(device, spec, type, src, diff_dst, rows);
        const double tolerance = type == DataType::f64 ? Tolerance::kDouble : Tolerance::kPooling;
        expect_close_as(type, "dst", actual.dst, rounded(type, expected.dst),
                        spec.kind == PoolKind::max ? 0 : tolerance);
        expect_equal("workspace", actual.workspace, expected.workspace);
        expect_close_as(type, "diff_src", actual.diff_src, rounded(type, expected.diff_src), tolerance);
        expect_equal("diff_src again", run(device, spec, type, src, diff_dst, rows).diff_src, actual.diff_src);
      }
    }
  }
}

TEST(Pooling, LetsNaNWinAMaximum) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    for (const int64_t channels : {1, 16, 17}) {
      PoolSpec spec;
      spec.height = spec.width = 4;
      spec.channels = channels;
      spec.window_h = spec.window_w = spec.stride_h = spec.stride_w = 2;
      Random random(3);
      std::vector<double> src = random.values(spec.src_elements());
      src[static_cast<size_t>(channels)] = NAN;       // second cell of the first window
      src[static_cast<size_t>(10 * channels)] = NAN;  // first cell of the last window
      src[static_cast<size_t>(2 * channels)] = -INFINITY;
      const std::vector<double> diff_dst = random.values(spec.dst_elements());
      const PoolResult expected = formula(spec, src, diff_dst, 1);
      const PoolResult actual = run(*device, spec, backend.type, src, diff_dst, 1);
      EXPECT_TRUE(std::isnan(actual.dst[0]));
      expect_equal("dst", actual.dst, expected.dst);
      expect_equal("workspace", actual.workspace, expected.workspace);
      expect_equal("diff_src", actual.diff_src, expected.diff_src);
    }
  }
}

TEST(Pooling, GivesTheLeastOfTheLowest) {
  // Nothing but -infinity: a maximum that started from a finite number would be wrong.
  for (const Backend& backend : all_backends_and_cuda()) {
    const auto device = make_any_device(backend.name);
    PoolSpec spec;
    spec.height = spec.width = 2;
    spec.channels = 17;
    spec.window_h = spec.window_w = 2;
    const std::vector<double> src(static_cast<size_t>(spec.src_elements()), -INFINITY);
    const PoolResult result = run(*device, spec, backend.type, src, std::vector<double>(17, 1.0), 1);
    for (size_t c = 0; c < 17; ++c) {
      EXPECT_EQ(result.dst[c], -INFINITY) << describe(backend);
      EXPECT_EQ(result.workspace[c], 0) << describe(backend);
    }
  }
}

TEST(Pooling, TakesAnyWorkspaceWithoutLeavingItsMemory) {
  // Bytes that no forward made: the guards of the buffers watch.
  for (const char* name : kAllDevices) {
    const auto device = make_any_device(name);
    for (const PoolSpec& spec : grid()) {
      if (spec.kind != PoolKind::max) continue;
      SCOPED_TRACE(::testing::Message() << name << " " << describe(spec));
      const auto kernel = own(device->pooling(spec));
      Random random(5);
      const Buffer diff_dst(DataType::f32, random.values(spec.dst_elements())),
          diff_src(DataType::f32, spec.src_elements());
      const Buffer workspace(DataType::u8, kernel->workspace_elements());
      for (int64_t i = 0; i < workspace.elements(); ++i)
        workspace.view().as<uint8_t>()[i] = static_cast<uint8_t>(random.below(256));
      const View view = workspace.view();
      kernel->backward(diff_dst.view(), diff_src.view(), &view, spec.batch);
    }
  }
}

TEST(Pooling, GradientsAreThoseOfDifferences) {
  const auto reference = make_device("reference");
  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    PoolSpec spec;
    spec.kind = kind;
    spec.batch = 2;
    spec.height = 5;
    spec.width = 6;
    spec.channels = 3;
    spec.window_h = spec.window_w = 3;
    spec.stride_h = spec.stride_w = 2;
    spec.pad_h = 1;
    spec.extra_w = 1;
    SCOPED_TRACE(describe(spec));
    Random random(9);
    std::vector<double> src = random.normals(spec.src_elements());
    const std::vector<double> diff_dst = random.values(spec.dst_elements());
    const PoolResult result = run(*reference, spec, DataType::f64, src, diff_dst, 2);
    const auto loss = [&] {
      return inner_product(run(*reference, spec, DataType::f64, src, diff_dst, 2).dst, diff_dst);
    };
    expect_close("diff_src", result.diff_src, numeric_gradient(src, loss), Tolerance::kGradient);
  }
}

}  // namespace
}  // namespace ghostbatch::tests
