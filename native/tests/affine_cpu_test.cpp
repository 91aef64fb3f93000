// What is special to layers on oneDNN: packed layouts, threads that share a kernel, memory. Parity with the reference
// is tested for all backends elsewhere.
#include <gtest/gtest.h>
#include <malloc.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/bfloat16.h"
#include "cpu/direct_convolution.h"
#include "cpu/kernels.h"
#include "cpu/onednn.h"
#include "cpu/simd.h"
#include "cpu/winograd_convolution.h"
#include "ghostbatch/device.h"

namespace ghostbatch {
namespace {

/// Memory full of NaN, `offset` bytes behind a 64-byte boundary, with a guard behind it.
class Buffer {
 public:
  explicit Buffer(int64_t elements, DataType type = DataType::f32, int64_t offset = 0)
      : memory_(
            static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(elements * size_of(type) + 192) / 64 * 64)),
            std::free),
        view_(memory_.get() + offset, elements, type) {
    std::memset(view_.data, 0xFF, static_cast<size_t>(view_.bytes() + kGuard));
  }

  const View& view() const { return view_; }
  const View* pointer() const { return &view_; }
  int64_t size() const { return view_.elements; }
  float at(int64_t i) const {
    return view_.type == DataType::bf16 ? from_bfloat16(view_.as<uint16_t>()[i]) : view_.as<float>()[i];
  }
  void set(int64_t i, float value) const {
    if (view_.type == DataType::bf16) {
      view_.as<uint16_t>()[i] = to_bfloat16(value);
    } else {
      view_.as<float>()[i] = value;
    }
  }
  void fill(float value) const {
    for (int64_t i = 0; i < size(); ++i) set(i, value);
  }
  /// Multiples of 1/8 in [-1, 1], exact in bf16; different for each seed.
  void fill_eighths(uint32_t seed) const {
    for (int64_t i = 0; i < size(); ++i) {
      seed = seed * 1664525u + 1013904223u;
      set(i, static_cast<float>(static_cast<int32_t>(seed >> 16) % 17 - 8) / 8);
    }
  }
  /// Values whose sums depend on their order in the last bit, so that equal bits mean the same order; other for each
  /// seed.
  void fill_noise(uint32_t seed) const {
    for (int64_t i = 0; i < size(); ++i) {
      seed = seed * 1664525u + 1013904223u;
      set(i, static_cast<float>(static_cast<int32_t>(seed >> 8)) / 16777216.0f - 0.5f);
    }
  }
  bool guard_is_whole() const {
    for (int64_t i = view_.bytes(); i < view_.bytes() + kGuard; ++i) {
      if (view_.as<uint8_t>()[i] != 0xFF) return false;
    }
    return true;
  }
  /// Whether these are the values of `exact`, rounded to this type.
  bool equals_rounded(const Buffer& exact) const {
    for (int64_t i = 0; i < size(); ++i) {
      const float value = exact.at(i);
      if (at(i) != (view_.type == DataType::bf16 ? from_bfloat16(to_bfloat16(value)) : value)) return false;
    }
    return true;
  }
  bool same_bits(const Buffer& other) const {
    return std::memcmp(view_.data, other.view_.data, static_cast<size_t>(view_.bytes())) == 0;
  }

 private:
  static constexpr int64_t kGuard = 64;
  std::unique_ptr<char, void (*)(void*)> memory_;
  View view_;
};

struct Destroy {
  void operator()(Resource* resource) const { resource->destroy(); }
};
using AffinePointer = std::unique_ptr<Affine, Destroy>;

/// A layer with all of its buffers.
struct LayerRun {
  LayerRun(Affine* made, int64_t offset = 0)
      : layer(made),
        src(made->src_elements(), made->type(), offset),
        dst(made->dst_elements(), made->type(), offset),
        diff_src(made->src_elements(), made->type(), offset),
        diff_dst(made->dst_elements(), made->type(), offset),
        weights(made->weights_elements(), DataType::f32, offset),
        diff_weights(made->weights_elements(), DataType::f32, offset),
        bias(made->bias_elements(), DataType::f32, offset),
        diff_bias(made->bias_elements(), DataType::f32, offset),
        packed_weights(made->packed_weights_bytes(), DataType::u8),
        packed_diff_weights(made->packed_diff_weights_elements()),
        scratch(made->scratch_bytes(), DataType::u8) {
    bias.fill(0);
  }

