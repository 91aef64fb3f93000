// Products through cuBLASLt, on a stand-in that computes them column-major on the host: against the reference.
#include <dlfcn.h>

#include <atomic>
#include <thread>

#include "cuda/gemm.h"
#include "cuda/runtime.h"
#include "tests/fakes/fake_cublaslt.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

using cuda::Matmul;
using cuda::MatmulPlan;
using cuda::MatmulSpec;

constexpr const char* kFolder = GHOSTBATCH_FAKES "/good";
constexpr int64_t kWorkspace = int64_t{32} << 20;

/// cuBLASLt's stand-in, opened as the real one would be, and what it tells of itself.
class CudaGemm : public testing::Test {
 protected:
  void SetUp() override {
    void* const library = dlopen(GHOSTBATCH_FAKES "/good/libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr);
    fake_ = reinterpret_cast<FakeCublasLt* (*)()>(dlsym(library, "fake_cublaslt"))();
    reset();
  }
  void TearDown() override { reset(); }

  void reset() {
    const int64_t objects = fake_->objects;
    *fake_ = FakeCublasLt();
    fake_->objects = objects;
  }

  cuda::CublasLt cublaslt_{kFolder, 13};
  FakeCublasLt* fake_ = nullptr;
};

MatmulSpec make_spec(int64_t m, int64_t n, int64_t k, DataType type) {
  MatmulSpec spec;
  spec.gemm.m = m;
  spec.gemm.n = n;
  spec.gemm.k = k;
  spec.gemm.type = spec.result = type;
  return spec;
}

std::string describe(const MatmulSpec& spec) {
  const GemmSpec& gemm = spec.gemm;
  std::ostringstream out;
  out << "m=" << gemm.m << " n=" << gemm.n << " k=" << gemm.k << " transpose_a=" << gemm.transpose_a
      << " transpose_b=" << gemm.transpose_b << " alpha=" << gemm.alpha << " beta=" << gemm.beta
      << " bias=" << gemm.bias << " relu=" << gemm.relu << (gemm.type == DataType::bf16 ? " bf16" : " f32");
  return out.str();
}

void expect_matrix(const MatmulPlan::Matrix& matrix, int32_t type, int64_t rows, int64_t columns) {
  EXPECT_EQ(matrix.type, type);
  EXPECT_EQ(matrix.rows, rows);
  EXPECT_EQ(matrix.columns, columns);
  EXPECT_EQ(matrix.leading_dimension, rows);
}

TEST_F(CudaGemm, RefusesWhatCublasLtDoesNotHave) {
  MatmulSpec spec = make_spec(4, 4, 4, DataType::f64);
  expect_error([&] { plan_matmul(spec); }, "[gemm] needs f32 or bf16 on backend cuda, got f64");
  spec = make_spec(4, 4, 4, DataType::f32);
  spec.result = DataType::bf16;
  expect_error([&] { plan_matmul(spec); }, "[gemm] needs a result of f32 or of its operands' type, f32, got bf16");
  spec = make_spec(4, 4, 4, DataType::f32);
  spec.bias_gradient = spec.gemm.bias = true;
  expect_error([&] { plan_matmul(spec); }, "no bias and no relu beside the gradient of a bias");
}

TEST_F(CudaGemm, PlansTheTransposedProduct) {
  // C [5,7] = A [5,3] B [3,7]: to cuBLASLt, [7,5] = [7,3] [3,5].
  MatmulSpec spec = make_spec(5, 7, 3, DataType::bf16);
  MatmulPlan plan = plan_matmul(spec);
  expect_matrix(plan.left, 14, 7, 3);
  expect_matrix(plan.right, 14, 3, 5);
  expect_matrix(plan.result, 14, 7, 5);
  EXPECT_EQ(plan.transpose_left, 0);
  EXPECT_EQ(plan.transpose_right, 0);
  EXPECT_EQ(plan.epilogue, 1);
  EXPECT_EQ(plan.compute_type, 68);

  spec.gemm.transpose_a = spec.gemm.transpose_b = true;  // A [3,5], B [7,3]
  spec.result = DataType::f32;
  plan = plan_matmul(spec);
  expect_matrix(plan.left, 14, 3, 7);
  expect_matrix(plan.right, 14, 5, 3);
  expect_matrix(plan.result, 0, 7, 5);
  EXPECT_EQ(plan.transpose_left, 1);
  EXPECT_EQ(plan.transpose_right, 1);

  spec = make_spec(5, 7, 3, DataType::f32);
  spec.tf32 = true;
  EXPECT_EQ(plan_matmul(spec).compute_type, 77);
  spec.gemm.relu = true;
  EXPECT_EQ(plan_matmul(spec).epilogue, 2);
  spec.gemm.bias = true;
  EXPECT_EQ(plan_matmul(spec).epilogue, 6);
  spec.gemm.relu = false;
  EXPECT_EQ(plan_matmul(spec).epilogue, 4);
  spec.gemm.bias = false;
  spec.bias_gradient = true;
  EXPECT_EQ(plan_matmul(spec).epilogue, 512);
}

struct Product {
  std::vector<double> a, b, bias, c;
};

Product make_product(const MatmulSpec& spec, uint32_t seed) {
  const GemmSpec& gemm = spec.gemm;
  Random random(seed);
  const auto rounded_normals = [&](int64_t count) { return rounded(gemm.type, random.normals(count)); };
  Product product;
  product.a = rounded_normals(gemm.m * gemm.k);
  product.b = rounded_normals(gemm.k * gemm.n);
  product.bias = rounded(spec.result, random.normals(gemm.n));
  product.c = gemm.beta == 0 ? std::vector<double>(static_cast<size_t>(gemm.m * gemm.n), NAN)
                             : rounded(spec.result, random.normals(gemm.m * gemm.n));
  return product;
}

std::vector<double> run_reference(Device& device, const GemmSpec& spec, const Product& product) {
  const auto kernel = own(device.gemm(spec));
  const Buffer a(spec.type, product.a), b(spec.type, product.b), bias(parameter_type(spec.type), product.bias);
  const Buffer c(spec.type, product.c), scratch(DataType::u8, kernel->scratch_bytes());
  const View bias_view = bias.view();
  kernel->run(a.view(), b.view(), spec.bias ? &bias_view : nullptr, c.view(), scratch.view());
  return c.values();
}

TEST_F(CudaGemm, MatchesTheReferenceOverTheGrid) {
  const auto reference = make_device("reference");
  const cuda::CublasLtHandle handle(cublaslt_);
  uint32_t seed = 1;
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    for (const int64_t m : {1, 5, 16, 33}) {
      for (const int64_t n : {1, 7, 32}) {
        for (const int64_t k : {1, 15, 64}) {
          for (int bits = 0; bits < 32; ++bits) {
            MatmulSpec spec = make_spec(m, n, k, type);
            spec.gemm.transpose_a = bits & 1;
            spec.gemm.transpose_b = bits & 2;
            spec.gemm.bias = bits & 4;
            spec.gemm.relu = bits & 8;
            spec.gemm.alpha = bits & 16 ? 0.5 : 1;
            spec.gemm.beta = bits & 16 ? -2 : 0;
            SCOPED_TRACE(describe(spec));
            const Product product = make_product(spec, seed++);
            const Matmul matmul(handle, spec, kWorkspace);
            ASSERT_TRUE(matmul.fused());
            const Buffer a(type, product.a), b(type, product.b), bias(type, product.bias), c(type, product.c);
            matmul.run({a.view().data, b.view().data, c.view().data, spec.gemm.bias ? bias.view().data : nullptr},
                       nullptr, nullptr);
            expect_close_as(type, "c", c.values(), run_reference(*reference, spec.gemm, product), Tolerance::kRounded);
          }
        }
      }
    }
  }
}

