// Softmax, cross-entropy, its gradient and the number of correct rows: see SoftmaxCrossEntropy. A team of up to 32
// threads takes a row, in three phases: its largest logit, the sums over its classes, loss and gradient.
//
// Reads logits once from device memory (twice more from the first cache), writes the gradient once: [4096, 10] in bf16
// is 160 KB, far below what a launch costs, so that accesses are as narrow as the elements. Losses are doubles, added
// up in row order by a second launch of one block: the same bits for any launch.
#pragma once

#include <cmath>

#include "cuda/grid.h"
#include "cuda/pack.h"
#include "ghostbatch/elementwise.h"

namespace ghostbatch::cuda {

/// What changes from step to step, in device memory.
struct LossState {
  double label_smoothing;
  double scale;  // of the gradient
};

/// losses [rows]: of each row, weighted, and whether it is correct; diff_logits where it is not null.
template <typename T>
struct SoftmaxRows {
  static constexpr int kPhases = 3, kThreads = 256, kMostTeam = 32;
  struct Shared {
    float largest[kThreads];
    int32_t place[kThreads];  // of the first largest; -1: a thread without classes
    double exponentials[kThreads];
    double distances[kThreads];
  };
  struct Registers {
    float largest, label_logit;
    int32_t place;
  };

  const T* logits;        // [most_rows, classes]
  const int32_t* labels;  // [most_rows]
  const float* weights;   // [batch], or null
  T* diff_logits;         // as logits, or null
  LossResult* losses;
  const LossState* state;
  Extent extent;  // row_elements: classes
  int32_t team;   // threads a row, a power of two

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& registers) const {
    const int64_t row = thread_of(place) / team;
    const int32_t lane = place.thread % team, first_thread = place.thread - lane;
    const auto classes = static_cast<int32_t>(extent.row_elements);
    if (row * classes >= extent.elements()) return;
    const T* const x = logits + row * classes;
    if constexpr (kPhase == 0) {
      Best best{-INFINITY, -1};
      for (int32_t c = lane; c < classes; c += team) best.meet(to_float(x[c]), c);
      shared.largest[place.thread] = best.value;
      shared.place[place.thread] = best.place;
    } else if constexpr (kPhase == 1) {
      Best best{-INFINITY, -1};
      for (int32_t i = first_thread; i < first_thread + team; ++i) {
        if (shared.place[i] >= 0) best.meet(shared.largest[i], shared.place[i]);
      }
      registers.largest = best.value;
      registers.place = best.place;
      registers.label_logit = to_float(x[labels[row]]);  // before the gradient, which may lie where the logits do
      double exponentials = 0, distances = 0;
      for (int32_t c = lane; c < classes; c += team) {
        const float distance = to_float(x[c]) - best.value;
        exponentials += static_cast<double>(std::exp(distance));
        distances += static_cast<double>(distance);
      }
      shared.exponentials[place.thread] = exponentials;
      shared.distances[place.thread] = distances;
    } else {
      double sum = 0, distances = 0;
      for (int32_t i = first_thread; i < first_thread + team; ++i) {
        sum += shared.exponentials[i];
        distances += shared.distances[i];
      }
      finish(row, lane, x, registers, sum, distances);
    }
  }

 private:
  /// The first largest of what it met; NaN once it met one.
  struct Best {
    float value;
    int32_t place;

    GHOSTBATCH_HD void meet(float other, int32_t at) {
      if (value != value) return;
      if (place < 0 || other > value || other != other || (other == value && at < place)) value = other, place = at;
    }
  };

