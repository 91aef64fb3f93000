// Fused ghost batch norm against the unfused formula in double.
#include "tests/cuda_device.h"
#include "tests/ghost_batch_norm_cases.h"

namespace ghostbatch::tests {
namespace {

TEST(GhostBatchNorm, RefusesBadSpecs) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const auto refuse = [&](const std::function<void(GhostBatchNormSpec&)>& change, const char* part) {
      GhostBatchNormSpec spec;
      spec.batch = 4;
      spec.channels = 3;
      change(spec);
      expect_error([&] { own(device->ghost_batch_norm(spec)); }, part);
    };
    refuse([](auto& s) { s.batch = 0; }, "batch in [1,");
    refuse([](auto& s) { s.height = -1; }, "height in [1,");
    refuse([](auto& s) { s.width = 0; }, "width in [1,");
    refuse([](auto& s) { s.channels = int64_t{1} << 62; }, "channels in [1,");
    refuse([](auto& s) { s.batch = s.height = s.width = 2000000000; }, "src of at most 2^48 elements");
    refuse([](auto& s) { s.epsilon = 0; }, "epsilon above 0");
    refuse([](auto& s) { s.epsilon = NAN; }, "epsilon above 0");
    refuse([](auto& s) { s.type = DataType::s32; }, "got s32");
  }
  GhostBatchNormSpec spec;
  spec.type = DataType::f64;
  for (const char* name : {"cpu", "cuda"}) {
    expect_error([&] { own(make_any_device(name)->ghost_batch_norm(spec)); }, "f64");
  }
}

TEST(GhostBatchNorm, RefusesBadGhosts) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    GhostBatchNormSpec spec;
    spec.batch = 6;
    spec.channels = 3;
    const auto kernel = own(device->ghost_batch_norm(spec));
    const Buffer x(DataType::f32, std::vector<double>(18, 1.0)), y(DataType::f32, 18);
    const Buffer channels(DataType::f32, std::vector<double>(3, 1.0));
    const Buffer statistics(DataType::f32, 6);
    const auto forward = [&](const std::vector<int32_t>& offsets, int32_t ghosts, const char* part) {
      expect_error(
          [&] {
            kernel->forward(x.view(), channels.view(), channels.view(), nullptr, y.view(), statistics.view(),
                            statistics.view(), offsets.empty() ? nullptr : offsets.data(), ghosts);
          },
          part);
    };
    forward({}, 1, "offsets, got null");
    forward({0, 6}, 0, "ghosts in [1, 6], got 0");
    forward({0, 6}, -5, "ghosts in [1, 6]");
    forward({0, 1, 2, 3, 4, 5, 6, 7}, 7, "ghosts in [1, 6], got 7");
    forward({1, 6}, 1, "offsets from 0, got 1");
    forward({0, 3, 3}, 2, "offsets that rise, got 3 then 3");
    forward({0, 4, 2}, 2, "offsets that rise");
    forward({0, 3, 7}, 2, "offsets up to 6, got 7");
    forward({0, 2, 4, 6}, 3, "mean of at least 9 f32");
    forward({0, 5, 6}, 2, "ghosts of at least 2 values per channel, got 1");
    const std::vector<int32_t> offsets{0, 6};
    const View v = x.view(), c = channels.view(), s = statistics.view();
    expect_error([&] { kernel->forward(v, c, c, &v, y.view(), s, s, offsets.data(), 1); }, "no residual");
    expect_error([&] { kernel->forward(v, s, c, nullptr, y.view(), s, s, offsets.data(), 1); },
                 "gamma of 3 f32, got 6");
    expect_error([&] { kernel->statistics(v, 7, s); }, "rows in [1, 6], got 7");
    expect_error([&] { kernel->statistics(v, 2, s); }, "partial of at least 6 f64");
    const int32_t rows[] = {1};
    const Buffer partial(DataType::f64, 6);
    expect_error([&] { kernel->combine(partial.view(), rows, 1, s, s); }, "at least 2 values per channel");
    expect_error([&] { kernel->combine(partial.view(), rows, 0, s, s); }, "count in [1,");
    expect_error([&] { kernel->combine(partial.view(), nullptr, 1, s, s); }, "rows, got null");
    expect_error([&] { kernel->backward_apply(v, v, s, s, c, c, nullptr, partial.view(), 2, 3, y.view()); },
                 "ghost_rows in [3,");

    GhostBatchNormSpec fused = spec;
    fused.relu = fused.residual = true;
    const auto with_residual = own(device->ghost_batch_norm(fused));
    expect_error([&] { with_residual->forward(v, c, c, nullptr, y.view(), s, s, offsets.data(), 1); },
                 "residual, got null");
    expect_error(
        [&] {
          with_residual->backward(v, nullptr, v, nullptr, s, s, c, c, y.view(), &v, c, c, offsets.data(), 1, false);
        },
        "dst, got null");
  }
}

