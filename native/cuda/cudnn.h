// cuDNN 9, opened at run time: its numbers, the functions of its backend (graph) API, and owners of what they make.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "cuda/library.h"

namespace ghostbatch::cuda {

/// cuDNN's numbers under cuDNN's names (cudnn_graph.h). CudaConstantsTest compares each with those of the JavaCPP
/// preset, so a line here is a name and a number.
enum CudnnNumber : int32_t {
  CUDNN_STATUS_SUCCESS = 0,

  CUDNN_DATA_FLOAT = 0,
  CUDNN_DATA_BFLOAT16 = 9,

  CUDNN_CROSS_CORRELATION = 1,
  CUDNN_POINTWISE_ADD = 0,
  CUDNN_POINTWISE_RELU_FWD = 100,

  CUDNN_HEUR_MODE_B = 1,
  CUDNN_HEUR_MODE_FALLBACK = 2,
  CUDNN_HEUR_MODE_A = 3,

  CUDNN_NUMERICAL_NOTE_TENSOR_CORE = 0,
  CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS = 1,
  CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION = 2,
  CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC = 4,
  CUDNN_NUMERICAL_NOTE_WINOGRAD = 5,
  CUDNN_NUMERICAL_NOTE_TYPE_COUNT = 10,

  // Types of attributes.
  CUDNN_TYPE_HANDLE = 0,
  CUDNN_TYPE_DATA_TYPE = 1,
  CUDNN_TYPE_BOOLEAN = 2,
  CUDNN_TYPE_INT64 = 3,
  CUDNN_TYPE_FLOAT = 4,
  CUDNN_TYPE_VOID_PTR = 6,
  CUDNN_TYPE_CONVOLUTION_MODE = 7,
  CUDNN_TYPE_HEUR_MODE = 8,
  CUDNN_TYPE_KNOB_TYPE = 9,
  CUDNN_TYPE_NUMERICAL_NOTE = 11,
  CUDNN_TYPE_POINTWISE_MODE = 14,
  CUDNN_TYPE_BACKEND_DESCRIPTOR = 15,

  // Types of descriptors.
  CUDNN_BACKEND_POINTWISE_DESCRIPTOR = 0,
  CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR = 1,
  CUDNN_BACKEND_ENGINE_DESCRIPTOR = 2,
  CUDNN_BACKEND_ENGINECFG_DESCRIPTOR = 3,
  CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR = 4,
  CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR = 5,
  CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR = 7,
  CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR = 10,
  CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR = 11,
  CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR = 12,
  CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR = 13,
  CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR = 15,
  CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR = 16,
  CUDNN_BACKEND_TENSOR_DESCRIPTOR = 17,

  // Attributes.
  CUDNN_ATTR_POINTWISE_MODE = 0,
  CUDNN_ATTR_POINTWISE_MATH_PREC = 1,
  CUDNN_ATTR_CONVOLUTION_COMP_TYPE = 100,
  CUDNN_ATTR_CONVOLUTION_CONV_MODE = 101,
  CUDNN_ATTR_CONVOLUTION_DILATIONS = 102,
  CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES = 103,
  CUDNN_ATTR_CONVOLUTION_POST_PADDINGS = 104,
  CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS = 105,
  CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS = 106,
  CUDNN_ATTR_ENGINEHEUR_MODE = 200,
  CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH = 201,
  CUDNN_ATTR_ENGINEHEUR_RESULTS = 202,
  CUDNN_ATTR_ENGINECFG_ENGINE = 300,
  CUDNN_ATTR_ENGINECFG_KNOB_CHOICES = 302,
  CUDNN_ATTR_EXECUTION_PLAN_HANDLE = 400,
  CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG = 401,
  CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE = 402,
  CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE = 600,
  CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE = 601,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA = 700,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA = 701,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC = 702,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W = 703,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X = 704,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y = 705,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA = 706,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA = 707,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC = 708,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W = 709,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX = 710,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY = 711,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA = 712,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA = 713,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC = 714,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW = 715,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X = 716,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY = 717,
  CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR = 750,
  CUDNN_ATTR_OPERATION_POINTWISE_XDESC = 751,
  CUDNN_ATTR_OPERATION_POINTWISE_BDESC = 752,
  CUDNN_ATTR_OPERATION_POINTWISE_YDESC = 753,
  CUDNN_ATTR_OPERATIONGRAPH_HANDLE = 800,
  CUDNN_ATTR_OPERATIONGRAPH_OPS = 801,
  CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT = 900,
  CUDNN_ATTR_TENSOR_DATA_TYPE = 901,
  CUDNN_ATTR_TENSOR_DIMENSIONS = 902,
  CUDNN_ATTR_TENSOR_STRIDES = 903,
  CUDNN_ATTR_TENSOR_UNIQUE_ID = 906,
  CUDNN_ATTR_TENSOR_IS_VIRTUAL = 907,
  CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS = 1000,
  CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS = 1001,
  CUDNN_ATTR_VARIANT_PACK_WORKSPACE = 1003,
  CUDNN_ATTR_ENGINE_OPERATION_GRAPH = 1300,
  CUDNN_ATTR_ENGINE_GLOBAL_INDEX = 1301,
  CUDNN_ATTR_ENGINE_NUMERICAL_NOTE = 1303,
};

/// cuDNN's functions. Enumerations are passed as int32_t, which they are in C.
class Cudnn {
 public:
  /// From the folders about `folder` (see library_folders), its dependencies first; empty: where the loader finds it.
  /// Error that says what is wrong and what to do.
  explicit Cudnn(const std::string& folder);