  GHOSTBATCH_HD void finish(int64_t row, int32_t lane, const T* x, const Registers& registers, double sum,
                            double distances) const {
    const int64_t classes = extent.row_elements;
    const int32_t label = labels[row];
    const double smoothing = state->label_smoothing;
    const double weight =
        weights == nullptr ? 1.0
                           : static_cast<double>(weights[row + (extent.rows == nullptr ? 0 : extent.rows->first)]);
    const double label_distance =
        static_cast<double>(registers.label_logit) - static_cast<double>(registers.largest);
    if (lane == 0) {
      double loss = std::log(sum) - (1 - smoothing) * label_distance;
      if (smoothing > 0) loss -= smoothing * distances / static_cast<double>(classes);
      losses[row].loss = weight * loss;
      // A row with NaN has no largest.
      losses[row].correct = registers.largest == registers.largest && registers.place == label ? 1 : 0;
    }
    if (diff_logits == nullptr) return;
    const double factor = state->scale * weight, share = smoothing / static_cast<double>(classes);
    const auto of_exponential = static_cast<float>(factor / sum), smooth = static_cast<float>(factor * share);
    for (auto c = static_cast<int64_t>(lane); c < classes; c += team) {
      float g = std::exp(to_float(x[c]) - registers.largest) * of_exponential - smooth;
      if (c == label) {  // in double: p - t cancels where p is near 1
        g = static_cast<float>(factor * (std::exp(label_distance) / sum - ((1 - smoothing) + share)));
      }
      diff_logits[row * classes + c] = from_float<T>(g);
    }
  }
};

template <typename T>
Launch<SoftmaxRows<T>> softmax_rows(const T* logits, const int32_t* labels, const float* weights, T* diff_logits,
                                    LossResult* losses, const LossState* state, const Extent& extent) {
  constexpr int kThreads = SoftmaxRows<T>::kThreads;
  int32_t team = 1;
  while (team < SoftmaxRows<T>::kMostTeam && 4 * team < extent.row_elements) team *= 2;
  return {{logits, labels, weights, diff_logits, losses, state, extent, team},
          divide_up(extent.most_rows * team, kThreads),
          kThreads};
}

/// result = the sum of losses [rows]: of 32 rows in order, then of these runs in order. One block of threads.
struct LossTotal {
  static constexpr int kPhases = 2, kThreads = 256, kRun = 32;
  struct Shared {
    double loss[kThreads];
    int64_t correct[kThreads];
  };
  struct Registers {};

  const LossResult* losses;
  Extent extent;
  LossResult* result;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    if constexpr (kPhase == 0) {
      const int64_t rows = extent.elements() / extent.row_elements, runs = (rows + kRun - 1) / kRun;
      const int64_t share = (runs + kThreads - 1) / kThreads;
      double loss = 0;
      int64_t correct = 0;
      for (int64_t run = place.thread * share; run < runs && run < (place.thread + 1) * share; ++run) {
        double of_run = 0;
        for (int64_t row = run * kRun; row < (run + 1) * kRun && row < rows; ++row) {
          of_run += losses[row].loss;
          correct += losses[row].correct;
        }
        loss += of_run;
      }
      shared.loss[place.thread] = loss;
      shared.correct[place.thread] = correct;
    } else if (place.thread == 0) {
      double loss = 0;
      int64_t correct = 0;
      for (int i = 0; i < kThreads; ++i) {
        loss += shared.loss[i];
        correct += shared.correct[i];
      }
      result->loss = loss;
      result->correct = correct;
    }
  }
};

inline Launch<LossTotal> loss_total(const LossResult* losses, const Extent& extent, LossResult* result) {
  return {{losses, extent, result}, 1, LossTotal::kThreads};
}

/// SoftmaxCrossEntropy::run on `stream`, with everything in device memory: logits [most_rows, classes] f32 or bf16,
/// labels [most_rows], each in [0, classes), which is checked where samples get them; weights [batch] or null, taken
/// from RowRange::first on; diff_logits may be null, or logits; losses [most_rows] is a workspace. `result` is
/// overwritten.
void softmax_cross_entropy(DataType type, const void* logits, const int32_t* labels, const float* weights,
                           void* diff_logits, LossResult* losses, LossResult* result, const LossState* state,
                           const Extent& extent, Stream stream);

}  // namespace ghostbatch::cuda