TEST(GhostBatchNorm, MatchesTheFormulaOverTheGrid) {
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  uint32_t seed = 1;
  for (const NormCase& test : grid()) {
    SCOPED_TRACE(describe(test));
    const NormData data = make_data(test, 1, seed++);
    const NormResult expected = formula(test, data);
    expect_all_close(run(*reference, DataType::f64, test, data), expected, Tolerance::kDouble);
    NormResult specified = run(*reference, DataType::f32, test, data);
    specified.largest_sum = expected.largest_sum;
    expect_all_close(specified, expected, Tolerance::kNorm);
    expect_all_close(run(*cpu, DataType::f32, test, data), specified, Tolerance::kNormBlocks);
    expect_all_close(run(*cuda, DataType::f32, test, data), specified, Tolerance::kNormBlocks);
  }
}

TEST(GhostBatchNorm, RoundsToBfloat16AsTheReferenceDoes) {
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  uint32_t seed = 1;
  for (const NormCase& test : grid()) {
    SCOPED_TRACE(describe(test));
    const NormData data = make_data(test, 1, seed++, DataType::bf16);
    const NormResult expected = formula(test, data);
    NormResult specified = run(*reference, DataType::bf16, test, data);
    specified.largest_sum = expected.largest_sum;
    expect_all_close(specified, expected, Tolerance::kBfloat16);
    expect_close_in_bfloat16("dst", specified.dst, rounded(DataType::bf16, expected.dst), Tolerance::kNorm);
    expect_all_close_in_bfloat16(run(*cuda, DataType::bf16, test, data), specified);
    if (!cpu->supports(DataType::bf16)) continue;
    expect_all_close_in_bfloat16(run(*cpu, DataType::bf16, test, data), specified);
  }
}

TEST(GhostBatchNorm, HoldsFarOffCentre) {
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  uint32_t seed = 5000;
  for (const NormCase& test : grid()) {
    SCOPED_TRACE(describe(test));
    const NormData data = make_data(test, 100, seed++);
    const NormResult expected = formula(test, data);
    expect_all_close(run(*reference, DataType::f32, test, data), expected, Tolerance::kNormOffCentre);
    expect_all_close(run(*cpu, DataType::f32, test, data), expected, Tolerance::kNormOffCentre);
  }
}

TEST(GhostBatchNorm, TakesAConstantChannel) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    NormCase test = make_case(4, 3, 3, 17, {2, 2});
    NormData data = make_data(test, 0, 3, backend.type);
    for (size_t i = 0; i < data.src.size(); i += 17) data.src[i] = 1232;  // bf16 holds it
    const NormResult result = run(*device, backend.type, test, data);
    const NormResult expected = formula(test, data);
    EXPECT_EQ(result.variance[0], 0);
    EXPECT_EQ(result.dst[0], data.beta[0]);
    expect_all_close(result, expected, backend.type == DataType::bf16 ? Tolerance::kBfloat16 : Tolerance::kNormBlocks);
  }
}

