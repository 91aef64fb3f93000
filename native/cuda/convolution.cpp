#include "cuda/convolution.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/check.h"

namespace ghostbatch::cuda {

/// What became of the engines that were looked at.
struct EngineSearch {
  int64_t engines = 0;
  std::string reasons;

  void refuse(const std::string& reason) {
    if (reasons.find(reason) == std::string::npos) reasons += (reasons.empty() ? "" : "; ") + reason;
  }
};

namespace {

constexpr const char* kConvolution = "convolution";
constexpr uintptr_t kWorkspaceAlignment = 256;
constexpr size_t kMostTensors = 4;  // src, weights, dst, bias

int64_t cudnn_type(DataType type) {
  if (type == DataType::f32) return CUDNN_DATA_FLOAT;
  if (type == DataType::bf16) return CUDNN_DATA_BFLOAT16;
  fail(kConvolution, "f32 or bf16 on backend cuda", name_of(type));
}

const char* text_of(Direction direction) {
  switch (direction) {
    case Direction::forward:
      return "forward";
    case Direction::backward_data:
      return "backward data";
    case Direction::backward_weights:
      return "backward weights";
  }
  return "";
}

std::string shape_of(const ConvolutionSpec& spec) {
  return text("src=[", spec.batch, ",", spec.height, ",", spec.width, ",", spec.channels, "] weights=[", spec.filters,
              ",", spec.kernel_h, ",", spec.kernel_w, ",", spec.channels / spec.groups, "] stride=[", spec.stride_h,
              ",", spec.stride_w, "] padding=[", spec.pad_h, ",", spec.pad_w, "] dilation=[", spec.dilation_h, ",",
              spec.dilation_w, "] groups=", spec.groups, " type=", name_of(spec.type));
}

/// cuDNN's order of dimensions is N, C, H, W, whatever lies next to what; strides say that channels do.
struct Shape {
  int64_t n, c, h, w;
};

/// Builds a GraphRecord; each function returns the position of what it added.
class GraphBuilder {
 public:
  int64_t tensor(TensorId id, DataType type, const Shape& shape, bool is_virtual = false) {
    const auto [n, c, h, w] = shape;
    if (!is_virtual) graph_.tensors.push_back(id);
    return add(CUDNN_BACKEND_TENSOR_DESCRIPTOR,
               {{CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {cudnn_type(type)}},
                {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, {n, c, h, w}},
                {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, {h * w * c, 1, w * c, c}},
                {CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {id}},
                {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {kLibraryAlignment}},
                {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, {is_virtual ? 1 : 0}}});
  }

  int64_t convolution(const ConvolutionSpec& spec) {
    const std::vector<int64_t> padding{spec.pad_h, spec.pad_w};
    return add(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
               {{CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {2}},
                {CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT}},
                {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, {CUDNN_CROSS_CORRELATION}},
                {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, padding},
                {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, padding},
                {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, {spec.stride_h, spec.stride_w}},
                {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, {spec.dilation_h, spec.dilation_w}}});
  }

  /// An operation that names descriptors: {attribute, position} each.
  int64_t operation(int32_t type, const std::vector<std::pair<int32_t, int64_t>>& descriptors) {
    std::vector<Attribute> attributes;
    for (const auto& [name, position] : descriptors) {
      attributes.push_back({name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {position}});
    }
    operations_.push_back(add(type, std::move(attributes)));
    return operations_.back();
  }

  /// result = alpha * operation + beta * result, as every convolution has it: alpha = 1, beta = 0.
  void scale(int64_t operation, int32_t alpha, int32_t beta) {
    auto& attributes = graph_.descriptors[static_cast<size_t>(operation)].attributes;
    attributes.push_back({alpha, CUDNN_TYPE_FLOAT, {1}});
    attributes.push_back({beta, CUDNN_TYPE_FLOAT, {0}});
  }

  int64_t pointwise(int32_t mode) {
    return add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
               {{CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, {mode}},
                {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT}}});
  }

  GraphRecord finish() {
    add(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, {0}},
         {CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations_}});
    return std::move(graph_);
  }

 private:
  int64_t add(int32_t type, std::vector<Attribute> attributes) {
    graph_.descriptors.push_back({type, std::move(attributes)});
    return static_cast<int64_t>(graph_.descriptors.size()) - 1;
  }

  GraphRecord graph_;
  std::vector<int64_t> operations_;
};

