// What a step calls allocates nothing once it is warm.
#include <atomic>
#include <cstdlib>
#include <new>

#include "ghostbatch/lbfgsb.h"
#include "tests/support.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

// Of the whole program, the library included. Not inlined: the compiler would see `free` of what `new` gave.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* const data = std::malloc(size)) return data;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](size_t size) {
  return operator new(size);
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
[[gnu::noinline]] void* operator new[](size_t size, const std::nothrow_t& tag) noexcept {
  return operator new(size, tag);
}
[[gnu::noinline]] void operator delete(void* data) noexcept {
  std::free(data);
}
[[gnu::noinline]] void operator delete[](void* data) noexcept {
  std::free(data);
}
[[gnu::noinline]] void operator delete(void* data, size_t) noexcept {
  std::free(data);
}
[[gnu::noinline]] void operator delete[](void* data, size_t) noexcept {
  std::free(data);
}

namespace ghostbatch::tests {
namespace {

/// The call allocates the first time at most.
template <typename Call>
void expect_no_allocation(const char* what, const Call& call) {
  call();
  const int64_t before = allocations;
  call();
  EXPECT_EQ(allocations - before, 0) << what;
}

TEST(Allocation, IsSeen) {
  const int64_t before = allocations;
  const auto device = make_device("reference");
  EXPECT_GT(allocations, before);
}

TEST(Allocation, DoesNotHappenInASteadyStep) {
  for (const Backend& backend : all_backends()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_device(backend.name);
    const DataType type = backend.type, parameter = parameter_type(type);
    Random random(1);
    const int64_t channels = 17, elements = 6 * 4 * 4 * channels;
    GhostBatchNormSpec norm_spec;
    norm_spec.batch = 6;
    norm_spec.height = norm_spec.width = 4;
    norm_spec.channels = channels;
    norm_spec.relu = true;
    norm_spec.type = type;
    const auto norm = own(device->ghost_batch_norm(norm_spec));
    const Buffer x(type, random.values(elements)), y(type, elements), dx(type, elements);
    const Buffer gamma(parameter, random.values(channels)), mean(parameter, 2 * channels);
    const Buffer variance(parameter, 2 * channels), dgamma(parameter, channels), dbeta(parameter, channels);
    const Buffer partials(DataType::f64, 2 * channels);
    const int32_t offsets[] = {0, 3, 6}, rows[] = {6};
    const int64_t places[] = {48, 48};
    expect_no_allocation("ghost_batch_norm", [&] {
      norm->forward(x.view(), gamma.view(), gamma.view(), nullptr, y.view(), mean.view(), variance.view(), offsets, 2);
      norm->backward(x.view(), nullptr, y.view(), nullptr, mean.view(), variance.view(), gamma.view(), gamma.view(),
                     dx.view(), nullptr, dgamma.view(), dbeta.view(), offsets, 2, false);
      norm->statistics(x.view(), 6, partials.view());
      norm->combine(partials.view(), rows, 1, mean.view(), variance.view());
      update_running_statistics(dgamma.view(), dbeta.view(), mean.view(), variance.view(), places, 2, 0.1);
    });

    PoolSpec pool_spec;
    pool_spec.batch = 6;
    pool_spec.height = pool_spec.width = 4;
    pool_spec.channels = channels;
    pool_spec.window_h = pool_spec.window_w = pool_spec.stride_h = pool_spec.stride_w = 2;
    pool_spec.type = type;
    const auto pool = own(device->pooling(pool_spec));
    const Buffer pooled(type, pool_spec.dst_elements()), workspace(DataType::u8, pool->workspace_elements());
    const View workspace_view = workspace.view();
    expect_no_allocation("pooling", [&] {
      pool->forward(x.view(), pooled.view(), &workspace_view, 6);
      pool->backward(pooled.view(), dx.view(), &workspace_view, 6);
    });

    const auto elementwise = own(device->elementwise());
    const Buffer signs(DataType::u8, elements);
    expect_no_allocation("elementwise", [&] {
      elementwise->relu(x.view(), y.view(), elements);
      elementwise->relu_backward(y.view(), x.view(), dx.view(), elements);
      elementwise->add(x.view(), y.view(), y.view(), elements, true);
      elementwise->dropout(x.view(), y.view(), 6, elements / 6, 0.5, DropoutKey());
      elementwise->zero(y.view(), 0, 10);
      elementwise->sign(x.view(), signs.view(), elements);
    });

    const auto softmax = own(device->softmax_cross_entropy());
    const Buffer labels(DataType::s32, std::vector<double>{0, 1, 2, 3, 4, 5});
    const View dx_view = dx.view();
    LossResult loss;
    expect_no_allocation("softmax_cross_entropy",
                         [&] { softmax->run(x.view(), labels.view(), nullptr, 6, 10, 0.1, 1, &dx_view, loss); });

    for (const Augmentation augmentation : {Augmentation::pad_crop_flip, Augmentation::affine}) {
      LoadSpec load_spec;
      load_spec.height = load_spec.width = 4;
      load_spec.channels = 3;
      load_spec.augmentation = augmentation;
      load_spec.type = type;
      const auto loader = own(device->batch_loader(load_spec));
      const auto samples = own(Samples::create(DataType::u8, 6, 4, 4, 3, 10));
      const int32_t indices[] = {5, 4, 3, 2, 1, 0};
      const View labels_view = labels.view();
      expect_no_allocation("batch_loader", [&] {
        loader->load(*samples, indices, 6, 1, 1, true, y.view(), &labels_view);
        loader->perturb(signs.view(), 6, 0.1, y.view());
      });
    }

    const auto vector = own(device->vector_kernels());
    const Buffer w(parameter, random.values(elements)), gradient(parameter, elements), v(parameter, elements);
    const auto lanes = own(Lanes::create(2));
    const auto segments = own(Segments::create());
    segments->add(elements - 3, true);
    segments->add(3, false);
    for (Lanes* on : {lanes.get(), static_cast<Lanes*>(nullptr)}) {
      expect_no_allocation("vector", [&] {
        vector->sgd(on, SgdSpec(), w.view(), gradient.view(), v.view());
        vector->adam(on, AdamSpec(), w.view(), gradient.view(), v.view(), v.view());
        vector->lars(on, LarsSpec(), *segments, w.view(), gradient.view(), v.view());
        vector->lamb(on, LambSpec(), *segments, w.view(), gradient.view(), v.view(), v.view());
        vector->scale(on, 0.5 + vector->dot(on, w.view(), gradient.view()) * 0, w.view());
      });
    }
  }
}

TEST(Allocation, DoesNotHappenInAMinimizer) {
  constexpr int64_t kElements = 40000;
  const auto lanes = own(Lanes::create(2));
  const auto solver = own(Lbfgsb::create(kElements, LbfgsbSpec()));
  Random random(1);
  const std::vector<double> start = random.values(kElements);
  const Buffer x(DataType::f64, start), gradient(DataType::f64, kElements);
  const Buffer lower(DataType::f64, std::vector<double>(kElements, -1));
  const Buffer upper(DataType::f64, random.values(kElements, 1, 1));
  for (Lanes* on : {lanes.get(), static_cast<Lanes*>(nullptr)}) {
    expect_no_allocation("lbfgsb", [&] {
      std::copy(start.begin(), start.end(), x.view().as<double>());
      solver->start(on, x.view(), lower.view(), upper.view());
      for (int evaluation = 0; evaluation < 12; ++evaluation) {
        double f = 0;
        for (int64_t i = 0; i < kElements; ++i) {
          const double away = x.view().as<double>()[i] - 0.5, weight = 1 + static_cast<double>(i % 9);
          f += 0.5 * weight * away * away;
          gradient.view().as<double>()[i] = weight * away;
        }
        if (solver->advance(on, f, gradient.view(), x.view()) > LbfgsbStatus::iterated) break;
      }
      EXPECT_GE(solver->iterations(), 3);
    });
  }
}

}  // namespace
}  // namespace ghostbatch::tests