TEST(GhostBatchNorm, GhostsDoNotTouchOneAnother) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    NormCase both = make_case(7, 3, 2, 19, {4, 3});
    both.spec.relu = true;
    const NormData data = make_data(both, 2, 11);
    const NormResult together = run(*device, backend.type, both, data);
    // Each ghost alone, at the front of the micro-batch.
    for (size_t ghost = 0; ghost < 2; ++ghost) {
      const int32_t rows = both.offsets[ghost + 1] - both.offsets[ghost];
      NormCase alone = make_case(7, 3, 2, 19, {rows});
      alone.spec.relu = true;
      NormData part = data;
      const auto row_elements = static_cast<ptrdiff_t>(both.spec.spatial() * both.spec.channels);
      const ptrdiff_t first = both.offsets[ghost] * row_elements, count = rows * row_elements;
      for (auto* values : {&part.src, &part.diff_dst}) {
        std::rotate(values->begin(), values->begin() + first, values->end());
        std::fill(values->begin() + count, values->end(), NAN);
      }
      const NormResult single = run(*device, backend.type, alone, part);
      const auto slice = [&](const std::vector<double>& values, ptrdiff_t from, ptrdiff_t size) {
        return std::vector<double>(values.begin() + from, values.begin() + from + size);
      };
      expect_equal("dst", slice(together.dst, first, count), slice(single.dst, 0, count));
      expect_equal("diff_src", slice(together.diff_src, first, count), slice(single.diff_src, 0, count));
      expect_equal("mean", slice(together.mean, static_cast<ptrdiff_t>(ghost) * 19, 19), single.mean);
    }
  }
}

/// Where a kernel's results are larger than caches, they pass them by.
TEST(GhostBatchNorm, HasTheSameBitsBeyondTheCaches) {
  for (const Backend& backend : all_backends()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    for (const int64_t channels : {3, 16, 80}) {
      NormCase small = make_case(10, 5, 4, channels, {4, 3, 3});
      small.spec.relu = true;
      small.spec.residual = channels == 16;
      NormData data = make_data(small, 2, 11);
      const NormResult expected = run(*device, backend.type, small, data);
      NormCase large = small;
      large.spec.batch = (9 << 20) / (small.spec.spatial() * channels * size_of(backend.type));
      for (auto* values : {&data.src, &data.residual, &data.diff_dst, &data.diff_dst2}) {
        if (!values->empty()) values->resize(static_cast<size_t>(large.spec.elements()), NAN);
      }
      NormResult actual = run(*device, backend.type, large, data);
      for (auto* values : {&actual.dst, &actual.diff_src, &actual.diff_residual}) {
        if (!values->empty()) values->resize(static_cast<size_t>(small.spec.elements()));
      }
      expect_same_bits(actual, expected);
    }
  }
}

TEST(GhostBatchNorm, MaskOfBackwardIsThatOfForward) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    const DataType type = backend.type, parameter = parameter_type(type);
    for (const int64_t channels : {1, 16, 17, 64}) {
      GhostBatchNormSpec spec;
      spec.batch = 64;
      spec.height = spec.width = 8;
      spec.channels = channels;
      spec.relu = true;
      spec.type = type;
      const auto kernel = own(device->ghost_batch_norm(spec));
      Random random(21);
      // Many values lie right at the kink: neighbours, in the type, of the place where the sum is zero.
      std::vector<double> x = random.normals(spec.elements(), type == DataType::bf16 ? 0.02 : 1e-6, 0.7);
      const auto c = static_cast<size_t>(channels);
      const Buffer src(type, x), gamma(parameter, std::vector<double>(c, 0.9));
      const Buffer beta(parameter, std::vector<double>(c, -0.1)), mean(parameter, std::vector<double>(c, 0.6));
      const Buffer variance(parameter, std::vector<double>(c, 0.81)), dst(type, spec.elements());
      const Buffer diff_dst(type, std::vector<double>(x.size(), 1.0)), diff_src(type, spec.elements());
      const Buffer diff_gamma(parameter, channels), diff_beta(parameter, channels);
      const int32_t offsets[] = {0, 64};
      kernel->normalize(src.view(), mean.view(), variance.view(), gamma.view(), beta.view(), nullptr, dst.view(),
                        offsets, 1);
      kernel->backward(src.view(), nullptr, diff_dst.view(), nullptr, mean.view(), variance.view(), gamma.view(),
                       beta.view(), diff_src.view(), nullptr, diff_gamma.view(), diff_beta.view(), offsets, 1, true);
      double passed = 0;
      for (int64_t i = 0; i < spec.elements(); ++i) {
        ASSERT_EQ(dst.at(i) > 0, diff_src.at(i) != 0) << i << ": dst " << dst.at(i);
        passed += dst.at(i) > 0 ? 1 : 0;
      }
      EXPECT_GT(passed, 0.05 * static_cast<double>(spec.elements()));
      EXPECT_LT(passed, 0.95 * static_cast<double>(spec.elements()));
    }
  }
}

