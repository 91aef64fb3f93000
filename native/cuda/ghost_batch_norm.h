// Fused ghost batch norm as phases; formulas and roles as in ghostbatch/ghost_batch_norm.h.
//
// A block takes one ghost and one group of channels (128 bytes of a place, at most). A line of its threads takes a
// place, a pack each. Sums are formed in f32 over at most kTerms places, then in double, in fixed trees and orders:
// same bits twice, and on the host as on the device.
//
// Streamed: `pieces` blocks a ghost and group write their sums; blocks of a second kernel add them up in order, and
// read x again. Ghosts go in waves that L2 holds from the first reading to the second, and the second kernel of a wave
// runs beside the first of the next one in one launch: so x comes from device memory once. Resident: where a ghost's
// group fits into shared memory, one block reads it, keeps it there, and one launch does it all. In clusters: the same
// by 2 to 16 blocks a ghost and group, each of which keeps its piece; they read one another's sums from shared memory,
// in order of their ranks. What they cannot keep they read again, from L2: as much as a wave would, at most.
//
// Which of these: of 4.3 TB/s a multiprocessor has 33 KB a us, and memory answers within 0.8 us, so 26 KB must be on
// the way to each at any time: four accesses of 16 bytes of 512 threads, or eight of 256, some of them to L2 alone. A
// block that keeps what it reads reads first and writes then, with nothing on the way at its beginning, its barriers
// and its end: some 3 us beside the 4 + 4 that 128 KiB take to be read and written. Two on a multiprocessor fill one
// another's gaps, hence pieces that leave room for a second block, of narrower groups if need be, but not below what
// memory gives at once (64 bytes; a sector, 32, where nothing else fits). A launch of a wave costs about as much, and
// waves read twice from L2. docs/gpu.md has what both would take, on paper.
//
// Moves, with x of b bytes: forward reads x (and the residual), writes dst: 2b (3b). Backward reads x and diff_dst
// (dst, diff_dst2), writes diff_src (diff_residual): 3b (6b). Streamed, L2 serves another b (2b). At 4.3 TB/s the floor
// of [4096,32,32,16] bf16, b = 128 MiB, is 62 us forward and 94 us backward; of [4096,8,8,64], b = 32 MiB, 16 and 23
// us.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/check.h"
#include "cuda/grid.h"
#include "cuda/pack.h"
#include "ghostbatch/ghost_batch_norm.h"

namespace ghostbatch::cuda::norm {

constexpr int kThreads = 256;             // of every block
constexpr int kFolds = 8;                 // that bring the sums of as many lines together
constexpr int kColumns = 8;               // packs of a group, at most: a cache line
constexpr int kChannels = 64;             // of a group, at most
constexpr int kTerms = 64;                // of a sum in f32, before it is added in double
constexpr int kGuess = 8;                 // places whose mean is the shift
constexpr int kLoads = 4;                 // places that a thread loads at a time, of blocks that are many
constexpr int kGradientLoads = 2;         // in backward, from two tensors or more
constexpr int kSliceWidth = 8;            // channels of a block that adds up parts
constexpr int kPiecePlaces = 16;          // of a thread: enough to be worth a block's beginning and end
constexpr int64_t kWaveBytes = 16 << 20;  // read twice by a wave: with the next wave's and what is written, L2's 50 MB
constexpr int64_t kResidentBytes = 16 << 10;  // that one block moves while others could not move much more
constexpr int64_t kMultiprocessors = 128;     // that want a block
constexpr int64_t kReservedBytes = 1 << 10;   // of shared memory, by CUDA, for each block
constexpr int kDramColumns = 4;               // packs that device memory gives at once
constexpr int kSectorColumns = 2;             // and L2
constexpr int64_t kMostPlaces = 1 << 30;      // that 32 bits count with ease

/// What changes from step to step, in device memory.
struct Step {
  int32_t ghosts;      // of `offsets`
  int32_t running;     // not 0: running statistics normalize, and are constants in backward
  int32_t ghost_rows;  // of the one ghost that spans micro-batches, for backward_apply; 0: ghosts are whole
};

/// What a plan is made for, beside the spec.
struct Capacity {
  int32_t ghosts = 1;      // the most there can be
  int32_t ghost_rows = 1;  // of the largest; a larger one is slower, not wrong
  bool aligned = true;     // all activations to 16 bytes
  BlockLimits limits;
};

/// How a norm is cut into blocks: by spec and capacity alone.
struct Plan {
  double epsilon;
  int32_t spatial, channels;
  bool relu;
  bool streams;  // what is written, or read for the last time, should not push other things out of L2
  DataType type;
  int32_t width;  // elements of an access: a pack's, or 1 where channels or addresses do not fit packs
  int32_t columns, groups, lines;
  int32_t ghosts;
  int32_t pieces, piece_places;  // blocks a ghost and group; places of each but the last, at least
  int32_t wave;                  // ghosts
  int32_t held;                  // places that a block keeps in shared memory; 0: streamed
  bool clusters;                 // the pieces of a ghost and group are blocks of one cluster

  /// Sums that are written for a ghost and group: a cluster's are one.
  GHOSTBATCH_HD int32_t parts() const { return clusters ? 1 : pieces; }
  /// Blocks of a kernel over so many ghosts.
  int32_t blocks(int32_t of_ghosts) const { return of_ghosts * pieces * groups; }
  /// Of device memory, for the sums of pieces: [ghosts, parts, 2, C] in f64, and shifts [ghosts, C] in f32.
  int64_t workspace_bytes() const {
    return int64_t{ghosts} * channels * (parts() * 2 * int64_t{sizeof(double)} + int64_t{sizeof(float)});
  }
};

template <typename N>
GHOSTBATCH_HD constexpr N smaller(N a, N b) {
  return a < b ? a : b;
}
template <typename N>
GHOSTBATCH_HD constexpr N larger(N a, N b) {
  return a > b ? a : b;
}

/// Where the sums of pieces lie in the workspace.
GHOSTBATCH_HD inline double* parts_of(const Plan& plan, void* workspace, int64_t ghost) {
  return static_cast<double*>(workspace) + ghost * plan.parts() * 2 * plan.channels;
}
GHOSTBATCH_HD inline float* shifts_of(const Plan& plan, void* workspace, int64_t ghost) {
  return reinterpret_cast<float*>(parts_of(plan, workspace, plan.ghosts)) + ghost * plan.channels;
}

/// What a block takes, and in it a thread: places first + line, first + line + lines, ... of a ghost, `width` channels
/// of each.
struct Work {
  int32_t begin;        // place of the tensor where the ghost begins
  int32_t places;       // of the ghost
  int32_t first, last;  // places of the piece, from `begin` on
  int32_t channel;      // first of the block's
  int32_t channels;     // of the block
  int32_t ghost, piece, line, column;
  bool present;  // the ghost is there
  bool busy;     // and the thread has channels in it

