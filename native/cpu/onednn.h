// What the kernels on oneDNN share: the engine, primitives that several threads may run at once, errors.
#pragma once

#include <oneapi/dnnl/dnnl_debug.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/check.h"
#include "cpu/single_thread.h"
#include "ghostbatch/types.h"

namespace ghostbatch::cpu {

/// oneDNN's CPU engine of the process. Lives to the end, so that kernels may be destroyed at any time.
const dnnl::engine& onednn_engine();

/// oneDNN computes bf16 with AVX-512 (without its BF16 instructions by emulation, 2.5 times slower than f32), and has
/// no convolution in bf16 below that.
bool supports_bf16();
/// Whether oneDNN has instructions for it here.
bool has_bf16_instructions();

/// The instruction set that oneDNN uses, as text: what the CPU has, or less where ONEDNN_MAX_CPU_ISA says so.
const char* onednn_isa();

/// Error naming the kernel where this CPU's oneDNN has no such type.
dnnl::memory::data_type onednn_type(const char* kernel, DataType type);

/// Attributes of every primitive here: scratch memory comes from the caller, so that threads can share the primitive.
dnnl::primitive_attr onednn_attributes();

/// Runs `make` on one OpenMP thread. What oneDNN throws becomes an Error that names the kernel, the part of it
/// ("backward data") and the shape.
template <typename Make>
auto make_on_onednn(const char* kernel, const char* part, const std::string& shape, Make&& make) {
  SingleThread single_thread;
  try {
    return make();
  } catch (const dnnl::error& error) {
    fail(kernel, text("a ", part, " that oneDNN has on this CPU"), text(dnnl_status2str(error.status), " for ", shape));
  }
}

/// A oneDNN primitive with its memory objects. `run` may be called from several threads at once: a call borrows a set
/// of memory objects and a stream, of which there come to be as many as calls ever overlapped, so that a call allocates
/// nothing here. (oneDNN itself keeps what it knows of a running primitive on the heap: some ten short-lived
/// allocations of a few KiB together, the same each time, freed before the call returns.)
class Primitive {
 public:
  /// One of the primitive's arguments: DNNL_ARG_* and its layout.
  struct Argument {
    int id;
    dnnl::memory::desc layout;
  };

  Primitive() = default;
  /// `arguments` in the order in which `run` takes their data, without the scratchpad.
  Primitive(const dnnl::primitive& primitive, std::vector<Argument> arguments);

  /// Runs on the calling thread. `scratch` holds at least `scratch_bytes()`.
  void run(std::initializer_list<void*> data, void* scratch) const;

  int64_t scratch_bytes() const { return scratch_bytes_; }
  const char* implementation() const;
  explicit operator bool() const { return static_cast<bool>(calls_); }

 private:
  /// What one running call needs of its own.
  struct Call {
    explicit Call(const std::vector<Argument>& arguments);
    dnnl::stream stream;
    std::vector<dnnl::memory> memories;
    std::vector<dnnl_exec_arg_t> arguments;
  };
  struct Calls {
    std::mutex mutex;
    std::vector<std::unique_ptr<Call>> idle;
    size_t made = 0;
  };

  std::unique_ptr<Call> borrow() const;
  void give_back(std::unique_ptr<Call> call) const;

  dnnl::primitive primitive_;
  std::vector<Argument> arguments_;
  int64_t scratch_bytes_ = 0;
  std::unique_ptr<Calls> calls_;
};

}  // namespace ghostbatch::cpu