  const View* if_bias(const Buffer& buffer) const { return buffer.size() > 0 ? buffer.pointer() : nullptr; }
  void pack() const { layer->pack_weights(weights.view(), packed_weights.view(), scratch.view()); }
  void forward() const { layer->forward(src.view(), packed_weights.view(), if_bias(bias), dst.view(), scratch.view()); }
  void backward_data() const {
    layer->backward_data(diff_dst.view(), packed_weights.view(), diff_src.view(), scratch.view());
  }
  void backward_weights() const {
    layer->backward_weights(src.view(), diff_dst.view(), packed_diff_weights.view(), if_bias(diff_bias),
                            scratch.view());
  }
  void unpack() const { layer->unpack_diff_weights(packed_diff_weights.view(), diff_weights.view(), scratch.view()); }
  void all() const {
    pack();
    forward();
    backward_data();
    backward_weights();
    unpack();
  }
  bool guards_are_whole() const {
    for (const Buffer* buffer : {&src, &dst, &diff_src, &diff_dst, &weights, &diff_weights, &bias, &diff_bias,
                                 &packed_weights, &packed_diff_weights, &scratch}) {
      if (!buffer->guard_is_whole()) return false;
    }
    return true;
  }

  AffinePointer layer;
  Buffer src, dst, diff_src, diff_dst, weights, diff_weights, bias, diff_bias, packed_weights, packed_diff_weights,
      scratch;
};

std::vector<DataType> types() {
  return cpu::supports_bf16() ? std::vector<DataType>{DataType::f32, DataType::bf16}
                              : std::vector<DataType>{DataType::f32};
}

ConvolutionSpec convolution(int64_t batch, int64_t side, int64_t channels, int64_t filters, int64_t kernel,
                            int64_t groups = 1) {
  ConvolutionSpec spec;
  spec.batch = batch;
  spec.height = spec.width = side;
  spec.channels = channels;
  spec.filters = filters;
  spec.kernel_h = spec.kernel_w = kernel;
  spec.pad_h = spec.pad_w = kernel / 2;
  spec.groups = groups;
  spec.bias = true;
  return spec;
}

LinearSpec linear(int64_t batch, int64_t in, int64_t out) {
  LinearSpec spec;
  spec.batch = batch;
  spec.in = in;
  spec.out = out;
  spec.bias = true;
  return spec;
}

/// Whether all directions see weights [K, group_in * places] as they lie in the parameter vector. `run` is a layer
/// whose filter covers its src of `places` places, so that row n of an identity picks weight n of each filter.
void expect_weights_come_through(const LayerRun& run, int64_t places, int64_t channels, int64_t filters,
                                 int64_t groups) {
  const int64_t in = places * channels;
  const int64_t batch = run.src.size() / in;
  const int64_t group_channels = channels / groups;
  ASSERT_GE(batch, std::max(in, filters));
  run.weights.fill_eighths(7);
  const auto expected = [&](int64_t filter, int64_t input) {
    const int64_t place = input / channels, channel = input % channels;
    if (channel / group_channels != filter / (filters / groups)) return 0.0f;
    return run.weights.at((filter * places + place) * group_channels + channel % group_channels);
  };
  run.src.fill(0);
  run.diff_dst.fill(0);
  for (int64_t n = 0; n < in; ++n) run.src.set(n * in + n, 1);
  for (int64_t n = 0; n < filters; ++n) run.diff_dst.set(n * filters + n, 1);
  run.pack();
  run.forward();
  run.backward_data();
  for (int64_t n = 0; n < in; ++n) {
    for (int64_t k = 0; k < filters; ++k) ASSERT_EQ(run.dst.at(n * filters + k), expected(k, n)) << n << " " << k;
  }
  for (int64_t n = 0; n < filters; ++n) {
    for (int64_t i = 0; i < in; ++i) ASSERT_EQ(run.diff_src.at(n * in + i), expected(n, i)) << n << " " << i;
  }
  run.diff_dst.fill(0);
  for (int64_t i = 0; i < in * filters; ++i) run.diff_dst.set(i, run.dst.at(i));
  run.backward_weights();
  run.unpack();
  EXPECT_TRUE(run.diff_weights.same_bits(run.weights));
  EXPECT_TRUE(run.guards_are_whole());
}

