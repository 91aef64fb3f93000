// The batch loader against its formula, and bit for bit between backends where integers decide.
#include <algorithm>

#include "ghostbatch/philox.h"
#include "tests/cuda_device.h"

namespace ghostbatch::tests {
namespace {

struct Images {
  Owned<Samples> samples;
  std::vector<double> values;  // [count, H, W, C]
  std::vector<int32_t> labels;
};

Images make_images(DataType type, int64_t count, const LoadSpec& spec, uint32_t seed) {
  Images images;
  Random random(seed);
  images.samples = own(Samples::create(type, count, spec.height, spec.width, spec.channels, 10));
  const int64_t elements = count * spec.height * spec.width * spec.channels;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  for (int64_t i = 0; i < elements; ++i) {
    images.values.push_back(type == DataType::u8 ? static_cast<double>(random.below(256)) : random.value(3));
    bytes.push_back(static_cast<uint8_t>(type == DataType::u8 ? images.values.back() : 0));
    floats.push_back(static_cast<float>(images.values.back()));
  }
  for (int64_t i = 0; i < count; ++i) images.labels.push_back(static_cast<int32_t>(random.below(10)));
  if (type == DataType::u8) {
    images.samples->write_bytes(0, count, bytes.data());
  } else {
    images.samples->write_floats(0, count, floats.data());
  }
  images.samples->write_labels(0, count, images.labels.data());
  return images;
}

LoadSpec make_spec(Augmentation augmentation, int64_t height, int64_t width, int64_t channels) {
  LoadSpec spec;
  spec.height = height;
  spec.width = width;
  spec.channels = channels;
  spec.augmentation = augmentation;
  spec.pad = 2;
  spec.fill = 7;
  spec.degrees = 30;
  spec.translate = 0.2;
  for (int c = 0; c < std::min<int64_t>(channels, 16) && channels <= 16; ++c) {
    spec.mean[c] = 0.1f * static_cast<float>(c + 1);
    spec.std[c] = 0.5f + 0.25f * static_cast<float>(c);
  }
  return spec;
}

constexpr uint64_t kSeed = 0xFEDCBA9876543210u;
constexpr uint64_t kEpoch = 3;

/// Sample `index` as the header describes it.
std::vector<double> formula(const LoadSpec& spec, const Images& images, int32_t index, bool augment) {
  const int64_t height = spec.height, width = spec.width, channels = spec.channels;
  const double* const image = images.values.data() + index * height * width * channels;
  const Augmentation augmentation = augment ? spec.augmentation : Augmentation::none;
  const Philox4 w = philox(kSeed, (3u << 24) | kEpoch, static_cast<uint32_t>(index), 0, 0);
  const double two32 = 4294967296.0;
  const auto inside = [&](int64_t y, int64_t x) { return y >= 0 && x >= 0 && y < height && x < width; };
  const auto at = [&](int64_t y, int64_t x, int64_t c) {
    return inside(y, x) ? image[(y * width + x) * channels + c] : spec.fill;
  };
  std::vector<double> result;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c) {
        double value = 0;
        const bool flips = augmentation != Augmentation::none && augmentation != Augmentation::affine;
        const bool crops = flips && augmentation != Augmentation::flip;
        if (augmentation == Augmentation::affine) {
          const double turn = (2 * (w.v[1] / two32) - 1) * spec.degrees * M_PI / 180;
          const double down = (2 * (w.v[2] / two32) - 1) * spec.translate * static_cast<double>(height);
          const double right = (2 * (w.v[3] / two32) - 1) * spec.translate * static_cast<double>(width);
          const double cy = static_cast<double>(height - 1) / 2, cx = static_cast<double>(width - 1) / 2;
          const double v = static_cast<double>(y) - cy - down, u = static_cast<double>(x) - cx - right;
          const double fy = std::cos(turn) * v - std::sin(turn) * u + cy,
                       fx = std::sin(turn) * v + std::cos(turn) * u + cx;
          for (int64_t i = -1; i <= height; ++i)
            for (int64_t j = -1; j <= width; ++j) {
              const double wy = std::max(0.0, 1 - std::abs(fy - static_cast<double>(i)));
              const double wx = std::max(0.0, 1 - std::abs(fx - static_cast<double>(j)));
              value += wy * wx * (at(i, j, c) - spec.fill);
            }
          value += spec.fill;
        } else {
          int64_t from_x = flips && (w.v[0] >> 31) != 0 ? width - 1 - x : x, from_y = y;
          if (crops) {
            const auto range = static_cast<uint64_t>(2 * spec.pad + 1);
            from_y += static_cast<int64_t>((w.v[1] * range) >> 32) - spec.pad;
            from_x += static_cast<int64_t>((w.v[2] * range) >> 32) - spec.pad;
          }
          if (augmentation == Augmentation::crop_flip) {
            from_y = std::min(std::max<int64_t>(from_y, 0), height - 1);
            from_x = std::min(std::max<int64_t>(from_x, 0), width - 1);
          }
          value = at(from_y, from_x, c);
        }
        const bool normalized = channels <= 16;
        result.push_back((value * spec.value_scale - (normalized ? static_cast<double>(spec.mean[c]) : 0.0)) /
                         (normalized ? static_cast<double>(spec.std[c]) : 1.0));
      }
  return result;
}

struct Loaded {
  std::vector<double> dst, labels;
};

Loaded run(Device& device, LoadSpec spec, DataType type, const Images& images, const std::vector<int32_t>& indices,
           bool augment) {
  spec.type = type;
  const auto kernel = own(device.batch_loader(spec));
  const auto rows = static_cast<int64_t>(indices.size());
  const Buffer dst(type, rows * images.samples->sample_elements()), labels(DataType::s32, rows);
  const View labels_view = labels.view();
  kernel->load(*images.samples, indices.data(), rows, kSeed, kEpoch, augment, dst.view(), &labels_view);
  return {dst.values(), labels.values()};
}

TEST(BatchLoader, RefusesBadSpecs) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const auto refuse = [&](const std::function<void(LoadSpec&)>& change, const char* part) {
      LoadSpec spec;
      change(spec);
      expect_error([&] { own(device->batch_loader(spec)); }, part);
    };
    refuse([](auto& s) { s.height = 0; }, "height in [1,");
    refuse([](auto& s) { s.channels = -1; }, "channels in [1,");
    refuse([](auto& s) { s.height = s.width = s.channels = 2000000000; }, "at most 2^48 elements");
    refuse([](auto& s) { s.augmentation = static_cast<Augmentation>(5); }, "augmentation in [0, 4], got 5");
    refuse([](auto& s) { s.pad = -1; }, "pad in [0,");
    refuse([](auto& s) { s.pad = int64_t{1} << 40; }, "pad in [0,");
    refuse([](auto& s) { s.fill = NAN; }, "a finite fill");
    refuse([](auto& s) { s.degrees = 181; }, "degrees in [0, 180]");
    refuse([](auto& s) { s.translate = -0.5; }, "translate in [0, 1]");
    refuse([](auto& s) { s.value_scale = INFINITY; }, "a finite value_scale");
    refuse([](auto& s) { s.std[3] = 0; }, "std above 0, got 0 for channel 3");
    refuse([](auto& s) { s.mean[15] = NAN; }, "a finite mean");
    refuse([](auto& s) { s.channels = 17, s.mean[2] = 1; }, "mean 0 and std 1 above 16 channels");
    refuse([](auto& s) { s.type = DataType::u8; }, "got u8");
  }
}