  /// Elements from the beginning of the tensor to the ghost's first place, at the thread's channels.
  GHOSTBATCH_HD int64_t offset(const Plan& plan) const {
    return int64_t{begin} * plan.channels + channel + column * plan.width;
  }
};

/// Of block ((ghost - first_ghost) * pieces + piece) * groups + group.
GHOSTBATCH_HD inline Work work_of(const Plan& plan, const Step& step, const int32_t* offsets, int32_t first_ghost,
                                  Place place) {
  Work work{};
  const int32_t group = place.block % plan.groups, rest = place.block / plan.groups;
  work.piece = rest % plan.pieces;
  work.ghost = first_ghost + rest / plan.pieces;
  work.line = place.thread / plan.columns;
  work.column = place.thread % plan.columns;
  work.channel = group * plan.columns * plan.width;
  work.channels = smaller(plan.columns * plan.width, plan.channels - work.channel);
  work.present = work.ghost < step.ghosts;
  work.busy = work.present && work.line < plan.lines && work.column * plan.width < work.channels;
  if (!work.present) return work;
  work.begin = offsets[work.ghost] * plan.spatial;
  work.places = offsets[work.ghost + 1] * plan.spatial - work.begin;
  // A ghost beyond the plan's makes larger pieces, not more.
  const int32_t least = divide_up(divide_up(work.places, plan.pieces), plan.lines) * plan.lines;
  const int32_t size = larger(plan.piece_places, least);
  work.first = smaller(work.piece * size, work.places);
  work.last = smaller(work.first + size, work.places);
  return work;
}

/// Two sums of each thread's channels, brought together over the lines of a block.
template <int kWidth>
struct Sums {
  double v[2 * kWidth][kThreads];

  GHOSTBATCH_HD void clear(int32_t thread) {
    for (int i = 0; i < 2 * kWidth; ++i) v[i][thread] = 0;
  }
  GHOSTBATCH_HD void add(int32_t thread, const float (&a)[kWidth], const float (&b)[kWidth]) {
    for (int i = 0; i < kWidth; ++i) {
      v[i][thread] += static_cast<double>(a[i]);
      v[kWidth + i][thread] += static_cast<double>(b[i]);
    }
  }
  /// One of kFolds phases: lines from `half` on, as many as the phase halves, onto those before. Line 0 has all at
  /// last.
  template <int kFold>
  GHOSTBATCH_HD void fold(const Plan& plan, const Work& work, int32_t thread) {
    constexpr int32_t kHalf = kThreads >> (kFold + 1);
    if (!work.busy || work.line >= kHalf || work.line + kHalf >= plan.lines) return;
    for (int i = 0; i < 2 * kWidth; ++i) v[i][thread] += v[i][thread + kHalf * plan.columns];
  }
  /// Of the block's channel c, after the folds.
  GHOSTBATCH_HD double first(int32_t c) const { return v[c % kWidth][c / kWidth]; }
  GHOSTBATCH_HD double second(int32_t c) const { return v[kWidth + c % kWidth][c / kWidth]; }
};

/// What a block's channels are normalized with.
struct Parameters {
  double rstd[kChannels];
  float mean[kChannels], factor[kChannels], beta[kChannels];
  float slope[kChannels], shift[kChannels];  // backward

  /// What forward computes and backward's mask computes again: fma(x - mean, factor, beta).
  GHOSTBATCH_HD void set(int32_t c, const Plan& plan, float of_mean, float variance, float gamma, float of_beta) {
    rstd[c] = 1.0 / sqrt(static_cast<double>(variance) + plan.epsilon);
    mean[c] = of_mean;
    factor[c] = static_cast<float>(static_cast<double>(gamma) * rstd[c]);
    beta[c] = of_beta;
  }
};

/// Parts of sums, [2, slice, channel of the block], before they are one.
struct Slices {
  double v[2][kThreads];

  /// The part of a thread: of every slices-th of `count` parts [2, C], in order.
  GHOSTBATCH_HD void gather(const Plan& plan, const Work& work, const double* parts, int32_t count, int32_t thread) {
    const int32_t size = plan.columns * plan.width, slices = kThreads / size;
    const int32_t c = thread % size, slice = thread / size;
    double a = 0, b = 0;
    if (slice < slices && c < work.channels) {
      for (int32_t i = slice; i < count; i += slices) {
        const double* const part = parts + int64_t{2} * i * plan.channels + work.channel + c;
        a += part[0];
        b += part[plan.channels];
      }
    }
    v[0][thread] = a;
    v[1][thread] = b;
  }
  /// Of the block's channel c, over all slices.
  GHOSTBATCH_HD double total(const Plan& plan, int which, int32_t c) const {
    const int32_t size = plan.columns * plan.width, slices = kThreads / size;
    double sum = 0;
    for (int32_t slice = 0; slice < slices; ++slice) sum += v[which][slice * size + c];
    return sum;
  }
};

/// Statistics, and where they come from. The ghosts' are [ghosts, C], the running ones [C].
struct Statistics {
  float* mean;
  float* variance;
  const float* running_mean;  // where Step::running
  const float* running_variance;
  const float* gamma;
  const float* beta;

  GHOSTBATCH_HD void parameters(const Plan& plan, const Work& work, bool running, int32_t c, Parameters& to) const {
    const int32_t channel = work.channel + c;
    const int64_t at = int64_t{work.ghost} * plan.channels + channel;
    to.set(c, plan, running ? running_mean[channel] : mean[at], running ? running_variance[channel] : variance[at],
           gamma[channel], beta[channel]);
  }
  /// From sums over the ghost's deviations from `shift`; the mean and the variance are what f32 holds of them.
  GHOSTBATCH_HD void finish(const Plan& plan, const Work& work, float shift, double sum, double squares, int32_t c,
                            Parameters& to) const {
    const int32_t channel = work.channel + c;
    const int64_t at = int64_t{work.ghost} * plan.channels + channel;
    const double share = 1.0 / static_cast<double>(work.places), deviations = squares - sum * sum * share;
    const float of_mean = static_cast<float>(static_cast<double>(shift) + sum * share);
    const float of_variance = static_cast<float>(deviations < 0 ? 0 : deviations / static_cast<double>(work.places));
    if (work.piece == 0) {
      mean[at] = of_mean;
      variance[at] = of_variance;
    }
    to.set(c, plan, of_mean, of_variance, gamma[channel], beta[channel]);
  }
};

/// A value near the mean, from a ghost's first places: eight, or one. Equal values give it exactly.
template <typename T, int kWidth>
GHOSTBATCH_HD void guess_mean(const Plan& plan, const Work& work, const T* src, float (&guess)[kWidth]) {
  const T* const x = src + work.offset(plan);
  const int64_t step = work.places < kGuess ? 0 : plan.channels;
  float sums[kGuess][kWidth];
  for (int i = 0; i < kGuess; ++i) {
    const Pack<T, kWidth> pack = load_pack<T, kWidth>(x + i * step);
    for (int j = 0; j < kWidth; ++j) sums[i][j] = to_float(pack.v[j]);
  }
  for (int j = 0; j < kWidth; ++j) {
    guess[j] = (((sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j])) +
                ((sums[4][j] + sums[5][j]) + (sums[6][j] + sums[7][j]))) *
               (1.0f / kGuess);
  }
}

/// Sums of the deviations from `shift` and of their squares over a thread's places, kBatch of which it loads at a time.
/// The first of the piece are kept in `held` [held, columns] where the plan holds any.
template <int kBatch, bool kHold, typename T, int kWidth>
GHOSTBATCH_HD void sum_deviations(const Plan& plan, const Work& work, const T* src, const float (&shift)[kWidth],
                                  Sums<kWidth>& sums, int32_t thread, Pack<T, kWidth>* held) {
  const int32_t lines = plan.lines;
  const int64_t stride = int64_t{lines} * plan.channels;
  const T* const x = src + work.offset(plan);
  sums.clear(thread);
  for (int32_t run = work.first + work.line; run < work.last; run += kTerms * lines) {
    const int32_t end = smaller(work.last, run + kTerms * lines);
    float sum[kWidth] = {}, squares[kWidth] = {};
    for (int32_t place = run; place < end; place += kBatch * lines) {
      Pack<T, kWidth> packs[kBatch];
      for (int b = 0; b < kBatch; ++b) {  // what is not there is read as the first, and not used
        packs[b] =
            load_pack<T, kWidth>(x + int64_t{place} * plan.channels + (place + b * lines < end ? b * stride : 0));
      }
      for (int b = 0; b < kBatch; ++b) {
        const int32_t at = place + b * lines;
        if (at >= end) continue;
        if (kHold && at - work.first < plan.held) held[(at - work.first) * plan.columns + work.column] = packs[b];
        for (int j = 0; j < kWidth; ++j) {
          const float d = to_float(packs[b].v[j]) - shift[j];
          sum[j] += d;
          squares[j] = fmaf(d, d, squares[j]);
        }
      }
    }
    sums.add(thread, sum, squares);
  }
}

