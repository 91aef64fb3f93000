#pragma once

namespace ghostbatch {

/// A step that satisfies the strong Wolfe conditions, f <= f0 + 1e-3 step slope0 and |slope| <= 0.9 |slope0|, by the
/// search of More & Thuente (1994, ACM TOMS 20:286), which keeps an interval of such steps and fits cubics. The
/// caller evaluates f and its slope at `step()` until the state is other than `evaluate`.
class LineSearch {
 public:
  enum class State {
    evaluate,
    done,   // `step()`, which was evaluated last, is to be taken: both conditions hold, or it is the longest step, or
            // the best one of an interval that is too narrow to go on
    failed  // no step does better than 0
  };

  /// From f and a negative slope at 0; the first step lies in (0, longest].
  void start(double f, double slope, double step, double longest);
  /// With f and slope at `step()`.
  State advance(double f, double slope);
  /// Where f or its gradient is not finite at `step()`: goes most of the way back, and no more so far.
  void shorten();
  double step() const { return step_; }

 private:
  struct Point {
    double step, f, slope;
  };
  struct Cubic {
    double ratio;  // (minimizer - a.step) / (b.step - a.step)
    double gamma;  // 0: no minimizer
  };
  static Cubic fit(const Point& a, const Point& b);
  double next(Point& best, Point& other, const Point& trial);

  double f_ = 0, slope_ = 0, longest_ = 0;
  Point best_{}, other_{};  // ends of the interval, once it is bracketed
  bool bracketed_ = false;
  bool second_stage_ = false;           // a step with enough decrease and a slope of at least 0 was seen
  bool last_ = false;                   // `step_` is `best_` again, and to be taken
  double width_ = 0, width_before_ = 0;  // of the interval
  double low_ = 0, high_ = 0;           // where the next step lies
  double step_ = 0;
};

}  // namespace ghostbatch
