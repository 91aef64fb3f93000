// CUDA's batch loader on the host, against the reference.
#include "cuda/batch_loader.h"

#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using cuda::DeviceSamples;
using cuda::LoadState;
using cuda::Order;
using cuda::RowRange;

constexpr int32_t kSamples = 40;

struct Images {
  Owned<Samples> samples;  // all in rows, one behind another
  Operand<int32_t> labels{kSamples, 0};
  std::vector<int32_t> numbers;

  Images(DataType type, const LoadSpec& spec, bool numbered)
      : samples(own(Samples::create(type, kSamples, spec.height, spec.width, spec.channels, 10))) {
    Random random(7);
    const auto elements = static_cast<size_t>(kSamples * samples->sample_elements());
    std::vector<uint8_t> bytes(elements);
    std::vector<float> floats(elements);
    for (uint8_t& x : bytes) x = static_cast<uint8_t>(random.below(256));
    for (float& x : floats) x = static_cast<float>(random.value(3));
    if (type == DataType::u8) {
      samples->write_bytes(0, kSamples, bytes.data());
    } else {
      samples->write_floats(0, kSamples, floats.data());
    }
    for (int32_t i = 0; i < kSamples; ++i) labels.data()[i] = static_cast<int32_t>(random.below(10));
    samples->write_labels(0, kSamples, labels.data());
    if (!numbered) return;
    for (int32_t i = 0; i < kSamples; ++i) numbers.push_back(1000 + 7 * i);
    samples->write_numbers(0, kSamples, numbers.data());
  }

  DeviceSamples on_device() const {
    return {samples->type(), samples->row(0), labels.data(), numbers.empty() ? nullptr : numbers.data()};
  }
};

LoadSpec make_spec(DataType type, Augmentation augmentation, int64_t height, int64_t width, int64_t channels) {
  LoadSpec spec;
  spec.height = height;
  spec.width = width;
  spec.channels = channels;
  spec.augmentation = augmentation;
  spec.pad = 2;
  spec.fill = 7;
  spec.degrees = 30;
  spec.translate = 0.2;
  spec.type = type;
  for (int c = 0; c < channels && channels <= 16; ++c) {
    spec.mean[c] = 0.1f * static_cast<float>(c + 1);
    spec.std[c] = 0.5f + 0.25f * static_cast<float>(c);
  }
  return spec;
}

struct Loaded {
  std::vector<double> dst, labels;
};

Loaded of_reference(const LoadSpec& spec, const Images& images, const std::vector<int32_t>& indices,
                    const LoadState& state) {
  const auto kernel = own(make_device("reference")->batch_loader(spec));
  const auto rows = static_cast<int64_t>(indices.size());
  const Buffer dst(spec.type, rows * images.samples->sample_elements()), labels(DataType::s32, rows);
  const View labels_view = labels.view();
  kernel->load(*images.samples, indices.data(), rows, state.seed, state.epoch, state.augment != 0, dst.view(),
               &labels_view);
  return {dst.values(), labels.values()};
}

/// Rows from 2 on of the indices, in a room of one row more than there are.
template <typename T>
Loaded of_cuda(const LoadSpec& spec, const Images& images, const std::vector<int32_t>& indices, const LoadState& state,
               int64_t dst_channels, int64_t offset, Order order) {
  const auto count = static_cast<int64_t>(indices.size());
  const int64_t row = spec.height * spec.width * dst_channels;
  const Operand<T> dst((count + 1) * row, offset);
  const Operand<int32_t> labels(count + 1, 0);
  std::vector<int32_t> batch{-1, -1};
  batch.insert(batch.end(), indices.begin(), indices.end());
  const RowRange rows{2, count};
  const auto load = [&](auto sample) {
    using S = decltype(sample);
    run_on_host(cuda::load_samples<S>(spec, images.on_device(), batch.data(), dst.data(), dst_channels, labels.data(),
                                      &state, &rows, count + 1),
                order);
  };
  if (images.samples->type() == DataType::u8) {
    load(uint8_t());
  } else {
    load(float());
  }
  std::vector<double> values = dst.values(), of_labels = labels.values();
  for (int64_t i = count * row; i < (count + 1) * row; ++i) {
    EXPECT_TRUE(std::isnan(values[static_cast<size_t>(i)])) << "a row too many";
  }
  values.resize(static_cast<size_t>(count * row));
  of_labels.pop_back();
  return {values, of_labels};
}

