// The data of a training run in native memory, and the kernel that makes micro-batches of it.
#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

/// `count` samples [H,W,C] of u8 or f32, and their labels. Host memory of its own, 64-byte aligned.
class Samples : public Resource {
 public:
  /// Throws Error naming bytes needed and free where memory is short.
  static Samples* create(DataType type, int64_t count, int64_t height, int64_t width, int64_t channels,
                         int32_t classes);
  /// Copies `rows` samples from `src` to rows [first, first + rows).
  void write_bytes(int64_t first, int64_t rows, const uint8_t* src);
  void write_floats(int64_t first, int64_t rows, const float* src);
  /// Each label in [0, classes), else an Error naming row, label and classes.
  void write_labels(int64_t first, int64_t rows, const int32_t* labels);
  /// Which samples of their data set lie in rows [first, first + rows): what keys random draws, where rows are places
  /// in a batch. Without it row i is sample i. Each at least 0, else an Error naming row and number.
  void write_numbers(int64_t first, int64_t rows, const int32_t* numbers);

  int64_t count() const { return count_; }
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  int64_t channels() const { return channels_; }
  int32_t classes() const { return classes_; }
  DataType type() const { return type_; }
  int64_t sample_elements() const { return height_ * width_ * channels_; }
  const void* row(int64_t index) const {
    return static_cast<const char*>(data_) + index * sample_elements() * size_of(type_);
  }
  int32_t label(int64_t index) const { return labels_[index]; }
  int64_t number(int64_t index) const { return numbers_ == nullptr ? index : numbers_[index]; }
  const int32_t* labels() const { return labels_; }
  const int32_t* numbers() const { return numbers_; }  // null: row i is sample i
  /// No other samples of this process have, or had, this number; `revision` grows with every write.
  uint64_t id() const { return id_; }
  uint64_t revision() const { return revision_; }

 private:
  Samples();
  ~Samples() override;
  void check_range(const char* what, int64_t first, int64_t rows) const;

  DataType type_ = DataType::u8;
  int64_t count_ = 0, height_ = 0, width_ = 0, channels_ = 0;
  int32_t classes_ = 0;
  void* data_ = nullptr;
  int32_t* labels_ = nullptr;
  int32_t* numbers_ = nullptr;
  uint64_t id_;
  uint64_t revision_ = 1;
};

enum class Augmentation : int32_t {
  none = 0,
  flip = 1,           // left-right with probability 1/2
  crop_flip = 2,      // pad by `pad` with edge values repeated, random crop back to size, flip
  pad_crop_flip = 3,  // pad by `pad` with `fill`, random crop back to size, flip
  affine = 4          // rotation up to `degrees`, translation up to `translate` of the size, bilinear, `fill` outside
};

/// What the loader does to a sample: dst = (src * value_scale - mean[c]) / std[c], after augmentation.
struct LoadSpec {
  int64_t height = 1;  // of the micro-batch; samples must have the same size
  int64_t width = 1;
  int64_t channels = 1;
  Augmentation augmentation = Augmentation::none;
  int64_t pad = 4;
  double fill = 0;  // in the units of the samples
  double degrees = 10;
  double translate = 0.1;
  double value_scale = 1.0 / 255.0;
  float mean[16] = {0};  // per channel; up to 16 channels are normalized each by its own, more need none
  float std[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  DataType type = DataType::f32;  // of dst
};

/// Gathers rows by index, augments, normalizes and writes NHWC. Random draws are keyed by (seed, epoch, number of the
/// sample), so they depend neither on the batch nor on the thread, nor on where the sample lies.
class BatchLoader : public Resource {
 public:
  /// dst [rows, H, W, C], labels s32 [rows] (may be null). Each index in [0, count), else an Error naming it.
  void load(const Samples& samples, const int32_t* indices, int64_t rows, uint64_t seed, uint64_t epoch, bool augment,
            const View& dst, const View* labels) const;
  /// dst += epsilon / std[c] * (signs - 1): as if `load` had got samples that lie epsilon further along the signs, in
  /// units of src * value_scale. Nothing is clamped to the range of the data; bf16 is rounded a second time.
  /// signs u8 [rows, H, W, C], each 0, 1 or 2; dst [rows, H, W, C]; epsilon finite and >= 0.
  void perturb(const View& signs, int64_t rows, double epsilon, const View& dst) const;
  const LoadSpec& spec() const { return spec_; }
  virtual const char* implementation() const = 0;

 protected:
  explicit BatchLoader(const LoadSpec& spec);
  virtual void do_load(const Samples& samples, const int32_t* indices, int64_t rows, uint64_t seed, uint64_t epoch,
                       bool augment, const View& dst, const View* labels) const = 0;
  virtual void do_perturb(const View& signs, int64_t rows, double epsilon, const View& dst) const = 0;
  int64_t row_elements() const { return spec_.height * spec_.width * spec_.channels; }

  LoadSpec spec_;
};

}  // namespace ghostbatch
