#include "cuda/add_bias.h"

#include "cuda/enqueue.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kAddBias = "add_bias";

template <typename T, int kWidth>
void enqueue_add_bias(const AddBias<T, kWidth>& kernel, Stream stream) {
  enqueue(kAddBias, kernel, kernel.blocks(), kernel.kThreads, stream);
}

template <typename T>
void add_bias_as(const View& dst, const float* bias, int64_t channels, bool relu, Stream stream) {
  constexpr int kWidth = Pack<T>::kSize;
  T* const data = dst.as<T>();
  const int64_t rows = dst.elements / channels;
  if (channels % kWidth == 0 && is_aligned(data)) {
    enqueue_add_bias(AddBias<T, kWidth>{data, bias, rows, channels, relu}, stream);
  } else {
    enqueue_add_bias(AddBias<T, 1>{data, bias, rows, channels, relu}, stream);
  }
}

}  // namespace

void add_bias(const View& dst, const float* bias, int64_t channels, bool relu, Stream stream) {
  if (channels < 1 || dst.elements < 1 || dst.elements % channels != 0) {
    fail(kAddBias, "rows of channels", text(dst.elements, " elements of ", channels, " channels"));
  }
  if (dst.type == DataType::f32) return add_bias_as<float>(dst, bias, channels, relu, stream);
  if (dst.type == DataType::bf16) return add_bias_as<uint16_t>(dst, bias, channels, relu, stream);
  fail(kAddBias, "f32 or bf16 on backend cuda", name_of(dst.type));
}

}  // namespace ghostbatch::cuda