GraphRecord forward_graph(const ConvolutionSpec& spec, bool fused) {
  const bool bias = fused && spec.bias, relu = fused && spec.relu;
  const Shape dst_shape{spec.batch, spec.filters, spec.out_height(), spec.out_width()};
  GraphBuilder graph;
  const int64_t src = graph.tensor(kSrcId, spec.type, {spec.batch, spec.channels, spec.height, spec.width});
  const int64_t weights =
      graph.tensor(kWeightsId, spec.type, {spec.filters, spec.channels / spec.groups, spec.kernel_h, spec.kernel_w});
  const int64_t dst = graph.tensor(kDstId, spec.type, dst_shape);
  // What flows between operations stays in f32: dst is rounded once.
  const int64_t sum = bias || relu ? graph.tensor(kSumId, DataType::f32, dst_shape, true) : dst;
  const int64_t shifted = bias && relu ? graph.tensor(kShiftedId, DataType::f32, dst_shape, true) : dst;
  const int64_t convolution = graph.convolution(spec);
  const int64_t operation = graph.operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                            {{CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution},
                                             {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, src},
                                             {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weights},
                                             {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, sum}});
  graph.scale(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA);
  if (bias) {
    const int64_t shift = graph.tensor(kBiasId, DataType::f32, {1, spec.filters, 1, 1});
    graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                    {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, graph.pointwise(CUDNN_POINTWISE_ADD)},
                     {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, sum},
                     {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, shift},
                     {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, shifted}});
  }
  if (relu) {
    graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                    {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, graph.pointwise(CUDNN_POINTWISE_RELU_FWD)},
                     {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, bias ? shifted : sum},
                     {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, dst}});
  }
  return graph.finish();
}

GraphRecord backward_graph(const ConvolutionSpec& spec, bool of_weights, DataType diff_weights) {
  GraphBuilder graph;
  const int64_t src = graph.tensor(kSrcId, spec.type, {spec.batch, spec.channels, spec.height, spec.width});
  const int64_t weights = graph.tensor(kWeightsId, of_weights ? diff_weights : spec.type,
                                       {spec.filters, spec.channels / spec.groups, spec.kernel_h, spec.kernel_w});
  const int64_t dst = graph.tensor(kDstId, spec.type, {spec.batch, spec.filters, spec.out_height(), spec.out_width()});
  const int64_t convolution = graph.convolution(spec);
  if (of_weights) {
    const int64_t operation = graph.operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                              {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution},
                                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, src},
                                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dst},
                                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, weights}});
    graph.scale(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA);
  } else {
    const int64_t operation = graph.operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                              {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution},
                                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dst},
                                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, weights},
                                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, src}});
    graph.scale(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA);
  }
  return graph.finish();
}

/// Numbers as the C type that `type` stands for.
template <typename Value>
void set_as(Descriptor& descriptor, const Attribute& attribute) {
  std::array<Value, 8> values{};
  for (size_t i = 0; i < attribute.values.size(); ++i) values[i] = static_cast<Value>(attribute.values[i]);
  descriptor.set(attribute.name, attribute.type, static_cast<int64_t>(attribute.values.size()), values.data());
}

void set_attribute(Descriptor& descriptor, const Attribute& attribute, const std::vector<Descriptor>& made,
                   void* handle) {
  switch (attribute.type) {
    case CUDNN_TYPE_HANDLE:
      return descriptor.set(attribute.name, attribute.type, 1, &handle);
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: {
      std::vector<void*> named;
      for (const int64_t position : attribute.values) named.push_back(made[static_cast<size_t>(position)].get());
      return descriptor.set(attribute.name, attribute.type, static_cast<int64_t>(named.size()), named.data());
    }
    case CUDNN_TYPE_INT64:
      return set_as<int64_t>(descriptor, attribute);
    case CUDNN_TYPE_FLOAT:
      return set_as<float>(descriptor, attribute);
    case CUDNN_TYPE_BOOLEAN:
      return set_as<bool>(descriptor, attribute);
    default:  // enumerations
      return set_as<int32_t>(descriptor, attribute);
  }
}

/// One attribute that is a descriptor.
void set_descriptor(Descriptor& descriptor, int32_t name, const Descriptor& value) {
  void* const pointer = value.get();
  descriptor.set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
}

/// Why an engine is not taken, by what it says of its numbers; null: it is.
const char* objection_to(const Descriptor& engine, DataType type, bool tf32) {
  int32_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT] = {};
  const int64_t count =
      engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
  for (int64_t i = 0; i < std::min<int64_t>(count, CUDNN_NUMERICAL_NOTE_TYPE_COUNT); ++i) {
    switch (notes[i]) {
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
        return "not deterministic";
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        return "sums below f32";
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        return "rounds its operands";
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        if (type == DataType::f32 && !tf32) return "TF32";
        break;
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:  // would round its transformed operands to bf16 again
        if (type == DataType::bf16) return "Winograd in bf16";
        break;
      default:
        break;
    }
  }
  return nullptr;
}

