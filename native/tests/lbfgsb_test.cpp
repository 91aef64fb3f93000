// L-BFGS-B: known minima in boxes, every step against the algorithm spelled out, and the same bits on any lanes.
#include "ghostbatch/lbfgsb.h"

#include <algorithm>
#include <deque>
#include <functional>

#include "common/line_search.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

using Vector = std::vector<double>;
/// Value at x; writes the gradient, of x's size.
using Function = std::function<double(const Vector& x, Vector& gradient)>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  Function f;
  Vector start, lower, upper;
};

struct Outcome {
  LbfgsbStatus status = LbfgsbStatus::evaluate;
  Vector x;
  double f = 0;
  std::vector<Vector> evaluated;
  std::string reason;
  int64_t iterations = 0, evaluations = 0;
  double projected_gradient_norm = 0;
};

View view(Vector& x) {
  return View(x.data(), static_cast<int64_t>(x.size()), DataType::f64);
}

Outcome minimize(Lbfgsb& solver, const Problem& problem, Lanes* lanes = nullptr, int64_t iterations = 1000) {
  Vector x = problem.start, lower = problem.lower, upper = problem.upper, gradient(x.size());
  Outcome run;
  solver.start(lanes, view(x), view(lower), view(upper));
  do {
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] >= lower[i] && x[i] <= upper[i]) continue;
      ADD_FAILURE() << "x[" << i << "] = " << x[i] << " outside of [" << lower[i] << ", " << upper[i] << "]";
      break;
    }
    if (x.size() <= 10000) run.evaluated.push_back(x);
    const double f = problem.f(x, gradient);
    run.status = solver.advance(lanes, f, view(gradient), view(x));
  } while ((run.status == LbfgsbStatus::evaluate || run.status == LbfgsbStatus::iterated) &&
           solver.iterations() < iterations);
  solver.best(lanes, view(x));
  run.x = x;
  run.f = solver.value();
  run.reason = solver.reason();
  run.iterations = solver.iterations();
  run.evaluations = solver.evaluations();
  run.projected_gradient_norm = solver.projected_gradient_norm();
  return run;
}

Outcome minimize(const Problem& problem, LbfgsbSpec spec, Lanes* lanes = nullptr, int64_t iterations = 1000) {
  return minimize(*own(Lbfgsb::create(static_cast<int64_t>(problem.start.size()), spec)), problem, lanes, iterations);
}

LbfgsbSpec to_gradient(double pgtol) {
  LbfgsbSpec spec;
  spec.pgtol = pgtol;
  return spec;
}

/// 1/2 (x - x*) H (x - x*) + g* (x - x*), whose minimum in the box is 0 at x*: -g* leads out of it where x* is on a
/// bound.
Problem quadratic(int64_t n, bool rotated, uint32_t seed) {
  Random random(seed);
  const auto size = static_cast<size_t>(n);
  Problem problem{{}, Vector(size), Vector(size), Vector(size)};
  Vector best(size), slope(size), curvature(size), normal(size);
  double length = 0;
  for (size_t i = 0; i < size; ++i) {
    problem.lower[i] = random.value();
    problem.upper[i] = problem.lower[i] + 0.5 + random.value(0.25, 0.25);
    problem.start[i] = 0.5 * (problem.lower[i] + problem.upper[i]);
    curvature[i] = std::exp2(3 * random.value());
    normal[i] = random.nonzero();
    length += normal[i] * normal[i];
    const int64_t kind = random.below(3);
    best[i] = kind == 0 ? problem.lower[i] : kind == 1 ? problem.upper[i] : problem.start[i] + random.value(0.1);
    slope[i] = kind == 2 ? 0 : (kind == 0 ? 1 : -1) * (1.5 + random.value());
  }
  for (double& component : normal) component /= std::sqrt(length);
  // H = Q diag(curvature) Q, Q a reflection or the identity.
  const auto reflect = [=](Vector& v) {
    if (!rotated) return;
    const double along = 2 * inner_product(v, normal);
    for (size_t i = 0; i < v.size(); ++i) v[i] -= along * normal[i];
  };
  problem.f = [=](const Vector& x, Vector& gradient) {
    Vector z(size);
    for (size_t i = 0; i < size; ++i) z[i] = x[i] - best[i];
    gradient = z;
    reflect(gradient);
    for (size_t i = 0; i < size; ++i) gradient[i] *= curvature[i];
    reflect(gradient);
    const double value = 0.5 * inner_product(z, gradient) + inner_product(z, slope);
    for (size_t i = 0; i < size; ++i) gradient[i] += slope[i];
    return value;
  };
  return problem;
}

