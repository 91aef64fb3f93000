// Convolution on own SIMD: simd/convolution.cpp has the arithmetic, this the shapes.
//
// Forward, and the gradient of the input, are passes over an image that is copied, with its padding, to scratch: it
// stays in the nearest caches while every tap and filter reads it, and no loop knows borders. A stride of s in the
// gradient of the input makes s x s passes, each with the taps that meet its outputs, so that none multiplies zeros.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/bfloat16.h"
#include "common/check.h"
#include "cpu/bias_gradient.h"
#include "cpu/direct_convolution.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"

namespace ghostbatch::cpu {
namespace {

constexpr int64_t kFilters = 16;   // of a vector
constexpr int64_t kOverrun = 16;   // places that a tile may read beyond its row
constexpr int64_t kMostRuns = 25;  // 5 x 5
constexpr int64_t kLine = 64;

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void put(float* dst, float value) {
  *dst = value;
}
void put(uint16_t* dst, float value) {
  *dst = to_bfloat16(value);
}

/// Neighbouring taps of one line of the filter, tap t in column kw + t kw_step of it.
struct Run {
  int64_t line, column;  // of the place that the first tap of the first output reads
  int64_t kh, kw, kw_step;
};

/// Outputs (row + i step, column + j step) and the runs that make them.
struct Pass {
  int64_t row, column, step;
  int64_t rows, places;
  int64_t taps;
  std::vector<Run> runs;
  int64_t weights;  // elements into the packed weights
};

/// One direction that makes places from places: what is read, what is written, and the passes.
struct Map {
  int64_t in_height, in_width, in_channels;
  int64_t out_height, out_width, out_channels;
  int64_t in_step = 1;  // places from one output's to the next's
  int64_t pair;         // channels that are multiplied together
  std::vector<Pass> passes;
  bool complete = true;  // every output has a tap
  int64_t channels = 0;  // of a padded place
  int64_t top = 0, left = 0, lines = 0, width = 0;  // of the padded image
  int64_t weights = 0;                              // elements

  void add(Pass pass) {
    if (pass.runs.empty() || pass.taps == 0) {
      complete = false;
      return;
    }
    pass.weights = weights;
    weights += out_channels * static_cast<int64_t>(pass.runs.size()) * channels * pass.taps;
    passes.push_back(std::move(pass));
  }

  /// Makes room around the image for all that the passes read, and moves their runs there.
  void pad() {
    int64_t bottom = in_height - 1, right = in_width - 1;
    for (const Pass& pass : passes) {
      for (const Run& run : pass.runs) {
        top = std::max(top, -run.line);
        left = std::max(left, -run.column);
        bottom = std::max(bottom, run.line + (pass.rows - 1) * in_step);
        right = std::max(right, run.column + (pass.places - 1) * in_step + pass.taps - 1);
      }
    }
    lines = top + bottom + 1;
    width = left + right + 1;
    for (Pass& pass : passes) {
      for (Run& run : pass.runs) {
        run.line += top;
        run.column += left;
      }
    }
  }

  int64_t padded_elements() const { return (lines * width + kOverrun * in_step + 8) * channels; }
};

Map forward_map(const ConvolutionSpec& spec, int64_t pair) {
  const int64_t k = spec.kernel_h, p = spec.pad_h, s = spec.stride_h;
  Map map{spec.height, spec.width, spec.channels, spec.out_height(), spec.out_width(), spec.filters, s, pair, {}};
  map.channels = round_up(spec.channels, pair);
  Pass pass{0, 0, 1, map.out_height, map.out_width, s == 1 ? k : 1, {}, 0};
  for (int64_t kh = 0; kh < k; ++kh) {
    for (int64_t kw = 0; kw < k; kw += pass.taps) pass.runs.push_back({kh - p, kw - p, kh, kw, 1});
  }
  map.add(std::move(pass));
  map.pad();
  return map;
}

/// Output (y, x) of the gradient of src gets from diff_dst (oy, ox) by tap (kh, kw) where y = s oy + kh - p, and so x.
Map backward_map(const ConvolutionSpec& spec, int64_t pair) {
  const int64_t k = spec.kernel_h, p = spec.pad_h, s = spec.stride_h;
  Map map{spec.out_height(), spec.out_width(), spec.filters, spec.height, spec.width, spec.channels, 1, pair, {}};
  map.channels = round_up(spec.filters, pair);
  const auto last_tap = [&](int64_t phase) {  // the largest that meets outputs of this phase; below 0 where none does
    const int64_t first = (phase + p) % s;
    return first + (k - 1 - first) / s * s;
  };
  for (int64_t row = 0; row < std::min(s, spec.height); ++row) {
    for (int64_t column = 0; column < std::min(s, spec.width); ++column) {
      const bool some = (row + p) % s < k && (column + p) % s < k;
      const int64_t kw = last_tap(column);
      Pass pass{row, column, s, (spec.height - row + s - 1) / s, (spec.width - column + s - 1) / s,
                some ? kw / s + 1 : 0, {}, 0};
      for (int64_t kh = some ? last_tap(row) : -1; kh >= 0; kh -= s) {
        pass.runs.push_back({(row + p - kh) / s, (column + p - kw) / s, kh, kw, -s});
      }
      map.add(std::move(pass));
    }
  }
  map.pad();
  return map;
}

/// Sizes of what the gradient of the weights reads: see GradientCall. In f32 and with channels as they are, that is src
/// itself.
struct GradientShape {
  int64_t phases, columns, channels;
  int64_t src_line, src_elements;  // of the copy; 0 elements: no copy
  int64_t diff_left, diff_row, diff_elements;

