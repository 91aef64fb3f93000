// What the tests of matrix products share: data, and the formula in double.
#pragma once

#include <algorithm>

#include "ghostbatch/gemm.h"
#include "tests/support.h"

namespace ghostbatch::tests {

struct GemmData {
  std::vector<double> a, b, bias, c;
};

inline GemmData make_data(const GemmSpec& spec, uint32_t seed) {
  Random random(seed);
  GemmData data;
  data.a = random.values(spec.m * spec.k);
  data.b = random.values(spec.k * spec.n);
  data.bias = random.values(spec.n);
  // Not read where beta is zero: NaN must not come through.
  data.c =
      spec.beta == 0 ? std::vector<double>(static_cast<size_t>(spec.m * spec.n), NAN) : random.values(spec.m * spec.n);
  return data;
}

/// The bias begins `bias_offset` elements into its vector.
inline std::vector<double> run(const Gemm& kernel, const GemmData& data, int64_t bias_offset = 0) {
  const GemmSpec& spec = kernel.spec();
  const DataType parameter = parameter_type(spec.type);
  std::vector<double> vector(static_cast<size_t>(bias_offset), NAN);
  vector.insert(vector.end(), data.bias.begin(), data.bias.end());
  const Buffer a(spec.type, data.a), b(spec.type, data.b), parameters(parameter, vector);
  const Buffer c(spec.type, data.c), scratch(DataType::u8, kernel.scratch_bytes());
  const View bias(parameters.view().as<char>() + bias_offset * size_of(parameter), spec.n, parameter);
  kernel.run(a.view(), b.view(), spec.bias ? &bias : nullptr, c.view(), scratch.view());
  return c.values();
}

inline std::vector<double> formula(const GemmSpec& spec, const GemmData& data) {
  std::vector<double> c(data.c.size());
  for (int64_t i = 0; i < spec.m; ++i)
    for (int64_t j = 0; j < spec.n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < spec.k; ++l) {
        const double x = spec.transpose_a ? data.a[static_cast<size_t>(l * spec.m + i)]
                                          : data.a[static_cast<size_t>(i * spec.k + l)];
        const double y = spec.transpose_b ? data.b[static_cast<size_t>(j * spec.k + l)]
                                          : data.b[static_cast<size_t>(l * spec.n + j)];
        sum += x * y;
      }
      const auto place = static_cast<size_t>(i * spec.n + j);
      c[place] = spec.alpha * sum;
      if (spec.beta != 0) c[place] += spec.beta * data.c[place];
      if (spec.bias) c[place] += data.bias[static_cast<size_t>(j)];
      if (spec.relu) c[place] = std::max(0.0, c[place]);
    }
  return c;
}

}  // namespace ghostbatch::tests