TEST_F(CudaGemm, GivesTheGradientsOfALinearLayer) {
  // diff_weights [out,in] = transpose(diff_dst [N,out]) src [N,in], and the sums of diff_dst over N beside it.
  const auto reference = make_device("reference");
  const cuda::CublasLtHandle handle(cublaslt_);
  for (const DataType type : {DataType::f32, DataType::bf16}) {
    LinearSpec linear;
    linear.batch = 33;
    linear.in = 17;
    linear.out = 10;
    linear.bias = true;
    linear.type = type;
    const auto layer = own(reference->linear(linear, true));
    Random random(5);
    const Buffer src(type, random.normals(33 * 17)), diff_dst(type, random.normals(33 * 10));
    const Buffer expected(DataType::f32, 10 * 17), expected_bias(DataType::f32, 10);
    const Buffer scratch(DataType::u8, layer->scratch_bytes());
    const View bias = expected_bias.view();
    layer->backward_weights(src.view(), diff_dst.view(), expected.view(), &bias, scratch.view());

    MatmulSpec spec = make_spec(10, 17, 33, type);
    spec.gemm.transpose_a = true;
    spec.result = DataType::f32;
    spec.bias_gradient = true;
    const Matmul matmul(handle, spec, kWorkspace);
    const Buffer diff_weights(DataType::f32, 10 * 17), diff_bias(DataType::f32, 10);
    matmul.run({diff_dst.view().data, src.view().data, diff_weights.view().data, diff_bias.view().data}, nullptr,
               nullptr);
    expect_close("diff_weights", diff_weights.values(), expected.values(), Tolerance::kRounded);
    expect_close("diff_bias", diff_bias.values(), expected_bias.values(), Tolerance::kRounded);
  }
}

