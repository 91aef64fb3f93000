// The CUDA backend's VectorKernels on the host: what vector_test.cpp's grid does not see. Their device memory, stream,
// slices, threads.
#include <atomic>
#include <chrono>
#include <thread>

#include "cuda/kernels.h"
#include "cuda/vector_kernels.h"
#include "tests/cuda_context.h"
#include "tests/cuda_runtime.h"
#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using cuda::vector::kPiece;

Owned<Segments> make_segments(const std::vector<std::pair<int64_t, bool>>& layers) {
  auto segments = own(Segments::create());
  for (const auto& [elements, adapted] : layers) segments->add(elements, adapted);
  return segments;
}

/// Every call once, on vectors that begin where `offsets` say, from data of that seed: all results.
template <typename T>
std::vector<double> results_of(const VectorKernels& kernels, const Segments& segments, const Offsets& offsets,
                               uint32_t seed) {
  const int64_t n = segments.elements();
  Random random(seed);
  const Operand<T> w(random.normals(n), offsets.v[0]), g(random.normals(n), offsets.v[1]);
  const Operand<T> m(random.normals(n), offsets.v[2]), v(n, offsets.v[3]);
  const Operand<double> wide(n, offsets.v[1]);
  std::vector<double> results{kernels.dot(nullptr, w.view(), g.view()), kernels.sum(nullptr, w.view()),
                              kernels.distance(nullptr, w.view(), g.view()), kernels.max_abs(nullptr, w.view())};
  const auto take = [&](const auto& vector) {
    const std::vector<double> values = vector.values();
    results.insert(results.end(), values.begin(), values.end());
  };
  SgdSpec sgd;
  sgd.momentum = 0.9;
  LarsSpec lars;
  lars.weight_decay = 0.05;
  LambSpec lamb;
  lamb.step = 3;
  kernels.fill(nullptr, 0.25, v.view());
  kernels.sgd(nullptr, sgd, w.view(), g.view(), m.view());
  kernels.adam(nullptr, AdamSpec(), w.view(), g.view(), m.view(), v.view());
  kernels.lars(nullptr, lars, segments, w.view(), g.view(), m.view());
  kernels.lamb(nullptr, lamb, segments, w.view(), g.view(), m.view(), v.view());
  take(w);
  take(m);
  take(v);
  kernels.axpy(nullptr, 0.3, g.view(), w.view());
  kernels.scale(nullptr, 0.9, w.view());
  kernels.interpolate(nullptr, 0.1, w.view(), g.view(), v.view());
  kernels.project_box(nullptr, 0.1, g.view(), v.view());
  kernels.scale_by_magnitude(nullptr, 0.1, g.view(), w.view());
  take(w);
  take(v);
  kernels.copy(nullptr, w.view(), wide.view());
  kernels.axpy(nullptr, -0.7, g.view(), wide.view());
  take(wide);
  results.push_back(kernels.sum(nullptr, wide.view()));
  return results;
}

TEST(CudaVectorKernels, SlicesHaveTheBitsOfWholeVectors) {
  const HostContext context;
  const auto kernels = own(cuda::make_vector_kernels(*context));
  const auto segments = make_segments({{5, true}, {kPiece, false}, {2 * kPiece + 3, true}, {1, true}});
  for_vector_types([&](auto element) {
    using T = decltype(element);
    const std::vector<double> aligned = results_of<T>(*kernels, *segments, kOffsets[0], 1);
    for (const Offsets& offsets : kOffsets) {
      SCOPED_TRACE(::testing::Message() << "offsets " << offsets.v[1] << "," << offsets.v[2]);
      expect_equal("results", results_of<T>(*kernels, *segments, offsets, 1), aligned);
    }
  });
}

