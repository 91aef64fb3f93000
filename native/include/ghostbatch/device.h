#pragma once

#include <map>
#include <utility>

#include "ghostbatch/affine.h"
#include "ghostbatch/elementwise.h"
#include "ghostbatch/gemm.h"
#include "ghostbatch/ghost_batch_norm.h"
#include "ghostbatch/pooling.h"
#include "ghostbatch/samples.h"
#include "ghostbatch/types.h"
#include "ghostbatch/vector.h"

namespace ghostbatch {

class Engine;
struct EngineSpec;
class Network;

/// A backend on one piece of hardware: makes kernels and memory. Names: "cpu", "reference", "cuda", "cuda:N"; a ",tf32"
/// behind the last two allows products and convolutions of f32 to round their operands to TF32 (10 bits of mantissa),
/// an ",autotune" behind that lets the device choose the kernels of convolutions by timing them.
/// `cpu` runs f32 and bf16 on oneDNN and own SIMD; `reference` is plain loops in double on f32, bf16 and f64.
/// A Device is safe to use from several threads. Kernels and tensors must be destroyed before it.
class Device : public Resource {
 public:
  /// Error with the reason where the backend is not to be had; never falls back.
  static Device* create(const char* name);

  virtual const char* name() const = 0;
  /// Multi-line text for people: library versions, instruction set, hardware.
  virtual const char* description() const = 0;
  /// Whether activations of this type are supported.
  virtual bool supports(DataType type) const = 0;
  /// Empty where the hardware computes this type itself; else a sentence: that it is emulated, or why it is not
  /// supported.
  virtual const char* precision_note(DataType type) const = 0;

  // Kernels. A spec that is not valid, or not supported, is an Error that says what was needed and what came.
  virtual Affine* convolution(const ConvolutionSpec& spec, bool backward) = 0;
  virtual Affine* linear(const LinearSpec& spec, bool backward) = 0;
  virtual Gemm* gemm(const GemmSpec& spec) = 0;
  virtual GhostBatchNorm* ghost_batch_norm(const GhostBatchNormSpec& spec) = 0;
  virtual Pooling* pooling(const PoolSpec& spec) = 0;
  virtual Elementwise* elementwise() = 0;
  virtual SoftmaxCrossEntropy* softmax_cross_entropy() = 0;
  virtual BatchLoader* batch_loader(const LoadSpec& spec) = 0;
  virtual VectorKernels* vector_kernels() = 0;

  /// What was chosen by timing kernels so far, and what `use_kernel_choices` was given, as text; empty where there is
  /// nothing. Valid until the next call.
  virtual const char* kernel_choices() = 0;
  /// Has kernels that are made from now on chosen as `kernel_choices` once wrote, with nothing of it timed again. Error
  /// where that is not understood, of other hardware, or not what this device has chosen; and where nothing is timed.
  virtual void use_kernel_choices(const char* text) = 0;

  // Memory.
  /// On the host 2 MiB aligned, huge pages asked for, not touched. Error naming bytes asked and free.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* data, int64_t bytes) = 0;
  /// Bytes that can still be allocated: free memory, or what the container grants, whichever is less.
  virtual int64_t available_bytes() const = 0;
  // All that was enqueued before is done first. `write` copies from the caller's memory, `read` to it.
  virtual void write(void* dst, const void* src, int64_t bytes) = 0;
  virtual void read(const void* src, void* dst, int64_t bytes) = 0;
  virtual void zero(void* dst, int64_t bytes) = 0;

  // Engines: see Engine::create and Engine::predict_bytes.
  virtual Engine* make_engine(Lanes& lanes, const Network& network, const EngineSpec& spec) = 0;
  virtual int64_t predict_engine_bytes(int32_t lanes, const Network& network, const EngineSpec& spec) = 0;

 protected:
  Device() = default;
};

/// Memory that Java owns, zeroed at creation. Counted: `Tensor::live_bytes()`.
class Tensor : public Resource {
 public:
  static Tensor* create(Device& device, DataType type, int64_t elements);
  const View& view() const { return view_; }
  /// Elements [first, first + count). A range has one view, which stays as long as the tensor.
  const View& slice(int64_t first, int64_t count);
  int64_t elements() const { return view_.elements; }
  DataType type() const { return view_.type; }
  // Host copies of elements [first, first + count), converted to and from the tensor's type. u8 and s32 through ints.
  void write_floats(int64_t first, int64_t count, const float* src);
  void write_doubles(int64_t first, int64_t count, const double* src);
  void write_ints(int64_t first, int64_t count, const int32_t* src);
  void read_floats(int64_t first, int64_t count, float* dst) const;
  void read_doubles(int64_t first, int64_t count, double* dst) const;
  void read_ints(int64_t first, int64_t count, int32_t* dst) const;
  static int64_t live_bytes();

 private:
  Tensor(Device& device, const View& view) : device_(device), view_(view) {}
  ~Tensor() override;
  void check_range(const char* what, int64_t first, int64_t count) const;

  Device& device_;
  View view_;
  std::map<std::pair<int64_t, int64_t>, View> slices_;
};

}  // namespace ghostbatch