TEST(OneDnnAffine, ConvolutionWeightsLieAsKrsc) {
  for (const DataType type : types()) {
    for (const int64_t offset : {0, 4}) {  // views need not be aligned to more than their elements
      for (const auto& [kernel, channels, filters, groups] : std::vector<std::array<int64_t, 4>>{{1, 1, 1, 1},
                                                                                                 {3, 1, 5, 1},
                                                                                                 {5, 3, 17, 1},
                                                                                                 {3, 15, 16, 1},
                                                                                                 {3, 16, 33, 1},
                                                                                                 {1, 17, 64, 1},
                                                                                                 {3, 12, 18, 3},
                                                                                                 {3, 16, 16, 16},
                                                                                                 {3, 17, 17, 17},
                                                                                                 {1, 8, 16, 4}}) {
        SCOPED_TRACE("kernel " + std::to_string(kernel) + " " + std::to_string(channels) + " -> " +
                     std::to_string(filters) + " groups " + std::to_string(groups) + " offset " +
                     std::to_string(offset));
        const int64_t places = kernel * kernel;
        ConvolutionSpec spec =
            convolution(std::max(places * channels, filters), kernel, channels, filters, kernel, groups);
        spec.pad_h = spec.pad_w = 0;
        spec.type = type;
        expect_weights_come_through(LayerRun(cpu::make_convolution(spec, true), offset), places, channels, filters,
                                    groups);
      }
    }
  }
}

TEST(OneDnnAffine, LinearWeightsLieAsOutIn) {
  for (const DataType type : types()) {
    for (const int64_t offset : {0, 4}) {
      for (const auto& [in, out] :
           std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 10}, {16, 16}, {17, 33}, {100, 10}, {65, 129}}) {
        SCOPED_TRACE(std::to_string(in) + " -> " + std::to_string(out) + " offset " + std::to_string(offset));
        LinearSpec spec = linear(std::max(in, out), in, out);
        spec.type = type;
        expect_weights_come_through(LayerRun(cpu::make_linear(spec, true), offset), 1, in, out, 1);
      }
    }
  }
}

TEST(OneDnnAffine, PaddingOfPackedGradientsIsZero) {
  for (const DataType type : types()) {
    for (const auto& [channels, filters, kernel] : std::vector<std::array<int64_t, 3>>{
             {1, 1, 1}, {1, 32, 5}, {3, 16, 3}, {15, 17, 3}, {17, 15, 1}, {33, 10, 3}}) {
      SCOPED_TRACE(std::to_string(channels) + " -> " + std::to_string(filters) + " kernel " + std::to_string(kernel));
      ConvolutionSpec spec = convolution(3, 9, channels, filters, kernel);
      spec.type = type;
      const LayerRun run(cpu::make_convolution(spec, true));
      run.src.fill_eighths(1);
      run.diff_dst.fill_eighths(2);
      run.backward_weights();
      run.unpack();
      double packed = 0, natural = 0;
      for (int64_t i = 0; i < run.packed_diff_weights.size(); ++i) packed += std::pow(run.packed_diff_weights.at(i), 2);
      for (int64_t i = 0; i < run.diff_weights.size(); ++i) natural += std::pow(run.diff_weights.at(i), 2);
      EXPECT_NEAR(packed, natural, 1e-9 * natural);  // NaN where padding was left as it was
    }
  }
}

