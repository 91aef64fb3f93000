#include "common/line_search.h"

#include <algorithm>
#include <cmath>

namespace ghostbatch {
namespace {

constexpr double kDecrease = 1e-3;   // ftol
constexpr double kCurvature = 0.9;   // gtol
constexpr double kResolution = 0.1;  // xtol: an interval this narrow, relative to its end, is not searched further

}  // namespace

void LineSearch::start(double f, double slope, double step, double longest) {
  f_ = f;
  slope_ = slope;
  longest_ = longest;
  best_ = other_ = {0, f, slope};
  bracketed_ = second_stage_ = last_ = false;
  width_ = longest;
  width_before_ = 2 * longest;
  low_ = 0;
  high_ = 5 * step;
  step_ = step;
}

LineSearch::State LineSearch::advance(double f, double slope) {
  if (last_) return State::done;
  const Point trial{step_, f, slope};
  const double enough_slope = kDecrease * slope_, enough = f_ + step_ * enough_slope;
  if (f <= enough && slope >= 0) second_stage_ = true;
  if (f <= enough && std::abs(slope) <= -kCurvature * slope_) return State::done;
  if (step_ == longest_ && f <= enough && slope <= enough_slope) return State::done;

  // Until a step has enough decrease the search goes for f less the decrease that is asked for (Section 4).
  if (!second_stage_ && f <= best_.f && f > enough) {
    const auto shifted = [&](const Point& p, double sign) {
      return Point{p.step, p.f - sign * p.step * enough_slope, p.slope - sign * enough_slope};
    };
    Point best = shifted(best_, 1), other = shifted(other_, 1);
    step_ = next(best, other, shifted(trial, 1));
    best_ = shifted(best, -1);
    other_ = shifted(other, -1);
  } else {
    step_ = next(best_, other_, trial);
  }

  if (bracketed_) {
    const double width = std::abs(other_.step - best_.step);
    if (width >= 0.66 * width_before_) step_ = best_.step + 0.5 * (other_.step - best_.step);
    width_before_ = width_;
    width_ = width;
    low_ = std::min(best_.step, other_.step);
    high_ = std::max(best_.step, other_.step);
  } else {
    low_ = step_ + 1.1 * (step_ - best_.step);
    high_ = step_ + 4 * (step_ - best_.step);
  }
  step_ = std::isfinite(step_) ? std::clamp(step_, 0.0, longest_) : 0.1 * trial.step;  // where a fit overflows
  if (bracketed_ && (step_ <= low_ || step_ >= high_ || high_ - low_ <= kResolution * high_)) {
    step_ = best_.step;
    last_ = true;
    if (step_ == 0) return State::failed;
    if (step_ == trial.step) return State::done;
  }
  return State::evaluate;
}

void LineSearch::shorten() {
  // Strictly inside of what failed, so that no step is taken for the longest that was never evaluated.
  if (step_ > best_.step) longest_ = std::min(longest_, best_.step + 0.5 * (step_ - best_.step));
  step_ = best_.step + 0.1 * (step_ - best_.step);
  low_ = step_;
  high_ = std::max(step_, longest_);
}

LineSearch::Cubic LineSearch::fit(const Point& a, const Point& b) {
  const double theta = 3 * (a.f - b.f) / (b.step - a.step) + a.slope + b.slope;
  const double scale = std::max({std::abs(theta), std::abs(a.slope), std::abs(b.slope)});
  const double square = theta / scale * (theta / scale) - a.slope / scale * (b.slope / scale);
  double gamma = scale * std::sqrt(std::max(0.0, square));
  if (b.step < a.step) gamma = -gamma;
  return {((gamma - a.slope) + theta) / (((gamma - a.slope) + gamma) + b.slope), gamma};
}

/// The next step, and the interval that `trial` leaves (Section 4: the four cases, and the algorithm that updates).
double LineSearch::next(Point& best, Point& other, const Point& trial) {
  const double distance = trial.step - best.step;  // of either sign
  const bool turned = trial.slope * std::copysign(1.0, best.slope) < 0;
  const auto from_trial = [&](double step) { return std::abs(step - trial.step); };
  const auto nearer = [&](double a, double b) { return from_trial(a) < from_trial(b) ? a : b; };
  const auto farther = [&](double a, double b) { return from_trial(a) > from_trial(b) ? a : b; };
  const double secant = trial.step - trial.slope / (trial.slope - best.slope) * distance;
  double result;
  if (trial.f > best.f) {
    const double cubic = best.step + fit(best, trial).ratio * distance;
    const double quadratic = best.step + best.slope / ((best.f - trial.f) / distance + best.slope) / 2 * distance;
    const bool cubic_nearer = std::abs(cubic - best.step) < std::abs(quadratic - best.step);
    result = cubic_nearer ? cubic : cubic + (quadratic - cubic) / 2;
    bracketed_ = true;
  } else if (turned) {
    const double cubic = trial.step - fit(trial, best).ratio * distance;
    result = farther(cubic, secant);
    bracketed_ = true;
  } else if (std::abs(trial.slope) < std::abs(best.slope)) {
    const Cubic found = fit(trial, best);
    double cubic = distance > 0 ? high_ : low_;
    if (found.ratio < 0 && found.gamma != 0) cubic = trial.step - found.ratio * distance;
    if (bracketed_) {
      result = nearer(cubic, secant);
      const double limit = trial.step + 0.66 * (other.step - trial.step);
      result = distance > 0 ? std::min(limit, result) : std::max(limit, result);
    } else {
      result = std::clamp(farther(cubic, secant), low_, high_);
    }
  } else if (bracketed_) {
    result = trial.step + fit(trial, other).ratio * (other.step - trial.step);
  } else {
    result = distance > 0 ? high_ : low_;
  }

  if (trial.f > best.f) {
    other = trial;
  } else {
    if (turned) other = best;
    best = trial;
  }
  return result;
}

}  // namespace ghostbatch