TEST(BatchLoader, RefusesBadArguments) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const LoadSpec spec = make_spec(Augmentation::flip, 4, 5, 3);
    const Images images = make_images(DataType::u8, 6, spec, 1);
    const auto kernel = own(device->batch_loader(spec));
    const Buffer dst(DataType::f32, 2 * 60), labels(DataType::s32, 2);
    const View y = labels.view();
    const auto refuse = [&](const std::vector<int32_t>& indices, int64_t rows, const View& to, const View* to_labels,
                            const char* part) {
      expect_error(
          [&] {
            kernel->load(*images.samples, indices.empty() ? nullptr : indices.data(), rows, 1, 1, true, to, to_labels);
          },
          part);
    };
    refuse({0, 6}, 2, dst.view(), &y, "indices in [0, 6), got 6 in row 1");
    refuse({-1, 0}, 2, dst.view(), &y, "got -1 in row 0");
    refuse({}, 2, dst.view(), &y, "indices, got null");
    refuse({0, 1, 2}, 3, dst.view(), &y, "dst of at least 180 f32, got 120 f32");
    refuse({0, 1}, -2, dst.view(), &y, "rows in [0,");
    const View one(y.data, 1, DataType::s32), floats(y.data, 2, DataType::f32);
    refuse({0, 1}, 2, dst.view(), &one, "labels of at least 2 s32");
    refuse({0, 1}, 2, dst.view(), &floats, "labels of at least 2 s32");
    const LoadSpec other = make_spec(Augmentation::flip, 5, 4, 3);
    const auto wrong = own(device->batch_loader(other));
    const int32_t index = 0;
    expect_error([&] { wrong->load(*images.samples, &index, 1, 1, 1, true, dst.view(), nullptr); },
                 "samples of 5x4x3, got 4x5x3");
  }
}