TEST(OneDnnAffine, ThreadsThatShareAKernelGetTheSameBits) {
  const std::vector<std::pair<const char*, std::function<Affine*()>>> layers{
      {"convolution", [] { return cpu::make_convolution(convolution(4, 16, 16, 33, 3), true); }},
      {"linear", [] { return cpu::make_linear(linear(48, 100, 65), true); }}};
  for (const auto& [name, make] : layers) {
    SCOPED_TRACE(name);
    const LayerRun run(make());
    run.src.fill_noise(1);
    run.diff_dst.fill_noise(2);
    run.weights.fill_noise(3);
    run.all();
    constexpr int kThreads = 4;
    std::vector<int> differences(kThreads);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        const Affine& layer = *run.layer;
        const Buffer scratch(layer.scratch_bytes(), DataType::u8), dst(run.dst.size()), diff_src(run.src.size()),
            packed(run.packed_diff_weights.size()), diff_bias(run.bias.size());
        for (int repeat = 0; repeat < 20; ++repeat) {
          layer.forward(run.src.view(), run.packed_weights.view(), run.bias.pointer(), dst.view(), scratch.view());
          layer.backward_data(run.diff_dst.view(), run.packed_weights.view(), diff_src.view(), scratch.view());
          layer.backward_weights(run.src.view(), run.diff_dst.view(), packed.view(), diff_bias.pointer(),
                                 scratch.view());
          const bool same = dst.same_bits(run.dst) && diff_src.same_bits(run.diff_src) &&
                            packed.same_bits(run.packed_diff_weights) && diff_bias.same_bits(run.diff_bias);
          differences[static_cast<size_t>(thread)] += same ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(differences, std::vector<int>(kThreads));
  }
}

TEST(OneDnnAffine, OneThreadGivesTheBitsOfManyOpenMpThreads) {
  const int before = omp_get_max_threads();
  const ConvolutionSpec spec = convolution(32, 16, 16, 32, 3);
  const auto run_with = [&](int threads) {
    omp_set_num_threads(threads);
    auto run = std::make_unique<LayerRun>(cpu::make_convolution(spec, true));
    run->src.fill_noise(1);
    run->diff_dst.fill_noise(2);
    run->weights.fill_noise(3);
    run->all();
    EXPECT_EQ(omp_get_max_threads(), threads);  // the caller's setting is left alone
    return run;
  };
  const auto one = run_with(1);
  const auto many = run_with(3);
  EXPECT_TRUE(one->packed_diff_weights.same_bits(many->packed_diff_weights));
  EXPECT_TRUE(one->dst.same_bits(many->dst));
  EXPECT_TRUE(one->diff_src.same_bits(many->diff_src));

  ConvolutionSpec refused = spec;
  refused.type = DataType::f64;
  EXPECT_THROW(cpu::make_convolution(refused, true), Error);
  EXPECT_EQ(omp_get_max_threads(), 3);
  omp_set_num_threads(before);
}

TEST(OneDnnAffine, NoThreadIsStarted) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  std::thread([&] {
    omp_set_num_threads(3);
    const auto before = threads();
    const LayerRun line(cpu::make_linear(linear(64, 784, 512), true));
    const LayerRun conv(cpu::make_convolution(convolution(8, 16, 64, 128, 3), true));
    for (const LayerRun* run : {&line, &conv}) {
      run->src.fill_noise(1);
      run->diff_dst.fill_noise(2);
      run->weights.fill_noise(3);
      run->all();
    }
    EXPECT_EQ(threads(), before);
  }).join();
}

TEST(OneDnnAffine, KernelsOutliveTheThreadsThatRanThem) {
  const auto run = std::make_unique<LayerRun>(cpu::make_linear(linear(16, 33, 17), true));
  run->src.fill_noise(1);
  run->diff_dst.fill_noise(2);
  run->weights.fill_noise(3);
  for (int i = 0; i < 3; ++i) std::thread([&] { run->all(); }).join();
  run->all();
}

TEST(OneDnnAffine, RunningKeepsNoMemory) {
  const LayerRun conv(cpu::make_convolution(convolution(2, 8, 16, 16, 3), true));
  const LayerRun line(cpu::make_linear(linear(8, 64, 10), true));
  for (const LayerRun* run : {&conv, &line}) {
    run->src.fill_noise(1);
    run->diff_dst.fill_noise(2);
    run->weights.fill_noise(3);
    for (int i = 0; i < 200; ++i) run->all();
    const auto before = mallinfo2();
    for (int i = 0; i < 2000; ++i) run->all();
    const auto after = mallinfo2();
    // What malloc keeps in a thread's cache counts as used, and wobbles by some hundred bytes while the cache fills.
    // The smallest chunk lost in each of the 2,000 runs would be 64,000 bytes.
    EXPECT_LT(static_cast<double>(after.uordblks), static_cast<double>(before.uordblks) + 8192);
    EXPECT_EQ(after.hblks, before.hblks);
  }
}

