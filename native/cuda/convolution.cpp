#include "cuda/convolution.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "common/bfloat16.h"
#include "common/check.h"
#include "cuda/context.h"
#include "cuda/scratch.h"

namespace ghostbatch::cuda {

/// What became of the engines that were looked at.
struct EngineSearch {
  int64_t engines = 0;
  std::string reasons;

  void refuse(const std::string& reason) {
    if (reasons.find(reason) == std::string::npos) reasons += (reasons.empty() ? "" : "; ") + reason;
  }
};

/// What cuDNN is asked for: forward as a whole or the convolution alone, weight gradients in this type or that.
struct ConvolutionForm {
  ConvolutionSpec spec;
  Direction direction;
  bool fused = true;
  DataType diff_weights = DataType::f32;

  GraphRecord graph() const { return convolution_graph(spec, direction, fused, diff_weights); }
};

/// An engine that may be used, with its plan.
struct EngineCandidate {
  EngineChoice choice;  // the engine alone where heuristics chose
  int64_t workspace_bytes = 0;
  std::vector<Descriptor> descriptors;  // what the plan needs, and last the plan
};

namespace {

constexpr const char* kConvolution = "convolution";
constexpr uintptr_t kWorkspaceAlignment = 256;
constexpr size_t kMostTensors = 4;  // src, weights, dst, bias
constexpr size_t kMostKnobs = 64;   // cuDNN 9.19 has 44 types of them

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

/// What a plan's choice is kept under: all that the engines depend on, but for the hardware.
std::string key_of(const ConvolutionForm& form, const ConvolutionLimits& limits) {
  const bool forward = form.direction == Direction::forward && form.fused;
  return text(text_of(form.direction), forward && form.spec.bias ? "+bias" : "",
              forward && form.spec.relu ? "+relu" : "",
              form.direction == Direction::backward_weights ? " into " + name_of(form.diff_weights) : "", " ",
              shape_of(form.spec), form.spec.type == DataType::f32 && limits.tf32 ? " tf32" : "");
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

/// A graph's descriptors, finalized, itself last; none where cuDNN does not take it.
std::vector<Descriptor> make_graph(const CudnnHandle& handle, const GraphRecord& graph, EngineSearch& search) {
  std::vector<Descriptor> made;
  for (const DescriptorRecord& record : graph.descriptors) {
    Descriptor& descriptor = made.emplace_back(handle.cudnn(), record.type);
    for (const Attribute& attribute : record.attributes) set_attribute(descriptor, attribute, made, handle.get());
    const int32_t status = descriptor.try_to_finalize();
    if (status == CUDNN_STATUS_SUCCESS) continue;
    search.refuse(handle.cudnn().reason_of(status));
    return {};
  }
  return made;
}

/// The engine and its knobs, as a configuration has them.
EngineChoice choice_of(const Cudnn& cudnn, const Descriptor& configuration) {
  EngineChoice choice;
  Descriptor engine(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  void* pointer = engine.get();  // written into, not replaced
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
  engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &choice.engine);
  std::vector<Descriptor> knobs;
  std::vector<void*> pointers;
  while (knobs.size() < kMostKnobs) {
    pointers.push_back(knobs.emplace_back(cudnn, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR).get());
  }
  const int64_t count = configuration.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                          static_cast<int64_t>(kMostKnobs), pointers.data());
  if (count > static_cast<int64_t>(kMostKnobs)) fail(kConvolution, text("at most ", kMostKnobs, " knobs"), text(count));
  for (int64_t i = 0; i < count; ++i) {
    const Descriptor& knob = knobs[static_cast<size_t>(i)];
    int32_t type = 0;
    int64_t value = 0;
    knob.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    knob.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
    choice.knobs[type] = value;
  }
  return choice;
}

/// What `choice` says, made without heuristics: engine, knobs, and last the configuration; none where cuDNN does not
/// take it.
std::vector<Descriptor> configure(const Cudnn& cudnn, const Descriptor& graph, const EngineChoice& choice,
                                  EngineSearch& search) {
  std::vector<Descriptor> made;
  const auto finalized = [&](Descriptor& descriptor) {
    const int32_t status = descriptor.try_to_finalize();
    if (status != CUDNN_STATUS_SUCCESS) search.refuse(cudnn.reason_of(status));
    return status == CUDNN_STATUS_SUCCESS;
  };
  try {
    Descriptor& engine = made.emplace_back(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    set_descriptor(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
    engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &choice.engine);
    if (!finalized(engine)) return {};
    std::vector<void*> knobs;
    for (const auto& [type, value] : choice.knobs) {
      Descriptor& knob = made.emplace_back(cudnn, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
      knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
      knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
      if (!finalized(knob)) return {};
      knobs.push_back(knob.get());
    }
    Descriptor configuration(cudnn, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    set_descriptor(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, made.front());
    if (!knobs.empty()) {
      configuration.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                        static_cast<int64_t>(knobs.size()), knobs.data());
    }
    if (!finalized(configuration)) return {};
    made.push_back(std::move(configuration));
    return made;
  } catch (const Error& error) {  // a number that this cuDNN does not have
    search.refuse(error.what());
    return {};
  }
}

/// The plan of what `configured` ends with, where it may be used; it keeps `configured`.
std::optional<EngineCandidate> make_plan(const CudnnHandle& handle, std::vector<Descriptor> configured, DataType type,
                                   const ConvolutionLimits& limits, EngineSearch& search) {
  const Cudnn& cudnn = handle.cudnn();
  const Descriptor& configuration = configured.back();
  Descriptor engine(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  void* pointer = engine.get();  // written into, not replaced
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
  if (const char* const objection = objection_to(engine, type, limits.tf32); objection != nullptr) {
    search.refuse(objection);
    return {};
  }
  Descriptor plan(cudnn, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  void* const library = handle.get();
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &library);
  set_descriptor(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  if (const int32_t status = plan.try_to_finalize(); status != CUDNN_STATUS_SUCCESS) {
    search.refuse(cudnn.reason_of(status));
    return {};
  }
  EngineCandidate candidate;
  plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &candidate.workspace_bytes);
  if (candidate.workspace_bytes > limits.most_workspace_bytes) {
    search.refuse(text("more than ", limits.most_workspace_bytes, " bytes of workspace"));
    return {};
  }
  engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &candidate.choice.engine);
  candidate.descriptors = std::move(configured);
  candidate.descriptors.push_back(std::move(plan));
  return candidate;
}

/// Puts the graph before what was made of it, which needs it.
void keep(std::vector<Descriptor> graph, EngineCandidate& candidate) {
  for (Descriptor& descriptor : candidate.descriptors) graph.push_back(std::move(descriptor));
  candidate.descriptors = std::move(graph);
}

constexpr int32_t kModes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK};

/// The first engine of the heuristics that may be used.
std::optional<EngineCandidate> first(const CudnnHandle& handle, const ConvolutionForm& form,
                                     const ConvolutionLimits& limits, EngineSearch& search) {
  std::vector<Descriptor> graph = make_graph(handle, form.graph(), search);
  if (graph.empty()) return {};
  for (const int32_t mode : kModes) {
    for (Descriptor& configuration : propose(handle.cudnn(), graph.back(), mode, search)) {
      ++search.engines;
      std::vector<Descriptor> configured;
      configured.push_back(std::move(configuration));
      auto candidate = make_plan(handle, std::move(configured), form.spec.type, limits, search);
      if (!candidate) continue;
      keep(std::move(graph), *candidate);
      return candidate;
    }
  }
  return {};
}

/// The engine of `choice`, where it may be used.
std::optional<EngineCandidate> make_chosen(const CudnnHandle& handle, const ConvolutionForm& form,
                                           const EngineChoice& choice, const ConvolutionLimits& limits,
                                           EngineSearch& search) {
  std::vector<Descriptor> graph = make_graph(handle, form.graph(), search);
  if (graph.empty()) return {};
  std::vector<Descriptor> configured = configure(handle.cudnn(), graph.back(), choice, search);
  if (configured.empty()) return {};
  auto candidate = make_plan(handle, std::move(configured), form.spec.type, limits, search);
  if (candidate) keep(std::move(graph), *candidate);
  return candidate;
}

using Pointers = std::array<void*, kMostTensors>;

void* memory_of(int64_t tensor, const ConvolutionTensors& tensors) {
  return tensor == kSrcId       ? tensors.src
         : tensor == kWeightsId ? tensors.weights
         : tensor == kDstId     ? tensors.dst
                                : tensors.bias;
}

void execute(const CudnnHandle& handle, const Descriptor& plan, const std::vector<int64_t>& tensors,
             const Pointers& pointers, void* workspace) {
  const Cudnn& cudnn = handle.cudnn();
  const auto count = static_cast<int64_t>(tensors.size());
  Descriptor pack(cudnn, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, tensors.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  cudnn.check(cudnn.execute(handle.get(), plan.get(), pack.get()), "cudnnBackendExecute");
}

/// Memory to time engines on: numbers in (-1/2, 1/2) without order, as zeros would cost tensor cores less power and so
/// less time; a workspace behind them.
class TimingMemory {
 public:
  TimingMemory(const ConvolutionForm& form, int64_t workspace_bytes, Stream stream) {
    const ConvolutionSpec& spec = form.spec;
    ScratchLayout layout;
    const int64_t src = layout.add(spec.src_elements() * size_of(spec.type));
    const int64_t weights = layout.add(spec.weights_elements() * size_of(DataType::f32));
    const int64_t dst = layout.add(spec.dst_elements() * size_of(spec.type));
    const int64_t bias = layout.add(spec.filters * size_of(DataType::f32));
    const int64_t numbers = layout.bytes(), workspace = layout.add(workspace_bytes);
    const int64_t free = free_memory();
    if (layout.bytes() > free) {
      fail(kConvolution, text(layout.bytes(), " bytes of device memory to time ", text_of(form.direction), " of ",
                              shape_of(spec)),
           text(free, " bytes free"));
    }
    memory_ = DeviceMemory(layout.bytes());
    const View all(memory_.as<uint8_t>(), memory_.bytes(), DataType::u8);
    tensors_ = {part_of(all, src), part_of(all, weights), part_of(all, dst), part_of(all, bias)};
    workspace_ = part_of(all, workspace);

    std::minstd_rand random(1);
    constexpr size_t kPattern = size_t{1} << 16;
    std::vector<float> pattern(kPattern);
    for (float& value : pattern) value = static_cast<float>(static_cast<double>(random()) / random.max() - 0.5);
    if (spec.type == DataType::bf16) {  // two of them make an f32 of the same kind, as the bias is
      auto* const halves = reinterpret_cast<uint16_t*>(pattern.data());
      for (size_t i = 0; i < 2 * kPattern; ++i) {
        halves[i] = to_bfloat16(static_cast<float>(static_cast<double>(random()) / random.max() - 0.5));
      }
    }
    int64_t filled = std::min(numbers, static_cast<int64_t>(kPattern * sizeof(float)));
    copy_memory(memory_.as<char>(), pattern.data(), filled, stream);
    while (filled < numbers) {
      const int64_t more = std::min(filled, numbers - filled);
      copy_memory(memory_.as<char>(filled), memory_.as<char>(), more, stream);
      filled += more;
    }
  }

  Pointers of(const std::vector<int64_t>& tensors) const {
    Pointers pointers{};
    for (size_t i = 0; i < tensors.size(); ++i) pointers[i] = memory_of(tensors[i], tensors_);
    return pointers;
  }
  void* workspace() const { return workspace_; }

 private:
  DeviceMemory memory_;
  ConvolutionTensors tensors_{};
  void* workspace_ = nullptr;
};

/// Seconds that each candidate takes at least, infinite for one that does not run. As in an engine's pass they run from
/// a captured graph, so that nothing of the host's time is counted; and in turn, so that all meet the same clocks.
std::vector<double> time(const CudnnHandle& handle, const ConvolutionForm& form,
                         const std::vector<EngineCandidate>& candidates, EngineSearch& search) {
  constexpr int kRuns = 4;    // of a graph
  constexpr int kRounds = 5;  // and one before, which does not count
  int64_t workspace_bytes = 0;
  for (const EngineCandidate& candidate : candidates) {
    workspace_bytes = std::max(workspace_bytes, candidate.workspace_bytes);
  }
  const Stream stream = handle.stream();
  const TimingMemory memory(form, workspace_bytes, stream);
  const std::vector<int64_t> tensors = form.graph().tensors;
  const Pointers pointers = memory.of(tensors);

  std::vector<std::unique_ptr<CapturedGraph>> graphs;
  for (const EngineCandidate& candidate : candidates) {
    const auto run = [&] { execute(handle, candidate.descriptors.back(), tensors, pointers, memory.workspace()); };
    graphs.emplace_back();
    try {
      run();  // loads what it needs, which a capture may not
      synchronize(stream);
      begin_capture(stream);
      for (int i = 0; i < kRuns; ++i) run();
      graphs.back() = std::make_unique<CapturedGraph>(stream);
    } catch (const Error& error) {
      abandon_capture(stream);
      search.refuse(error.what());
    }
  }
  std::vector<double> seconds(candidates.size(), std::numeric_limits<double>::infinity());
  for (int round = 0; round <= kRounds; ++round) {
    for (size_t i = 0; i < graphs.size(); ++i) {
      if (graphs[i] == nullptr) continue;
      const double taken = elapsed(stream, [&] { graphs[i]->launch(stream); }) / kRuns;
      if (round > 0) seconds[i] = std::min(seconds[i], taken);
    }
  }
  return seconds;
}

/// The fastest of all engines that the heuristics propose and that may be used; it goes to `choices`. All are made as
/// they would be made again from their choice.
std::optional<EngineCandidate> fastest(const CudnnHandle& handle, const ConvolutionForm& form,
                                       const ConvolutionLimits& limits, EngineChoices& choices, EngineSearch& search) {
  // Two measurements of one engine differ by about as much: within it cuDNN's order decides, the same every time.
  constexpr double kFaster = 0.98;
  const Cudnn& cudnn = handle.cudnn();
  std::vector<Descriptor> graph = make_graph(handle, form.graph(), search);
  if (graph.empty()) return {};
  std::vector<EngineChoice> seen;
  std::vector<EngineCandidate> candidates;
  for (const int32_t mode : kModes) {
    for (const Descriptor& configuration : propose(cudnn, graph.back(), mode, search)) {
      const EngineChoice choice = choice_of(cudnn, configuration);
      if (std::find(seen.begin(), seen.end(), choice) != seen.end()) continue;
      seen.push_back(choice);
      ++search.engines;
      std::vector<Descriptor> configured = configure(cudnn, graph.back(), choice, search);
      if (configured.empty()) continue;
      auto candidate = make_plan(handle, std::move(configured), form.spec.type, limits, search);
      if (!candidate) continue;
      candidate->choice = choice;
      candidates.push_back(std::move(*candidate));
    }
  }
  if (candidates.empty()) return {};
  size_t best = 0;
  if (candidates.size() > 1) {
    const std::vector<double> seconds = time(handle, form, candidates, search);
    for (size_t i = 1; i < candidates.size(); ++i) {
      if (seconds[i] < kFaster * seconds[best]) best = i;
    }
    if (!std::isfinite(seconds[best])) return {};
  }
  EngineCandidate chosen = std::move(candidates[best]);
  keep(std::move(graph), chosen);
  choices.add(key_of(form, limits), chosen.choice);
  return chosen;
}

}  // namespace

GraphRecord convolution_graph(const ConvolutionSpec& spec, Direction direction, bool fused, DataType diff_weights) {
  if (direction == Direction::forward) return forward_graph(spec, fused);
  return backward_graph(spec, direction == Direction::backward_weights, diff_weights);
}

ConvolutionPlan::ConvolutionPlan(const CudnnHandle& handle, const ConvolutionSpec& spec, Direction direction,
                                 const ConvolutionLimits& limits, const Tuning& tuning)
    : type_(spec.type) {
  std::vector<ConvolutionForm> forms{{spec, direction}};
  if (direction == Direction::forward && (spec.bias || spec.relu)) forms.push_back({spec, direction, false});
  if (direction == Direction::backward_weights && spec.type != DataType::f32) {
    forms.push_back({spec, direction, true, spec.type});
  }
  const bool measured = tuning.choices != nullptr && tuning.measure;
  EngineSearch search;
  std::vector<std::string> in_vain;  // written down, too: else they would be timed again
  for (const ConvolutionForm& form : forms) {
    const std::string key = key_of(form, limits);
    const EngineChoice* const choice = tuning.choices != nullptr ? tuning.choices->find(key) : nullptr;
    if (choice != nullptr && choice->engine == EngineChoice::kNone) continue;
    auto candidate = choice != nullptr ? make_chosen(handle, form, *choice, limits, search)
                     : measured        ? fastest(handle, form, limits, *tuning.choices, search)
                                       : first(handle, form, limits, search);
    if (candidate) {
      take(form, std::move(*candidate));
      for (const std::string& refused : in_vain) tuning.choices->add(refused, {});
      return;
    }
    if (choice != nullptr) {
      fail(kConvolution, text("to run ", choice->text(), ", which was chosen for ", key), search.reasons);
    }
    if (measured) in_vain.push_back(key);
  }
  fail(kConvolution, text("a ", text_of(direction), " that ", handle.cudnn().description(), " has"),
       text("none of ", search.engines, " engines (", search.reasons, ") for ", shape_of(spec)));
}

void ConvolutionPlan::take(const ConvolutionForm& form, EngineCandidate candidate) {
  fused_ = form.fused;
  diff_weights_type_ = form.diff_weights;
  workspace_bytes_ = candidate.workspace_bytes;
  implementation_ = text("cudnn engine ", candidate.choice.engine);
  tensors_ = form.graph().tensors;
  descriptors_ = std::move(candidate.descriptors);
}

void ConvolutionPlan::run(const CudnnHandle& handle, const ConvolutionTensors& tensors, void* workspace) const {
  Pointers pointers{};
  for (size_t i = 0; i < tensors_.size(); ++i) {
    void* const pointer = memory_of(tensors_[i], tensors);
    if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % kLibraryAlignment != 0) {
      fail(kConvolution, text("tensors aligned to ", kLibraryAlignment, " bytes"), text("address ", pointer));
    }
    pointers[i] = pointer;
  }
  if (workspace_bytes_ > 0 && (workspace == nullptr || reinterpret_cast<uintptr_t>(workspace) % kWorkspaceAlignment)) {
    fail(kConvolution, text("workspace aligned to ", kWorkspaceAlignment, " bytes"), text("address ", workspace));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  execute(handle, descriptors_.back(), tensors_, pointers, workspace);
}

}  // namespace ghostbatch::cuda