template <typename T>
void expect_loads(const LoadSpec& spec, const Images& images, const std::vector<int32_t>& indices) {
  for (const int32_t augment : {0, 1}) {
    SCOPED_TRACE(::testing::Message() << "augment " << augment);
    const LoadState state{0xFEDCBA9876543210u, 3, augment};
    const Loaded expected = of_reference(spec, images, indices, state);
    const Loaded actual = of_cuda<T>(spec, images, indices, state, spec.channels, 0, Order::up);
    expect_close_as(spec.type, "dst", actual.dst, expected.dst, Tolerance::kLoader);
    expect_equal("labels", actual.labels, expected.labels);
    const Loaded shifted = of_cuda<T>(spec, images, indices, state, spec.channels, 3, Order::down);
    expect_equal("dst elsewhere", shifted.dst, actual.dst);

    // With channels that only dst has.
    const int64_t wider = spec.channels + 5;
    const Loaded padded = of_cuda<T>(spec, images, indices, state, wider, 0, Order::up);
    for (size_t i = 0; i < padded.dst.size(); ++i) {
      const size_t pixel = i / static_cast<size_t>(wider), c = i % static_cast<size_t>(wider);
      const auto channels = static_cast<size_t>(spec.channels);
      ASSERT_EQ(padded.dst[i], c < channels ? actual.dst[pixel * channels + c] : 0) << i;
    }
  }
}

TEST(CudaBatchLoader, MatchesTheReferenceOverTheGrid) {
  const std::vector<int32_t> indices{5, 0, 39, 17, 5, 22, 8, 31};
  for_activation_types([&](auto element) {
    using T = decltype(element);
    for (const Augmentation augmentation : {Augmentation::none, Augmentation::flip, Augmentation::crop_flip,
                                            Augmentation::pad_crop_flip, Augmentation::affine}) {
      for (const int64_t channels : {1, 3, 4, 16, 17}) {
        for (const DataType samples : {DataType::u8, DataType::f32}) {
          LoadSpec spec = make_spec(type_of<T>(), augmentation, 9, 17, channels);
          if (samples == DataType::f32) spec.value_scale = 1;
          SCOPED_TRACE(::testing::Message() << "augmentation " << static_cast<int>(augmentation) << " channels "
                                            << channels << " of type " << static_cast<int>(samples));
          expect_loads<T>(spec, Images(samples, spec, channels == 4), indices);
        }
      }
    }
  });
}

TEST(CudaBatchLoader, TakesSamplesOfAnySize) {
  // One pixel, one row, one column; more than one block of threads makes, and more than all of them make at once.
  struct Shape {
    int64_t height, width, channels;
  };
  for_activation_types([&](auto element) {
    using T = decltype(element);
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 40, 3}, Shape{40, 1, 1}, Shape{3, 4, 300}, Shape{64, 67, 3}}) {
      for (const Augmentation augmentation : {Augmentation::pad_crop_flip, Augmentation::affine}) {
        SCOPED_TRACE(::testing::Message() << shape.height << "x" << shape.width << "x" << shape.channels);
        const LoadSpec spec =
            make_spec(type_of<T>(), augmentation, shape.height, shape.width, shape.channels);
        expect_loads<T>(spec, Images(DataType::u8, spec, false), {3, 0, 4});
      }
    }
  });
}

TEST(CudaBatchLoader, PerturbsAsTheReference) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    for (const int64_t channels : {1, 3, 4, 16, 17}) {
      for (const int64_t width : {1, 5, 8}) {
        for (const int64_t offset : {0, 3}) {
          SCOPED_TRACE(::testing::Message() << "channels " << channels << " width " << width << " from " << offset);
          constexpr int64_t kRows = 3;
          constexpr double kEpsilon = 0.3;
          const LoadSpec spec = make_spec(type_of<T>(), Augmentation::none, 3, width, channels);
          const int64_t row = 3 * width * channels;
          Random random(static_cast<uint32_t>(channels + width));
          const std::vector<double> before = random.values(kRows * row);
          std::vector<double> signs;
          for (int64_t i = 0; i < (kRows + 2) * row; ++i) signs.push_back(static_cast<double>(random.below(3)));
          const Buffer expected(spec.type, before);
          const Operand<uint8_t> all(signs);
          own(make_device("reference")->batch_loader(spec))
              ->perturb(View(all.data() + 2 * row, kRows * row, DataType::u8), kRows, kEpsilon, expected.view());
          const Operand<T> dst(with_unwritten(before, (kRows + 1) * row), offset);
          const RowRange rows{2, kRows};
          double epsilon = kEpsilon;
          run_on_host(cuda::perturb_samples(spec, all.data(), &epsilon, dst.data(), channels, &rows, kRows + 1));
          std::vector<double> values = dst.values();
          values.resize(before.size());
          expect_close_as(spec.type, "dst", values, expected.values(), Tolerance::kLoader);
          EXPECT_TRUE(std::isnan(dst.values().back()));

          // Channels that only dst has stay zero.
          const int64_t wider = channels + 2, pixels = kRows * 3 * width;
          const Operand<T> padded(std::vector<double>(static_cast<size_t>(pixels * wider), 0.0));
          const Operand<uint8_t> ups(std::vector<double>(static_cast<size_t>(pixels * wider), 2.0));
          run_on_host(cuda::perturb_samples(spec, ups.data(), 1.0, padded.data(), wider, nullptr, kRows));
          for (int64_t i = 0; i < pixels * wider; ++i) {
            ASSERT_EQ(cuda::to_float(padded.data()[i]) != 0, i % wider < channels) << i;
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace ghostbatch::tests