double rosenbrock(const Vector& x, Vector& gradient) {
  std::fill(gradient.begin(), gradient.end(), 0.0);
  double value = 0;
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
    value += 100 * a * a + b * b;
    gradient[i] += -400 * x[i] * a - 2 * b;
    gradient[i + 1] += 200 * a;
  }
  return value;
}

TEST(Lbfgsb, RefusesBadArguments) {
  LbfgsbSpec spec;
  expect_error([&] { Lbfgsb::create(0, spec); }, "[lbfgsb] needs n in [1,");
  expect_error([&] { Lbfgsb::create(int64_t{1} << 31, spec); }, "n in [1, 2147483647]");
  spec.memory = 64;
  expect_error([&] { Lbfgsb::create(int64_t{2147483647}, spec); }, "bytes free");
  spec.memory = 0;
  expect_error([&] { Lbfgsb::create(2, spec); }, "memory in [1, 64], got 0");
  spec.memory = 65;
  expect_error([&] { Lbfgsb::create(2, spec); }, "memory in [1, 64], got 65");
  spec = LbfgsbSpec();
  spec.initial_scale = 0;
  expect_error([&] { Lbfgsb::create(2, spec); }, "a finite initial_scale above 0, got 0");
  spec = to_gradient(NAN);
  expect_error([&] { Lbfgsb::create(2, spec); }, "a finite pgtol of at least 0, got nan");
  spec = LbfgsbSpec();
  spec.factr = -1;
  expect_error([&] { Lbfgsb::create(2, spec); }, "a finite factr of at least 0, got -1");
  spec = LbfgsbSpec();
  spec.max_line_search = 0;
  expect_error([&] { Lbfgsb::create(2, spec); }, "max_line_search in [1,");

  const auto solver = own(Lbfgsb::create(2, LbfgsbSpec()));
  Vector x{1, 2}, lower{0, 0}, upper{3, 3}, gradient{1, 1}, three(3);
  std::vector<float> floats(2);
  const View narrow(floats.data(), 2, DataType::f32);
  EXPECT_TRUE(std::isnan(solver->value()));
  expect_error([&] { solver->advance(nullptr, 1, view(gradient), view(x)); }, "needs start before advance, got none");
  expect_error([&] { solver->best(nullptr, view(x)); }, "needs start before best, got none");
  expect_error([&] { solver->start(nullptr, view(three), view(lower), view(upper)); }, "x of 2 f64, got 3 f64");
  expect_error([&] { solver->start(nullptr, view(x), narrow, view(upper)); }, "lower of 2 f64, got 2 f32");
  expect_error([&] { solver->start(nullptr, view(x), view(lower), View(nullptr, 2, DataType::f64)); },
               "upper with memory, got null");
  lower[1] = 4;
  expect_error([&] { solver->start(nullptr, view(x), view(lower), view(upper)); }, "lower <= upper");
  expect_error([&] { solver->start(nullptr, view(x), view(lower), view(upper)); }, "got 4 and 3 at 1");
  lower[1] = NAN;
  expect_error([&] { solver->start(nullptr, view(x), view(lower), view(upper)); }, "got nan and 3 at 1");
  lower[1] = upper[1] = kInfinity;
  expect_error([&] { solver->start(nullptr, view(x), view(lower), view(upper)); }, "got inf and inf at 1");
  lower[1] = 0;
  x[1] = NAN;
  expect_error([&] { solver->start(nullptr, view(x), view(lower), view(upper)); }, "a finite x, got nan at 1");
  x[1] = kInfinity;
  expect_error([&] { solver->start(nullptr, view(x), view(lower), view(upper)); }, "a finite x, got inf at 1");
  expect_error([&] { solver->advance(nullptr, 1, view(gradient), view(x)); }, "needs start before advance, got none");

  x = {-1, 2};
  solver->start(nullptr, view(x), view(lower), view(upper));
  EXPECT_EQ(x, (Vector{0, 2}));
  expect_error([&] { solver->advance(nullptr, NAN, view(gradient), view(x)); }, "a finite value at the first point");
  expect_error([&] { solver->advance(nullptr, kInfinity, view(gradient), view(x)); }, "first point, got inf");
  gradient[1] = NAN;
  expect_error([&] { solver->advance(nullptr, 1, view(gradient), view(x)); },
               "a finite gradient at the first point, got nan at 1");
  expect_error([&] { solver->advance(nullptr, 1, view(three), view(x)); }, "gradient of 2 f64, got 3 f64");
  expect_error([&] { solver->advance(nullptr, 1, view(gradient), narrow); }, "x of 2 f64, got 2 f32");
  gradient = {1, 0};  // at a bound and leading out of it
  EXPECT_EQ(solver->advance(nullptr, 1, view(gradient), view(x)), LbfgsbStatus::converged_gradient);
  EXPECT_STREQ(solver->reason(), "the projected gradient, 0, is at most 0");
  expect_error([&] { solver->advance(nullptr, 1, view(gradient), view(x)); },
               "got a search that is over: the projected gradient, 0");
}

