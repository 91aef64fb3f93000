// The tables of own SIMD kernels: one source a kernel in simd/, compiled once per instruction set, chosen at run time.
// Pointers are host memory that the callers have checked; nothing here throws or allocates.
#pragma once

#include <cstdint>

#include "common/block_vector_kernels.h"

namespace ghostbatch {

/// A batch-norm kernel on one run of places [places, channels]; activations of the table's type, statistics f32.
/// Roles as in ghostbatch/ghost_batch_norm.h; pointers that a kernel does not use may be null.
struct NormCall {
  int64_t places;  // rows x height x width
  int64_t channels;
  bool relu;
  double epsilon;
  const float* mean;  // [channels], of this ghost
  const float* variance;
  const float* gamma;
  const float* beta;
  const void* src;
  const void* residual;
  const void* dst;  // of the forward pass; for the mask
  const void* diff_dst;
  const void* diff_dst2;
  const double* sum_g;  // [channels], over `ghost_places`; null: constant statistics
  const double* sum_g_xhat;
  int64_t ghost_places;
  void* out;    // dst, diff_residual or diff_src
  bool stream;  // whether dst or diff_src is to pass the caches by
};

struct GhostBatchNormTable {
  /// Mean and sum of squared deviations of src, per channel.
  void (*statistics)(const void* src, int64_t places, int64_t channels, double* mean, double* m2);
  /// out = act(gamma * rstd * (src - mean) + beta + residual).
  void (*normalize)(const NormCall& call);
  /// sums of g and g * xhat; out = g where out is not null. The mask comes from dst, or from src where dst is null.
  void (*backward_sums)(const NormCall& call, double* sum_g, double* sum_g_xhat);
  /// out = gamma * rstd * (g - sum_g / ghost_places - xhat * sum_g_xhat / ghost_places); g = diff_dst, masked from src
  /// where `relu`.
  void (*backward_apply)(const NormCall& call);
};

/// Direct convolution of one image that lies padded in memory. Activations and weights of the table's type; places have
/// `channels` values, an even number of them for bf16.
struct ConvolveCall {
  // The sum runs over `runs` x `taps` x `channels`: run r reads `taps` neighbouring places, the first of them at
  // src[r] + row * src_row + place * src_place. A tile may read up to 16 places beyond the row.
  const void* const* src;
  int64_t runs;
  int64_t taps;  // 1, 2, 3 or 5; with more than one, src_place is the distance of neighbours
  int64_t channels;
  int64_t src_row, src_place;  // elements from output to output
  const void* weights;         // [filters / 16, runs, channels / p, taps, 16, p]; p = 2 for bf16, else 1
  int64_t filters;             // a multiple of 16
  const float* bias;           // [filters], or null
  bool relu;
  void* dst;
  int64_t rows, places;
  int64_t dst_row, dst_place;  // elements from output to output
};

/// Gradient of the weights from one image: sum += diff transpose(src). The places of a line are taken by phase, column
/// % stride; one of src meets those of diff that some tap brings to it, so that padding is never read. For bf16, two
/// places of a phase lie interleaved, channel by channel, and count as one column; `shifted` is diff from one place
/// before on.
struct GradientCall {
  const void* src;                          // [height, phases, columns, channels]
  int64_t src_line, src_phase, src_column;  // elements from one to the next
  int64_t height, width;                    // of src
  int64_t channels;                         // a multiple of 4
  const void* diff;                         // [rows, columns, filters], with `kernel` columns of zeros on both sides
  const void* shifted;                      // bf16 only
  int64_t diff_row;
  int64_t rows;
  int64_t filters;  // a multiple of 16
  int64_t kernel;   // 1, 3 or 5
  int64_t stride;   // 1 or 2
  int64_t pad;
  float* sum;  // [filters / 16, kernel, kernel, channels, 16]
};

/// Null where the instruction set has too few registers, or no products of bf16.
struct ConvolutionTable {
  void (*convolve)(const ConvolveCall& call);
  void (*gradient)(const GradientCall& call);
  /// Column j of dst, of `width` elements: place first + j step of src [places, channels] for f32, for bf16 the places
  /// first + 2 j step and first + (2 j + 1) step, interleaved; a place that is not there is zero beside one that is,
  /// and columns without any are left as they are.
  void (*columns)(const void* src, int64_t places, int64_t channels, int64_t first, int64_t step, void* dst,
                  int64_t count, int64_t width);
};

/// Convolution 3 x 3 of stride 1, padded by 1, of f32 images; channels and filters are multiples of 16.
struct WinogradCall {
  const float* src;      // [images, height, width, channels]
  const float* weights;  // packed
  const float* bias;     // [filters], or null
  bool relu;
  float* dst;  // [images, height, width, filters]
  int64_t images, height, width, channels, filters;
  float* scratch;  // convolve_scratch
};

struct WinogradGradientCall {
  const float* src;   // as above
  const float* diff;  // of dst
  float* sum;         // [16, channels, filters]
  int64_t images, height, width, channels, filters;
  float* scratch;  // gradient_scratch
};

/// Weights of `in` channels and `out` filters, taken from distances between outputs, inputs and taps; with the taps
/// turned by 180 degrees where `turned`.
struct WinogradPackCall {
  const float* weights;
  int64_t in, out, of_in, of_out, of_tap;
  bool turned;
  float* packed;  // 16 x in x out
};

/// Null where the instruction set has too few registers.
struct WinogradTable {
  void (*convolve)(const WinogradCall& call);
  /// sum += the gradient of the weights, at Winograd's points.
  void (*gradient)(const WinogradGradientCall& call);
  void (*pack)(const WinogradPackCall& call);
  /// From the points' sum to weights [filters, 3, 3, channels].
  void (*unpack)(const float* sum, int64_t channels, int64_t filters, float* weights);
  // In elements.
  int64_t (*convolve_scratch)(int64_t channels, int64_t filters);
  int64_t (*gradient_scratch)(int64_t channels, int64_t filters);
};

struct ElementwiseTable {
  void (*relu)(const void* src, void* dst, int64_t elements);
  void (*relu_backward)(const void* dst, const void* diff_dst, void* diff_src, int64_t elements);
  void (*add)(const void* a, const void* b, void* dst, int64_t elements, bool relu);
  /// One row: element e is kept where word e % 4 of Philox(seed, stream, step, row, e / 4) >= threshold.
  void (*dropout)(const void* src, void* dst, int64_t elements, uint32_t threshold, float scale, uint64_t seed,
                  uint32_t stream, uint32_t step, uint32_t row);
  void (*sign)(const void* src, uint8_t* dst, int64_t elements);
};

struct SoftmaxTable {
  /// Sum of weight * loss over the rows; adds the rows that are right to `correct`.
  double (*run)(const void* logits, const int32_t* labels, const float* weights, int64_t rows, int64_t classes,
                double label_smoothing, double scale, void* diff_logits, int64_t& correct);
};

/// Sizes of a pooling, as in PoolSpec, for `rows` rows.
struct PoolCall {
  int64_t rows, height, width, channels, window_h, window_w, stride_h, stride_w, pad_h, pad_w, out_height, out_width;
};

struct PoolingTable {
  /// `workspace` may be null.
  void (*max_forward)(const PoolCall& call, const void* src, void* dst, uint8_t* workspace);
  void (*max_backward)(const PoolCall& call, const void* diff_dst, const uint8_t* workspace, void* diff_src);
  void (*average_forward)(const PoolCall& call, const void* src, void* dst);
  void (*average_backward)(const PoolCall& call, const void* diff_dst, void* diff_src);
};

/// How one sample becomes a row of a micro-batch: geometry as in common/augmentation.h, outside the sample its
/// nearest edge where `repeat_edge`, else `fill`; then dst = value * scale + shift.
struct LoadCall {
  int64_t height, width, channels;
  bool bytes;  // samples are u8, else f32
  bool affine, flip, repeat_edge;
  int64_t crop_y, crop_x;
  double cosine, sine, centre_y, centre_x, shift_y, shift_x;
  float fill;  // in the units of the samples
  // Of element i of a pixel, at i % period; period is a multiple of 16, and of the channels where they are at most 16.
  const float* scale;
  const float* shift;
  int64_t period;
};

struct LoaderTable {
  void (*load)(const LoadCall& call, const void* sample, void* dst);
  /// dst += step * (signs - 1) over whole pixels; `step` of element i at i % period, as in LoadCall.
  void (*perturb)(const uint8_t* signs, const float* step, int64_t period, void* dst, int64_t elements);
};

/// The blocks of BlockVectorKernels on one type.
struct VectorTable {
  void (*fill)(double value, void* x, int64_t n);
  void (*scale)(double alpha, void* x, int64_t n);
  void (*axpy)(double alpha, const void* x, void* y, int64_t n);
  double (*dot)(const void* x, const void* y, int64_t n);
  double (*sum)(const void* x, int64_t n);
  double (*squared_distance)(const void* x, const void* y, int64_t n);
  double (*max_abs)(const void* x, int64_t n);
  void (*interpolate)(double alpha, const void* x, const void* y, void* z, int64_t n);
  void (*project_box)(double epsilon, const void* center, void* x, int64_t n);
  void (*scale_by_magnitude)(double offset, const void* x, void* y, int64_t n);
  void (*sgd)(const SgdSpec& spec, void* weights, const void* gradient, void* velocity, int64_t n);
  void (*adam)(const AdamSpec& spec, void* weights, const void* gradient, void* m, void* v, int64_t n);
  void (*lars)(const LarsSpec& spec, void* weights, const void* gradient, void* velocity, int64_t n);
  double (*lamb_moments)(const LambBlock& block, const void* weights, const void* gradient, void* m, void* v,
                         bool wanted, int64_t n);
  void (*lamb)(const LambBlock& block, void* weights, const void* m, const void* v, int64_t n);
};

/// All kernels of one instruction set.
struct SimdTables {
  const char* isa;
  const ConvolutionTable* convolution_f32;
  const ConvolutionTable* convolution_bf16;
  const WinogradTable* winograd_f32;
  const GhostBatchNormTable* ghost_batch_norm_f32;
  const GhostBatchNormTable* ghost_batch_norm_bf16;
  const ElementwiseTable* elementwise_f32;
  const ElementwiseTable* elementwise_bf16;
  const SoftmaxTable* softmax_f32;
  const SoftmaxTable* softmax_bf16;
  const PoolingTable* pooling_f32;
  const PoolingTable* pooling_bf16;
  const LoaderTable* loader_f32;
  const LoaderTable* loader_bf16;
  const VectorTable* vector_f32;
  const VectorTable* vector_f64;
};

/// The tables of the best instruction set of this CPU, or of the one that the environment variable GHOSTBATCH_ISA names
/// (portable, avx2, avx512, avx512bf16); read once. Error where the CPU lacks it.
const SimdTables& simd_tables();
/// The tables of one instruction set, null where this build or this CPU lacks it.
const SimdTables* simd_tables(const char* isa);
/// Its name.
const char* simd_isa();

}  // namespace ghostbatch