TEST_F(CudaGemm, AsksForSumsInF32AndForItsAlignment) {
  const cuda::CublasLtHandle handle(cublaslt_);
  const Matmul matmul(handle, make_spec(4, 4, 4, DataType::bf16), kWorkspace);
  EXPECT_EQ(fake_->asked_workspace, static_cast<uint64_t>(kWorkspace));
  EXPECT_EQ(fake_->asked_reduction, 2u);
  EXPECT_EQ(fake_->asked_alignment, 16u);
}

TEST_F(CudaGemm, TakesTheFirstAlgorithmThatFits) {
  const cuda::CublasLtHandle handle(cublaslt_);
  const Buffer a(DataType::f32, std::vector<double>(16, 1)), c(DataType::f32, 16);
  alignas(256) static unsigned char workspace[512];
  const auto run = [&](int64_t most) {
    const Matmul matmul(handle, make_spec(4, 4, 4, DataType::f32), most);
    const cuda::Stream stream = cuda::create_stream();
    matmul.run({a.view().data, a.view().data, c.view().data, nullptr}, workspace, stream);
    EXPECT_EQ(fake_->stream, stream);
    cuda::destroy_stream(stream);
    EXPECT_EQ(fake_->workspace, workspace);
    return matmul.workspace_bytes();
  };
  fake_->first_workspace = 512;
  EXPECT_EQ(run(512), 512);
  EXPECT_EQ(fake_->algorithm, 1u);
  EXPECT_EQ(fake_->workspace_bytes, 512u);
  EXPECT_EQ(run(511), 0);
  EXPECT_EQ(fake_->algorithm, 2u);
  fake_->second = false;
  expect_error(
      [&] { run(511); },
      "[gemm] needs a product that cuBLASLt has with 511 bytes of workspace, got none of 1 algorithms for m=4 n=4");
}