TEST(Lbfgsb, FindsTheMinimumOfQuadraticsInBoxes) {
  for (const bool rotated : {false, true}) {
    for (const int64_t n : {1, 2, 5, 40, 500}) {
      for (const uint32_t seed : {1, 2, 3}) {
        SCOPED_TRACE(::testing::Message() << (rotated ? "rotated" : "diagonal") << " n=" << n << " seed " << seed);
        const Problem problem = quadratic(n, rotated, seed);
        const Outcome run = minimize(problem, to_gradient(1e-9));
        EXPECT_EQ(run.status, LbfgsbStatus::converged_gradient) << run.reason;
        EXPECT_LE(run.projected_gradient_norm, 1e-9);
        EXPECT_NEAR(run.f, 0, 1e-12);
        EXPECT_LE(run.iterations, 100);
        // Bounds that hold the minimum are met exactly, and so are the others not.
        Vector gradient(run.x.size());
        problem.f(run.x, gradient);
        for (size_t i = 0; i < run.x.size(); ++i) {
          if (gradient[i] > 1e-6) {
            EXPECT_EQ(run.x[i], problem.lower[i]) << i;
          }
          if (gradient[i] < -1e-6) {
            EXPECT_EQ(run.x[i], problem.upper[i]) << i;
          }
        }
      }
    }
  }
}

TEST(Lbfgsb, FindsTheMinimumOfRosenbrock) {
  const Vector nowhere(2, kInfinity);
  const Outcome unbounded = minimize({rosenbrock, {-1.2, 1}, Vector(2, -kInfinity), nowhere}, to_gradient(1e-9));
  EXPECT_EQ(unbounded.status, LbfgsbStatus::converged_gradient) << unbounded.reason;
  expect_close("x", unbounded.x, {1, 1}, 1e-8);
  EXPECT_LE(unbounded.evaluations, 60);

  // With x0 <= 0.5 the minimum is at (0.5, 0.25), on a bound of the first alone.
  const Outcome bounded = minimize({rosenbrock, {-1.2, 1}, {-2, -2}, {0.5, 2}}, to_gradient(1e-9));
  EXPECT_EQ(bounded.x[0], 0.5);
  expect_close("x", bounded.x, {0.5, 0.25}, 1e-8);
  EXPECT_NEAR(bounded.f, 0.25, 1e-12);

  // One bound each, a start in a corner, which is outside of the box too, and more variables.
  const Problem outside{rosenbrock, Vector(20, -7.0), Vector(20, -2.0), Vector(20, kInfinity)};
  const Outcome corner = minimize(outside, to_gradient(1e-9));
  EXPECT_EQ(corner.status, LbfgsbStatus::converged_gradient) << corner.reason;
  EXPECT_EQ(corner.evaluated[0], Vector(20, -2.0));
  EXPECT_LE(corner.projected_gradient_norm, 1e-9);
  expect_close("x", corner.x, Vector(20, 1.0), 1e-7);
}

TEST(Lbfgsb, TakesBoxesThatLeaveNoRoom) {
  const Outcome nothing = minimize({rosenbrock, {3, -5, 1}, {2, 3, 4}, {2, 3, 4}}, LbfgsbSpec());
  EXPECT_EQ(nothing.status, LbfgsbStatus::converged_gradient);
  EXPECT_EQ(nothing.x, (Vector{2, 3, 4}));
  EXPECT_EQ(nothing.evaluations, 1);
  EXPECT_EQ(nothing.iterations, 0);

  const Outcome one = minimize({rosenbrock, {3, 0}, {2, -kInfinity}, {2, kInfinity}}, to_gradient(1e-10));
  EXPECT_EQ(one.x[0], 2);
  EXPECT_NEAR(one.x[1], 4, 1e-11);
}

TEST(Lbfgsb, TakesOneVariable) {
  const Function quartic = [](const Vector& x, Vector& gradient) {
    gradient[0] = 4 * x[0] * x[0] * x[0] - 1;
    return x[0] * x[0] * x[0] * x[0] - x[0];
  };
  const Outcome inside = minimize({quartic, {-3}, {-5}, {5}}, to_gradient(1e-12));
  EXPECT_NEAR(inside.x[0], std::cbrt(0.25), 1e-12);
  const Outcome at_bound = minimize({quartic, {-3}, {-5}, {0.125}}, to_gradient(1e-12));
  EXPECT_EQ(at_bound.x[0], 0.125);
  EXPECT_EQ(at_bound.status, LbfgsbStatus::converged_gradient);

  // A bound is met exactly, also where x + (bound - x) is not the bound.
  const Function falls = [](const Vector& x, Vector& gradient) {
    gradient[0] = -1e17;
    return -1e17 * x[0];
  };
  EXPECT_EQ(minimize({falls, {-1e16}, {-1e16}, {0.1}}, LbfgsbSpec()).evaluated[1][0], 0.1);
}

