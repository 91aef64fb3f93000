#include "ghostbatch/samples.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>

#include "common/check.h"
#include "common/memory.h"

namespace ghostbatch {
namespace {

constexpr const char* kSamples = "samples";
constexpr const char* kLoader = "batch_loader";
constexpr int64_t kNormalizedChannels = 16;  // of LoadSpec::mean and std

const LoadSpec& checked(const LoadSpec& spec) {
  check_activation_type(kLoader, spec.type);
  check_positive(kLoader, "height", spec.height);
  check_positive(kLoader, "width", spec.width);
  check_positive(kLoader, "channels", spec.channels);
  check_product(kLoader, "sample", spec.height, spec.width, spec.channels);
  const auto augmentation = static_cast<int32_t>(spec.augmentation);
  check_range(kLoader, "augmentation", augmentation, 0, static_cast<int32_t>(Augmentation::affine));
  check_range(kLoader, "pad", spec.pad, 0, 4096);
  check_finite(kLoader, "fill", spec.fill);
  check_finite(kLoader, "value_scale", spec.value_scale);
  if (!(spec.degrees >= 0 && spec.degrees <= 180)) fail(kLoader, "degrees in [0, 180]", text(spec.degrees));
  if (!(spec.translate >= 0 && spec.translate <= 1)) fail(kLoader, "translate in [0, 1]", text(spec.translate));
  for (int64_t c = 0; c < kNormalizedChannels; ++c) {
    check_finite(kLoader, "mean", spec.mean[c]);
    if (!(spec.std[c] > 0 && spec.std[c] < 1e30f)) fail(kLoader, "std above 0", text(spec.std[c], " for channel ", c));
    if (spec.channels > kNormalizedChannels && (spec.mean[c] != 0 || spec.std[c] != 1)) {
      fail(kLoader, text("mean 0 and std 1 above ", kNormalizedChannels, " channels"),
           text("mean ", spec.mean[c], " and std ", spec.std[c], " for channel ", c));
    }
  }
  return spec;
}

std::atomic<uint64_t> last_id{0};

}  // namespace

Samples::Samples() : id_(++last_id) {}

Samples* Samples::create(DataType type, int64_t count, int64_t height, int64_t width, int64_t channels,
                         int32_t classes) {
  if (type != DataType::u8 && type != DataType::f32) fail(kSamples, "u8 or f32", name_of(type));
  check_positive(kSamples, "count", count);
  check_positive(kSamples, "height", height);
  check_positive(kSamples, "width", width);
  check_positive(kSamples, "channels", channels);
  check_positive(kSamples, "classes", classes);
  const int64_t elements = check_product(kSamples, "data", count, height, width, channels);

  struct Destroy {
    void operator()(Samples* samples) const { samples->destroy(); }
  };
  std::unique_ptr<Samples, Destroy> owner(new Samples());
  Samples& samples = *owner;
  samples.type_ = type;
  samples.count_ = count;
  samples.height_ = height;
  samples.width_ = width;
  samples.channels_ = channels;
  samples.classes_ = classes;
  samples.data_ = allocate_huge(elements * size_of(type));
  samples.labels_ = static_cast<int32_t*>(allocate_huge(count * size_of(DataType::s32)));
  return owner.release();
}

Samples::~Samples() {
  release_huge(data_, count_ * sample_elements() * size_of(type_));
  release_huge(labels_, count_ * size_of(DataType::s32));
  if (numbers_ != nullptr) release_huge(numbers_, count_ * size_of(DataType::s32));
}

void Samples::check_range(const char* what, int64_t first, int64_t rows) const {
  if (first < 0 || rows < 0 || first > count_ || rows > count_ - first) {
    fail(what, text("rows within [0, ", count_, ")"), text("rows [", first, ", ", first, " + ", rows, ")"));
  }
}

void Samples::write_bytes(int64_t first, int64_t rows, const uint8_t* src) {
  if (type_ != DataType::u8) fail(kSamples, "samples of u8 for bytes", name_of(type_));
  check_pointer(kSamples, "src", src);
  check_range(kSamples, first, rows);
  ++revision_;
  std::memcpy(static_cast<uint8_t*>(data_) + first * sample_elements(), src,
              static_cast<size_t>(rows * sample_elements()));
}

void Samples::write_floats(int64_t first, int64_t rows, const float* src) {
  if (type_ != DataType::f32) fail(kSamples, "samples of f32 for floats", name_of(type_));
  check_pointer(kSamples, "src", src);
  check_range(kSamples, first, rows);
  ++revision_;
  std::memcpy(static_cast<float*>(data_) + first * sample_elements(), src,
              static_cast<size_t>(rows * sample_elements() * size_of(DataType::f32)));
}

void Samples::write_labels(int64_t first, int64_t rows, const int32_t* labels) {
  check_pointer(kSamples, "labels", labels);
  check_range(kSamples, first, rows);
  check_labels(kSamples, labels, rows, classes_, first);
  ++revision_;
  std::memcpy(labels_ + first, labels, static_cast<size_t>(rows) * sizeof(int32_t));
}

void Samples::write_numbers(int64_t first, int64_t rows, const int32_t* numbers) {
  check_pointer(kSamples, "numbers", numbers);
  check_range(kSamples, first, rows);
  for (int64_t row = 0; row < rows; ++row) {
    if (numbers[row] < 0) fail(kSamples, "numbers of samples from 0 on", text(numbers[row], " in row ", first + row));
  }
  ++revision_;
  if (numbers_ == nullptr) {
    numbers_ = static_cast<int32_t*>(allocate_huge(count_ * size_of(DataType::s32)));
    for (int64_t row = 0; row < count_; ++row) numbers_[row] = static_cast<int32_t>(row);
  }
  std::memcpy(numbers_ + first, numbers, static_cast<size_t>(rows) * sizeof(int32_t));
}

BatchLoader::BatchLoader(const LoadSpec& spec) : spec_(checked(spec)) {}

void BatchLoader::load(const Samples& samples, const int32_t* indices, int64_t rows, uint64_t seed, uint64_t epoch,
                       bool augment, const View& dst, const View* labels) const {
  if (samples.height() != spec_.height || samples.width() != spec_.width || samples.channels() != spec_.channels) {
    fail(kLoader, text("samples of ", spec_.height, "x", spec_.width, "x", spec_.channels),
         text(samples.height(), "x", samples.width(), "x", samples.channels()));
  }
  check_range(kLoader, "rows", rows, 0, kMaxDimension);
  if (rows == 0) return;
  check_pointer(kLoader, "indices", indices);
  check_view_holds(kLoader, "dst", dst, check_product(kLoader, "dst", rows, samples.sample_elements()), spec_.type);
  if (labels != nullptr) check_view_holds(kLoader, "labels", *labels, rows, DataType::s32);
  for (int64_t row = 0; row < rows; ++row) {
    if (indices[row] < 0 || indices[row] >= samples.count()) {
      fail(kLoader, text("indices in [0, ", samples.count(), ")"), text(indices[row], " in row ", row));
    }
  }
  do_load(samples, indices, rows, seed, epoch, augment && spec_.augmentation != Augmentation::none, dst, labels);
}

void BatchLoader::perturb(const View& signs, int64_t rows, double epsilon, const View& dst) const {
  check_range(kLoader, "rows", rows, 0, kMaxDimension);
  if (!(epsilon >= 0 && std::isfinite(epsilon))) fail(kLoader, "a finite epsilon >= 0", text(epsilon));
  if (rows == 0) return;
  const int64_t elements = check_product(kLoader, "dst", rows, row_elements());
  check_view_holds(kLoader, "signs", signs, elements, DataType::u8);
  check_view_holds(kLoader, "dst", dst, elements, spec_.type);
  do_perturb(signs, rows, epsilon, dst);
}

}  // namespace ghostbatch