  GradientShape(const ConvolutionSpec& spec, int64_t pair) {
    const int64_t s = spec.stride_w;
    phases = std::min(s, spec.width);
    columns = ((spec.width + s - 1) / s + pair - 1) / pair;
    channels = round_up(spec.channels, 4);
    src_line = phases * columns * channels * pair;
    src_elements = pair == 1 && channels == spec.channels ? 0 : spec.height * src_line;
    diff_left = spec.kernel_w;
    diff_row = (diff_left + std::max(columns, spec.out_width()) + spec.kernel_w) * spec.filters * pair;
    diff_elements = spec.out_height() * diff_row;
  }
};

template <typename T>
class DirectConvolution final : public Affine {
 public:
  DirectConvolution(const ConvolutionSpec& spec, bool backward, Directions directions, const ConvolutionTable& table)
      : Affine(spec, backward),
        spec_(spec),
        own_(directions),
        table_(table),
        forward_(forward_map(spec, kPair)),
        backward_(backward_map(spec, kPair)),
        gradient_(spec, kPair) {
    const bool all = own_.forward && (!backward || (own_.backward_data && own_.backward_weights));
    if (!all) rest_.reset(make_onednn_convolution(spec, backward));
    int64_t elements = 0;
    if (own_.forward) {
      packed_weights_bytes_ += round_up(forward_.weights * kSize, kLine);
      elements = forward_.padded_elements();
    }
    if (backward && own_.backward_data) {
      backward_offset_ = packed_weights_bytes_;
      packed_weights_bytes_ += round_up(backward_.weights * kSize, kLine);
      elements = std::max(elements, backward_.padded_elements());
    }
    if (backward && own_.backward_weights) {
      packed_diff_weights_elements_ = spec.filters * spec.kernel_h * spec.kernel_w * gradient_.channels;
      elements = std::max(elements, gradient_elements());
    }
    scratch_bytes_ = elements * kSize;
    if (rest_) {
      rest_offset_ = packed_weights_bytes_;
      packed_weights_bytes_ += rest_->packed_weights_bytes();
      scratch_bytes_ = std::max(scratch_bytes_, rest_->scratch_bytes());
      if (!own_.backward_weights) packed_diff_weights_elements_ = rest_->packed_diff_weights_elements();
    }
    name(backward);
  }

  const char* implementation() const override { return implementation_.c_str(); }

 protected:
  void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                  const View& scratch) const override {
    if (!own_.forward) return rest_->forward(src, rest_weights(packed_weights), bias, dst, scratch);
    run(forward_, src.as<T>(), packed_weights.as<T>(), bias, dst.as<T>(), scratch);
  }

  void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                        const View& scratch) const override {
    if (!own_.backward_data) return rest_->backward_data(diff_dst, rest_weights(packed_weights), diff_src, scratch);
    const T* const weights = reinterpret_cast<const T*>(packed_weights.as<char>() + backward_offset_);
    run(backward_, diff_dst.as<T>(), weights, nullptr, diff_src.as<T>(), scratch);
  }