/// One ghost over several micro-batches of at most `capacity` rows.
NormResult run_spanning(Device& device, DataType type, const NormCase& test, const NormData& data,
                        const std::vector<int32_t>& parts) {
  GhostBatchNormSpec spec = test.spec;
  spec.type = type;
  spec.batch = *std::max_element(parts.begin(), parts.end());
  const auto kernel = own(device.ghost_batch_norm(spec));
  const DataType parameter = parameter_type(type);
  const int64_t row_elements = spec.spatial() * spec.channels, channels = spec.channels;
  const Buffer gamma(parameter, data.gamma), beta(parameter, data.beta), mean(parameter, channels);
  const Buffer variance(parameter, channels),
      partials(DataType::f64, 2 * channels * static_cast<int64_t>(parts.size()));
  const std::vector<int32_t> starts = offsets_of(parts);
  // Rows [start, start + rows) of a vector as a micro-batch; NaN behind them.
  const auto part = [&](const std::vector<double>& values, size_t i) {
    std::vector<double> slice(static_cast<size_t>(spec.elements()), NAN);
    std::copy_n(values.begin() + starts[i] * row_elements, parts[i] * row_elements, slice.begin());
    return slice;
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    const Buffer src(type, part(data.src, i));
    View partial = partials.view();
    partial.data = partial.as<double>() + 2 * channels * static_cast<int64_t>(i);
    partial.elements = 2 * channels;
    kernel->statistics(src.view(), parts[i], partial);
  }
  kernel->combine(partials.view(), parts.data(), static_cast<int32_t>(parts.size()), mean.view(), variance.view());

  NormResult result;
  result.mean = mean.values();
  result.variance = variance.values();
  std::vector<double> total(static_cast<size_t>(2 * channels), 0.0);
  std::vector<std::unique_ptr<Buffer>> residual_gradients;
  const auto append = [&](std::vector<double>& to, const Buffer& from, size_t i) {
    const std::vector<double> values = from.values();
    to.insert(to.end(), values.begin(), values.begin() + parts[i] * row_elements);
    for (size_t j = static_cast<size_t>(parts[i] * row_elements); j < values.size(); ++j) {
      EXPECT_TRUE(std::isnan(values[j])) << "a row of no sample was written";
    }
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    const Buffer src(type, part(data.src, i)), dst(type, spec.elements()), diff_dst(type, part(data.diff_dst, i));
    const Buffer residual(type, spec.residual ? part(data.residual, i) : std::vector<double>());
    const Buffer diff_dst2(type, part(data.diff_dst2, i)), sums(DataType::f64, 2 * channels);
    residual_gradients.push_back(std::make_unique<Buffer>(type, spec.residual ? spec.elements() : 0));
    const View residual_view = residual.view(), dst_view = dst.view(), second = diff_dst2.view();
    const View diff_residual = residual_gradients.back()->view();
    const int32_t offsets[] = {0, parts[i]};
    kernel->normalize(src.view(), mean.view(), variance.view(), gamma.view(), beta.view(),
                      spec.residual ? &residual_view : nullptr, dst.view(), offsets, 1);
    kernel->backward_sums(src.view(), spec.relu && spec.residual ? &dst_view : nullptr, diff_dst.view(),
                          test.second_gradient ? &second : nullptr, mean.view(), variance.view(), gamma.view(),
                          beta.view(), spec.residual ? &diff_residual : nullptr, parts[i], sums.view());
    append(result.dst, dst, i);
    if (spec.residual) append(result.diff_residual, *residual_gradients.back(), i);
    for (size_t j = 0; j < total.size(); ++j) total[j] += sums.at(static_cast<int64_t>(j));
  }
  const Buffer sums(DataType::f64, total);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Buffer src(type, part(data.src, i)), diff_dst(type, part(data.diff_dst, i)), diff_src(type, spec.elements());
    const View diff_residual = residual_gradients[i]->view();
    kernel->backward_apply(src.view(), diff_dst.view(), mean.view(), variance.view(), gamma.view(), beta.view(),
                           spec.residual ? &diff_residual : nullptr, sums.view(), starts.back(), parts[i],
                           diff_src.view());
    append(result.diff_src, diff_src, i);
  }
  for (int64_t c = 0; c < channels; ++c) {
    result.diff_beta.push_back(static_cast<double>(static_cast<float>(total[static_cast<size_t>(c)])));
    result.diff_gamma.push_back(static_cast<double>(static_cast<float>(total[static_cast<size_t>(channels + c)])));
  }
  return result;
}