TEST(Lbfgsb, StopsWhereTheValueFallsNoMore) {
  LbfgsbSpec spec;
  spec.factr = 1e7;
  const Outcome run = minimize({rosenbrock, {-1.2, 1}, {-2, -2}, {2, 2}}, spec);
  EXPECT_EQ(run.status, LbfgsbStatus::converged_value);
  EXPECT_NE(run.reason.find("the value fell by"), std::string::npos) << run.reason;
  EXPECT_LE(run.f, 1e-6);
  // With no tolerance at all the search still ends.
  const Outcome last = minimize({rosenbrock, {-1.2, 1}, {-2, -2}, {2, 2}}, LbfgsbSpec());
  EXPECT_NE(last.status, LbfgsbStatus::iterated) << last.iterations;
  EXPECT_LE(last.f, 1e-20);
}

TEST(Lbfgsb, GoesBackFromWhereTheFunctionIsNotFinite) {
  for (const double wall : {kInfinity, -kInfinity, static_cast<double>(NAN)}) {
    SCOPED_TRACE(wall);
    // -log(1 - x0) - log(1 - x1) + 1/2 |x|^2 - 3 x0, from far away at a scale at which the first steps pass the wall.
    const Function barrier = [wall](const Vector& x, Vector& gradient) {
      if (x[0] >= 1 || x[1] >= 1) {
        gradient = {NAN, NAN};
        return wall;
      }
      gradient = {1 / (1 - x[0]) + x[0] - 3, 1 / (1 - x[1]) + x[1]};
      return -std::log(1 - x[0]) - std::log(1 - x[1]) + 0.5 * (x[0] * x[0] + x[1] * x[1]) - 3 * x[0];
    };
    LbfgsbSpec spec = to_gradient(1e-9);
    spec.initial_scale = 1e-3;
    const Outcome run = minimize({barrier, {-2, -3}, Vector(2, -10), Vector(2, 10)}, spec);
    EXPECT_EQ(run.status, LbfgsbStatus::converged_gradient) << run.reason;
    // 1 / (1 - x) + x = 3 and 0.
    expect_close("x", run.x, {2 - std::sqrt(2.0), 0.5 - std::sqrt(1.25)}, 1e-8);
    EXPECT_TRUE(std::any_of(run.evaluated.begin(), run.evaluated.end(), [](const Vector& x) { return x[0] >= 1; }));
  }
  // A finite value with a gradient that is not is no better.
  const Function broken = [](const Vector& x, Vector& gradient) {
    gradient = {x[0] > 0.5 ? NAN : 2 * (x[0] - 0.25)};
    return (x[0] - 0.25) * (x[0] - 0.25);
  };
  EXPECT_NEAR(minimize({broken, {-3}, {-5}, {5}}, to_gradient(1e-9)).x[0], 0.25, 1e-9);
}

TEST(Lbfgsb, DropsItsPairsWhereASearchFailsThenEndsAtTheLastIterate) {
  const Problem problem = quadratic(5, true, 4);
  LbfgsbSpec spec;
  spec.initial_scale = 3;
  const auto solver = own(Lbfgsb::create(5, spec));
  Problem wrong = problem;
  Vector last(5), slope(5);
  wrong.f = [&](const Vector& x, Vector& gradient) {
    const double f = problem.f(x, gradient);
    if (solver->iterations() >= 2) return f + 1;
    last = x;  // taken as the second iterate, at the latest
    slope = gradient;
    return f;
  };
  const Outcome run = minimize(*solver, wrong);
  EXPECT_EQ(run.status, LbfgsbStatus::line_search_failed);
  EXPECT_NE(run.reason.find("no step along the projected gradient was better"), std::string::npos) << run.reason;
  EXPECT_EQ(run.iterations, 2);
  EXPECT_EQ(run.x, last);
  Vector restart(5);
  for (size_t i = 0; i < 5; ++i) restart[i] = std::clamp(last[i] - slope[i] / 3, problem.lower[i], problem.upper[i]);
  const auto close = [&](const Vector& x) {
    double distance = 0;
    for (size_t i = 0; i < 5; ++i) distance = std::max(distance, std::abs(x[i] - restart[i]));
    return distance < 1e-14;
  };
  EXPECT_TRUE(std::any_of(run.evaluated.begin(), run.evaluated.end(), close));
  EXPECT_LE(run.evaluations, 50);

  // A gradient of the wrong sign from the first point on: nothing to drop.
  wrong.f = [&](const Vector& x, Vector& gradient) {
    const double f = problem.f(x, gradient);
    for (double& g : gradient) g = -g;
    return f;
  };
  const Outcome none = minimize(*solver, wrong);
  EXPECT_EQ(none.status, LbfgsbStatus::line_search_failed);
  EXPECT_EQ(none.iterations, 0);
  EXPECT_EQ(none.x, none.evaluated[0]);
}