/// The layers' table is that of the segments which a call brings, whatever the object saw before.
TEST(CudaVectorKernels, TakesTheSegmentsOfTheCall) {
  const HostContext context;
  const auto kernels = own(cuda::make_vector_kernels(*context));
  const auto fresh = [&](const Segments& segments) {
    return results_of<float>(*own(cuda::make_vector_kernels(*context)), segments, kOffsets[0], 2);
  };
  const auto all = make_segments({{3 * kPiece, true}}), cut = make_segments({{kPiece + 9, true}, {kPiece, true}});
  const auto rest = make_segments({{kPiece + 9, true}, {kPiece, false}}), growing = make_segments({{100, true}});
  const auto none = make_segments({});
  for (const Segments* segments : {all.get(), cut.get(), rest.get(), none.get(), all.get(), growing.get()}) {
    expect_equal("results", results_of<float>(*kernels, *segments, kOffsets[0], 2), fresh(*segments));
  }
  growing->add(5 * kPiece, true);  // more pieces, and more memory, than any before
  expect_equal("results", results_of<float>(*kernels, *growing, kOffsets[0], 2), fresh(*growing));
}

TEST(CudaVectorKernels, AllocatesNothingInASteadyState) {
  const int64_t before = device_memory_in_use();
  {
    const HostContext context;
    const auto kernels = own(cuda::make_vector_kernels(*context));
    const auto few = make_segments({{9, true}});
    const auto segments = make_segments({{kPiece, true}, {4 * kPiece, true}, {9, false}});
    results_of<double>(*kernels, *segments, kOffsets[0], 3);
    const int64_t used = device_memory_in_use();
    EXPECT_GT(used, before);
    const MemoryLimit nothing_more(used);
    for (const Segments* each : {few.get(), segments.get()}) {
      results_of<float>(*kernels, *each, kOffsets[0], 3);
      EXPECT_EQ(device_memory_in_use(), used);
    }
  }
  EXPECT_EQ(device_memory_in_use(), before);
}

TEST(CudaVectorKernels, NamesTheMemoryItLacks) {
  const HostContext context;
  const auto kernels = own(cuda::make_vector_kernels(*context));
  const auto segments = make_segments({{64 * kPiece, true}});
  const Buffer x(DataType::f32, std::vector<double>(static_cast<size_t>(64 * kPiece), 0.5));
  const Buffer y(DataType::f32, x.values()), v(DataType::f32, x.values());
  const auto lars = [&] { kernels->lars(nullptr, LarsSpec(), *segments, x.view(), y.view(), v.view()); };
  const auto few = make_segments({{9, true}});
  const std::vector<double> before = results_of<float>(*kernels, *few, kOffsets[0], 4);
  {
    // A double a piece; the table's 16 bytes a piece and 12 a layer. What there was is given back first.
    const MemoryLimit limit(device_memory_in_use());
    expect_error([&] { kernels->sum(nullptr, x.view()); },
                 "[cuda] needs 512 bytes of device memory, got 24 bytes free");
    expect_error(lars, "[cuda] needs 1036 bytes of device memory, got 52 bytes free");
    expect_equal("as before", results_of<float>(*kernels, *few, kOffsets[0], 4), before);
  }
  EXPECT_EQ(kernels->sum(nullptr, x.view()), 32.0 * kPiece);
  lars();
  EXPECT_EQ(x.at(0), x.at(64 * kPiece - 1));
  EXPECT_LT(x.at(0), 0.5);
}

/// Everything goes to the context's stream, and only numbers are waited for.
TEST(CudaVectorKernels, EnqueuesOnItsStream) {
  const HostContext context;
  const auto kernels = own(cuda::make_vector_kernels(*context));
  const Buffer x(DataType::f32, {1, 2, 3}), y(DataType::f64, {4, 5, 6});
  const Buffer w(DataType::f32, {7, 8, 9});
  EXPECT_EQ(kernels->sum(nullptr, x.view()), 6);  // makes its workspace
  cuda::begin_capture(context->stream());
  kernels->scale(nullptr, 2, x.view());
  kernels->fill(nullptr, 1, w.view());
  kernels->axpy(nullptr, 1, x.view(), y.view());
  kernels->copy(nullptr, y.view(), w.view());
  kernels->interpolate(nullptr, 0.5, x.view(), w.view(), w.view());
  kernels->project_box(nullptr, 0.5, x.view(), w.view());
  kernels->scale_by_magnitude(nullptr, 0, x.view(), w.view());
  expect_equal("captured", x.values(), {1, 2, 3});
  expect_equal("captured", y.values(), {4, 5, 6});
  expect_equal("captured", w.values(), {7, 8, 9});
  expect_error([&] { kernels->sum(nullptr, x.view()); }, "a stream that is captured");
  cuda::abandon_capture(context->stream());
  EXPECT_EQ(kernels->sum(nullptr, x.view()), 6);
}