/// dst of a thread's places, of which the first `held_places` of the piece are in `held`.
template <bool kHold, typename T, int kWidth>
GHOSTBATCH_HD void normalize_places(const Plan& plan, const Work& work, const T* src, const T* residual, T* dst,
                                    const Parameters& parameters, int32_t held_places, const Pack<T, kWidth>* held) {
  constexpr int kBatch = kLoads;
  const int32_t lines = plan.lines;
  const int64_t stride = int64_t{lines} * plan.channels, offset = work.offset(plan);
  float mean[kWidth], factor[kWidth], beta[kWidth];
  for (int j = 0; j < kWidth; ++j) {
    const int c = work.column * kWidth + j;
    mean[j] = parameters.mean[c];
    factor[j] = parameters.factor[c];
    beta[j] = parameters.beta[c];
  }
  for (int32_t place = work.first + work.line; place < work.last; place += kBatch * lines) {
    const int64_t from = offset + int64_t{place} * plan.channels;
    Pack<T, kWidth> x[kBatch], added[kBatch];
    for (int b = 0; b < kBatch; ++b) {
      const int32_t at = place + b * lines;
      const int64_t step = at < work.last ? b * stride : 0;
      x[b] = kHold && at - work.first < held_places ? held[(at - work.first) * plan.columns + work.column]
                                                    : load_pack<T, kWidth>(src + from + step, plan.streams);
      added[b] = residual == nullptr ? x[b] : load_pack<T, kWidth>(residual + from + step, plan.streams);
    }
    for (int b = 0; b < kBatch; ++b) {
      if (place + b * lines >= work.last) continue;
      Pack<T, kWidth> out;
      for (int j = 0; j < kWidth; ++j) {
        float y = fmaf(to_float(x[b].v[j]) - mean[j], factor[j], beta[j]);
        if (residual != nullptr) y += to_float(added[b].v[j]);
        if (plan.relu && y < 0) y = 0;
        out.v[j] = from_float<T>(y);
      }
      store_pack(dst + from + b * stride, out, plan.streams);
    }
  }
}

/// Tensors of the backward pass. dst, diff_dst2 and diff_residual may be null.
template <typename T>
struct Gradients {
  const T* src;
  const T* dst;  // the mask where not null, else it is computed again
  const T* diff_dst;
  const T* diff_dst2;
  T* diff_residual;
  T* diff_src;
};

/// Sums of g and of g (x - mean) over a thread's places. x and g of the first of the piece are kept in `held` [2, held,
/// columns] where the plan holds any; g is written to diff_residual. `kAhead`: for blocks that are few, and have no
/// registers for more loads at a time, L2 is asked for what they load next.
template <bool kAhead, bool kHold, typename T, int kWidth>
GHOSTBATCH_HD void sum_gradients(const Plan& plan, const Work& work, const Gradients<T>& of,
                                 const Parameters& parameters, Sums<kWidth>& sums, int32_t thread,
                                 Pack<T, kWidth>* held) {
  constexpr int kBatch = kGradientLoads;
  const int32_t lines = plan.lines;
  const int64_t stride = int64_t{lines} * plan.channels, offset = work.offset(plan);
  const bool mask = plan.relu && of.dst == nullptr;
  float mean[kWidth], factor[kWidth], beta[kWidth];
  for (int j = 0; j < kWidth; ++j) {
    const int c = work.column * kWidth + j;
    mean[j] = parameters.mean[c];
    factor[j] = parameters.factor[c];
    beta[j] = parameters.beta[c];
  }
  sums.clear(thread);
  for (int32_t run = work.first + work.line; run < work.last; run += kTerms * lines) {
    const int32_t end = smaller(work.last, run + kTerms * lines);
    float sum[kWidth] = {}, product[kWidth] = {};
    for (int32_t place = run; place < end; place += kBatch * lines) {
      const int64_t from = offset + int64_t{place} * plan.channels;
      Pack<T, kWidth> x[kBatch], g[kBatch], second[kBatch], y[kBatch];
      for (int b = 0; b < kBatch; ++b) {
        const int64_t at = from + (place + b * lines < end ? b * stride : 0);
        x[b] = load_pack<T, kWidth>(of.src + at);
        g[b] = load_pack<T, kWidth>(of.diff_dst + at);
        second[b] = of.diff_dst2 == nullptr ? g[b] : load_pack<T, kWidth>(of.diff_dst2 + at, plan.streams);
        y[b] = of.dst == nullptr ? g[b] : load_pack<T, kWidth>(of.dst + at, plan.streams);
      }
      for (int b = kBatch; kAhead && b < 2 * kBatch; ++b) {
        if (place + b * lines >= work.last) continue;
        const int64_t at = from + b * stride;
        prefetch(of.src + at);
        prefetch(of.diff_dst + at);
        if (of.diff_dst2 != nullptr) prefetch(of.diff_dst2 + at);
        if (of.dst != nullptr) prefetch(of.dst + at);
      }
      for (int b = 0; b < kBatch; ++b) {
        const int32_t at = place + b * lines;
        if (at >= end) continue;
        Pack<T, kWidth> out;
        for (int j = 0; j < kWidth; ++j) {
          const float d = to_float(x[b].v[j]) - mean[j];
          float value = to_float(g[b].v[j]);
          if (of.diff_dst2 != nullptr) value += to_float(second[b].v[j]);
          if (mask && !(fmaf(d, factor[j], beta[j]) > 0)) value = 0;
          if (of.dst != nullptr && !(to_float(y[b].v[j]) > 0)) value = 0;
          sum[j] += value;
          product[j] = fmaf(value, d, product[j]);
          out.v[j] = from_float<T>(value);
        }
        if (of.diff_residual != nullptr) store_pack(of.diff_residual + from + b * stride, out);
        if (kHold && at - work.first < plan.held) {
          Pack<T, kWidth>* const here = held + (at - work.first) * plan.columns + work.column;
          here[0] = x[b];
          here[plan.held * plan.columns] = out;
        }
      }
    }
    sums.add(thread, sum, product);
  }
}

/// slope and shift of diff_src = factor g + slope (x - mean) + shift; both 0 for constant statistics.
GHOSTBATCH_HD inline void set_gradient(const Plan& plan, const Work& work, const Step& step, float gamma, double sum_g,
                                       double sum_g_xhat, int32_t c, Parameters& parameters) {
  const int64_t places = step.ghost_rows > 0 ? int64_t{step.ghost_rows} * plan.spatial : work.places;
  const double share = static_cast<double>(gamma) * parameters.rstd[c] / static_cast<double>(places);
  parameters.slope[c] = step.running != 0 ? 0 : static_cast<float>(-share * parameters.rstd[c] * sum_g_xhat);
  parameters.shift[c] = step.running != 0 ? 0 : static_cast<float>(-share * sum_g);
}