TEST(Lbfgsb, FirstStepHasTheScaleThatWasAskedFor) {
  LbfgsbSpec spec;
  spec.initial_scale = 8;
  const Problem problem{rosenbrock, {-1.2, 1}, {-2, 0.5}, {-1, 20}};
  Vector gradient(2);
  rosenbrock({-1.2, 1}, gradient);
  // x - g / 8 is beyond both bounds, and x - g / 1000 inside.
  EXPECT_EQ(minimize(problem, spec, nullptr, 1).evaluated[1], (Vector{-1, 1 - gradient[1] / 8}));
  spec.initial_scale = 2000;
  expect_close("x", minimize(problem, spec, nullptr, 1).evaluated[1],
               {-1.2 - gradient[0] / 2000, 1 - gradient[1] / 2000}, 1e-15);
}

/// The algorithm spelled out: B as a sum of rank-two updates, the slope of the model formed anew at every break point,
/// conjugate gradients on the free variables.
class SpelledOut {
 public:
  SpelledOut(size_t memory, double scale) : memory_(memory), scale_(scale) {}

  void add(const Vector& s, const Vector& y) {
    if (!(inner_product(s, y) > std::numeric_limits<double>::epsilon() * inner_product(y, y))) return;
    pairs_.emplace_back(s, y);
    if (pairs_.size() > memory_) pairs_.pop_front();
    scale_ = inner_product(y, y) / inner_product(s, y);
    images_.clear();
    for (const auto& [older, _] : pairs_) images_.push_back(times(older));
  }

  /// B v.
  Vector times(const Vector& v) const {
    Vector result(v.size());
    for (size_t i = 0; i < v.size(); ++i) result[i] = scale_ * v[i];
    for (size_t k = 0; k < images_.size(); ++k) {
      const auto& [s, y] = pairs_[k];
      const double along_y = inner_product(y, v) / inner_product(y, s);
      const double along_image = inner_product(images_[k], v) / inner_product(images_[k], s);
      for (size_t i = 0; i < v.size(); ++i) result[i] += along_y * y[i] - along_image * images_[k][i];
    }
    return result;
  }

  Vector target(const Vector& x, const Vector& g, const Vector& lower, const Vector& upper) {
    const size_t n = x.size();
    Vector breaks(n);
    for (size_t i = 0; i < n; ++i) {
      breaks[i] = g[i] == 0 ? kInfinity : (x[i] - (g[i] < 0 ? upper[i] : lower[i])) / g[i];
    }
    Vector sorted = breaks;
    std::sort(sorted.begin(), sorted.end());
    double t = 0;
    const auto displacement = [&] {
      Vector z(n);
      for (size_t i = 0; i < n; ++i) {
        z[i] = breaks[i] <= t ? (g[i] < 0 ? upper[i] : lower[i]) - x[i] : -t * g[i];
      }
      return z;
    };
    walked = 0;
    for (const double next : sorted) {
      if (next <= t) continue;
      ++walked;
      Vector d(n);
      for (size_t i = 0; i < n; ++i) d[i] = breaks[i] > t ? -g[i] : 0;
      const Vector of_d = times(d);
      const double slope = inner_product(g, d) + inner_product(of_d, displacement());
      const double curvature = inner_product(d, of_d);
      if (slope >= 0 || inner_product(d, d) == 0) break;
      const double stop = t - slope / curvature;
      t = std::min(next, stop);
      if (stop < next) break;
    }
    const Vector z = displacement();
    free = 0;
    std::vector<bool> moves(n);
    for (size_t i = 0; i < n; ++i) {
      moves[i] = lower[i] < x[i] + z[i] && x[i] + z[i] < upper[i] && breaks[i] > t;
      free += moves[i] ? 1 : 0;
    }
    // B step = -(g + B z) on the free variables.
    Vector step(n), residual = times(z), direction;
    for (size_t i = 0; i < n; ++i) residual[i] = moves[i] ? -g[i] - residual[i] : 0;
    const double begin = inner_product(residual, residual);
    direction = residual;
    for (double before = begin; !pairs_.empty() && before > 1e-30 * begin;) {
      Vector image = times(direction);
      const double alpha = before / inner_product(direction, image);
      for (size_t i = 0; i < n; ++i) {
        step[i] += alpha * direction[i];
        residual[i] -= moves[i] ? alpha * image[i] : 0;
      }
      const double after = inner_product(residual, residual);
      for (size_t i = 0; i < n; ++i) direction[i] = residual[i] + after / before * direction[i];
      before = after;
    }
    const auto moved = [&](double fraction) {
      Vector result(n);
      for (size_t i = 0; i < n; ++i) result[i] = std::clamp(x[i] + z[i] + fraction * step[i], lower[i], upper[i]);
      return result;
    };
    Vector result = moved(1), d(n);
    for (size_t i = 0; i < n; ++i) d[i] = result[i] - x[i];
    cut = inner_product(d, g) >= 0;
    if (!cut) return result;
    double inside = 1;
    for (size_t i = 0; i < n; ++i) {
      if (moves[i] && step[i] != 0) {
        inside = std::min(inside, ((step[i] > 0 ? upper[i] : lower[i]) - x[i] - z[i]) / step[i]);
      }
    }
    return moved(inside);
  }

