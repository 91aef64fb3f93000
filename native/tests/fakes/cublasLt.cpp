// A stand-in for libcublasLt.so with the functions that this project calls: products of column-major matrices as plain
// loops on host memory, with the epilogues as cuBLAS's documentation has them. Its numbers are written down here a
// second time, from that documentation.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "common/bfloat16.h"
#include "tests/fakes/fake_cublaslt.h"
#include "tests/fakes/submit.h"

#ifndef FAKE_CUBLASLT_VERSION
#define FAKE_CUBLASLT_VERSION 130100
#endif

namespace {

using ghostbatch::tests::FakeCublasLt;

constexpr int32_t kSuccess = 0, kInvalidValue = 7, kNotSupported = 15;
constexpr int32_t kF32 = 0, kBfloat16 = 14;
constexpr uint32_t kRelu = 2, kBias = 4, kBiasGradientB = 512;

struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  uint64_t algorithm[8];
  uint64_t workspace;
  int32_t state;
  float waves;
  int32_t reserved[4];
};

/// A descriptor, layout or preference.
struct Object {
  int32_t type = 0;  // layouts: of the elements; descriptors: of the computation
  int64_t rows = 0, columns = 0, leading_dimension = 0;
  std::map<int32_t, std::vector<unsigned char>> attributes;

  template <typename Value>
  Value get(int32_t name, Value otherwise) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return otherwise;
    std::memcpy(&otherwise, found->second.data(), sizeof otherwise);
    return otherwise;
  }
  int32_t set(const std::map<int32_t, size_t>& sizes, int32_t name, const void* value, size_t bytes) {
    const auto size = sizes.find(name);
    if (size == sizes.end() || size->second != bytes || value == nullptr) return kInvalidValue;
    const auto* const from = static_cast<const unsigned char*>(value);
    attributes[name].assign(from, from + bytes);
    return kSuccess;
  }
};

FakeCublasLt state;

const Object& of(void* pointer) {
  return *static_cast<const Object*>(pointer);
}

int32_t destroy(void* object) {
  delete static_cast<Object*>(object);
  --state.objects;
  return kSuccess;
}

int32_t make(void** object, const Object& value) {
  *object = new Object(value);
  ++state.objects;
  return kSuccess;
}

double get(const void* data, int32_t type, int64_t i) {
  if (type == kBfloat16) return static_cast<double>(ghostbatch::from_bfloat16(static_cast<const uint16_t*>(data)[i]));
  return static_cast<double>(static_cast<const float*>(data)[i]);
}

void set(void* data, int32_t type, int64_t i, double value) {
  if (type == kBfloat16) {
    static_cast<uint16_t*>(data)[i] = ghostbatch::to_bfloat16(static_cast<float>(value));
  } else {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  }
}

/// A call of cublasLtMatmul, with all that it was given but the matrices themselves.
struct Product {
  Object operation, a_layout, b_layout, d_layout;
  double alpha, beta;
  const void *a, *b, *c;
  void* d;
  void* workspace;
  size_t workspace_bytes;

  void run() const {
    scribble();
    const auto epilogue = operation.get<uint32_t>(7, 1);
    void* const vector = operation.get<void*>(8, nullptr);
    const bool transpose_a = operation.get<int32_t>(3, 0) != 0, transpose_b = operation.get<int32_t>(4, 0) != 0;
    const int64_t depth = transpose_a ? a_layout.rows : a_layout.columns;
    const int64_t step_a = a_layout.leading_dimension, step_b = b_layout.leading_dimension;
    const auto left = [&](int64_t i, int64_t l) {
      return get(a, a_layout.type, transpose_a ? i * step_a + l : l * step_a + i);
    };
    const auto right = [&](int64_t l, int64_t j) {
      return get(b, b_layout.type, transpose_b ? l * step_b + j : j * step_b + l);
    };
    for (int64_t j = 0; j < d_layout.columns; ++j) {
      for (int64_t i = 0; i < d_layout.rows; ++i) {
        double sum = 0;
        for (int64_t l = 0; l < depth; ++l) sum += left(i, l) * right(l, j);
        const int64_t at = j * d_layout.leading_dimension + i;
        double result = alpha * sum;
        if (beta != 0) result += beta * get(c, d_layout.type, at);
        if ((epilogue & kBias) != 0) result += get(vector, d_layout.type, i);
        if ((epilogue & kRelu) != 0 && result < 0) result = 0;
        set(d, d_layout.type, at, result);
      }
      if (epilogue == kBiasGradientB) {
        double sum = 0;
        for (int64_t l = 0; l < depth; ++l) sum += right(l, j);
        set(vector, d_layout.type, j, sum);
      }
    }
    scribble();
  }

 private:
  void scribble() const {  // the workspace is the library's, from beginning to end
    if (workspace_bytes > 0) std::memset(workspace, 0xFE, workspace_bytes);
  }
};