/// No call enqueues while another thread holds the context, as it does when it captures.
TEST(CudaVectorKernels, WaitsForItsTurn) {
  const HostContext context;
  const auto kernels = own(cuda::make_vector_kernels(*context));
  const auto segments = make_segments({{2, true}});
  const Buffer x(DataType::f32, {1, 2}), y(DataType::f32, {3, 4}), z(DataType::f32, {5, 6}), v(DataType::f32, {7, 8});
  const View a = x.view(), b = y.view(), c = z.view(), d = v.view();
  const std::pair<const char*, std::function<void()>> calls[] = {
      {"fill", [&] { kernels->fill(nullptr, 1, a); }},
      {"copy", [&] { kernels->copy(nullptr, a, b); }},
      {"scale", [&] { kernels->scale(nullptr, 2, a); }},
      {"axpy", [&] { kernels->axpy(nullptr, 2, a, b); }},
      {"dot", [&] { kernels->dot(nullptr, a, b); }},
      {"sum", [&] { kernels->sum(nullptr, a); }},
      {"distance", [&] { kernels->distance(nullptr, a, b); }},
      {"max_abs", [&] { kernels->max_abs(nullptr, a); }},
      {"interpolate", [&] { kernels->interpolate(nullptr, 0.5, a, b, c); }},
      {"project_box", [&] { kernels->project_box(nullptr, 0.5, a, b); }},
      {"scale_by_magnitude", [&] { kernels->scale_by_magnitude(nullptr, 0.5, a, b); }},
      {"sgd", [&] { kernels->sgd(nullptr, SgdSpec(), a, b, c); }},
      {"adam", [&] { kernels->adam(nullptr, AdamSpec(), a, b, c, d); }},
      {"lars", [&] { kernels->lars(nullptr, LarsSpec(), *segments, a, b, c); }},
      {"lamb", [&] { kernels->lamb(nullptr, LambSpec(), *segments, a, b, c, d); }}};
  for (const auto& [name, call] : calls) {
    std::atomic<bool> begun = false, done = false;
    auto held = context->lock();
    std::thread other([&, &run = call] {
      begun = true;
      run();
      done = true;
    });
    while (!begun) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(done) << name;
    held.unlock();
    other.join();
  }
}

/// Calls of two threads share specs, workspace and table on the device.
TEST(CudaVectorKernels, ServesSeveralThreads) {
  const HostContext context;
  const auto kernels = own(cuda::make_vector_kernels(*context));
  const auto few = make_segments({{600, true}, {20, true}});
  const auto many = make_segments({{7, true}, {500, true}, {113, false}});
  const auto train = [&](uint32_t thread) {
    const Segments& segments = thread == 0 ? *few : *many;
    const int64_t n = segments.elements();
    Random random(thread);
    const Operand<float> w(random.normals(n), 0), g(random.normals(n), 0);
    const Operand<float> m(std::vector<double>(static_cast<size_t>(n), 0.0)), v(m.values());
    SgdSpec sgd;
    AdamSpec adam;
    LarsSpec lars;
    LambSpec lamb;
    sgd.rate = adam.rate = lars.rate = lamb.rate = 1e-3 * (thread + 1);
    std::vector<double> results;
    for (int step = 0; step < 150; ++step) {
      kernels->sgd(nullptr, sgd, w.view(), g.view(), m.view());
      kernels->adam(nullptr, adam, w.view(), g.view(), m.view(), v.view());
      kernels->lars(nullptr, lars, segments, w.view(), g.view(), m.view());
      kernels->lamb(nullptr, lamb, segments, w.view(), g.view(), m.view(), v.view());
      results.push_back(kernels->dot(nullptr, w.view(), g.view()));
    }
    return results;
  };
  const std::vector<double> alone[] = {train(0), train(1)};
  std::vector<double> together[2];
  std::thread other([&] { together[1] = train(1); });
  together[0] = train(0);
  other.join();
  for (size_t i = 0; i < 2; ++i) expect_equal("results", together[i], alone[i]);
}

}  // namespace
}  // namespace ghostbatch::tests