TEST(OneDnnAffine, ForwardOnlyKernelsHaveTheBitsOfTraining) {
  const ConvolutionSpec spec = convolution(3, 12, 3, 17, 3);
  const LayerRun training(cpu::make_convolution(spec, true));
  const LayerRun evaluation(cpu::make_convolution(spec, false));
  for (const LayerRun* run : {&training, &evaluation}) {
    run->src.fill_noise(1);
    run->weights.fill_noise(3);
    run->pack();
    run->forward();
  }
  EXPECT_TRUE(training.dst.same_bits(evaluation.dst));
  EXPECT_EQ(evaluation.packed_diff_weights.size(), 0);
}

/// Shapes that oneDNN 3.11 gets wrong, each found once: wrong values, padding left as it was, or memory overrun.
TEST(PlainConvolution, TakesTheShapesThatOneDnnGetsWrong) {
  struct Odd {
    int64_t batch, height, width, channels, filters, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation,
        groups;
    DataType type;
  };
  const DataType f32 = DataType::f32, bf16 = DataType::bf16;
  const auto reference = std::unique_ptr<Device, Destroy>(Device::create("reference"));
  for (const Odd& odd : std::vector<Odd>{
           {33, 16, 1, 1, 16, 7, 3, 1, 5, 4, 2, 1, 1, f32},       // wrong dst: stride beyond the filter
           {2, 7, 3, 1, 1, 2, 13, 1, 9, 0, 9, 1, 1, f32},         // wrong dst: padding beyond half the filter
           {2, 2, 129, 10, 10, 3, 11, 2, 3, 5, 20, 4, 1, f32},    // wrong diff_weights: padding over many vectors
           {1, 13, 100, 15, 32, 1, 1, 1, 2, 0, 0, 1, 1, f32},     // overrun: 1x1 with unequal strides
           {2, 300, 18, 15, 9, 1, 1, 2, 2, 0, 0, 1, 1, f32},      // overrun: strided 1x1 with ragged channels
           {1, 15, 1, 65, 15, 2, 2, 2, 2, 1, 1, 1, 1, bf16},      // padding unwritten: strided to a single column
           {2, 21, 40, 17, 20, 3, 3, 1, 1, 2, 2, 2, 1, bf16},     // overrun: dilation with ragged channels
           {1, 2, 12, 257, 7, 7, 7, 1, 1, 3, 3, 1, 1, bf16},      // overrun: ragged channels
           {3, 19, 129, 3, 15, 1, 1, 1, 1, 0, 0, 2, 3, bf16}}) {  // padding unwritten: ragged groups
    if (odd.type == bf16 && !cpu::supports_bf16()) continue;
    ConvolutionSpec spec = convolution(odd.batch, odd.height, odd.channels, odd.filters, odd.kernel_h, odd.groups);
    spec.width = odd.width;
    spec.kernel_w = odd.kernel_w;
    spec.stride_h = odd.stride_h;
    spec.stride_w = odd.stride_w;
    spec.pad_h = std::min(odd.pad_h, odd.dilation * (odd.kernel_h - 1));
    spec.pad_w = odd.pad_w;
    spec.dilation_h = spec.dilation_w = odd.dilation;
    spec.type = odd.type;
    const LayerRun plain(cpu::make_convolution(spec, true));
    SCOPED_TRACE(std::to_string(odd.height) + "x" + std::to_string(odd.width) + " " + std::to_string(odd.channels) +
                 " -> " + std::to_string(odd.filters) + " on " + plain.layer->implementation());
    EXPECT_STREQ(plain.layer->implementation(), "plain | plain | plain");
    ConvolutionSpec exact = spec;
    exact.type = f32;
    const LayerRun expected(reference->convolution(exact, true));
    for (const LayerRun* run : {&plain, &expected}) {
      run->src.fill_eighths(1);
      run->diff_dst.fill_eighths(2);
      run->weights.fill_eighths(3);
      run->bias.fill_eighths(4);
      run->all();
    }
    // Sums of such values are exact, so that nothing but a wrong sum makes a difference, or the rounding of dst to
    // bf16.
    EXPECT_TRUE(plain.dst.equals_rounded(expected.dst));
    EXPECT_TRUE(plain.diff_src.equals_rounded(expected.diff_src));
    EXPECT_TRUE(plain.diff_weights.same_bits(expected.diff_weights));
    EXPECT_TRUE(plain.diff_bias.same_bits(expected.diff_bias));
    EXPECT_TRUE(plain.guards_are_whole());
  }
}

