#include "ghostbatch/sign_matrix.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <vector>

#include "common/blocks.h"
#include "common/check.h"
#include "common/thread_buffer.h"
#include "ghostbatch/philox.h"

namespace ghostbatch {
namespace {

constexpr const char* kKernel = "sign_matrix";
constexpr int64_t kMaxColumns = 1024;
constexpr uint32_t kFirstGroup = 2;  // of counters
constexpr int64_t kValues = 256;     // of a byte

thread_local ThreadBuffer tables_buffer, sums_buffer, buckets_buffer;

/// The signs of a row: column j is bit j % 64 of word j / 64. Those from the last column to a multiple of 128 are drawn
/// too.
using Bits = std::array<uint64_t, kMaxColumns / 64>;

void draw(uint64_t seed, int64_t row, int64_t columns, Bits& bits) {
  for (size_t group = 0; 128 * group < static_cast<size_t>(columns); ++group) {
    const Philox4 words = philox(seed, philox_stream(RandomPurpose::probe, 0), static_cast<uint32_t>(row),
                                 static_cast<uint32_t>(row >> 32), kFirstGroup + static_cast<uint32_t>(group));
    bits[2 * group] = words.v[0] | (uint64_t{words.v[1]} << 32);
    bits[2 * group + 1] = words.v[2] | (uint64_t{words.v[3]} << 32);
  }
}

int64_t bytes_of(int64_t columns) {
  return (columns + 7) / 8;
}

/// Where the byte's value has its place among tables of kValues for each byte.
int64_t place_of(const Bits& bits, int64_t byte) {
  return kValues * byte + static_cast<int64_t>((bits[static_cast<size_t>(byte / 8)] >> (byte % 8 * 8)) & 255);
}

/// Bit j of word i changes places with bit i of word j (Warren, Hacker's Delight, 7-3).
void transpose(std::array<uint64_t, 64>& words) {
  uint64_t low = 0xFFFFFFFF;  // the low half of every 2 * half bits
  for (size_t half = 32; half > 0; half /= 2, low ^= low << half) {
    for (size_t i = 0; i < 64; i = (i + half + 1) & ~half) {
      const uint64_t differing = ((words[i] >> half) ^ words[i + half]) & low;
      words[i] ^= differing << half;
      words[i + half] ^= differing;
    }
  }
}

}  // namespace

SignMatrix* SignMatrix::create(int64_t rows, int64_t columns, uint64_t seed) {
  check_range(kKernel, "rows", rows, 1, kMaxElements);
  check_range(kKernel, "columns", columns, 1, kMaxColumns);
  return new SignMatrix(rows, columns, seed);
}

void SignMatrix::multiply(Lanes* lanes, const double* y, const View& x) const {
  check_pointer(kKernel, "y", y);
  check_view(kKernel, "x", x, rows_, DataType::f64);
  const int64_t bytes = bytes_of(columns_);
  double* const tables = tables_buffer.at_least(kKernel, kValues * bytes);  // the sum of 8 terms for every byte
  for (int64_t byte = 0; byte < bytes; ++byte) {
    double* const table = tables + kValues * byte;
    table[0] = 0;
    for (int64_t bit = 0; bit < 8; ++bit) {
      const double term = 8 * byte + bit < columns_ ? y[8 * byte + bit] : 0;
      const int64_t half = int64_t{1} << bit;
      for (int64_t value = 0; value < half; ++value) {
        table[value + half] = table[value] + term;
        table[value] -= term;
      }
    }
  }
  double* const values = x.as<double>();
  for_blocks(lanes, rows_, [&](int64_t, int64_t first, int64_t count) {
    Bits bits;
    for (int64_t row = first; row < first + count; ++row) {
      draw(seed_, row, columns_, bits);
      double sum = 0;
      for (int64_t byte = 0; byte < bytes; ++byte) sum += tables[place_of(bits, byte)];
      values[row] += sum;
    }
  });
}

void SignMatrix::multiply_transposed(Lanes* lanes, const View& x, double* y) const {
  check_pointer(kKernel, "y", y);
  check_view(kKernel, "x", x, rows_, DataType::f64);
  const double* const values = x.as<double>();
  const int64_t bytes = bytes_of(columns_), blocks = blocks_of(rows_);
  double* const sums = sums_buffer.at_least(kKernel, blocks * 8 * bytes);
  for_blocks(lanes, rows_, [&](int64_t block, int64_t first, int64_t count) {
    double* const buckets = buckets_buffer.at_least(kKernel, kValues * bytes);  // sums of the rows with this byte
    std::fill_n(buckets, kValues * bytes, 0.0);
    Bits bits;
    for (int64_t row = first; row < first + count; ++row) {
      draw(seed_, row, columns_, bits);
      for (int64_t byte = 0; byte < bytes; ++byte) buckets[place_of(bits, byte)] += values[row];
    }
    for (int64_t byte = 0; byte < bytes; ++byte) {
      double* const bucket = buckets + kValues * byte;
      for (int64_t bit = 7; bit >= 0; --bit) {  // once a bit has its sum, its two halves are one
        const int64_t half = int64_t{1} << bit;
        double sum = 0;
        for (int64_t value = 0; value < half; ++value) {
          sum += bucket[value + half] - bucket[value];
          bucket[value] += bucket[value + half];
        }
        sums[8 * (block * bytes + byte) + bit] = sum;
      }
    }
  });
  std::fill_n(y, columns_, 0.0);
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t column = 0; column < columns_; ++column) y[column] += sums[8 * block * bytes + column];
  }
}

void SignMatrix::gram(Lanes* lanes, double* gram) const {
  check_pointer(kKernel, "gram", gram);
  const int64_t groups = (columns_ + 63) / 64;
  std::fill_n(gram, columns_ * columns_, 0.0);
  for_blocks(lanes, rows_, [&](int64_t, int64_t first, int64_t count) {
    const int64_t words = (count + 63) / 64;
    std::vector<uint64_t> signs(static_cast<size_t>(64 * groups * words));  // [64 * groups, words]: rows in bits
    std::array<std::array<uint64_t, 64>, kMaxColumns / 64> squares;
    for (int64_t word = 0; word < words; ++word) {
      for (int64_t i = 0; i < 64; ++i) {
        Bits bits{};  // rows past the end: alike in all columns
        if (64 * word + i < count) draw(seed_, first + 64 * word + i, columns_, bits);
        for (size_t group = 0; group < static_cast<size_t>(groups); ++group) {
          squares[group][static_cast<size_t>(i)] = bits[group];
        }
      }
      for (int64_t column = 0; column < 64 * groups; ++column) {
        std::array<uint64_t, 64>& square = squares[static_cast<size_t>(column / 64)];
        if (column % 64 == 0) transpose(square);
        signs[static_cast<size_t>(column * words + word)] = square[static_cast<size_t>(column % 64)];
      }
    }
    for (int64_t i = 0; i < columns_; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        const uint64_t *const a = signs.data() + i * words, *const b = signs.data() + j * words;
        int64_t differing = 0;
        for (int64_t word = 0; word < words; ++word) differing += std::popcount(a[word] ^ b[word]);
        // Integers below 2^53: exact in any order.
        std::atomic_ref(gram[i * columns_ + j]).fetch_add(static_cast<double>(count - 2 * differing));
      }
    }
  });
  for (int64_t i = 0; i < columns_; ++i) {
    for (int64_t j = 0; j < i; ++j) gram[j * columns_ + i] = gram[i * columns_ + j];
  }
}

}  // namespace ghostbatch