TEST(BatchLoader, MatchesTheFormulaOverTheGrid) {
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  const std::vector<int32_t> indices{5, 0, 39, 17, 5, 22, 8, 31};
  for (const Augmentation augmentation : {Augmentation::none, Augmentation::flip, Augmentation::crop_flip,
                                          Augmentation::pad_crop_flip, Augmentation::affine}) {
    for (const int64_t channels : {1, 3, 4, 16, 17}) {
      for (const DataType type : {DataType::u8, DataType::f32}) {
        for (const bool augment : {false, true}) {
          LoadSpec spec = make_spec(augmentation, 9, 17, channels);
          if (type == DataType::f32) spec.value_scale = 1;
          SCOPED_TRACE(::testing::Message()
                       << "augmentation " << static_cast<int>(augmentation) << " channels " << channels << " type "
                       << static_cast<int>(type) << " augment " << augment);
          const Images images = make_images(type, 40, spec, 7);
          std::vector<double> expected, labels;
          for (const int32_t index : indices) {
            const std::vector<double> image = formula(spec, images, index, augment);
            expected.insert(expected.end(), image.begin(), image.end());
            labels.push_back(images.labels[static_cast<size_t>(index)]);
          }
          const Loaded exact = run(*reference, spec, DataType::f64, images, indices, augment);
          expect_close("dst", exact.dst, expected, Tolerance::kDouble);
          expect_equal("labels", exact.labels, labels);
          for (Device* device : {reference.get(), cpu.get(), cuda.get()}) {
            const Loaded loaded = run(*device, spec, DataType::f32, images, indices, augment);
            expect_close("dst", loaded.dst, expected, Tolerance::kLoader);
            expect_equal("labels", loaded.labels, labels);
            expect_equal("dst again", run(*device, spec, DataType::f32, images, indices, augment).dst, loaded.dst);
            if (!device->supports(DataType::bf16)) continue;
            const Loaded narrow = run(*device, spec, DataType::bf16, images, indices, augment);
            expect_equal("dst in bf16", narrow.dst, rounded(DataType::bf16, loaded.dst));
            expect_equal("labels", narrow.labels, labels);
          }
        }
      }
    }
  }
}