TEST(GhostBatchNorm, AGhostThatSpansMicroBatchesIsOneGhost) {
  const auto reference = make_device("reference"), cpu = make_device("cpu"), cuda = make_any_device("cuda");
  uint32_t seed = 9000;
  for (const int64_t channels : {1, 16, 17, 64}) {
    for (int variant = 0; variant < 4; ++variant) {
      for (const double sigmas : {1.0, 100.0}) {
        NormCase test = make_case(13, 4, 3, channels, {13});
        test.spec.relu = variant % 2 != 0;
        test.spec.residual = variant >= 2;
        test.second_gradient = variant == 3;
        SCOPED_TRACE(describe(test));
        const NormData data = make_data(test, sigmas, seed++);
        const NormResult expected = formula(test, data);
        const double tolerance = sigmas > 1 ? Tolerance::kNormOffCentre : Tolerance::kNormBlocks;
        expect_all_close(run_spanning(*reference, DataType::f64, test, data, {5, 5, 3}), expected,
                         Tolerance::kRounded /* sums come as f32 */);
        for (Device* device : {cpu.get(), cuda.get()}) {
          expect_all_close(run_spanning(*device, DataType::f32, test, data, {5, 5, 3}), expected, tolerance);
          expect_all_close(run_spanning(*device, DataType::f32, test, data, {1, 6, 6}), expected, tolerance);
        }
        if (sigmas > 1) continue;
        const NormData narrow = make_data(test, sigmas, seed++, DataType::bf16);
        NormResult whole = run(*reference, DataType::bf16, test, narrow);
        whole.largest_sum = formula(test, narrow).largest_sum;
        expect_all_close_in_bfloat16(run_spanning(*reference, DataType::bf16, test, narrow, {5, 5, 3}), whole);
        expect_all_close_in_bfloat16(run_spanning(*cuda, DataType::bf16, test, narrow, {5, 5, 3}), whole);
        if (!cpu->supports(DataType::bf16)) continue;
        expect_all_close_in_bfloat16(run_spanning(*cpu, DataType::bf16, test, narrow, {5, 5, 3}), whole);
      }
    }
  }
}

TEST(GhostBatchNorm, OneGhostIsBatchNormBitForBit) {
  for (const Backend& backend : all_backends()) {
    if (backend.type == DataType::f64) continue;  // `run_spanning` gives sums as f32
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    for (const int64_t channels : {3, 16, 17}) {
      for (const bool residual : {false, true}) {
        NormCase test = make_case(13, 4, 3, channels, {13});
        test.spec.relu = true;
        test.spec.residual = residual;
        const NormData data = make_data(test, 3, 77);
        expect_same_bits(run_spanning(*device, backend.type, test, data, {13}), run(*device, backend.type, test, data));
      }
    }
  }
}