  void do_backward_weights(const View& src_view, const View& diff_dst_view, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    if (!own_.backward_weights) {
      return rest_->backward_weights(src_view, diff_dst_view, packed_diff_weights, diff_bias, scratch);
    }
    const GradientShape& g = gradient_;
    T* const copy = scratch.as<T>();
    T* const diff = copy + round_up(g.src_elements, kLine);
    T* const shifted = diff + round_up(g.diff_elements, kLine);
    zero_padding(copy, diff, shifted);
    std::fill_n(packed_diff_weights.as<float>(), packed_diff_weights.elements, 0.0f);
    const int64_t of_column = spec_.filters * kPair;
    GradientCall call{};
    call.src_line = g.src_elements > 0 ? g.src_line : spec_.width * spec_.channels;
    call.src_phase = g.src_elements > 0 ? g.columns * g.channels * kPair : spec_.channels;
    call.src_column = g.src_elements > 0 ? g.channels * kPair : spec_.stride_w * spec_.channels;
    call.height = spec_.height;
    call.width = spec_.width;
    call.channels = g.channels;
    call.diff = diff + g.diff_left * of_column;
    call.shifted = shifted + g.diff_left * of_column;
    call.diff_row = g.diff_row;
    call.rows = spec_.out_height();
    call.filters = spec_.filters;
    call.kernel = spec_.kernel_h;
    call.stride = spec_.stride_h;
    call.pad = spec_.pad_h;
    call.sum = packed_diff_weights.as<float>();
    const int64_t src_row = spec_.width * spec_.channels, diff_row = spec_.out_width() * spec_.filters;
    const T* src = src_view.as<T>();
    const T* gradient = diff_dst_view.as<T>();
    for (int64_t n = 0; n < spec_.batch; ++n, src += spec_.height * src_row) {
      call.src = g.src_elements > 0 ? copy : src;
      for (int64_t y = 0; g.src_elements > 0 && y < spec_.height; ++y) {
        for (int64_t phase = 0; phase < g.phases; ++phase) {
          table_.columns(src + y * src_row, spec_.width, spec_.channels, phase, spec_.stride_w,
                         copy + y * call.src_line + phase * call.src_phase, g.columns, call.src_column);
        }
      }
      const int64_t count = spec_.out_width() / kPair + 1;
      for (int64_t y = 0; y < spec_.out_height(); ++y, gradient += diff_row) {
        const int64_t at = y * g.diff_row + g.diff_left * of_column;
        table_.columns(gradient, spec_.out_width(), spec_.filters, 0, 1, diff + at, count, of_column);
        if (kPair == 2 && spec_.kernel_w > 1) {
          table_.columns(gradient, spec_.out_width(), spec_.filters, -1, 1, shifted + at, count, of_column);
        }
      }
      table_.gradient(call);
    }
    if (diff_bias != nullptr) {
      const int64_t places = spec_.out_height() * spec_.out_width();
      sum_bias(diff_dst_view.as<T>(), spec_.batch, places, spec_.filters, diff_bias->as<float>());
    }
  }

  void do_pack_weights(const View& weights, const View& packed_weights, const View& scratch) const override {
    char* const packed = packed_weights.as<char>();
    const int64_t c = spec_.channels, taps = spec_.kernel_h * spec_.kernel_w;
    if (own_.forward) {
      pack(forward_, weights.as<float>(), taps * c, 1, reinterpret_cast<T*>(packed));
    }
    if (packed_diff_weights_elements_ > 0 && own_.backward_data) {
      pack(backward_, weights.as<float>(), 1, taps * c, reinterpret_cast<T*>(packed + backward_offset_));
    }
    if (rest_) rest_->pack_weights(weights, rest_weights(packed_weights), scratch);
  }

