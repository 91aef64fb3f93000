// Minimization in a box by L-BFGS-B, for vectors as long as the parameters of a network.
#pragma once

#include "ghostbatch/lanes.h"
#include "ghostbatch/types.h"

namespace ghostbatch {

struct LbfgsbSpec {
  int32_t memory = 10;           // m: pairs (s, y) that are kept, in [1, 64]
  double initial_scale = 1;      // theta of B = theta I while there are no pairs: the first target is P(x - g / theta)
  double pgtol = 0;              // converged where no |P(x - g) - x| is above
  double factr = 0;              // converged where f fell by at most factr 2^-52 max(|f before|, |f|, 1)
  int32_t max_line_search = 20;  // evaluations, at least 1
};

/// What a call of `advance` came to.
enum class LbfgsbStatus : int32_t {
  evaluate = 0,            // x is the next point of a line search
  iterated = 1,            // the point was taken as the next iterate; x is the first point of the search from there
  converged_gradient = 2,  // pgtol; from here on x is the last iterate, the best point
  converged_value = 3,     // factr
  line_search_failed = 4   // also after the memory was dropped, once
};

/// min f(x), lower <= x <= upper, by L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995, SIAM J. Sci. Comput. 16:1190): the
/// generalized Cauchy point of a quadratic model (Algorithm CP), subspace minimization (Section 5.1, direct primal),
/// projected where that is a descent direction (Morales & Nocedal 2011, ACM TOMS 38:7), and the line search of
/// More & Thuente (1994), ftol 1e-3, gtol 0.9. Vectors are f64 [n] in host memory.
///
/// By reverse communication: `start` writes a point to x, the caller evaluates f there, `advance` writes the next.
/// As in L-BFGS-B 3.0 the first line search begins at the target where every variable has two bounds, else at length 1,
/// no further than the target where any has a bound. Every point lies inside the box, exactly. Results have the same
/// bits for any number of lanes. Memory: about (2 m + 6) n doubles, all of it from `create`; later calls allocate
/// nothing. Cost of an iterate: three passes over the pairs, two of them over what the Cauchy point leaves free only,
/// with 4 m^2 flops a variable; and a row of pairs, out of order, for each variable that reaches a bound on the way
/// there.
class Lbfgsb : public Resource {
 public:
  /// n in [1, 2^31 - 1]. Error naming bytes asked and free where memory is short.
  static Lbfgsb* create(int64_t n, const LbfgsbSpec& spec);

  // Calls run on `lanes` (null: the calling thread).
  /// Begins at x, which is clamped into the box; bounds are copied and may be infinite. Error where lower <= upper does
  /// not hold, or x is not finite, naming the first place.
  virtual void start(Lanes* lanes, const View& x, const View& lower, const View& upper) = 0;
  /// Takes f and its gradient at the point last written to x, and writes the next, or, once done, the last iterate. A
  /// value or gradient that is not finite shortens the step; at the first point it is an Error.
  virtual LbfgsbStatus advance(Lanes* lanes, double f, const View& gradient, const View& x) = 0;
  /// Writes the last iterate, the best point so far.
  virtual void best(Lanes* lanes, const View& x) const = 0;

  /// The last status in words; lives until the next call.
  virtual const char* reason() const = 0;
  // Of the last iterate; NaN before the first evaluation.
  virtual double value() const = 0;
  virtual double projected_gradient_norm() const = 0;  // max |P(x - g) - x|
  virtual int64_t iterations() const = 0;
  virtual int64_t evaluations() const = 0;
  virtual int64_t bytes() const = 0;

 protected:
  Lbfgsb() = default;
};

}  // namespace ghostbatch