/// diff_src of a thread's places, of which the first `held` of the piece are in shared memory. g is diff_residual where
/// there is one.
template <bool kHold, typename T, int kWidth>
GHOSTBATCH_HD void apply_gradient(const Plan& plan, const Work& work, const Gradients<T>& of,
                                  const Parameters& parameters, const Pack<T, kWidth>* held) {
  constexpr int kBatch = kGradientLoads;
  const int32_t lines = plan.lines;
  const int64_t stride = int64_t{lines} * plan.channels, offset = work.offset(plan);
  const bool mask = plan.relu && of.diff_residual == nullptr;  // again on what is held: it stays as it is
  const T* const gradient = of.diff_residual == nullptr ? of.diff_dst : of.diff_residual;
  float mean[kWidth], factor[kWidth], beta[kWidth], slope[kWidth], shift[kWidth];
  for (int j = 0; j < kWidth; ++j) {
    const int c = work.column * kWidth + j;
    mean[j] = parameters.mean[c];
    factor[j] = parameters.factor[c];
    beta[j] = parameters.beta[c];
    slope[j] = parameters.slope[c];
    shift[j] = parameters.shift[c];
  }
  for (int32_t place = work.first + work.line; place < work.last; place += kBatch * lines) {
    const int64_t from = offset + int64_t{place} * plan.channels;
    Pack<T, kWidth> x[kBatch], g[kBatch];
    for (int b = 0; b < kBatch; ++b) {
      const int32_t at = place + b * lines;
      const int64_t step = at < work.last ? b * stride : 0;
      const bool here = kHold && at - work.first < plan.held && at < work.last;
      const int32_t slot = (at - work.first) * plan.columns + work.column;
      x[b] = here ? held[slot] : load_pack<T, kWidth>(of.src + from + step, plan.streams);
      g[b] = here ? held[plan.held * plan.columns + slot]
                  : load_pack<T, kWidth>(gradient + from + step, plan.streams && of.diff_residual == nullptr);
    }
    for (int b = 0; b < kBatch; ++b) {
      if (place + b * lines >= work.last) continue;
      Pack<T, kWidth> out;
      for (int j = 0; j < kWidth; ++j) {
        const float d = to_float(x[b].v[j]) - mean[j];
        float value = to_float(g[b].v[j]);
        if (mask && !(fmaf(d, factor[j], beta[j]) > 0)) value = 0;
        out.v[j] = from_float<T>(fmaf(value, factor[j], fmaf(d, slope[j], shift[j])));
      }
      store_pack(of.diff_src + from + b * stride, out, plan.streams);
    }
  }
}

/// What a thread keeps from phase to phase.
struct ThreadState {
  Work work;
  Step step;
};

/// Sums of each piece of a ghost for its statistics: parts and shifts of the workspace.
template <typename T, int kWidth>
struct SumStatistics {
  static constexpr int kThreads = norm::kThreads, kPhases = kFolds + 2;
  using Shared = Sums<kWidth>;
  using Registers = ThreadState;

  Plan plan;
  const Step* step;
  const int32_t* offsets;
  const T* src;
  void* workspace;
  int32_t first_ghost;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& sums, Registers& state) const {
    Work& work = state.work;
    if constexpr (kPhase == 0) {
      work = work_of(plan, *step, offsets, first_ghost, place);
      if (step->running != 0) work.present = work.busy = false;
      if (!work.busy) return;
      float shift[kWidth];
      guess_mean(plan, work, src, shift);
      if (work.piece == 0 && work.line == 0) {
        float* const shifts = shifts_of(plan, workspace, work.ghost) + work.channel + work.column * kWidth;
        for (int j = 0; j < kWidth; ++j) shifts[j] = shift[j];
      }
      sum_deviations<kLoads, false>(plan, work, src, shift, sums, place.thread, static_cast<Pack<T, kWidth>*>(nullptr));
    } else if constexpr (kPhase <= kFolds) {
      sums.template fold<kPhase - 1>(plan, work, place.thread);
    } else if (work.present && place.thread < work.channels) {
      const int32_t c = place.thread;
      double* const part =
          parts_of(plan, workspace, work.ghost) + int64_t{2} * work.piece * plan.channels + work.channel;
      part[c] = sums.first(c);
      part[plan.channels + c] = sums.second(c);
    }
  }
};

/// dst of each piece, from the sums of all pieces of its ghost; from given statistics where `workspace` is null.
template <typename T, int kWidth>
struct Normalize {
  static constexpr int kThreads = norm::kThreads, kPhases = 3;
  struct Shared {
    Slices slices;
    Parameters parameters;
  };
  using Registers = ThreadState;

  Plan plan;
  const Step* step;
  const int32_t* offsets;
  const T* src;
  const T* residual;
  T* dst;
  Statistics statistics;
  void* workspace;
  int32_t first_ghost;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& state) const {
    Work& work = state.work;
    const int32_t c = place.thread;
    if constexpr (kPhase == 0) {
      state.step = *step;
      work = work_of(plan, state.step, offsets, first_ghost, place);
      if (!work.present || workspace == nullptr || state.step.running != 0) return;
      shared.slices.gather(plan, work, parts_of(plan, workspace, work.ghost), plan.pieces, place.thread);
    } else if constexpr (kPhase == 1) {
      if (!work.present || c >= work.channels) return;
      if (workspace == nullptr || state.step.running != 0) {
        statistics.parameters(plan, work, state.step.running != 0, c, shared.parameters);
        return;
      }
      const float shift = shifts_of(plan, workspace, work.ghost)[work.channel + c];
      statistics.finish(plan, work, shift, shared.slices.total(plan, 0, c), shared.slices.total(plan, 1, c), c,
                        shared.parameters);
    } else if (work.busy) {
      normalize_places<false>(plan, work, src, residual, dst, shared.parameters, 0,
                              static_cast<const Pack<T, kWidth>*>(nullptr));
    }
  }
};

/// Sums of g and of g xhat over each piece: parts of the workspace. Writes diff_residual.
template <typename T, int kWidth>
struct SumGradients {
  static constexpr int kThreads = norm::kThreads, kPhases = kFolds + 3;
  struct Shared {
    Sums<kWidth> sums;
    Parameters parameters;
  };
  using Registers = ThreadState;

  Plan plan;
  const Step* step;
  const int32_t* offsets;
  Gradients<T> tensors;
  Statistics statistics;
  void* workspace;
  int32_t first_ghost;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& state) const {
    Work& work = state.work;
    const int32_t c = place.thread;
    if constexpr (kPhase == 0) {
      work = work_of(plan, *step, offsets, first_ghost, place);
      if (!work.present || c >= work.channels) return;
      statistics.parameters(plan, work, step->running != 0, c, shared.parameters);
    } else if constexpr (kPhase == 1) {
      if (!work.busy) return;
      sum_gradients<false, false>(plan, work, tensors, shared.parameters, shared.sums, place.thread,
                                  static_cast<Pack<T, kWidth>*>(nullptr));
    } else if constexpr (kPhase <= kFolds + 1) {
      shared.sums.template fold<kPhase - 2>(plan, work, place.thread);
    } else if (work.present && c < work.channels) {
      double* const part =
          parts_of(plan, workspace, work.ghost) + int64_t{2} * work.piece * plan.channels + work.channel;
      part[c] = shared.sums.first(c);
      part[plan.channels + c] = shared.sums.second(c) * shared.parameters.rstd[c];
    }
  }
};

