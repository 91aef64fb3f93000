// What CUDA's kernel classes keep in device memory: between calls, under several threads, where memory is short. Their
// results are tested with those of the other backends.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cuda/kernels.h"
#include "tests/cuda_device.h"
#include "tests/cuda_runtime.h"
#include "tests/ghost_batch_norm_cases.h"

namespace ghostbatch::tests {
namespace {

TEST(CudaDeviceMemory, SaysHowMuchIsMissing) {
  const int64_t before = device_memory_in_use();
  {
    const MemoryLimit limit(before + 1000);
    const cuda::DeviceMemory memory(600);
    EXPECT_EQ(device_memory_in_use(), before + 600);
    expect_error([] { cuda::DeviceMemory(401); }, "[cuda] needs 401 bytes of device memory, got 400 bytes free");
    cuda::DeviceMemory none(0);
    EXPECT_EQ(none.as<void>(), nullptr);
    none.reserve(0);
    EXPECT_EQ(none.bytes(), 0);
  }
  EXPECT_EQ(device_memory_in_use(), before);
}

TEST(CudaDeviceMemory, GrowsAndNeverShrinks) {
  const int64_t before = device_memory_in_use();
  {
    const MemoryLimit limit(before + 1000);
    cuda::DeviceMemory memory(300);
    void* const first = memory.as<void>();
    memory.reserve(299);
    EXPECT_EQ(memory.as<void>(), first);
    EXPECT_EQ(memory.bytes(), 300);
    memory.reserve(900);  // both at once would not fit
    EXPECT_EQ(memory.bytes(), 900);
    EXPECT_EQ(device_memory_in_use(), before + 900);
    expect_error([&] { memory.reserve(1001); }, "1001 bytes of device memory, got 1000 bytes free");
    EXPECT_EQ(memory.bytes(), 0);
    memory.reserve(10);
    EXPECT_EQ(device_memory_in_use(), before + 10);
    cuda::DeviceMemory other(std::move(memory));
    EXPECT_EQ(other.bytes(), 10);
    EXPECT_EQ(device_memory_in_use(), before + 10);
  }
  EXPECT_EQ(device_memory_in_use(), before);
}

/// A ghost batch norm of [12,3,2,16], forward and backward on ghosts of any sizes.
class Norm {
 public:
  explicit Norm(DataType type) : type_(type), kernel_(own(cuda::make_ghost_batch_norm(cuda_context(), spec(type)))) {}

  static GhostBatchNormSpec spec(DataType type) {
    GhostBatchNormSpec spec = make_case(12, 3, 2, 16, {12}).spec;
    spec.relu = true;
    spec.type = type;
    return spec;
  }

  NormResult run(const std::vector<int32_t>& sizes, uint32_t seed) const {
    NormCase test = make_case(12, 3, 2, 16, sizes);
    test.spec = spec(type_);
    const NormData data = make_data(test, 1, seed, type_);
    const int64_t statistics = test.ghosts() * 16;
    const Buffer src(type_, data.src), gamma(DataType::f32, data.gamma), beta(DataType::f32, data.beta);
    const Buffer dst(type_, test.spec.elements()), mean(DataType::f32, statistics), variance(DataType::f32, statistics);
    const Buffer diff_dst(type_, data.diff_dst), diff_src(type_, test.spec.elements());
    const Buffer diff_gamma(DataType::f32, 16), diff_beta(DataType::f32, 16);
    kernel_->forward(src.view(), gamma.view(), beta.view(), nullptr, dst.view(), mean.view(), variance.view(),
                     test.offsets.data(), test.ghosts());
    kernel_->backward(src.view(), nullptr, diff_dst.view(), nullptr, mean.view(), variance.view(), gamma.view(),
                      beta.view(), diff_src.view(), nullptr, diff_gamma.view(), diff_beta.view(), test.offsets.data(),
                      test.ghosts(), false);
    NormResult result;
    result.dst = dst.values();
    result.mean = mean.values();
    result.variance = variance.values();
    result.diff_src = diff_src.values();
    result.diff_gamma = diff_gamma.values();
    result.diff_beta = diff_beta.values();
    return result;
  }