  int64_t walked = 0, free = 0;
  bool cut = false;  // rather than projected

 private:
  size_t memory_;
  double scale_;
  std::deque<std::pair<Vector, Vector>> pairs_;
  std::vector<Vector> images_;  // B_k s_k
};

/// A sum of nonlinear terms that couples neighbours and all variables, with curvatures over four decades.
double coupled(const Vector& x, Vector& gradient) {
  double all = 0, value = 0;
  for (size_t i = 0; i < x.size(); ++i) all += (i % 3 == 0 ? 1 : -0.5) * x[i];
  for (size_t i = 0; i < x.size(); ++i) {
    const double weight = std::pow(10.0, static_cast<double>(i * 7 % 9) / 2 - 2);
    const double around = x[i] - x[(i + 1) % x.size()] + 0.3;
    value += weight * std::cos(2 * x[i]) + 0.5 * around * around;
    gradient[i] = -2 * weight * std::sin(2 * x[i]);
    gradient[i] += around + (i % 3 == 0 ? 1 : -0.5) * std::tanh(all);
  }
  for (size_t i = 0; i < x.size(); ++i) gradient[(i + 1) % x.size()] -= x[i] - x[(i + 1) % x.size()] + 0.3;
  return value + std::abs(all) + std::log1p(std::exp(-2 * std::abs(all)));  // log(2 cosh)
}

TEST(Lbfgsb, TakesTheStepsOfTheAlgorithm) {
  int64_t most_walked = 0, targets = 0, cuts = 0, least_free = 1 << 30;
  for (const int64_t n : {2, 3, 7, 30, 1500, 1503, 17000}) {
    for (const int32_t memory : {1, 2, 5, 10}) {
      for (const uint32_t seed : {1, 2, 3, 4, 5, 6}) {
        if (n >= 1500 && (memory == 2 || memory == 5)) continue;
        if (n == 1500 && seed > 3) continue;
        if (n == 17000 && (seed != 1 || memory != 1)) continue;
        SCOPED_TRACE(::testing::Message() << "n=" << n << " memory=" << memory << " seed " << seed);
        const auto size = static_cast<size_t>(n);
        Random random(seed);
        Problem problem{coupled, Vector(size), Vector(size), Vector(size)};
        // In 1503 there are nine kinds of variables, alike or nearly so, that reach their bounds together.
        const double room = seed % 3 == 0 ? 0.01 : seed % 3 == 1 ? 0.2 : 2;
        const size_t kinds = n % 9 == 0 ? 9 : size;
        for (size_t i = 0; i < size; ++i) {
          if (i < kinds) {
            problem.start[i] = random.value();
            problem.lower[i] = random.below(4) == 0 ? -kInfinity : problem.start[i] - random.value(room, room);
            problem.upper[i] = random.below(4) == 0 ? kInfinity : problem.start[i] + random.value(room, room);
          } else {
            problem.lower[i] = problem.lower[i % kinds];
            problem.upper[i] = problem.upper[i % kinds];
            problem.start[i] = std::clamp(problem.start[i % kinds] + (seed > 3 ? 0 : random.value(1e-3 * room)),
                                          problem.lower[i], problem.upper[i]);
          }
        }
        LbfgsbSpec spec;
        spec.memory = memory;
        spec.initial_scale = 0.5;
        SpelledOut expected(static_cast<size_t>(memory), spec.initial_scale);
        const auto solver = own(Lbfgsb::create(n, spec));
        Vector x = problem.start, gradient(size), lower = problem.lower, upper = problem.upper, at, g;
        solver->start(nullptr, view(x), view(lower), view(upper));
        for (int evaluation = 0; evaluation < 60 && solver->iterations() < (n > 2000 ? 3 : 15); ++evaluation) {
          const Vector evaluated = x;
          const double f = coupled(x, gradient);
          const LbfgsbStatus status = solver->advance(nullptr, f, view(gradient), view(x));
          if (evaluation > 0 && status == LbfgsbStatus::evaluate) continue;
          if (status != LbfgsbStatus::evaluate && status != LbfgsbStatus::iterated) break;
          if (evaluation > 0) {
            Vector s(size), y(size);
            for (size_t i = 0; i < size; ++i) s[i] = evaluated[i] - at[i], y[i] = gradient[i] - g[i];
            expected.add(s, y);
          }
          at = evaluated;
          g = gradient;
          if (solver->projected_gradient_norm() < 1e-4) break;  // what is left is rounding
          const Vector target = expected.target(at, g, lower, upper);
          if (evaluation == 0) continue;  // a step of length 1, not to the target
          Vector step(size), step_expected(size);
          for (size_t i = 0; i < size; ++i) step[i] = x[i] - at[i], step_expected[i] = target[i] - at[i];
          expect_close("step", step, step_expected, 1e-6);
          if (::testing::Test::HasFailure()) return;
          ++targets;
          cuts += expected.cut ? 1 : 0;
          most_walked = std::max(most_walked, expected.walked);
          least_free = std::min(least_free, expected.free);
        }
      }
    }
  }
  // Nothing of the algorithm was left out.
  EXPECT_GE(targets, 1000);
  EXPECT_GE(most_walked, 1000);
  EXPECT_GE(cuts, 1);
  EXPECT_LE(least_free, 1);
}