TEST(PlainConvolution, LeavesTheShapesOfNetworksToOneDnn) {
  for (const DataType type : types()) {
    for (const auto& [side, channels, filters, kernel, stride] :
         std::vector<std::array<int64_t, 5>>{{32, 3, 16, 3, 1},
                                             {32, 16, 16, 3, 1},
                                             {32, 16, 32, 3, 2},
                                             {16, 32, 64, 1, 2},
                                             {8, 64, 64, 3, 1},
                                             {28, 1, 32, 5, 1},
                                             {14, 32, 64, 5, 1},
                                             {2, 512, 512, 3, 1},
                                             {1, 64, 64, 3, 1}}) {
      ConvolutionSpec spec = convolution(2, side, channels, filters, kernel);
      spec.stride_h = spec.stride_w = stride;
      spec.type = type;
      const std::unique_ptr<Affine, Destroy> layer(cpu::make_convolution(spec, true));
      EXPECT_EQ(std::string(layer->implementation()).find("plain"), std::string::npos);
    }
  }
}

// Own convolutions against plain loops in every direction that they can do, also where oneDNN would be taken.
ConvolutionSpec square(int64_t batch, int64_t size, int64_t channels, int64_t filters, int64_t kernel, int64_t stride,
                       int64_t pad, DataType type) {
  ConvolutionSpec spec;
  spec.batch = batch;
  spec.height = size + 1;  // lines and columns are not to be mistaken for one another
  spec.width = size;
  spec.channels = channels;
  spec.filters = filters;
  spec.kernel_h = spec.kernel_w = kernel;
  spec.stride_h = spec.stride_w = stride;
  spec.pad_h = spec.pad_w = pad;
  spec.type = type;
  return spec;
}

TEST(DirectConvolution, MatchesPlainLoops) {
  int64_t compared = 0;
  for (DataType type : {DataType::f32, DataType::bf16}) {
    if (type == DataType::bf16 && !cpu::supports_bf16()) continue;
    for (int64_t size : {1, 2, 5, 9, 16, 19}) {
      for (auto [channels, filters] : {std::pair<int64_t, int64_t>{1, 16}, {3, 32}, {16, 16}, {20, 48}, {48, 32}}) {
        for (int64_t kernel : {1, 3, 5}) {
          for (int64_t stride : {1, 2}) {
            for (int64_t pad : {int64_t{0}, kernel / 2, kernel - 1}) {
              if (size + 2 * pad < kernel) continue;
              ConvolutionSpec spec = square(2, size, channels, filters, kernel, stride, pad, type);
              spec.bias = size % 2 == 0;
              const cpu::Directions can = cpu::direct_directions(spec);
              if (!can.forward) continue;
              SCOPED_TRACE(testing::Message()
                           << name_of(type) << " size " << size << " channels " << channels << " filters " << filters
                           << " kernel " << kernel << " stride " << stride << " pad " << pad);
              const LayerRun own(cpu::make_direct_convolution(spec, true, can));
              const LayerRun plain(cpu::make_plain_convolution(spec, true));
              for (const LayerRun* run : {&own, &plain}) {
                run->src.fill_eighths(1);
                run->diff_dst.fill_eighths(2);
                run->weights.fill_eighths(3);
                if (spec.bias) run->bias.fill_eighths(4);
                run->all();
              }
              // Eighths and their products are exact, and so are sums of so few: not a bit may differ.
              EXPECT_TRUE(own.dst.same_bits(plain.dst));
              EXPECT_TRUE(!can.backward_data || own.diff_src.same_bits(plain.diff_src));
              EXPECT_TRUE(own.diff_weights.same_bits(plain.diff_weights));
              EXPECT_TRUE(own.diff_bias.same_bits(plain.diff_bias));
              EXPECT_TRUE(own.guards_are_whole());
              if (testing::Test::HasFailure()) return;
              ++compared;
            }
          }
        }
      }
    }
  }
  if (compared == 0) GTEST_SKIP() << "needs AVX-512";
  EXPECT_GT(compared, 500);
}