 private:
  DataType type_;
  Owned<GhostBatchNorm> kernel_;
};

const std::vector<std::vector<int32_t>> kGhosts{{5, 4}, {2, 2, 2, 2, 2, 2}, {12}, {3, 9}, {5, 4}};

/// Calls one after another, of ghosts that differ in number and size, are those of kernels of their own; in the end
/// nothing grows.
TEST(CudaKernels, ANormTakesAnyGhostsOneAfterAnother) {
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    const int64_t before = device_memory_in_use();
    {
      const Norm norm(type);
      int64_t grown = 0;
      for (int turn = 0; turn < 2; ++turn) {
        uint32_t seed = 1;
        for (const std::vector<int32_t>& sizes : kGhosts) {
          const NormResult expected = Norm(type).run(sizes, seed);
          expect_same_bits(norm.run(sizes, seed), expected);
          ++seed;
        }
        if (turn == 0) grown = device_memory_in_use();
      }
      EXPECT_EQ(device_memory_in_use(), grown);
      EXPECT_GT(grown, before);
    }
    EXPECT_EQ(device_memory_in_use(), before);
  }
}

/// By the limits of the GPU, unless the user wants none.
TEST(CudaKernels, ANormRunsInClustersWhereTheGpuHasThem) {
  const auto reference = make_device("reference");
  const BlocksOf hopper({227 << 10, 16});
  NormCase test = make_case(32, 32, 16, 64, {4, 4, 4, 4, 3, 4, 4, 4});
  test.spec.relu = true;
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    const NormData data = make_data(test, 1, 5, type);
    NormResult specified = run(*reference, type, test, data);
    specified.largest_sum = formula(test, data).largest_sum;
    const auto launches = [&] {
      const Owned<Device> device = make_cuda_device();
      const int64_t before = launched();
      const NormResult actual = run(*device, type, test, data);
      if (type == DataType::bf16) {
        expect_all_close_in_bfloat16(actual, specified);
      } else {
        expect_all_close(actual, specified, Tolerance::kNormBlocks);
      }
      return launched() - before;
    };
    EXPECT_EQ(launches(), 2 + 1 + 2 + 2) << "copies of state and offsets, and kernels";
    setenv("GHOSTBATCH_CUDA_CLUSTERS", "1", 1);
    EXPECT_EQ(launches(), 2 + 1 + 2 + 2);
    setenv("GHOSTBATCH_CUDA_CLUSTERS", "0", 1);
    EXPECT_EQ(launches(), 2 + 2 + 2 + 2) << "a wave";
    EXPECT_STREQ(own(make_cuda_device()->ghost_batch_norm(Norm::spec(type)))->implementation(), "cuda");
    unsetenv("GHOSTBATCH_CUDA_CLUSTERS");
  }
  EXPECT_STREQ(own(make_cuda_device()->ghost_batch_norm(Norm::spec(DataType::f32)))->implementation(),
               "cuda, clusters of 16");
  setenv("GHOSTBATCH_CUDA_CLUSTERS", "no", 1);
  expect_error([] { make_cuda_device(); }, "[cuda] needs GHOSTBATCH_CUDA_CLUSTERS to be 0 or 1, got \"no\"");
  unsetenv("GHOSTBATCH_CUDA_CLUSTERS");
}