TEST(GhostBatchNorm, ConstantStatisticsMayBeThoseOfEachGhost) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    for (const int64_t channels : {16, 17}) {
      for (const bool residual : {false, true}) {
        NormCase both = make_case(8, 3, 2, channels, {4, 3});
        both.spec.relu = true;
        both.spec.residual = residual;
        NormData data = make_data(both, 1, 31, backend.type);
        const NormResult measured = formula(both, data);
        data.mean = rounded(DataType::f32, measured.mean);
        data.variance = rounded(DataType::f32, measured.variance);
        both.constant_statistics = true;
        const NormResult together = run(*device, backend.type, both, data);
        std::vector<double> diff_gamma(static_cast<size_t>(channels)), diff_beta(diff_gamma);
        const double tolerance = backend.type == DataType::bf16 ? Tolerance::kBfloat16 : Tolerance::kNormBlocks;
        for (size_t ghost = 0; ghost < 2; ++ghost) {
          // The rows of a ghost alone, with its statistics.
          NormCase alone = make_case(both.offsets[ghost + 1] - both.offsets[ghost], 3, 2, channels,
                                     {both.offsets[ghost + 1] - both.offsets[ghost]});
          alone.spec.relu = true;
          alone.spec.residual = residual;
          alone.constant_statistics = true;
          NormData part = data;
          const auto slice = [](const std::vector<double>& values, int64_t from, int64_t size) {
            return values.empty() ? values : std::vector<double>(values.begin() + from, values.begin() + from + size);
          };
          const int64_t first = both.offsets[ghost] * both.spec.spatial() * channels, count = alone.used();
          for (auto* values : {&part.src, &part.residual, &part.diff_dst, &part.diff_dst2}) {
            *values = slice(*values, first, count);
          }
          for (auto* values : {&part.mean, &part.variance}) {
            *values = slice(*values, static_cast<int64_t>(ghost) * channels, channels);
          }
          const NormResult expected = formula(alone, part);
          expect_close("dst", slice(together.dst, first, count), expected.dst, tolerance);
          expect_close("diff_src", slice(together.diff_src, first, count), expected.diff_src, tolerance);
          expect_close("diff_residual", slice(together.diff_residual, first, count), expected.diff_residual, tolerance);
          for (size_t c = 0; c < diff_gamma.size(); ++c) {
            diff_gamma[c] += expected.diff_gamma[c];
            diff_beta[c] += expected.diff_beta[c];
          }
        }
        expect_close_in(measured.largest_sum, "diff_gamma", together.diff_gamma, diff_gamma, tolerance);
        expect_close_in(measured.largest_sum, "diff_beta", together.diff_beta, diff_beta, tolerance);
      }
    }
  }
}

TEST(GhostBatchNorm, GradientsAreThoseOfDifferences) {
  const auto reference = make_device("reference");
  for (int variant = 0; variant < 8; ++variant) {
    NormCase test = make_case(6, 2, 2, 3, {3, 2});
    test.spec.relu = variant % 2 != 0;
    test.spec.residual = (variant & 2) != 0;
    test.constant_statistics = (variant & 4) != 0;
    if (test.constant_statistics) test.offsets = {0, 5};
    SCOPED_TRACE(describe(test));
    NormData data = make_data(test, 1, 300 + static_cast<uint32_t>(variant));
    // Rows of no ghost do not count.
    for (size_t i = static_cast<size_t>(test.used()); i < data.src.size(); ++i) {
      data.src[i] = data.diff_dst[i] = data.diff_dst2[i] = 0;
      if (test.spec.residual) data.residual[i] = 0;
    }
    const NormResult result = run(*reference, DataType::f64, test, data);
    const auto loss = [&] {
      const NormResult shifted = run(*reference, DataType::f64, test, data);
      double sum = 0;
      for (size_t i = 0; i < static_cast<size_t>(test.used()); ++i) sum += shifted.dst[i] * data.diff_dst[i];
      return sum;
    };
    const auto head = [&](std::vector<double> values) {
      values.resize(static_cast<size_t>(test.used()));
      return values;
    };
    expect_close("diff_src", head(result.diff_src), head(numeric_gradient(data.src, loss)), Tolerance::kGradient);
    expect_close("diff_gamma", result.diff_gamma, numeric_gradient(data.gamma, loss), Tolerance::kGradient);
    expect_close("diff_beta", result.diff_beta, numeric_gradient(data.beta, loss), Tolerance::kGradient);
    if (test.spec.residual) {
      expect_close("diff_residual", head(result.diff_residual), head(numeric_gradient(data.residual, loss)),
                   Tolerance::kGradient);
    }
  }
}