  void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights,
                              const View& scratch) const override {
    if (!own_.backward_weights) return rest_->unpack_diff_weights(packed_diff_weights, diff_weights, scratch);
    const float* const packed = packed_diff_weights.as<float>();
    float* dst = diff_weights.as<float>();
    const int64_t taps = spec_.kernel_h * spec_.kernel_w;
    for (int64_t f = 0; f < spec_.filters; ++f) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const float* from = packed + ((f / kFilters * taps + tap) * gradient_.channels) * kFilters + f % kFilters;
        for (int64_t c = 0; c < spec_.channels; ++c) *dst++ = from[c * kFilters];
      }
    }
  }

 private:
  static constexpr int64_t kSize = sizeof(T);
  static constexpr int64_t kPair = sizeof(T) == 2 ? 2 : 1;

  /// Scratch of the gradient of the weights: src, and diff once or twice.
  int64_t gradient_elements() const {
    return round_up(gradient_.src_elements, kLine) + kPair * round_up(gradient_.diff_elements, kLine);
  }

  struct Destroy {
    void operator()(Affine* affine) const { affine->destroy(); }
  };

  void name(bool backward) {
    const std::string own = simd_implementation();
    const std::string rest = rest_ ? rest_->implementation() : "";
    size_t at = 0;
    for (bool mine : {own_.forward, own_.backward_data, own_.backward_weights}) {
      const size_t end = rest.find(" | ", at);
      implementation_ += (implementation_.empty() ? "" : " | ") + (mine ? own : rest.substr(at, end - at));
      at = end == std::string::npos ? rest.size() : end + 3;
      if (!backward) break;
    }
  }

  /// What no image writes, and later columns of which an image may write the first.
  void zero_padding(T* copy, T* diff, T* shifted) const {
    const GradientShape& g = gradient_;
    if (g.channels != spec_.channels) std::memset(copy, 0, static_cast<size_t>(g.src_elements * kSize));
    const int64_t left = g.diff_left * spec_.filters * kPair;
    const int64_t right = left + spec_.out_width() / kPair * spec_.filters * kPair;
    for (T* row : {diff, shifted}) {
      if (row == shifted && kPair == 1) break;
      for (int64_t y = 0; y < spec_.out_height(); ++y, row += g.diff_row) {
        std::memset(row, 0, static_cast<size_t>(left * kSize));
        std::memset(row + right, 0, static_cast<size_t>((g.diff_row - right) * kSize));
      }
    }
  }

  View rest_weights(const View& packed_weights) const {
    return View(packed_weights.as<char>() + rest_offset_, rest_->packed_weights_bytes(), DataType::u8);
  }

  void run(const Map& map, const T* src, const T* weights, const View* bias, T* dst, const View& scratch) const {
    T* const padded = scratch.as<T>();
    std::memset(padded, 0, static_cast<size_t>(map.padded_elements() * kSize));
    const int64_t image = map.in_height * map.in_width * map.in_channels;
    const int64_t out_row = map.out_width * map.out_channels, out_image = map.out_height * out_row;
    for (int64_t n = 0; n < spec_.batch; ++n, src += image, dst += out_image) {
      for (int64_t y = 0; y < map.in_height; ++y) {
        T* const line = padded + ((map.top + y) * map.width + map.left) * map.channels;
        copy_places(src + y * map.in_width * map.in_channels, map.in_width, map.in_channels, line, map.channels);
      }
      if (!map.complete) std::memset(dst, 0, static_cast<size_t>(out_image * kSize));
      for (const Pass& pass : map.passes) {
        const void* starts[kMostRuns];
        for (size_t r = 0; r < pass.runs.size(); ++r) {
          starts[r] = padded + (pass.runs[r].line * map.width + pass.runs[r].column) * map.channels;
        }
        ConvolveCall call{};
        call.src = starts;
        call.runs = static_cast<int64_t>(pass.runs.size());
        call.taps = pass.taps;
        call.channels = map.channels;
        call.src_row = map.in_step * map.width * map.channels;
        call.src_place = map.in_step * map.channels;
        call.weights = weights + pass.weights;
        call.filters = map.out_channels;
        call.bias = bias == nullptr ? nullptr : bias->as<float>();
        call.relu = spec_.relu;
        call.dst = dst + pass.row * out_row + pass.column * map.out_channels;
        call.rows = pass.rows;
        call.places = pass.places;
        call.dst_row = pass.step * out_row;
        call.dst_place = pass.step * map.out_channels;
        table_.convolve(call);
      }
    }
  }

  static void copy_places(const T* src, int64_t places, int64_t channels, T* dst, int64_t width) {
    if (channels == width) {
      std::memcpy(dst, src, static_cast<size_t>(places * channels * kSize));
      return;
    }
    for (int64_t place = 0; place < places; ++place, src += channels, dst += width) {
      for (int64_t c = 0; c < channels; ++c) dst[c] = src[c];
    }
  }

  /// From weights of which `of_out` and `of_in` elements lie between output and input channels.
  void pack(const Map& map, const float* weights, int64_t of_out, int64_t of_in, T* packed) const {
    const int64_t of_kh = spec_.kernel_w * spec_.channels, of_kw = spec_.channels;
    for (const Pass& pass : map.passes) {
      for (int64_t out = 0; out < map.out_channels; out += kFilters) {
        for (const Run& run : pass.runs) {
          for (int64_t in = 0; in < map.channels; in += kPair) {
            for (int64_t t = 0; t < pass.taps; ++t) {
              const float* from =
                  weights + out * of_out + in * of_in + run.kh * of_kh + (run.kw + t * run.kw_step) * of_kw;
              for (int64_t lane = 0; lane < kFilters; ++lane, from += of_out) {
                for (int64_t i = 0; i < kPair; ++i) {
                  put(packed++, in + i < map.in_channels ? from[i * of_in] : 0.0f);
                }
              }
            }
          }
        }
      }
    }
  }

  const ConvolutionSpec spec_;
  const Directions own_;
  const ConvolutionTable& table_;
  const Map forward_, backward_;
  const GradientShape gradient_;
  std::unique_ptr<Affine, Destroy> rest_;  // for the directions that are not own
  int64_t backward_offset_ = 0, rest_offset_ = 0;  // bytes into the packed weights
  std::string implementation_;
};