TEST(BatchLoader, RefusesBadPerturbations) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const auto kernel = own(device->batch_loader(make_spec(Augmentation::none, 4, 5, 3)));
    const Buffer dst(DataType::f32, 2 * 60), signs(DataType::u8, 2 * 60), floats(DataType::f32, 2 * 60);
    const auto refuse = [&](const Buffer& of, int64_t rows, double epsilon, const View& to, const char* part) {
      expect_error([&] { kernel->perturb(of.view(), rows, epsilon, to); }, part);
    };
    refuse(signs, 3, 1, dst.view(), "signs of at least 180 u8, got 120 u8");
    refuse(floats, 2, 1, dst.view(), "signs of at least 120 u8, got 120 f32");
    refuse(signs, 2, 1, View(dst.view().data, 119, DataType::f32), "dst of at least 120 f32, got 119 f32");
    refuse(signs, 2, 1, signs.view(), "dst of at least 120 f32, got 120 u8");
    refuse(signs, -1, 1, dst.view(), "rows in [0,");
    for (const double epsilon : {-0.1, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
      refuse(signs, 2, epsilon, dst.view(), "a finite epsilon >= 0");
    }
    kernel->perturb(signs.view(), 0, 1, dst.view());
  }
}

TEST(BatchLoader, PerturbsByEpsilonOverTheDeviationOfEachChannel) {
  for (const Backend& backend : all_backends_and_cuda()) {
    const auto device = make_any_device(backend.name);
    for (const int64_t channels : {1, 3, 4, 15, 16, 17}) {
      for (const int64_t width : {1, 5, 17}) {
        SCOPED_TRACE(::testing::Message() << describe(backend) << " channels " << channels << " width " << width);
        constexpr int64_t kRows = 3;
        constexpr double kEpsilon = 0.3;
        LoadSpec spec = make_spec(Augmentation::none, 3, width, channels);
        spec.type = backend.type;
        const auto kernel = own(device->batch_loader(spec));
        const int64_t elements = kRows * 3 * width * channels;
        Random random(static_cast<uint32_t>(channels + width));
        const std::vector<double> before = random.values(elements);
        std::vector<double> signs, expected;
        for (int64_t i = 0; i < elements; ++i) {
          signs.push_back(static_cast<double>(random.below(3)));
          const double std = channels <= 16 ? static_cast<double>(spec.std[i % channels]) : 1;
          expected.push_back(before[static_cast<size_t>(i)] + kEpsilon / std * (signs.back() - 1));
        }
        const Buffer dst(backend.type, before), of(DataType::u8, signs);
        kernel->perturb(of.view(), kRows, kEpsilon, dst.view());
        expect_close_as(backend.type, "dst", dst.values(), rounded(backend.type, expected),
                        backend.type == DataType::f64 ? Tolerance::kDouble : Tolerance::kLoader);
        const std::vector<double> all = dst.values();
        kernel->perturb(of.view(), 0, kEpsilon, dst.view());
        kernel->perturb(of.view(), kRows, 0, dst.view());
        expect_equal("dst moved by nothing", dst.values(), all);
      }
    }
  }
}

TEST(BatchLoader, PlacesAreTheSameOnAllBackends) {
  // Without scaling every value is a pixel: bit for bit, whatever the crop and flip.
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  for (const Augmentation augmentation :
       {Augmentation::none, Augmentation::flip, Augmentation::crop_flip, Augmentation::pad_crop_flip}) {
    LoadSpec spec;
    spec.height = spec.width = 12;
    spec.channels = 3;
    spec.augmentation = augmentation;
    spec.value_scale = 1;
    const Images images = make_images(DataType::u8, 300, spec, 2);
    std::vector<int32_t> indices(300);
    for (int32_t i = 0; i < 300; ++i) indices[static_cast<size_t>(i)] = i;
    const Loaded expected = run(*reference, spec, DataType::f32, images, indices, true);
    expect_equal("dst", run(*cpu, spec, DataType::f32, images, indices, true).dst, expected.dst);
    expect_equal("dst on cuda", run(*cuda, spec, DataType::f32, images, indices, true).dst, expected.dst);
  }
}