TEST(CudaKernels, ANormTakesTensorsThatAreNotAligned) {
  NormCase test = make_case(5, 2, 2, 16, {3, 2});
  const NormData data = make_data(test, 1, 17);
  const auto kernel = own(cuda::make_ghost_batch_norm(cuda_context(), test.spec));
  const Buffer src(DataType::f32, data.src), gamma(DataType::f32, data.gamma), beta(DataType::f32, data.beta);
  const Buffer mean(DataType::f32, 32), variance(DataType::f32, 32), room(DataType::f32, test.spec.elements() + 1);
  const View dst(room.view().as<float>() + 1, test.spec.elements(), DataType::f32);
  kernel->forward(src.view(), gamma.view(), beta.view(), nullptr, dst, mean.view(), variance.view(),
                  test.offsets.data(), 2);
  std::vector<double> actual = room.values();
  actual.erase(actual.begin());
  expect_close("dst", actual, formula(test, data).dst, Tolerance::kNormBlocks);
}

/// Two threads at once get from `work`(thread) what each gets alone, many times.
template <typename Work>
void expect_shareable(const char* what, const Work& work) {
  const std::vector<double> expected[] = {work(0), work(1)};
  ASSERT_NE(expected[0], expected[1]) << what;
  const auto repeat = [&](int32_t thread) {
    for (int i = 0; i < 50 && !::testing::Test::HasFailure(); ++i) expect_equal(what, work(thread), expected[thread]);
  };
  std::thread other(repeat, 1);
  repeat(0);
  other.join();
}

TEST(CudaKernels, TwoThreadsMayShareANorm) {
  const Norm norm(DataType::f32);
  expect_shareable("dst", [&](int32_t thread) { return norm.run(kGhosts[static_cast<size_t>(thread)], 1).dst; });
  expect_shareable("diff_gamma",
                   [&](int32_t thread) { return norm.run(kGhosts[static_cast<size_t>(thread)], 1).diff_gamma; });
}

TEST(CudaKernels, TwoThreadsMayShareADropout) {
  const auto kernel = own(cuda::make_elementwise(cuda_context()));
  constexpr int64_t kElements = 20000;
  const Buffer src(DataType::f32, std::vector<double>(kElements, 1.0));
  expect_shareable("dst", [&](int32_t thread) {
    const Buffer dst(DataType::f32, kElements);
    DropoutKey key;
    key.step = static_cast<uint64_t>(thread);
    kernel->dropout(src.view(), dst.view(), 4, kElements / 4, 0.5, key);
    return dst.values();
  });
}

TEST(CudaKernels, TwoThreadsMayShareALoader) {
  LoadSpec spec;
  spec.height = spec.width = 32;
  spec.channels = 3;
  spec.augmentation = Augmentation::pad_crop_flip;
  const auto kernel = own(cuda::make_batch_loader(cuda_context(), spec));
  const int64_t elements = spec.height * spec.width * spec.channels;
  const auto samples = own(Samples::create(DataType::u8, 8, 32, 32, 3, 10));
  std::vector<uint8_t> bytes(static_cast<size_t>(8 * elements));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i / 7);
  samples->write_bytes(0, 8, bytes.data());
  const int32_t labels[] = {3, 1, 4, 1, 5, 9, 2, 6};
  samples->write_labels(0, 8, labels);
  expect_shareable("dst", [&](int32_t thread) {
    const std::vector<int32_t> indices = thread == 0 ? std::vector<int32_t>{2, 0, 7} : std::vector<int32_t>{1, 3, 2, 6};
    const auto rows = static_cast<int64_t>(indices.size());
    const Buffer dst(DataType::f32, rows * elements), of_rows(DataType::s32, rows);
    const View labels_view = of_rows.view();
    kernel->load(*samples, indices.data(), rows, 5, static_cast<uint64_t>(thread), true, dst.view(), &labels_view);
    std::vector<double> all = dst.values();
    for (const double label : of_rows.values()) all.push_back(label);
    return all;
  });
}

TEST(CudaKernels, TwoThreadsMayShareALoss) {
  const auto kernel = own(cuda::make_softmax_cross_entropy(cuda_context()));
  Random random(3);
  const Buffer logits(DataType::f32, random.values(500 * 10, 5)), labels(DataType::s32, std::vector<double>(500, 3.0));
  expect_shareable("loss", [&](int32_t thread) {
    LossResult result;
    kernel->run(logits.view(), labels.view(), nullptr, 500 - 100 * thread, 10, 0.1 * thread, 1, nullptr, result);
    return std::vector<double>{result.loss, static_cast<double>(result.correct)};
  });
}