TEST(GhostBatchNorm, HasTheSameBitsTwiceAndInPlace) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    const DataType type = backend.type, parameter = parameter_type(type);
    for (const bool residual : {false, true}) {
      NormCase test = make_case(12, 7, 5, 17, {5, 4, 3});
      test.spec.relu = true;
      test.spec.residual = residual;
      test.spec.type = type;
      test.second_gradient = residual;
      const NormData data = make_data(test, 2, 5);
      const NormResult first = run(*device, type, test, data);
      expect_same_bits(run(*device, type, test, data), first);

      // dst over src, or over the residual; diff_src, or diff_residual, over diff_dst.
      const auto kernel = own(device->ghost_batch_norm(test.spec));
      const Buffer src(type, data.src), over(type, residual ? data.residual : data.src), gamma(parameter, data.gamma);
      const Buffer beta(parameter, data.beta), mean(parameter, first.mean), variance(parameter, first.variance);
      const View over_view = over.view();
      kernel->normalize(residual ? src.view() : over.view(), mean.view(), variance.view(), gamma.view(), beta.view(),
                        residual ? &over_view : nullptr, over.view(), test.offsets.data(), test.ghosts());
      expect_equal("dst", over.values(), first.dst);

      const Buffer dst(type, first.dst), diff(type, data.diff_dst), diff2(type, data.diff_dst2);
      const Buffer diff_src(type, test.spec.elements()), diff_gamma(parameter, 17), diff_beta(parameter, 17);
      const View dst_view = dst.view(), diff_view = diff.view(), diff2_view = diff2.view();
      kernel->backward(src.view(), residual ? &dst_view : nullptr, diff.view(), residual ? &diff2_view : nullptr,
                       mean.view(), variance.view(), gamma.view(), beta.view(),
                       residual ? diff_src.view() : diff.view(), residual ? &diff_view : nullptr, diff_gamma.view(),
                       diff_beta.view(), test.offsets.data(), test.ghosts(), false);
      const std::vector<double>& actual = residual ? diff_src.values() : diff.values();
      for (size_t i = 0; i < static_cast<size_t>(test.used()); ++i) ASSERT_EQ(actual[i], first.diff_src[i]) << i;
      expect_equal("diff_gamma", diff_gamma.values(), first.diff_gamma);
    }
  }
}