TEST(BatchLoader, DrawsDependOnTheSampleNotOnTheBatch) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const LoadSpec spec = make_spec(Augmentation::pad_crop_flip, 8, 8, 3);
    const Images images = make_images(DataType::u8, 40, spec, 3);
    const Loaded together = run(*device, spec, DataType::f32, images, {30, 4, 12, 4}, true);
    const Loaded alone = run(*device, spec, DataType::f32, images, {4}, true);
    const std::vector<double> second(together.dst.begin() + 192, together.dst.begin() + 384);
    const std::vector<double> last(together.dst.begin() + 576, together.dst.end());
    expect_equal("row 1", second, alone.dst);
    expect_equal("row 3", last, alone.dst);

    const auto kernel = own(device->batch_loader(spec));
    const Buffer other_epoch(DataType::f32, 192), other_seed(DataType::f32, 192);
    const int32_t index = 4;
    kernel->load(*images.samples, &index, 1, kSeed, kEpoch + 1, true, other_epoch.view(), nullptr);
    kernel->load(*images.samples, &index, 1, kSeed + 1, kEpoch, true, other_seed.view(), nullptr);
    EXPECT_NE(other_epoch.values(), alone.dst);
    EXPECT_NE(other_seed.values(), alone.dst);
  }
}

TEST(BatchLoader, AffineOfRowsAndPixelsOfAnyLength) {
  // Wider than what is done at a time, in pixels or in channels of one.
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  struct Shape {
    int64_t height, width, channels;
  };
  for (const Shape& shape : {Shape{4, 600, 1}, Shape{3, 200, 3}, Shape{2, 70, 5}, Shape{3, 4, 256}, Shape{3, 4, 300},
                             Shape{2, 3, 700}, Shape{1, 1, 1}, Shape{1, 40, 3}, Shape{40, 1, 1}}) {
    for (const DataType type : {DataType::u8, DataType::f32}) {
      LoadSpec spec = make_spec(Augmentation::affine, shape.height, shape.width, shape.channels);
      if (type == DataType::f32) spec.value_scale = 1;
      SCOPED_TRACE(::testing::Message() << shape.height << "x" << shape.width << "x" << shape.channels);
      const Images images = make_images(type, 5, spec, 7);
      std::vector<double> expected;
      for (const int32_t index : {3, 0, 4}) {
        const std::vector<double> image = formula(spec, images, index, true);
        expected.insert(expected.end(), image.begin(), image.end());
      }
      for (Device* device : {reference.get(), cpu.get(), cuda.get()}) {
        expect_close("dst", run(*device, spec, DataType::f32, images, {3, 0, 4}, true).dst, expected,
                     Tolerance::kLoader);
      }
      for (Device* device : {cpu.get(), cuda.get()}) {
        expect_close("dst", run(*device, spec, DataType::bf16, images, {3, 0, 4}, true).dst, expected,
                     Tolerance::kBfloat16);
      }
    }
  }
}