/// diff_src of each piece, from `count` sums [count, 2, C] of each ghost.
template <typename T, int kWidth>
struct ApplyGradients {
  static constexpr int kThreads = norm::kThreads, kPhases = 3;
  struct Shared {
    Slices slices;
    Parameters parameters;
  };
  using Registers = ThreadState;

  Plan plan;
  const Step* step;
  const int32_t* offsets;
  Gradients<T> tensors;
  Statistics statistics;
  const double* parts;
  int32_t count;
  int32_t first_ghost;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& state) const {
    Work& work = state.work;
    const int32_t c = place.thread;
    if constexpr (kPhase == 0) {
      state.step = *step;
      work = work_of(plan, state.step, offsets, first_ghost, place);
      if (!work.present) return;
      const double* const of_ghost = parts + int64_t{2} * work.ghost * count * plan.channels;
      shared.slices.gather(plan, work, of_ghost, count, place.thread);
    } else if constexpr (kPhase == 1) {
      if (!work.present || c >= work.channels) return;
      statistics.parameters(plan, work, state.step.running != 0, c, shared.parameters);
      set_gradient(plan, work, state.step, statistics.gamma[work.channel + c], shared.slices.total(plan, 0, c),
                   shared.slices.total(plan, 1, c), c, shared.parameters);
    } else if (work.busy) {
      apply_gradient<false>(plan, work, tensors, shared.parameters, static_cast<const Pack<T, kWidth>*>(nullptr));
    }
  }
};

/// Places of a ghost that a block keeps behind its Shared: x, and g in backward.
template <typename T, int kWidth, class Shared>
GHOSTBATCH_HD Pack<T, kWidth>* held_behind(Shared& shared) {
  static_assert(sizeof(Shared) % kPackBytes == 0);
  return reinterpret_cast<Pack<T, kWidth>*>(reinterpret_cast<unsigned char*>(&shared) + sizeof(Shared));
}

/// The place of a block whose cluster is all pieces of one ghost and group: as work_of counts blocks.
GHOSTBATCH_HD inline Place place_in_grid(const Plan& plan, Place place) {
  const int32_t cluster = place.block / plan.pieces;
  place.block = (cluster / plan.groups * plan.pieces + place.rank) * plan.groups + cluster % plan.groups;
  return place;
}

/// Sums of the block's channel c over all blocks of the cluster, in order of their ranks.
template <class Shared>
GHOSTBATCH_HD void add_ranks(Place place, const Shared& shared, int32_t c, double& first, double& second) {
  first = second = 0;
  for (int32_t rank = 0; rank < place.ranks; ++rank) {
    const Shared& other = shared_of(rank, place, shared);
    first += other.sums.first(c);
    second += other.sums.second(c);
  }
}

/// Forward of a ghost and group in one block, or in the blocks of one cluster.
template <typename T, int kWidth, bool kClusters = false>
struct ResidentForward {
  static constexpr int kThreads = norm::kThreads, kPhases = kFolds + 3;
  static constexpr int kMeet = kClusters ? kFolds : -1, kLeave = kFolds + 1;
  static constexpr int kTensors = 1;
  struct alignas(kPackBytes) Shared {
    Sums<kWidth> sums;
    Parameters parameters;
  };
  using Registers = ThreadState;

  Plan plan;
  const Step* step;
  const int32_t* offsets;
  const T* src;
  const T* residual;
  T* dst;
  Statistics statistics;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& state) const {
    Work& work = state.work;
    const int32_t c = place.thread;
    Pack<T, kWidth>* const held = held_behind<T, kWidth>(shared);
    if constexpr (kPhase == 0) {
      state.step = *step;
      work = work_of(plan, state.step, offsets, 0, kClusters ? place_in_grid(plan, place) : place);
      if (!work.busy || state.step.running != 0) return;
      float shift[kWidth];
      guess_mean(plan, work, src, shift);
      if (work.line == 0) {
        for (int j = 0; j < kWidth; ++j) shared.parameters.shift[work.column * kWidth + j] = shift[j];
      }
      sum_deviations<kClusters ? 2 * kLoads : kLoads, true>(plan, work, src, shift, shared.sums, place.thread, held);
    } else if constexpr (kPhase <= kFolds) {
      if (state.step.running == 0) shared.sums.template fold<kPhase - 1>(plan, work, place.thread);
    } else if constexpr (kPhase == kFolds + 1) {
      if (!work.present || c >= work.channels) return;
      if (state.step.running != 0) {
        statistics.parameters(plan, work, true, c, shared.parameters);
      } else {
        double sum = shared.sums.first(c), squares = shared.sums.second(c);
        if constexpr (kClusters) add_ranks(place, shared, c, sum, squares);
        statistics.finish(plan, work, shared.parameters.shift[c], sum, squares, c, shared.parameters);
      }
    } else if (work.busy) {
      const int32_t places = state.step.running != 0 ? 0 : smaller(plan.held, work.last - work.first);
      normalize_places<true>(plan, work, src, residual, dst, shared.parameters, places, held);
    }
  }
};

/// Backward of a ghost and group in one block, or in the blocks of one cluster; its sums are a part of the workspace.
template <typename T, int kWidth, bool kClusters = false>
struct ResidentBackward {
  static constexpr int kThreads = norm::kThreads, kPhases = kFolds + 4;
  static constexpr int kMeet = kClusters ? kFolds + 1 : -1, kLeave = kFolds + 2;
  static constexpr int kTensors = 2;
  struct alignas(kPackBytes) Shared {
    Sums<kWidth> sums;
    Parameters parameters;
  };
  using Registers = ThreadState;

  Plan plan;
  const Step* step;
  const int32_t* offsets;
  Gradients<T> tensors;
  Statistics statistics;
  void* workspace;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& state) const {
    Work& work = state.work;
    const int32_t c = place.thread;
    Pack<T, kWidth>* const held = held_behind<T, kWidth>(shared);
    if constexpr (kPhase == 0) {
      state.step = *step;
      work = work_of(plan, state.step, offsets, 0, kClusters ? place_in_grid(plan, place) : place);
      if (!work.present || c >= work.channels) return;
      statistics.parameters(plan, work, state.step.running != 0, c, shared.parameters);
    } else if constexpr (kPhase == 1) {
      if (!work.busy) return;
      sum_gradients<kClusters, true>(plan, work, tensors, shared.parameters, shared.sums, place.thread, held);
    } else if constexpr (kPhase <= kFolds + 1) {
      shared.sums.template fold<kPhase - 2>(plan, work, place.thread);
    } else if constexpr (kPhase == kFolds + 2) {
      if (!work.present || c >= work.channels) return;
      double sum_g = shared.sums.first(c), sum_g_deviation = shared.sums.second(c);
      if constexpr (kClusters) add_ranks(place, shared, c, sum_g, sum_g_deviation);
      const double sum_g_xhat = sum_g_deviation * shared.parameters.rstd[c];
      if (work.piece == 0) {
        double* const part = parts_of(plan, workspace, work.ghost) + work.channel;
        part[c] = sum_g;
        part[plan.channels + c] = sum_g_xhat;
      }
      set_gradient(plan, work, state.step, statistics.gamma[work.channel + c], sum_g, sum_g_xhat, c, shared.parameters);
    } else if (work.busy) {
      apply_gradient<true>(plan, work, tensors, shared.parameters, held);
    }
  }
};