/// `make` with relu and bias against plain loops; a NaN reaches the outputs that read it, and not those far off.
void expect_relu_and_nan(const std::function<Affine*(const ConvolutionSpec&)>& make) {
  ConvolutionSpec spec = square(1, 9, 16, 48, 3, 1, 1, DataType::f32);
  spec.relu = spec.bias = true;
  const LayerRun own(make(spec)), plain(cpu::make_plain_convolution(spec, false));
  for (const LayerRun* run : {&own, &plain}) {
    run->src.fill_eighths(1);
    run->weights.fill_eighths(3);
    run->bias.fill_eighths(4);
    run->pack();
    run->forward();
  }
  EXPECT_TRUE(own.dst.same_bits(plain.dst));
  own.src.set(0, std::nanf(""));
  own.forward();
  EXPECT_TRUE(std::isnan(own.dst.at(0)));
  EXPECT_FALSE(std::isnan(own.dst.at(own.dst.size() - 1)));
}

TEST(DirectConvolution, FusesReluAndKeepsNan) {
  if (!cpu::direct_directions(square(1, 9, 16, 48, 3, 1, 1, DataType::f32)).forward) GTEST_SKIP() << "needs AVX-512";
  expect_relu_and_nan(
      [](const ConvolutionSpec& spec) { return cpu::make_direct_convolution(spec, false, {true, false, false}); });
}