TEST(BatchLoader, AffineTurnsAboutTheCentreThenShifts) {
  // On an image that rises evenly, each point of the sample is found again where the map takes it: turned by the angle
  // (clockwise, rows going down), then shifted. Bilinear values are exact there, within and after the map.
  constexpr int64_t kSize = 33;
  constexpr double kCentre = 16, kDown = 2, kRight = 5;
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  LoadSpec spec;
  spec.height = spec.width = kSize;
  spec.augmentation = Augmentation::affine;
  spec.degrees = 180;
  spec.translate = 0.1;
  spec.value_scale = 1;
  Images images;
  images.samples = own(Samples::create(DataType::f32, 1, kSize, kSize, 1, 10));
  std::vector<float> image;
  for (int64_t y = 0; y < kSize; ++y) {
    for (int64_t x = 0; x < kSize; ++x) {
      image.push_back(static_cast<float>(kDown * static_cast<double>(y) + kRight * static_cast<double>(x)));
    }
  }
  const int32_t label = 0;
  images.samples->write_floats(0, 1, image.data());
  images.samples->write_labels(0, 1, &label);
  const auto u = [](uint32_t word) { return 2 * (static_cast<double>(word) / 4294967296.0) - 1; };
  for (int32_t number = 0; number < 40; ++number) {
    images.samples->write_numbers(0, 1, &number);
    const Philox4 w = philox(kSeed, (3u << 24) | kEpoch, static_cast<uint32_t>(number), 0, 0);
    const double angle = u(w.v[1]) * M_PI;
    const double down = u(w.v[2]) * 0.1 * kSize, right = u(w.v[3]) * 0.1 * kSize;
    for (Device* device : {reference.get(), cpu.get(), cuda.get()}) {
      const std::vector<double> dst = run(*device, spec, DataType::f32, images, {0}, true).dst;
      for (const double y : {12.0, 15.5, 16.0, 19.25}) {
        for (const double x : {11.5, 16.0, 17.75, 20.0}) {
          const double turned_y = std::cos(angle) * (y - kCentre) + std::sin(angle) * (x - kCentre);
          const double turned_x = -std::sin(angle) * (y - kCentre) + std::cos(angle) * (x - kCentre);
          const double at_y = turned_y + kCentre + down, at_x = turned_x + kCentre + right;
          const auto top = static_cast<int64_t>(at_y), left = static_cast<int64_t>(at_x);
          const double below = at_y - static_cast<double>(top), beside = at_x - static_cast<double>(left);
          const auto value = [&](int64_t i, int64_t j) { return dst[static_cast<size_t>(i * kSize + j)]; };
          const double found = (1 - below) * ((1 - beside) * value(top, left) + beside * value(top, left + 1)) +
                               below * ((1 - beside) * value(top + 1, left) + beside * value(top + 1, left + 1));
          EXPECT_NEAR(found, kDown * y + kRight * x, 1e-3) << "sample " << number << " angle " << angle;
        }
      }
    }
  }
}

TEST(BatchLoader, DrawsFollowTheSampleToItsRow) {
  // A room that holds samples 30, 4 and 12 of a data set gives what the whole of it gives for them.
  for (const char* name : kAllDevices) {
    for (const Augmentation augmentation : {Augmentation::pad_crop_flip, Augmentation::affine}) {
      SCOPED_TRACE(name);
      const auto device = make_any_device(name);
      const LoadSpec spec = make_spec(augmentation, 8, 8, 3);
      const Images whole = make_images(DataType::u8, 40, spec, 3);
      const std::vector<int32_t> numbers{30, 4, 12};
      Images room;
      room.samples = own(Samples::create(DataType::u8, 3, 8, 8, 3, 10));
      for (int64_t row = 0; row < 3; ++row) {
        const int32_t number = numbers[static_cast<size_t>(row)];
        room.samples->write_bytes(row, 1, static_cast<const uint8_t*>(whole.samples->row(number)));
        room.samples->write_labels(row, 1, &whole.labels[static_cast<size_t>(number)]);
      }
      const Loaded expected = run(*device, spec, DataType::f32, whole, numbers, true);
      EXPECT_NE(run(*device, spec, DataType::f32, room, {0, 1, 2}, true).dst, expected.dst);
      room.samples->write_numbers(0, 1, numbers.data());
      EXPECT_EQ(room.samples->number(2), 2);
      room.samples->write_numbers(1, 2, numbers.data() + 1);
      const Loaded loaded = run(*device, spec, DataType::f32, room, {0, 1, 2}, true);
      expect_equal("dst", loaded.dst, expected.dst);
      expect_equal("labels", loaded.labels, expected.labels);
      expect_error([&] { room.samples->write_numbers(2, 2, numbers.data()); }, "rows within [0, 3)");
      const int32_t negative = -1;
      expect_error([&] { room.samples->write_numbers(2, 1, &negative); },
                   "numbers of samples from 0 on, got -1 in row 2");
    }
  }
}

}  // namespace
}  // namespace ghostbatch::tests