template <class Kernel>
int64_t resident_bytes(const Kernel& kernel) {
  return sizeof(typename Kernel::Shared) +
         int64_t{kPackBytes} * Kernel::kTensors * kernel.plan.held * kernel.plan.columns;
}
template <typename T, int kWidth, bool kClusters>
int64_t shared_bytes(const ResidentForward<T, kWidth, kClusters>& kernel) {
  return resident_bytes(kernel);
}
template <typename T, int kWidth, bool kClusters>
int64_t shared_bytes(const ResidentBackward<T, kWidth, kClusters>& kernel) {
  return resident_bytes(kernel);
}
template <typename T, int kWidth>
int32_t blocks_of_cluster(const ResidentForward<T, kWidth, true>& kernel) {
  return kernel.plan.pieces;
}
template <typename T, int kWidth>
int32_t blocks_of_cluster(const ResidentBackward<T, kWidth, true>& kernel) {
  return kernel.plan.pieces;
}

/// What parts [count, 2, C] add up to, in order: gradients of beta and gamma, sums [2, C], or, with `shift`, mean and
/// sum of squared deviations [2, C] of rows [0, offsets[1]). A block takes kSliceWidth channels.
struct AddParts {
  static constexpr int kThreads = norm::kThreads, kPhases = 2;
  static constexpr int32_t kSlices = kThreads / kSliceWidth;
  struct Shared {
    double v[2][kThreads];
  };
  using Registers = ThreadState;  // as the kernels beside it

  int64_t channels;
  const double* parts;
  const int32_t* count;  // null: 1
  int32_t each;          // parts for each of `count`
  const float* shift;    // [C], or null
  const int32_t* offsets;
  int64_t spatial;
  double* sums;  // [2, C], or null
  float* diff_beta;
  float* diff_gamma;

  int32_t blocks() const { return static_cast<int32_t>(divide_up<int64_t>(channels, kSliceWidth)); }

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const int32_t slice = place.thread / kSliceWidth;
    const int64_t c = int64_t{place.block} * kSliceWidth + place.thread % kSliceWidth;
    if constexpr (kPhase == 0) {
      const int64_t all = (count == nullptr ? 1 : *count) * static_cast<int64_t>(each);
      const int64_t size = divide_up<int64_t>(all, kSlices);
      double a = 0, b = 0;
      for (int64_t i = slice * size; c < channels && i < smaller((slice + 1) * size, all); ++i) {
        a += parts[2 * i * channels + c];
        b += parts[(2 * i + 1) * channels + c];
      }
      shared.v[0][place.thread] = a;
      shared.v[1][place.thread] = b;
    } else if (slice == 0 && c < channels) {
      double a = 0, b = 0;
      for (int32_t i = 0; i < kSlices; ++i) {
        a += shared.v[0][i * kSliceWidth + place.thread];
        b += shared.v[1][i * kSliceWidth + place.thread];
      }
      if (diff_beta != nullptr) diff_beta[c] = static_cast<float>(a);
      if (diff_gamma != nullptr) diff_gamma[c] = static_cast<float>(b);
      if (shift != nullptr) {
        const double share = 1.0 / static_cast<double>(int64_t{offsets[1]} * spatial), deviations = b - a * a * share;
        a = static_cast<double>(shift[c]) + a * share;
        b = deviations < 0 ? 0 : deviations;
      }
      if (sums != nullptr) {
        sums[c] = a;
        sums[channels + c] = b;
      }
    }
  }
};

/// Mean and variance of a ghost from those of its micro-batches: means and sums of squared deviations [count, 2, C], of
/// rows[i] rows each, in order (Chan et al. 1983). A thread takes a channel.
struct Combine {
  static constexpr int kThreads = norm::kThreads, kPhases = 1;
  struct Shared {};
  struct Registers {};

  int64_t channels, spatial;
  const double* parts;
  const int32_t* rows;
  const int32_t* count;
  float* mean;
  float* variance;

  int32_t blocks() const { return static_cast<int32_t>(divide_up<int64_t>(channels, kThreads)); }

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared&, Registers&) const {
    const int64_t c = int64_t{place.block} * place.threads + place.thread;
    if (c >= channels) return;
    double total_mean = parts[c], m2 = parts[channels + c];
    double n_a = static_cast<double>(rows[0]) * static_cast<double>(spatial);
    for (int32_t i = 1; i < *count; ++i) {
      const double n_b = static_cast<double>(rows[i]) * static_cast<double>(spatial), n = n_a + n_b;
      const double delta = parts[int64_t{2} * i * channels + c] - total_mean;
      total_mean += delta * (n_b / n);
      m2 += parts[(int64_t{2} * i + 1) * channels + c] + delta * delta * (n_a * (n_b / n));
      n_a = n;
    }
    mean[c] = static_cast<float>(total_mean);
    variance[c] = static_cast<float>(m2 / n_a);
  }
};

/// Two kernels that do not wait for one another in one launch: blocks [0, first_blocks) are the first one's.
template <class First, class Second>
struct Beside {
  static constexpr int kThreads = norm::kThreads;
  static constexpr int kPhases = First::kPhases > Second::kPhases ? First::kPhases : Second::kPhases;
  union Shared {
    typename First::Shared first;
    typename Second::Shared second;
  };
  using Registers = ThreadState;

  First first;
  Second second;
  int32_t first_blocks;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& registers) const {
    if (place.block < first_blocks) {
      place.blocks = first_blocks;
      if constexpr (kPhase < First::kPhases) first.template phase<kPhase>(place, shared.first, registers);
    } else {
      place.block -= first_blocks;
      place.blocks -= first_blocks;
      if constexpr (kPhase < Second::kPhases) second.template phase<kPhase>(place, shared.second, registers);
    }
  }
};

template <class First, class Second>
Beside<First, Second> beside(const First& first, int32_t first_blocks, const Second& second) {
  return {first, second, first_blocks};
}

/// What a plan is for: passes over whole ghosts, or over the part of one that spans micro-batches.
enum class Pass { forward, backward, span };

/// Cuts a place's channels into groups of at most `most` accesses, as even as can be.
inline void set_columns(Plan& plan, int32_t most) {
  const int32_t accesses = plan.channels / plan.width;
  plan.groups = divide_up(accesses, most);
  plan.columns = divide_up(accesses, plan.groups);
  plan.lines = kThreads / plan.columns;
}

/// What a block that keeps places has beside them.
inline int64_t bytes_beside(DataType type) {
  return type == DataType::bf16 ? sizeof(typename ResidentBackward<uint16_t, 8>::Shared)
                                : sizeof(typename ResidentBackward<float, 4>::Shared);
}

/// Makes the plan resident where ghosts of so many places fit into `shared_bytes` of a block.
inline void hold(Plan& plan, int64_t shared_bytes, int64_t places, int64_t tensors) {
  // The widest groups that fit, or narrower ones until there are blocks enough for two on every multiprocessor.
  for (int32_t columns = kColumns; columns >= kSectorColumns; columns /= 2) {
    Plan narrow = plan;
    set_columns(narrow, columns);
    const int64_t bytes = places * narrow.columns * kPackBytes * tensors;
    const int64_t blocks = int64_t{narrow.groups} * plan.ghosts;
    if (bytes_beside(plan.type) + bytes > shared_bytes || (blocks < kMultiprocessors && bytes > kResidentBytes)) {
      continue;
    }
    plan = narrow;
    plan.held = static_cast<int32_t>(places);
    if (blocks >= 2 * kMultiprocessors) return;
  }
}

/// Places that a block of `shared_bytes` can keep, by whole lines of its threads.
inline int64_t room_for(const Plan& plan, int64_t shared_bytes, int64_t tensors) {
  const int64_t line = int64_t{plan.lines} * plan.columns * kPackBytes * tensors;
  return larger<int64_t>(0, shared_bytes - bytes_beside(plan.type)) / line * plan.lines;
}