/// A thread that holds the lock has the stream to itself, while it captures as well.
TEST(CudaKernels, EveryCallTakesTheLock) {
  const cuda::Context& context = cuda_context();
  const DataType f32 = DataType::f32;
  const auto norm = own(cuda::make_ghost_batch_norm(context, make_case(2, 2, 2, 4, {2}).spec));
  PoolSpec pool_spec;
  pool_spec.batch = pool_spec.height = pool_spec.width = 2;
  pool_spec.channels = 4;
  const auto pool = own(cuda::make_pooling(context, pool_spec));
  const auto elementwise = own(cuda::make_elementwise(context));
  const auto loss = own(cuda::make_softmax_cross_entropy(context));
  const auto loader = own(cuda::make_batch_loader(context, LoadSpec()));
  const auto samples = own(Samples::create(DataType::u8, 2, 1, 1, 1, 10));
  const Buffer x(f32, std::vector<double>(32, 1.0)), y(f32, 32), channels(f32, std::vector<double>(4, 1.0));
  const Buffer mean(f32, 4), variance(f32, 4), partial(DataType::f64, std::vector<double>(8, 1.0));
  const Buffer bytes(DataType::u8, std::vector<double>(32)), labels(DataType::s32, std::vector<double>(8));
  const View v = x.view(), w = y.view(), c = channels.view(), m = mean.view(), d = variance.view(), p = partial.view();
  const View u = bytes.view();
  const int32_t offsets[] = {0, 2}, indices[] = {0, 1};
  const std::function<void()> calls[] = {
      [&] { norm->forward(v, c, c, nullptr, w, m, d, offsets, 1); },
      [&] { norm->normalize(v, c, c, c, c, nullptr, w, offsets, 1); },
      [&] { norm->backward(v, nullptr, v, nullptr, c, c, c, c, w, nullptr, m, d, offsets, 1, false); },
      [&] { norm->statistics(v, 2, p); },
      [&] { norm->combine(p, offsets + 1, 1, m, d); },
      [&] { norm->backward_sums(v, nullptr, v, nullptr, c, c, c, c, nullptr, 2, p); },
      [&] { norm->backward_apply(v, v, c, c, c, c, nullptr, p, 2, 2, w); },
      [&] { pool->forward(v, w, &u, 2); },
      [&] { pool->backward(v, w, &u, 2); },
      [&] { elementwise->relu(v, w, 32); },
      [&] { elementwise->relu_backward(v, v, w, 32); },
      [&] { elementwise->add(v, v, w, 32, false); },
      [&] { elementwise->dropout(v, w, 2, 16, 0.5, DropoutKey()); },
      [&] { elementwise->zero(w, 0, 32); },
      [&] { elementwise->sign(v, u, 32); },
      [&] {
        LossResult result;
        loss->run(v, labels.view(), nullptr, 8, 4, 0, 1, nullptr, result);
      },
      [&] { loader->load(*samples, indices, 2, 1, 1, false, w, nullptr); },
      [&] { loader->perturb(u, 2, 1, w); },
  };
  size_t number = 0;
  for (const std::function<void()>& call : calls) {
    std::atomic<bool> done{false};
    auto lock = context.lock();
    std::thread other([&] {
      call();
      done = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_FALSE(done) << "call " << number;
    lock.unlock();
    other.join();
    EXPECT_TRUE(done) << "call " << number;
    ++number;
  }
}

TEST(CudaKernels, GrowWithTheirCallsAndStayThatLarge) {
  const int64_t before = device_memory_in_use();
  {
    const auto kernel = own(cuda::make_softmax_cross_entropy(cuda_context()));
    const Buffer logits(DataType::f32, std::vector<double>(300, 0.0)), labels(DataType::s32, std::vector<double>(100));
    LossResult result;
    std::vector<int64_t> used;
    for (const int64_t rows : {10, 100, 7, 100}) {
      kernel->run(logits.view(), labels.view(), nullptr, rows, 3, 0, 1, nullptr, result);
      EXPECT_NEAR(result.loss, static_cast<double>(rows) * std::log(3.0), 1e-4);
      EXPECT_EQ(result.correct, rows);
      used.push_back(device_memory_in_use());
    }
    EXPECT_LT(used[0], used[1]);
    EXPECT_EQ(used[1], used[2]);
    EXPECT_EQ(used[1], used[3]);
  }
  EXPECT_EQ(device_memory_in_use(), before);
}

TEST(CudaKernels, RefuseWhatTheyHaveNoMemoryFor) {
  const Norm norm(DataType::f32);
  const auto loss = own(cuda::make_softmax_cross_entropy(cuda_context()));
  const Buffer logits(DataType::f32, std::vector<double>(300, 0.0)), labels(DataType::s32, std::vector<double>(100));
  LossResult result;
  {
    const MemoryLimit limit(device_memory_in_use() + 48);
    expect_error([&] { norm.run({12}, 1); }, "bytes of device memory, got 48 bytes free");
    expect_error([&] { loss->run(logits.view(), labels.view(), nullptr, 100, 3, 0, 1, nullptr, result); },
                 "[cuda] needs 1600 bytes of device memory, got 16 bytes free");
  }
  EXPECT_EQ(norm.run({12}, 1).dst, Norm(DataType::f32).run({12}, 1).dst);
  loss->run(logits.view(), labels.view(), nullptr, 100, 3, 0, 1, nullptr, result);
  EXPECT_EQ(result.correct, 100);
}

TEST(CudaKernels, RefuseSpecsThatTheBackendDoesNotHave) {
  PoolSpec pool;
  pool.height = pool.width = 4;
  const auto refuse_pool = [&](const std::function<void(PoolSpec&)>& change, const char* part) {
    PoolSpec spec = pool;
    change(spec);
    expect_error([&] { own(cuda::make_pooling(cuda_context(), spec)); }, part);
  };
  refuse_pool([](auto& s) { s.type = DataType::f64; }, "[pooling] needs f32 or bf16 on the backend cuda, got f64");
  refuse_pool([](auto& s) { s.stride_h = 2147483647; }, "padded height and stride in [1, 2147483647], got 2147483651");
  refuse_pool([](auto& s) { s.width = 2147483647; }, "padded width and stride in [1, 2147483647], got 2147483648");
  LoadSpec load;
  load.type = DataType::f64;
  expect_error([&] { own(cuda::make_batch_loader(cuda_context(), load)); }, "[batch_loader] needs f32 or bf16");
  load.type = DataType::f32;
  load.height = load.width = 65536;
  expect_error([&] { own(cuda::make_batch_loader(cuda_context(), load)); }, "values of a sample in [1, 2147483647]");
  GhostBatchNormSpec norm;
  norm.batch = 1 << 20;
  norm.height = norm.width = 1 << 10;
  expect_error([&] { own(cuda::make_ghost_batch_norm(cuda_context(), norm)); }, "places in [1, 1073741824]");
  const auto elementwise = own(cuda::make_elementwise(cuda_context()));
  const Buffer doubles(DataType::f64, 4);
  expect_error([&] { elementwise->zero(doubles.view(), 0, 4); }, "[zero] needs f32 or bf16");
  const auto loss = own(cuda::make_softmax_cross_entropy(cuda_context()));
  const Buffer labels(DataType::s32, std::vector<double>{0});
  LossResult result;
  expect_error([&] { loss->run(doubles.view(), labels.view(), nullptr, 1, 4, 0, 1, nullptr, result); },
               "[softmax_cross_entropy] needs f32 or bf16");
}

}  // namespace
}  // namespace ghostbatch::tests