/// The engines, configured, that the heuristics of `mode` propose for `graph`, best first.
std::vector<Descriptor> propose(const Cudnn& cudnn, const Descriptor& graph, int32_t mode, EngineSearch& search) {
  std::vector<Descriptor> configurations;
  Descriptor heuristics(cudnn, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  set_descriptor(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (const int32_t status = heuristics.try_to_finalize(); status != CUDNN_STATUS_SUCCESS) {
    search.refuse(cudnn.reason_of(status));
    return configurations;
  }
  // Results are written into descriptors that the caller makes: as many as there are, asked for with room for none.
  int64_t count = heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  if (count == 0) return configurations;
  std::vector<void*> pointers;
  for (int64_t i = 0; i < count; ++i) {
    pointers.push_back(configurations.emplace_back(cudnn, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  }
  count = std::min(
      count, heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, pointers.data()));
  while (static_cast<int64_t>(configurations.size()) > count) configurations.pop_back();
  return configurations;
}

}  // namespace

GraphRecord convolution_graph(const ConvolutionSpec& spec, Direction direction, bool fused, DataType diff_weights) {
  if (direction == Direction::forward) return forward_graph(spec, fused);
  return backward_graph(spec, direction == Direction::backward_weights, diff_weights);
}

ConvolutionPlan::ConvolutionPlan(const CudnnHandle& handle, const ConvolutionSpec& spec, Direction direction,
                                 const ConvolutionLimits& limits)
    : type_(spec.type) {
  EngineSearch search;
  if (choose(handle, convolution_graph(spec, direction, true), limits, search)) return;
  if (direction == Direction::forward && (spec.bias || spec.relu)) {
    fused_ = false;
    if (choose(handle, convolution_graph(spec, direction, false), limits, search)) return;
  }
  if (direction == Direction::backward_weights && spec.type != DataType::f32) {
    diff_weights_type_ = spec.type;
    if (choose(handle, convolution_graph(spec, direction, true, spec.type), limits, search)) return;
  }
  fail(kConvolution, text("a ", text_of(direction), " that ", handle.cudnn().description(), " has"),
       text("none of ", search.engines, " engines (", search.reasons, ") for ", shape_of(spec)));
}

bool ConvolutionPlan::choose(const CudnnHandle& handle, const GraphRecord& graph, const ConvolutionLimits& limits,
                             EngineSearch& search) {
  const Cudnn& cudnn = handle.cudnn();
  std::vector<Descriptor> made;
  for (const DescriptorRecord& record : graph.descriptors) {
    Descriptor& descriptor = made.emplace_back(cudnn, record.type);
    for (const Attribute& attribute : record.attributes) set_attribute(descriptor, attribute, made, handle.get());
    const int32_t status = descriptor.try_to_finalize();
    if (status == CUDNN_STATUS_SUCCESS) continue;
    search.refuse(cudnn.reason_of(status));
    return false;
  }

  for (const int32_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& configuration : propose(cudnn, made.back(), mode, search)) {
      ++search.engines;
      Descriptor engine(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      void* pointer = engine.get();  // written into, not replaced
      configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
      if (const char* const objection = objection_to(engine, type_, limits.tf32); objection != nullptr) {
        search.refuse(objection);
        continue;
      }
      Descriptor plan(cudnn, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      void* const library = handle.get();
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &library);
      set_descriptor(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (const int32_t status = plan.try_to_finalize(); status != CUDNN_STATUS_SUCCESS) {
        search.refuse(cudnn.reason_of(status));
        continue;
      }
      int64_t bytes = 0, index = -1;
      plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
      if (bytes > limits.most_workspace_bytes) {
        search.refuse(text("more than ", limits.most_workspace_bytes, " bytes of workspace"));
        continue;
      }
      engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index);
      workspace_bytes_ = bytes;
      implementation_ = text("cudnn engine ", index);
      tensors_ = graph.tensors;
      descriptors_ = std::move(made);
      descriptors_.push_back(std::move(configuration));
      descriptors_.push_back(std::move(plan));
      return true;
    }
  }
  return false;
}

void ConvolutionPlan::run(const CudnnHandle& handle, const ConvolutionTensors& tensors, void* workspace) const {
  std::array<void*, kMostTensors> pointers{};
  for (size_t i = 0; i < tensors_.size(); ++i) {
    void* const pointer = tensors_[i] == kSrcId       ? tensors.src
                          : tensors_[i] == kWeightsId ? tensors.weights
                          : tensors_[i] == kDstId     ? tensors.dst
                                                      : tensors.bias;
    if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % kLibraryAlignment != 0) {
      fail(kConvolution, text("tensors aligned to ", kLibraryAlignment, " bytes"), text("address ", pointer));
    }
    pointers[i] = pointer;
  }
  if (workspace_bytes_ > 0 && (workspace == nullptr || reinterpret_cast<uintptr_t>(workspace) % kWorkspaceAlignment)) {
    fail(kConvolution, text("workspace aligned to ", kWorkspaceAlignment, " bytes"), text("address ", workspace));
  }
  const auto count = static_cast<int64_t>(tensors_.size());
  Descriptor pack(handle.cudnn(), CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, tensors_.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  const std::lock_guard<std::mutex> lock(mutex_);
  handle.cudnn().check(handle.cudnn().execute(handle.get(), descriptors_.back().get(), pack.get()),
                       "cudnnBackendExecute");
}

}  // namespace ghostbatch::cuda