/// Variables that reach their bounds at once, or one shortly behind the other, where the model is about flat along the
/// path. Of those at once none ends the walk before all have stopped; of the others each may, though what stops next
/// would let the model fall again.
TEST(Lbfgsb, EndsTheWalkBetweenBreakPointsButNotWithinOne) {
  constexpr size_t kSize = 10;
  int64_t targets = 0;
  for (uint32_t seed = 1; seed <= 10000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random(seed);
    // A step s to 0, with any change y of the gradient: made of a first gradient -scale s, or a larger one where the
    // bound is at 0.
    Vector s(kSize), y(kSize);
    for (size_t i = 0; i < kSize; ++i) {
      s[i] = random.nonzero() * std::exp2(random.value(3, -1));
      y[i] = random.nonzero() * std::exp2(random.value(2));
    }
    const double scale = std::exp2(static_cast<double>(random.below(6)) - 4);
    const double unit = (0.8 + random.value(0.4)) * inner_product(s, y) / inner_product(y, y);
    const double apart = seed % 2 == 0 ? 0 : 5e-3;
    Vector x(kSize), gradient(kSize), g(kSize), lower(kSize), upper(kSize);
    for (size_t i = 0; i < kSize; ++i) {
      y[i] *= unit;
      x[i] = -s[i];
      const double inner = (0.5 + random.value(0.4)) * y[i];
      const bool at_bound = inner * s[i] >= s[i] * s[i] && std::abs(y[i] - inner) >= scale * std::abs(s[i]);
      g[i] = at_bound && random.below(3) == 0 ? inner : y[i] - scale * s[i];
      gradient[i] = g[i] == inner ? g[i] - y[i] : -scale * s[i];
      const double t = random.below(3) == 0 ? 1.5 + random.value(0.5) : 1 + apart * random.value();
      const double far = g[i] == inner ? 0 : 10 * std::abs(s[i]);
      lower[i] = g[i] > 0 ? std::min(-g[i] * t, x[i]) : -far - std::max(0.0, s[i]);
      upper[i] = g[i] < 0 ? std::max(-g[i] * t, x[i]) : far + std::max(0.0, -s[i]);
    }
    const double slope = inner_product(gradient, s);
    if (!(std::abs(inner_product(g, s)) < -0.8 * slope)) continue;  // the line search would go on
    LbfgsbSpec spec;
    spec.initial_scale = scale;
    SpelledOut expected(1, scale);
    const auto solver = own(Lbfgsb::create(kSize, spec));
    solver->start(nullptr, view(x), view(lower), view(upper));
    ASSERT_EQ(solver->advance(nullptr, 0, view(gradient), view(x)), LbfgsbStatus::evaluate);
    ASSERT_EQ(x, Vector(kSize));
    ASSERT_EQ(solver->advance(nullptr, slope, view(g), view(x)), LbfgsbStatus::iterated);
    for (size_t i = 0; i < kSize; ++i) y[i] = g[i] - gradient[i];
    expected.add(s, y);
    expect_close("target", x, expected.target(Vector(kSize), g, lower, upper), 1e-9);
    if (::testing::Test::HasFailure()) return;
    ++targets;
  }
  EXPECT_GE(targets, 2000);
}