// Winograd's filtering against plain loops: tiles that lie whole in an image, at its borders, and at odd ends.
TEST(WinogradConvolution, MatchesPlainLoops) {
  int64_t compared = 0;
  for (int64_t size : {1, 2, 3, 4, 7, 8, 18}) {
    for (auto [channels, filters] : {std::pair<int64_t, int64_t>{16, 16}, {16, 32}, {48, 64}, {64, 16}, {80, 48}}) {
      for (int64_t batch : {1, 3}) {
        ConvolutionSpec spec = square(batch, size, channels, filters, 3, 1, 1, DataType::f32);
        spec.bias = size % 2 == 0;
        if (!cpu::has_winograd(spec)) GTEST_SKIP() << "needs AVX-512";
        SCOPED_TRACE(testing::Message() << batch << " images, size " << size << " channels " << channels << " filters "
                                        << filters);
        const LayerRun own(cpu::make_winograd_convolution(spec, true));
        const LayerRun plain(cpu::make_plain_convolution(spec, true));
        for (const LayerRun* run : {&own, &plain}) {
          run->src.fill_eighths(1);
          run->diff_dst.fill_eighths(2);
          run->weights.fill_eighths(3);
          if (spec.bias) run->bias.fill_eighths(4);
          run->all();
        }
        // Exact, as above: Winograd's factors are 1, 1/2 and 1/4.
        EXPECT_TRUE(own.dst.same_bits(plain.dst));
        EXPECT_TRUE(own.diff_src.same_bits(plain.diff_src));
        EXPECT_TRUE(own.diff_weights.same_bits(plain.diff_weights));
        EXPECT_TRUE(own.diff_bias.same_bits(plain.diff_bias));
        EXPECT_TRUE(own.guards_are_whole());
        if (testing::Test::HasFailure()) return;
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 70);
}

TEST(WinogradConvolution, FusesReluAndKeepsNan) {
  if (!cpu::has_winograd(square(1, 9, 16, 48, 3, 1, 1, DataType::f32))) GTEST_SKIP() << "needs AVX-512";
  expect_relu_and_nan([](const ConvolutionSpec& spec) { return cpu::make_winograd_convolution(spec, false); });
}

/// The transforms add and take away before they multiply. What that costs, beside sums in double: a few units in the
/// last place of f32, 6e-8.
TEST(WinogradConvolution, RoundsLittle) {
  const ConvolutionSpec spec = square(4, 16, 64, 64, 3, 1, 1, DataType::f32);
  if (!cpu::has_winograd(spec)) GTEST_SKIP() << "needs AVX-512";
  const auto reference = std::unique_ptr<Device, Destroy>(Device::create("reference"));
  const LayerRun own(cpu::make_winograd_convolution(spec, true)), exact(reference->convolution(spec, true));
  for (const LayerRun* run : {&own, &exact}) {
    run->src.fill_noise(1);
    run->diff_dst.fill_noise(2);
    run->weights.fill_noise(3);
    run->all();
  }
  const auto error = [](const Buffer& values, const Buffer& wanted) {
    double squares = 0, sum = 0;
    for (int64_t i = 0; i < values.size(); ++i) {
      const double value = static_cast<double>(wanted.at(i)), d = static_cast<double>(values.at(i)) - value;
      squares += d * d;
      sum += value * value;
    }
    return std::sqrt(squares / sum);
  };
  EXPECT_LT(error(own.dst, exact.dst), 6e-7);
  EXPECT_LT(error(own.diff_src, exact.diff_src), 6e-7);
  EXPECT_LT(error(own.diff_weights, exact.diff_weights), 6e-7);
}

TEST(DirectConvolution, TakesTheDirectionsInWhichItIsFaster) {
  const auto names = [](const ConvolutionSpec& spec) {
    const AffinePointer made(cpu::make_convolution(spec, true));
    return std::string(made->implementation());
  };
  const std::string own = std::string("simd:") + simd_isa();
  ConvolutionSpec stem = square(32, 32, 3, 16, 3, 1, 1, DataType::f32);
  ConvolutionSpec strided = square(32, 32, 16, 32, 3, 2, 1, DataType::f32);
  ConvolutionSpec middle = square(32, 16, 32, 32, 3, 1, 1, DataType::bf16);
  if (!cpu::direct_directions(stem).forward) {
    EXPECT_EQ(names(stem).find("simd"), std::string::npos);
    GTEST_SKIP() << "needs AVX-512";
  }
  EXPECT_EQ(names(stem).find(own + " | "), 0u) << names(stem);
  EXPECT_EQ(names(stem).rfind(own), 0u) << names(stem);
  EXPECT_NE(names(strided).find(" | " + own + " | "), std::string::npos) << names(strided);
  if (cpu::direct_directions(middle).forward) {
    EXPECT_NE(names(middle).find(own), 0u) << names(middle);
    EXPECT_EQ(names(middle).rfind(" | " + own), names(middle).size() - own.size() - 3) << names(middle);
  }
  // One of several directions on oneDNN: both find their weights.
  const LayerRun run(cpu::make_convolution(strided, true));
  const LayerRun plain(cpu::make_plain_convolution(strided, true));
  for (const LayerRun* each : {&run, &plain}) {
    each->src.fill_eighths(1);
    each->diff_dst.fill_eighths(2);
    each->weights.fill_eighths(3);
    each->all();
  }
  EXPECT_TRUE(run.dst.same_bits(plain.dst));
  EXPECT_TRUE(run.diff_src.same_bits(plain.diff_src));
  EXPECT_TRUE(run.diff_weights.same_bits(plain.diff_weights));
}

TEST(OneDnnAffine, TypesItLacksAreNamed) {
  ConvolutionSpec spec = convolution(1, 4, 1, 1, 3);
  spec.type = DataType::f64;
  try {
    cpu::make_convolution(spec, true)->destroy();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[convolution] needs f32 or bf16 on backend cpu, got f64");
  }
}

TEST(OneDnnGemm, DoesNotReadCWhereBetaIsZero) {
  GemmSpec spec;
  spec.m = 5;
  spec.n = 17;
  spec.k = 9;
  spec.alpha = 0.5;
  const std::unique_ptr<Gemm, Destroy> gemm(cpu::make_gemm(spec));
  const Buffer a(spec.m * spec.k), b(spec.k * spec.n), c(spec.m * spec.n), scratch(gemm->scratch_bytes(), DataType::u8);
  a.fill(1);
  b.fill(2);
  gemm->run(a.view(), b.view(), nullptr, c.view(), scratch.view());
  for (int64_t i = 0; i < c.size(); ++i) ASSERT_EQ(c.at(i), 9);
}

}  // namespace
}  // namespace ghostbatch