/// Whether the operands of op(A) op(B) = D fit, and their types are in the table of cublasLtMatmul.
bool matches(const Object& operation, const Object& a, const Object& b, const Object& d) {
  const bool transpose_a = operation.get<int32_t>(3, 0) != 0, transpose_b = operation.get<int32_t>(4, 0) != 0;
  const int64_t m = transpose_a ? a.columns : a.rows, k = transpose_a ? a.rows : a.columns;
  const int64_t k_of_b = transpose_b ? b.columns : b.rows, n = transpose_b ? b.rows : b.columns;
  const bool types = a.type == b.type && (d.type == a.type || d.type == kF32);
  return types && k == k_of_b && m == d.rows && n == d.columns && a.leading_dimension >= a.rows &&
         b.leading_dimension >= b.rows && d.leading_dimension >= d.rows;
}

}  // namespace

extern "C" {

FakeCublasLt* fake_cublaslt() {
  return &state;
}

size_t cublasLtGetVersion() {
  return FAKE_CUBLASLT_VERSION;
}

const char* cublasLtGetStatusString(int32_t status) {
  return status == kSuccess ? "success" : status == kNotSupported ? "not supported" : "invalid value";
}

int32_t cublasLtCreate(void** handle) {
  return make(handle, Object());
}
int32_t cublasLtDestroy(void* handle) {
  return destroy(handle);
}

int32_t cublasLtMatmulDescCreate(void** desc, int32_t compute_type, int32_t scale_type) {
  if (scale_type != kF32) return kInvalidValue;
  Object object;
  object.type = compute_type;
  return make(desc, object);
}
int32_t cublasLtMatmulDescDestroy(void* desc) {
  return destroy(desc);
}
int32_t cublasLtMatmulDescSetAttribute(void* desc, int32_t name, const void* value, size_t bytes) {
  const int32_t status = static_cast<Object*>(desc)->set({{3, 4}, {4, 4}, {7, 4}, {8, 8}}, name, value, bytes);
  if (name == 8) std::this_thread::sleep_for(std::chrono::microseconds(10));  // an invitation to other threads
  return status;
}

int32_t cublasLtMatrixLayoutCreate(void** layout, int32_t type, uint64_t rows, uint64_t columns, int64_t leading) {
  Object object;
  object.type = type;
  object.rows = static_cast<int64_t>(rows);
  object.columns = static_cast<int64_t>(columns);
  object.leading_dimension = leading;
  return make(layout, object);
}
int32_t cublasLtMatrixLayoutDestroy(void* layout) {
  return destroy(layout);
}

int32_t cublasLtMatmulPreferenceCreate(void** preference) {
  return make(preference, Object());
}
int32_t cublasLtMatmulPreferenceDestroy(void* preference) {
  return destroy(preference);
}
int32_t cublasLtMatmulPreferenceSetAttribute(void* preference, int32_t name, const void* value, size_t bytes) {
  return static_cast<Object*>(preference)->set({{1, 8}, {3, 4}, {5, 4}, {6, 4}, {7, 4}, {8, 4}}, name, value, bytes);
}

int32_t cublasLtMatmulAlgoGetHeuristic(void*, void* desc, void* a, void* b, void* c, void* d, void* preference,
                                       int32_t wanted, Heuristic* results, int32_t* count) {
  if (c != d || !matches(of(desc), of(a), of(b), of(d))) return kInvalidValue;
  const auto epilogue = of(desc).get<uint32_t>(7, 1);
  const auto vector = of(desc).get<uintptr_t>(8, 0);
  if (epilogue >= kBias && (vector == 0 || vector % 16 != 0)) return kInvalidValue;
  if (epilogue != 1 && !state.epilogues) return kNotSupported;
  state.asked_workspace = of(preference).get<uint64_t>(1, 0);
  state.asked_reduction = of(preference).get<uint32_t>(3, 7);
  state.asked_alignment = 256;
  for (const int32_t name : {5, 6, 7, 8}) {
    state.asked_alignment = std::min(state.asked_alignment, of(preference).get<uint32_t>(name, 256));
  }
  *count = 0;
  // As cuBLASLt promises not to, the first may want more than was offered: the caller looks as well.
  for (uint64_t i = 1; i <= (state.second ? 2u : 1u) && *count < wanted; ++i) {
    Heuristic& result = results[(*count)++];
    result = Heuristic{};
    result.algorithm[0] = i;
    result.workspace = i == 1 ? state.first_workspace : 0;
  }
  return kSuccess;
}

int32_t cublasLtMatmul(void*, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                       void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                       const uint64_t* algorithm, void* workspace, size_t workspace_bytes, void* stream) {
  const Object &operation = of(desc), &of_a = of(a_layout), &of_b = of(b_layout), &of_d = of(d_layout);
  if (c_layout != d_layout || !matches(operation, of_a, of_b, of_d)) return kInvalidValue;
  state.compute_type = operation.type;
  state.algorithm = algorithm[0];
  state.workspace = workspace;
  state.workspace_bytes = workspace_bytes;
  state.stream = stream;
  const Product product{operation, of_a, of_b, of_d, static_cast<double>(*static_cast<const float*>(alpha)),
                        static_cast<double>(*static_cast<const float*>(beta)), a, b, c, d, workspace, workspace_bytes};
  ghostbatch::tests::submit(stream, [product] { product.run(); });
  return kSuccess;
}

}  // extern "C"
