// A random subspace of the space of parameters: products with a matrix of signs that takes no memory.
#pragma once

#include "ghostbatch/lanes.h"
#include "ghostbatch/types.h"

namespace ghostbatch {

/// A matrix A [rows, columns] of random signs, drawn again for every product and never stored: the random A of Metric
/// 2.1 of Keskar et al. (2017, arXiv 1609.04836), of which the paper gives no distribution.
/// Element (i, j) is +1 where bit j % 32 of Philox word j % 128 / 32 is set, else -1; key seed, counter
/// (philox_stream(probe, 0), i low, i high, 2 + j / 128). (0 and 1 there are Java's normal and uniform numbers.)
/// Sums are formed in double over fixed blocks of rows combined in order: the same bits for any number of lanes.
/// A product costs rows * columns / 8 additions, and one Philox for every 128 signs of a row.
class SignMatrix : public Resource {
 public:
  /// `rows` in [1, 2^48], `columns` in [1, 1024].
  static SignMatrix* create(int64_t rows, int64_t columns, uint64_t seed);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

  // All run on `lanes` (null: the calling thread).
  /// x += A y; y [columns], x f64 [rows].
  void multiply(Lanes* lanes, const double* y, const View& x) const;
  /// y = A'x; x f64 [rows], y [columns]. Room: a double for every block of rows and column.
  void multiply_transposed(Lanes* lanes, const View& x, double* y) const;
  /// gram = A'A [columns, columns]: exact integers. Costs rows * columns^2 / 128 counts of bits in words.
  void gram(Lanes* lanes, double* gram) const;

 private:
  SignMatrix(int64_t rows, int64_t columns, uint64_t seed) : rows_(rows), columns_(columns), seed_(seed) {}

  int64_t rows_, columns_;
  uint64_t seed_;
};

}  // namespace ghostbatch