/// Makes the plan one of clusters if there are pieces of ghosts of so many places that fit into `shared_bytes` of a
/// block, and have `least_bytes` and `least_columns`: of the smallest clusters with enough blocks, the widest groups.
inline bool cluster(Plan& plan, const Capacity& capacity, int64_t shared_bytes, int64_t least_bytes,
                    int32_t least_columns, int64_t places, int64_t tensors) {
  for (int32_t blocks = 2; blocks <= capacity.limits.cluster; blocks *= 2) {
    for (int32_t columns = kColumns; columns >= least_columns; columns /= 2) {
      Plan narrow = plan;
      set_columns(narrow, columns);
      const int64_t piece = divide_up<int64_t>(divide_up<int64_t>(places, blocks), narrow.lines) * narrow.lines;
      const int64_t bytes = piece * narrow.columns * kPackBytes * tensors;
      const bool enough = int64_t{narrow.groups} * plan.ghosts * blocks >= kMultiprocessors || bytes <= kResidentBytes;
      if (piece > room_for(narrow, shared_bytes, tensors) || bytes < least_bytes || !enough) continue;
      plan = narrow;
      plan.pieces = blocks;
      plan.held = static_cast<int32_t>(piece);
      plan.clusters = true;
      return true;
    }
  }
  return false;
}

/// Likewise of the largest clusters, if ghosts do not fit but L2 keeps the rest of those that run at once.
inline void cluster_in_part(Plan& plan, const Capacity& capacity, int64_t places, int64_t tensors) {
  const int32_t blocks = capacity.limits.cluster;
  Plan narrow = plan;
  set_columns(narrow, kSectorColumns);
  const int64_t room = room_for(narrow, capacity.limits.shared_bytes, tensors);
  const int64_t clusters = int64_t{narrow.groups} * plan.ghosts;
  const int64_t at_once = smaller<int64_t>(divide_up<int64_t>(kMultiprocessors, blocks), clusters);
  const int64_t rest = (places - room * blocks) * narrow.columns * kPackBytes * tensors;
  if (room == 0 || rest < 0 || rest * at_once > kWaveBytes || clusters * blocks < kMultiprocessors) return;
  plan = narrow;
  plan.pieces = blocks;
  plan.held = static_cast<int32_t>(room);
  plan.clusters = true;
}

/// Makes the plan one that keeps what it reads, if it can: in blocks of which two share a multiprocessor, or which take
/// one each and have as much to do as it would have in a wave, so that gaps are no more than between waves.
inline void hold_or_cluster(Plan& plan, const Capacity& capacity, int64_t places, int64_t tensors) {
  const int64_t whole = capacity.limits.shared_bytes;
  if (capacity.limits.cluster < 2) return hold(plan, whole, places, tensors);
  const int64_t half = (whole + kReservedBytes) / 2 - kReservedBytes;
  hold(plan, half, places, tensors);
  if (plan.held > 0) return;
  for (const bool alone : {false, true}) {
    for (const int32_t columns : {kDramColumns, kSectorColumns}) {
      const int64_t least = alone ? kWaveBytes / kMultiprocessors : 0;
      if (cluster(plan, capacity, alone ? whole : half, least, columns, places, tensors)) return;
    }
  }
  cluster_in_part(plan, capacity, places, tensors);
}

/// How a norm runs: a fixed table by spec and capacity. Error where a launch cannot have as many blocks.
inline Plan make_plan(const GhostBatchNormSpec& spec, const Capacity& capacity, Pass pass) {
  const char* const kernel = "ghost_batch_norm";
  check_kernel_type(kernel, spec.type);
  check_range(kernel, "places", spec.batch * spec.spatial(), 1, kMostPlaces);
  check_range(kernel, "channels", spec.channels, 1, kMostPlaces);
  check_range(kernel, "ghosts", capacity.ghosts, 1, spec.batch);
  check_range(kernel, "rows of a ghost", capacity.ghost_rows, 1, spec.batch);
  Plan plan{};
  plan.epsilon = spec.epsilon;
  plan.spatial = static_cast<int32_t>(spec.spatial());
  plan.channels = static_cast<int32_t>(spec.channels);
  plan.relu = spec.relu;
  plan.type = spec.type;
  plan.ghosts = capacity.ghosts;
  const int64_t size = size_of(spec.type), pack = kPackBytes / size;
  plan.width = static_cast<int32_t>(capacity.aligned && spec.channels % pack == 0 ? pack : 1);

  const int64_t places = int64_t{capacity.ghost_rows} * plan.spatial;
  const int64_t tensors = pass == Pass::backward ? 2 : 1;  // that are read twice: x, and diff_dst
  const int64_t ghost_bytes = places * plan.channels * size * tensors;
  plan.wave = static_cast<int32_t>(larger<int64_t>(1, smaller<int64_t>(kWaveBytes / ghost_bytes, plan.ghosts)));
  plan.streams = plan.wave < plan.ghosts;
  plan.pieces = 1;
  if (pass != Pass::span && plan.width > 1) hold_or_cluster(plan, capacity, places, tensors);
  if (plan.held > 0) {
    plan.piece_places = plan.lines;  // at least: pieces are what a ghost has, cut evenly
  } else {
    set_columns(plan, plan.width > 1 ? kColumns : kChannels);
    // The parts that each block adds up, 16 bytes a channel, stay within a quarter of what it reads.
    const auto most = static_cast<int64_t>(std::sqrt(static_cast<double>(places * size / 64)));
    const int64_t pieces = larger<int64_t>(1, smaller(divide_up<int64_t>(places, plan.lines * kPiecePlaces), most));
    plan.pieces = static_cast<int32_t>(pieces);
    plan.piece_places = static_cast<int32_t>(divide_up<int64_t>(divide_up(places, pieces), plan.lines) * plan.lines);
  }
  check_positive(kernel, "blocks", int64_t{plan.ghosts} * plan.pieces * plan.groups);
  return plan;
}

/// Device memory of a pass, roles as in ghostbatch/ghost_batch_norm.h. What a pass has no use for is null.
struct Tensors {
  const Step* step;
  const int32_t* offsets;  // [ghosts + 1]
  const void* src;
  const void* residual;
  void* dst;
  const void* diff_dst;
  const void* diff_dst2;
  void* diff_residual;
  void* diff_src;
  float* diff_beta;
  float* diff_gamma;
  Statistics statistics;
  void* workspace;  // Plan::workspace_bytes
};

/// The kernels of one type and access, in the order of their launches: `run(kernel, blocks)` enqueues each.
template <typename T, int kWidth, class Run>
struct Passes {
  const Plan& plan;
  const Tensors& tensors;
  const Run& run;

  void forward() const {
    if constexpr (kWidth > 1) {
      if (plan.held > 0 && plan.clusters) return run_resident_forward<true>();
      if (plan.held > 0) return run_resident_forward<false>();
    }
    for (int32_t ghost = 0; ghost < plan.ghosts + plan.wave; ghost += plan.wave) {
      run_forward(wave(ghost - plan.wave), tensors.workspace, wave(ghost));
    }
  }

  void normalize() const { run_forward(Ghosts{0, plan.ghosts}, nullptr, Ghosts{}); }