TEST(FoldBatchNorm, MakesTheLayerAloneGiveTheSame) {
  for (const DataType type : {DataType::f64, DataType::f32}) {
    const int64_t filters = 5, row = 12;
    Random random(4);
    std::vector<double> w = random.values(filters * row), x = random.values(row), bias = random.values(filters);
    const std::vector<double> gamma = random.values(filters, 1, 1.5), beta = random.values(filters);
    const std::vector<double> mean = random.values(filters), variance = random.values(filters, 0.5, 1);
    std::vector<double> expected;
    for (size_t k = 0; k < 5; ++k) {
      double y = bias[k];
      for (size_t i = 0; i < 12; ++i) y += w[k * 12 + i] * x[i];
      expected.push_back(gamma[k] * (y - mean[k]) / std::sqrt(variance[k] + 1e-5) + beta[k]);
    }
    const Buffer weights(type, w), b(type, bias), g(type, gamma), be(type, beta), m(type, mean), v(type, variance);
    fold_batch_norm(weights.view(), b.view(), g.view(), be.view(), m.view(), v.view(), 1e-5);
    std::vector<double> actual;
    for (int64_t k = 0; k < 5; ++k) {
      double y = b.at(k);
      for (int64_t i = 0; i < 12; ++i) y += weights.at(k * 12 + i) * x[static_cast<size_t>(i)];
      actual.push_back(y);
    }
    expect_close("y", actual, expected, type == DataType::f64 ? Tolerance::kDouble : Tolerance::kNorm);
    expect_error(
        [&] {
          fold_batch_norm(weights.view(), g.view(), be.view(), m.view(), v.view(), x.empty() ? v.view() : View(), 1e-5);
        },
        "[fold_batch_norm] needs variance");
    View odd = weights.view();
    odd.elements = 59;
    expect_error([&] { fold_batch_norm(odd, b.view(), g.view(), be.view(), m.view(), v.view(), 1e-5); },
                 "weights of 5 rows");
  }
}

TEST(RunningStatistics, MoveByOneGhostAfterAnother) {
  for (const DataType type : {DataType::f64, DataType::f32}) {
    const Buffer mean(type, std::vector<double>{0, 1}), variance(type, std::vector<double>{1, 2});
    const Buffer ghost_mean(type, std::vector<double>{2, 3, 4, 5, 6, 7});
    const Buffer ghost_variance(type, std::vector<double>{1, 2, 3, 4, 5, 6});
    const int64_t places[] = {2, 10, 5};
    update_running_statistics(mean.view(), variance.view(), ghost_mean.view(), ghost_variance.view(), places, 3, 0.1);
    std::vector<double> m{0, 1}, v{1, 2};
    for (size_t k = 0; k < 3; ++k)
      for (size_t c = 0; c < 2; ++c) {
        const double n = static_cast<double>(places[k]);
        m[c] = 0.9 * m[c] + 0.1 * static_cast<double>(2 + 2 * k + c);
        v[c] = 0.9 * v[c] + 0.1 * static_cast<double>(1 + 2 * k + c) * n / (n - 1);
      }
    const double tolerance = type == DataType::f64 ? Tolerance::kDouble : Tolerance::kVector;
    expect_close("mean", mean.values(), m, tolerance);
    expect_close("variance", variance.values(), v, tolerance);

    // In two calls: the same bits.
    const Buffer mean2(type, std::vector<double>{0, 1}), variance2(type, std::vector<double>{1, 2});
    View tail_mean = ghost_mean.view(), tail_variance = ghost_variance.view();
    update_running_statistics(mean2.view(), variance2.view(), ghost_mean.view(), ghost_variance.view(), places, 1, 0.1);
    for (View* view : {&tail_mean, &tail_variance}) {
      view->data = view->as<char>() + 2 * size_of(type);
      view->elements -= 2;
    }
    update_running_statistics(mean2.view(), variance2.view(), tail_mean, tail_variance, places + 1, 2, 0.1);
    expect_equal("mean", mean2.values(), mean.values());
    expect_equal("variance", variance2.values(), variance.values());

    const int64_t single[] = {1};
    const auto update = [&](const int64_t* counts, int32_t ghosts, double momentum, const char* part) {
      expect_error(
          [&] {
            update_running_statistics(mean.view(), variance.view(), ghost_mean.view(), ghost_variance.view(), counts,
                                      ghosts, momentum);
          },
          part);
    };
    update(single, 1, 0.1, "places in [2,");
    update(nullptr, 1, 0.1, "places, got null");
    update(places, 0, 0.1, "ghosts in [1,");
    update(places, 4, 0.1, "mean of at least 8");
    update(places, 3, 1.5, "momentum in [0, 1]");
    update(places, 3, NAN, "momentum in [0, 1]");
  }
}

}  // namespace
}  // namespace ghostbatch::tests