TEST(Lbfgsb, GivesTheSameBitsOnAnyLanes) {
  // Several waves of the walk, all kinds of variables, a last block that is short.
  const int64_t n = 16384 * 14 + 77;
  const Problem problem = quadratic(n, true, 9);
  const auto one = own(Lanes::create(1)), two = own(Lanes::create(2)), five = own(Lanes::create(5));
  const auto solver = own(Lbfgsb::create(n, LbfgsbSpec()));
  const Outcome expected = minimize(*solver, problem, nullptr, 12);
  EXPECT_EQ(expected.iterations, 12);
  EXPECT_LE(expected.f, 1e-3 * static_cast<double>(n));
  for (Lanes* lanes : {one.get(), two.get(), five.get()}) {
    const Outcome run = minimize(*solver, problem, lanes, 12);  // the same object: nothing is left of the run before
    EXPECT_EQ(run.f, expected.f);
    EXPECT_EQ(run.evaluations, expected.evaluations);
    EXPECT_EQ(run.x, expected.x) << lanes->threads() << " lanes";
  }
}

TEST(Lbfgsb, TakesTheMemoryThatIsDocumented) {
  const auto solver = own(Lbfgsb::create(1000000, LbfgsbSpec()));
  EXPECT_GE(solver->bytes(), 1000000 * 8 * (2 * 10 + 6));
  EXPECT_LE(solver->bytes(), 1010000 * 8 * (2 * 10 + 6));
}

TEST(LineSearch, EndsAtStepsOfTheStrongWolfeConditions) {
  struct Curve {
    const char* name;
    std::function<double(double)> f, slope;
  };
  // Functions 5.1 to 5.3 of More & Thuente.
  const double pi = std::acos(-1.0);
  const auto around = [](double a) {
    return a <= 0.99 ? 1 - a : a >= 1.01 ? a - 1 : (a - 1) * (a - 1) / 0.02 + 0.005;
  };
  const auto slope_around = [](double a) { return a <= 0.99 ? -1 : a >= 1.01 ? 1 : (a - 1) / 0.01; };
  const Curve curves[] = {
      {"5.1", [](double a) { return -a / (a * a + 2); },
       [](double a) { return (a * a - 2) / ((a * a + 2) * (a * a + 2)); }},
      {"5.2", [](double a) { return std::pow(a + 0.004, 5) - 2 * std::pow(a + 0.004, 4); },
       [](double a) { return 5 * std::pow(a + 0.004, 4) - 8 * std::pow(a + 0.004, 3); }},
      {"5.3", [=](double a) { return around(a) + 2 * 0.99 / (39 * pi) * std::sin(39 * pi / 2 * a); },
       [=](double a) { return slope_around(a) + 0.99 * std::cos(39 * pi / 2 * a); }}};
  for (const Curve& curve : curves) {
    for (const double first : {1e-3, 0.1, 10.0, 1e3}) {
      SCOPED_TRACE(::testing::Message() << curve.name << " from " << first);
      LineSearch line;
      line.start(curve.f(0), curve.slope(0), first, 1e10);
      LineSearch::State state = LineSearch::State::evaluate;
      int evaluations = 0;
      double step = 0;
      while (state == LineSearch::State::evaluate && ++evaluations <= 30) {
        step = line.step();
        state = line.advance(curve.f(step), curve.slope(step));
      }
      EXPECT_EQ(state, LineSearch::State::done);
      EXPECT_LE(evaluations, 12);
      EXPECT_LE(curve.f(step), curve.f(0) + 1e-3 * step * curve.slope(0));
      // The others are so flat at 0 that the search ends where its interval is narrow.
      if (curve.name[2] == '1') {
        EXPECT_LE(std::abs(curve.slope(step)), -0.9 * curve.slope(0));
      }
    }
  }
}

TEST(LineSearch, StaysBetweenTheLastPointsThatBracketAStep) {
  LineSearch line;
  line.start(0, -1, 1, 1e10);
  EXPECT_EQ(line.advance(-1, -0.95), LineSearch::State::evaluate);  // still falls
  const double second = line.step();
  EXPECT_GT(second, 1);
  EXPECT_EQ(line.advance(-2, 5), LineSearch::State::evaluate);  // rises: between 1 and here
  const double third = line.step();
  EXPECT_GT(third, 1);
  EXPECT_LT(third, second);
  EXPECT_EQ(line.advance(-2.1, 4.9), LineSearch::State::evaluate);  // rises hardly less: far back, but not beyond 1
  EXPECT_GT(line.step(), 1);
  EXPECT_LT(line.step(), third);
}

}  // namespace
}  // namespace ghostbatch::tests