  void backward() const {
    const AddParts total = add_parts(&tensors.step->ghosts, nullptr);
    if constexpr (kWidth > 1) {
      if (plan.held > 0) {
        if (plan.clusters) {
          run_resident_backward<true>();
        } else {
          run_resident_backward<false>();
        }
        run(total, total.blocks());
        return;
      }
    }
    const Sources pieces{parts_of(plan, tensors.workspace, 0), plan.pieces};
    for (int32_t ghost = 0; ghost < plan.ghosts + plan.wave; ghost += plan.wave) {
      run_backward(ghost < plan.ghosts ? 0 : total.blocks(), wave(ghost - plan.wave), pieces, wave(ghost));
    }
  }

  /// To `partial` [2, C]: mean and sum of squared deviations of rows [0, offsets[1]).
  void statistics(double* partial) const {
    run_forward(Ghosts{}, nullptr, Ghosts{0, 1});
    AddParts parts = add_parts(nullptr, partial);
    parts.shift = shifts_of(plan, tensors.workspace, 0);
    run(parts, parts.blocks());
  }

  /// To `sums` [2, C]: sum g and sum g xhat of rows [0, offsets[1]).
  void backward_sums(double* sums) const {
    run_backward(0, Ghosts{}, Sources{}, Ghosts{0, 1});
    const AddParts parts = add_parts(nullptr, sums);
    run(parts, parts.blocks());
  }

  void backward_apply(const double* sums) const { run_backward(0, Ghosts{0, 1}, Sources{sums, 1}, Ghosts{}); }

 private:
  /// Ghosts [first, first + count).
  struct Ghosts {
    int32_t first, count;
  };
  /// Sums [ghosts, count, 2, C].
  struct Sources {
    const double* parts;
    int32_t count;
  };

  Ghosts wave(int32_t first) const {
    if (first < 0 || first >= plan.ghosts) return {};
    return {first, smaller(plan.wave, plan.ghosts - first)};
  }
  template <bool kClusters>
  void run_resident_forward() const {
    run(ResidentForward<T, kWidth, kClusters>{plan, tensors.step, tensors.offsets, src(), residual(), dst(),
                                              tensors.statistics},
        plan.blocks(plan.ghosts));
  }
  template <bool kClusters>
  void run_resident_backward() const {
    run(ResidentBackward<T, kWidth, kClusters>{plan, tensors.step, tensors.offsets, gradients(), tensors.statistics,
                                               tensors.workspace},
        plan.blocks(plan.ghosts));
  }
  void run_forward(Ghosts normalized, void* workspace, Ghosts summed) const {
    const Normalize<T, kWidth> normalize{plan,  tensors.step,       tensors.offsets, src(),           residual(),
                                         dst(), tensors.statistics, workspace,       normalized.first};
    const SumStatistics<T, kWidth> sum{plan, tensors.step, tensors.offsets, src(), tensors.workspace, summed.first};
    const int32_t blocks = plan.blocks(normalized.count);
    run(beside(normalize, blocks, sum), blocks + plan.blocks(summed.count));
  }
  void run_backward(int32_t total_blocks, Ghosts applied, Sources sources, Ghosts summed) const {
    const AddParts total = add_parts(&tensors.step->ghosts, nullptr);
    const ApplyGradients<T, kWidth> apply{plan,          tensors.step,       tensors.offsets,
                                          gradients(),   tensors.statistics, sources.parts,
                                          sources.count, applied.first};
    const SumGradients<T, kWidth> sum{
        plan, tensors.step, tensors.offsets, gradients(), tensors.statistics, tensors.workspace, summed.first};
    const int32_t blocks = plan.blocks(applied.count);
    run(beside(total, total_blocks, beside(apply, blocks, sum)), total_blocks + blocks + plan.blocks(summed.count));
  }
  /// Of the pieces of `count` ghosts, or of one, to the gradients of the parameters, or to `sums`.
  AddParts add_parts(const int32_t* count, double* sums) const {
    const double* const parts = parts_of(plan, tensors.workspace, 0);
    return {plan.channels,
            parts,
            count,
            plan.parts(),
            nullptr,
            tensors.offsets,
            plan.spatial,
            sums,
            sums == nullptr ? tensors.diff_beta : nullptr,
            sums == nullptr ? tensors.diff_gamma : nullptr};
  }
  const T* src() const { return static_cast<const T*>(tensors.src); }
  const T* residual() const { return static_cast<const T*>(tensors.residual); }
  T* dst() const { return static_cast<T*>(tensors.dst); }
  Gradients<T> gradients() const {
    return {src(),
            dst(),
            static_cast<const T*>(tensors.diff_dst),
            static_cast<const T*>(tensors.diff_dst2),
            static_cast<T*>(tensors.diff_residual),
            static_cast<T*>(tensors.diff_src)};
  }
};

/// See the functions on a stream below.
template <class Run>
void combine(const Plan& plan, const double* partials, const int32_t* rows, const int32_t* count, float* mean,
             float* variance, const Run& run) {
  const Combine kernel{plan.channels, plan.spatial, partials, rows, count, mean, variance};
  run(kernel, kernel.blocks());
}
template <class Run>
void combine_sums(const Plan& plan, const double* parts, const int32_t* count, double* sums, float* diff_beta,
                  float* diff_gamma, const Run& run) {
  const AddParts kernel{plan.channels, parts, count, 1, nullptr, nullptr, plan.spatial, sums, diff_beta, diff_gamma};
  run(kernel, kernel.blocks());
}

/// body(Passes) of the plan's type and access.
template <class Run, class Body>
void with_passes(const Plan& plan, const Tensors& tensors, const Run& run, const Body& body) {
  if (plan.type == DataType::bf16) {
    if (plan.width > 1) {
      body(Passes<uint16_t, 8, Run>{plan, tensors, run});
    } else {
      body(Passes<uint16_t, 1, Run>{plan, tensors, run});
    }
  } else if (plan.width > 1) {
    body(Passes<float, 4, Run>{plan, tensors, run});
  } else {
    body(Passes<float, 1, Run>{plan, tensors, run});
  }
}

// On a stream, by ghost_batch_norm.cu: what is enqueued may be captured, and replayed after `Step`, offsets and tensors
// have changed. Error where CUDA refuses a launch.

/// Statistics of each ghost (unless Step::running), written, and dst. Plan of Pass::forward.
void forward(const Plan& plan, const Tensors& tensors, Stream stream);
/// dst from given statistics: those of the ghosts, or the running ones. Any plan.
void normalize(const Plan& plan, const Tensors& tensors, Stream stream);
/// diff_src, diff_residual, diff_gamma and diff_beta. Plan of Pass::backward.
void backward(const Plan& plan, const Tensors& tensors, Stream stream);

// A ghost that spans micro-batches, with plans of Pass::span and offsets {0, rows}.

/// partial [2, C] in f64: mean and sum of squared deviations.
void statistics(const Plan& plan, const Tensors& tensors, double* partial, Stream stream);
/// Mean and variance [C] from `count` partials [count, 2, C] of rows[i] rows each, in order.
void combine(const Plan& plan, const double* partials, const int32_t* rows, const int32_t* count, float* mean,
             float* variance, Stream stream);
/// sums [2, C] in f64: sum g, sum g xhat; writes diff_residual.
void backward_sums(const Plan& plan, const Tensors& tensors, double* sums, Stream stream);
/// Sums [2, C], diff_beta and diff_gamma [C] from those of `count` micro-batches [count, 2, C], in order.
void combine_sums(const Plan& plan, const double* parts, const int32_t* count, double* sums, float* diff_beta,
                  float* diff_gamma, Stream stream);
/// diff_src from sums over all Step::ghost_rows rows of the ghost.
void backward_apply(const Plan& plan, const Tensors& tensors, const double* sums, Stream stream);

}  // namespace ghostbatch::cuda::norm