  /// That of GHOSTBATCH_CUDNN, opened at the first call; Error as above, at every call.
  static const Cudnn& of_process();

  /// "cuDNN 9.19.0".
  std::string version() const;
  /// "cuDNN 9.19.0 (/folder/libcudnn.so.9)".
  std::string description() const;

  /// Error "[cudnn] needs `what` to work, got ..." where `status` is not success.
  void check(int32_t status, const char* what) const;
  /// What `status` means, with what cuDNN says of its last failure.
  std::string reason_of(int32_t status) const;

  size_t (*get_version)() = nullptr;
  const char* (*get_error_string)(int32_t status) = nullptr;
  void (*get_last_error_string)(char* message, size_t size) = nullptr;
  int32_t (*create)(void** handle) = nullptr;
  int32_t (*destroy)(void* handle) = nullptr;
  int32_t (*set_stream)(void* handle, Stream stream) = nullptr;
  int32_t (*create_descriptor)(int32_t type, void** descriptor) = nullptr;
  int32_t (*destroy_descriptor)(void* descriptor) = nullptr;
  int32_t (*finalize)(void* descriptor) = nullptr;
  int32_t (*set_attribute)(void* descriptor, int32_t name, int32_t type, int64_t count, const void* values) = nullptr;
  int32_t (*get_attribute)(void* descriptor, int32_t name, int32_t type, int64_t wanted, int64_t* count,
                           void* values) = nullptr;
  int32_t (*execute)(void* handle, void* plan, void* variant_pack) = nullptr;

 private:
  std::string path_;
};

/// cuDNN on the device that is current at its making, and one stream: a lane has one, and no two threads use it at
/// once.
class CudnnHandle {
 public:
  CudnnHandle(const Cudnn& cudnn, Stream stream);
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  ~CudnnHandle();

  const Cudnn& cudnn() const { return cudnn_; }
  void* get() const { return handle_; }
  Stream stream() const { return stream_; }

 private:
  const Cudnn& cudnn_;
  Stream stream_;
  void* handle_ = nullptr;
};

/// A descriptor of the backend API: made, given attributes, finalized, destroyed with its owner.
class Descriptor {
 public:
  Descriptor(const Cudnn& cudnn, int32_t type);
  Descriptor(Descriptor&& other) noexcept
      : cudnn_(other.cudnn_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  /// `values` [count], of the C type that `type` stands for.
  void set(int32_t name, int32_t type, int64_t count, const void* values);
  void finalize();
  /// As finalize, for what cuDNN may not support: its status.
  int32_t try_to_finalize();
  /// Writes at most `wanted` values; returns how many there are.
  int64_t get(int32_t name, int32_t type, int64_t wanted, void* values) const;

  void* get() const { return descriptor_; }

 private:
  const Cudnn* cudnn_;
  void* descriptor_ = nullptr;
};

}  // namespace ghostbatch::cuda