const ConvolutionTable& table(DataType type) {
  const SimdTables& tables = simd_tables();
  return *table_for("convolution", type, tables.convolution_f32, tables.convolution_bf16);
}

}  // namespace

Directions direct_directions(const ConvolutionSpec& spec) {
  const bool shape = spec.groups == 1 && spec.dilation_h == 1 && spec.dilation_w == 1 &&
                     spec.kernel_h == spec.kernel_w && (spec.kernel_h == 1 || spec.kernel_h == 3 || spec.kernel_h == 5) &&
                     spec.stride_h == spec.stride_w && spec.stride_h <= 2 && spec.pad_h == spec.pad_w &&
                     spec.pad_h < spec.kernel_h && spec.filters % kFilters == 0;
  if (!shape || table(spec.type).convolve == nullptr) return {};
  return {true, spec.channels % kFilters == 0, true};
}

/// Measured against oneDNN 3.11 on AVX-512 (Zen 5), passes of 8, 32 and 128 rows of images 32 to 8 wide with 16 to 256
/// channels: own over oneDNN, in speed. Where the two are within some percent of one another, oneDNN keeps the shape.
/// In f32 only what has_winograd leaves is asked for.
Directions faster_directions(const ConvolutionSpec& spec) {
  constexpr int64_t kLargestImage = 512 << 10;  // bytes: with its padding, it is to stay in the second cache
  const int64_t k = spec.kernel_h, s = spec.stride_h;
  const bool bf16 = spec.type == DataType::bf16;
  const int64_t image = std::max(spec.height * spec.width * round_up(spec.channels, 2),
                                 spec.out_height() * spec.out_width() * spec.filters) * size_of(spec.type);
  if (spec.out_width() < 8 || image > kLargestImage) return {};
  const Directions can = direct_directions(spec);
  Directions faster;
  if (k == 3) {
    faster.forward = spec.channels <= 16 || spec.width >= 32;                 // 1.13-1.42, C = 3 in f32 1.7-2.4
    faster.backward_data = s == 2 || spec.filters <= 16 || spec.width >= 32;  // stride 2 1.5-3.1, else 1.05-1.33
    faster.backward_weights = spec.channels >= (bf16 ? 16 : 32);              // 1.05-1.8; f32 1-1.4
  } else if (k == 1) {
    faster.forward = s == 2 && bf16;   // 1-1.35
    faster.backward_data = s == 2;     // 2.4-5.6: oneDNN goes over all places for a quarter of them
  } else {
    faster.forward = !bf16 && spec.channels < 16;           // 1.4
    faster.backward_weights = bf16 && spec.channels >= 16;  // 1.2
  }
  return {faster.forward && can.forward, faster.backward_data && can.backward_data,
          faster.backward_weights && can.backward_weights};
}

Affine* make_direct_convolution(const ConvolutionSpec& spec, bool backward, Directions directions) {
  if (spec.type == DataType::bf16) return new DirectConvolution<uint16_t>(spec, backward, directions, table(spec.type));
  return new DirectConvolution<float>(spec, backward, directions, table(spec.type));
}

}  // namespace ghostbatch::cpu