TEST_F(CudaGemm, LeavesTheEpilogueToTheCallerWhereThereIsNone) {
  fake_->epilogues = false;
  const auto reference = make_device("reference");
  const cuda::CublasLtHandle handle(cublaslt_);
  MatmulSpec spec = make_spec(5, 8, 3, DataType::f32);
  spec.gemm.bias = spec.gemm.relu = true;
  const Product product = make_product(spec, 9);
  const Matmul matmul(handle, spec, kWorkspace);
  EXPECT_FALSE(matmul.fused());
  const Buffer a(DataType::f32, product.a), b(DataType::f32, product.b), c(DataType::f32, product.c);
  matmul.run({a.view().data, b.view().data, c.view().data, nullptr}, nullptr, nullptr);
  spec.gemm.bias = spec.gemm.relu = false;
  expect_close("c", c.values(), run_reference(*reference, spec.gemm, product), Tolerance::kRounded);
  expect_error(
      [&] {
        matmul.run({a.view().data, b.view().data, c.view().data, a.view().data}, nullptr, nullptr);
      },
      "no bias, as the product has none");
  EXPECT_TRUE(Matmul(handle, spec, kWorkspace).fused());
}

TEST_F(CudaGemm, RefusesMemoryThatIsNotAligned) {
  const cuda::CublasLtHandle handle(cublaslt_);
  MatmulSpec spec = make_spec(4, 4, 4, DataType::f32);
  spec.gemm.bias = true;
  fake_->first_workspace = 512;
  const Matmul matmul(handle, spec, kWorkspace);
  const Buffer memory(DataType::f32, 64);
  float* const at = memory.view().as<float>();
  const auto refuse = [&](void* a, void* b, void* c, void* bias, void* workspace, const char* part) {
    expect_error([&] { matmul.run({a, b, c, bias}, workspace, nullptr); }, part);
  };
  alignas(256) unsigned char workspace[512];
  refuse(at + 1, at, at, at, workspace, "[gemm] needs a aligned to 16 bytes, got address");
  refuse(at, at + 2, at, at, workspace, "b aligned to 16");
  refuse(at, at, at + 3, at, workspace, "c aligned to 16");
  refuse(at, at, at, at + 1, workspace, "bias aligned to 16");
  refuse(at, at, at, nullptr, workspace, "bias aligned to 16");
  refuse(at, at, at, at, workspace + 16, "workspace aligned to 256");
  refuse(nullptr, at, at, at, workspace, "a aligned to 16");
}

TEST_F(CudaGemm, ServesThreadsWithBiasesOfTheirOwn) {
  const cuda::CublasLtHandle handle(cublaslt_);
  MatmulSpec spec = make_spec(2, 4, 1, DataType::f32);
  spec.gemm.bias = true;
  const Matmul matmul(handle, spec, kWorkspace);
  std::atomic<int> wrong{0};
  const auto work = [&](double bias_value) {
    const Buffer a(DataType::f32, {1, 1}), b(DataType::f32, {1, 1, 1, 1});
    const Buffer bias(DataType::f32, std::vector<double>(4, bias_value)), c(DataType::f32, 8);
    for (int i = 0; i < 500; ++i) {
      matmul.run({a.view().data, b.view().data, c.view().data, bias.view().data}, nullptr, nullptr);
      if (c.at(0) != 1 + bias_value || c.at(7) != 1 + bias_value) ++wrong;
    }
  };
  std::thread other(work, 100);
  work(200);
  other.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(CudaGemm, GivesBackWhatItMade) {
  const int64_t before = fake_->objects;
  {
    const cuda::CublasLtHandle handle(cublaslt_);
    const Matmul matmul(handle, make_spec(4, 4, 4, DataType::f32), kWorkspace);
    EXPECT_EQ(fake_->objects, before + 5);  // the handle, the operation, three layouts
    fake_->epilogues = false;
    MatmulSpec spec = make_spec(4, 4, 4, DataType::f32);
    spec.gemm.relu = true;
    const Matmul second(handle, spec, kWorkspace);
    EXPECT_EQ(fake_->objects, before + 9);
  }
  EXPECT_EQ(fake_->objects, before);
}

}  // namespace
}  // namespace ghostbatch::tests
