#include "tests/gemm_cases.h"

namespace ghostbatch::tests {
namespace {

TEST(Gemm, RefusesBadSpecsAndArguments) {
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    const auto device = make_device(name);
    const auto refuse = [&](const std::function<void(GemmSpec&)>& change, const char* part) {
      GemmSpec spec;
      spec.m = spec.n = spec.k = 4;
      change(spec);
      expect_error([&] { own(device->gemm(spec)); }, part);
    };
    refuse([](auto& s) { s.m = 0; }, "m in [1,");
    refuse([](auto& s) { s.n = -3; }, "n in [1,");
    refuse([](auto& s) { s.k = int64_t{1} << 33; }, "k in [1,");
    refuse([](auto& s) { s.alpha = NAN; }, "a finite alpha");
    refuse([](auto& s) { s.beta = INFINITY; }, "a finite beta");
    refuse([](auto& s) { s.type = DataType::u8; }, "got u8");
    refuse([](auto& s) { s.m = s.n = 2000000000; }, "c of at most 2^48 elements");

    GemmSpec spec;
    spec.m = spec.n = spec.k = 4;
    const auto kernel = own(device->gemm(spec));
    const Buffer matrix(DataType::f32, 16), scratch(DataType::u8, kernel->scratch_bytes());
    const View good = matrix.view(), room = scratch.view();
    expect_error([&] { kernel->run(View(nullptr, 16, DataType::f32), good, nullptr, good, room); }, "a with memory");
    expect_error([&] { kernel->run(good, View(good.data, 15, DataType::f32), nullptr, good, room); }, "b of 16 f32");
    expect_error([&] { kernel->run(good, good, &good, good, room); }, "no bias");
    expect_error([&] { kernel->run(good, good, nullptr, View(good.data, 16, DataType::s32), room); }, "got 16 s32");
  }
}

TEST(Gemm, MatchesTheFormulaOverTheGrid) {
  const auto reference = make_device("reference"), cpu = make_device("cpu");
  uint32_t seed = 1;
  for (const int64_t m : {1, 15, 17}) {
    for (const int64_t n : {1, 16, 33}) {
      for (const int64_t k : {1, 3, 64}) {
        for (int variant = 0; variant < 8; ++variant) {
          GemmSpec spec;
          spec.m = m;
          spec.n = n;
          spec.k = k;
          spec.transpose_a = (variant & 1) != 0;
          spec.transpose_b = (variant & 2) != 0;
          spec.bias = seed % 2 == 0;
          spec.relu = seed % 5 == 0;
          if ((variant & 4) != 0) spec.alpha = -0.75, spec.beta = seed % 3 == 0 ? 1.0 : 0.5;
          SCOPED_TRACE(::testing::Message() << "m=" << m << " n=" << n << " k=" << k << " variant=" << variant);
          const GemmData data = make_data(spec, seed++);
          const std::vector<double> expected = formula(spec, data);
          expect_close("c", run(*own(reference->gemm(spec)), data), expected, Tolerance::kRounded);
          const std::vector<double> result = run(*own(cpu->gemm(spec)), data);
          expect_close("c", result, expected, Tolerance::kProduct);
          expect_equal("c again", run(*own(cpu->gemm(spec)), data), result);
          spec.type = DataType::f64;
          expect_close("c", run(*own(reference->gemm(spec)), data), expected, Tolerance::kDouble);
          // Sums of these numbers are exact in f32: rounded where they are written, and nowhere else.
          spec.type = DataType::bf16;
          const std::vector<double> in_bfloat16 = rounded(DataType::bf16, expected);
          expect_equal("c in bf16", run(*own(reference->gemm(spec)), data), in_bfloat16);
          if (!cpu->supports(DataType::bf16)) continue;
          expect_equal("c in bf16 on cpu", run(*own(cpu->gemm(spec)), data), in_bfloat16);
        }
      }
    }
  }
}

}  // namespace
}  // namespace ghostbatch::tests
