// A stand-in for libcudnn.so.9 with the functions that this project calls: it checks the calls as cuDNN's documentation
// has them, and runs graphs of a convolution and pointwise operations as plain loops on host memory, going by nothing
// but the attributes that were set. Its numbers are written down here a second time, from that documentation.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/bfloat16.h"
#include "tests/fakes/fake_cudnn.h"
#include "tests/fakes/submit.h"

#ifndef FAKE_CUDNN_VERSION
#define FAKE_CUDNN_VERSION 91900
#endif

namespace {

using ghostbatch::tests::FakeCudnn;
using ghostbatch::tests::FakeEngine;

constexpr int32_t kBfloat16 = 9;  // CUDNN_DATA_BFLOAT16

enum Status : int32_t {
  kSuccess = 0,
  kBadParameter = 2000,
  kNullPointer = 2002,
  kNotFinalized = 2004,
  kNotSupported = 3000,
};

enum DescriptorType : int32_t {
  kPointwise = 0,
  kConvolution = 1,
  kEngine = 2,
  kEngineConfiguration = 3,
  kHeuristics = 4,
  kPlan = 5,
  kKnobChoice = 7,
  kForward = 10,
  kBackwardFilter = 11,
  kBackwardData = 12,
  kPointwiseOperation = 13,
  kGraph = 15,
  kVariantPack = 16,
  kTensor = 17,
};

enum ValueType : int32_t {
  kHandle = 0,
  kDataType = 1,
  kBoolean = 2,
  kInt64 = 3,
  kFloat = 4,
  kVoidPointer = 6,
  kConvolutionMode = 7,
  kHeuristicMode = 8,
  kKnobType = 9,
  kNumericalNote = 11,
  kPointwiseMode = 14,
  kDescriptor = 15,
};

/// How an attribute is to be set.
struct Rule {
  ValueType type;
  int64_t most;  // values
  bool required;
};

/// By type of descriptor and name of attribute.
const std::map<int32_t, std::map<int32_t, Rule>>& rules() {
  static const std::map<int32_t, std::map<int32_t, Rule>> table{
      {kTensor,
       {{900, {kInt64, 1, true}},
        {901, {kDataType, 1, true}},
        {902, {kInt64, 8, true}},
        {903, {kInt64, 8, true}},
        {906, {kInt64, 1, true}},
        {907, {kBoolean, 1, false}}}},
      {kConvolution,
       {{100, {kDataType, 1, true}},
        {101, {kConvolutionMode, 1, true}},
        {102, {kInt64, 6, true}},
        {103, {kInt64, 6, true}},
        {104, {kInt64, 6, true}},
        {105, {kInt64, 6, true}},
        {106, {kInt64, 1, true}}}},
      {kPointwise, {{0, {kPointwiseMode, 1, true}}, {1, {kDataType, 1, true}}}},
      {kForward,
       {{700, {kFloat, 1, true}},
        {701, {kFloat, 1, true}},
        {702, {kDescriptor, 1, true}},
        {703, {kDescriptor, 1, true}},
        {704, {kDescriptor, 1, true}},
        {705, {kDescriptor, 1, true}}}},
      {kBackwardData,
       {{706, {kFloat, 1, true}},
        {707, {kFloat, 1, true}},
        {708, {kDescriptor, 1, true}},
        {709, {kDescriptor, 1, true}},
        {710, {kDescriptor, 1, true}},
        {711, {kDescriptor, 1, true}}}},
      {kBackwardFilter,
       {{712, {kFloat, 1, true}},
        {713, {kFloat, 1, true}},
        {714, {kDescriptor, 1, true}},
        {715, {kDescriptor, 1, true}},
        {716, {kDescriptor, 1, true}},
        {717, {kDescriptor, 1, true}}}},
      {kPointwiseOperation,
       {{750, {kDescriptor, 1, true}},
        {751, {kDescriptor, 1, true}},
        {752, {kDescriptor, 1, false}},
        {753, {kDescriptor, 1, true}}}},
      {kGraph, {{800, {kHandle, 1, true}}, {801, {kDescriptor, 8, true}}}},
      {kHeuristics, {{200, {kHeuristicMode, 1, true}}, {201, {kDescriptor, 1, true}}}},
      {kPlan, {{400, {kHandle, 1, true}}, {401, {kDescriptor, 1, true}}}},
      {kVariantPack, {{1000, {kInt64, 8, true}}, {1001, {kVoidPointer, 8, true}}, {1003, {kVoidPointer, 1, true}}}},
      {kEngine, {{1300, {kDescriptor, 1, true}}, {1301, {kInt64, 1, true}}}},
      {kKnobChoice, {{600, {kKnobType, 1, true}}, {601, {kInt64, 1, true}}}},
      {kEngineConfiguration, {{300, {kDescriptor, 1, true}}, {302, {kDescriptor, 16, false}}}},
  };
  return table;
}

size_t size_of(int32_t type) {
  switch (type) {
    case kBoolean:
      return 1;
    case kInt64:
    case kHandle:
    case kVoidPointer:
    case kDescriptor:
      return 8;
    default:
      return 4;
  }
}

struct Descriptor {
  int32_t type = 0;
  bool finalized = false;
  std::map<int32_t, std::vector<unsigned char>> attributes;
  const Descriptor* graph = nullptr;   // of an engine, and of its configuration
  const FakeEngine* engine = nullptr;  // of both
  std::atomic<int> running{0};         // a plan's executions

  template <typename Value>
  std::vector<Value> values(int32_t name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    std::vector<Value> result(found->second.size() / sizeof(Value));
    std::memcpy(result.data(), found->second.data(), result.size() * sizeof(Value));
    return result;
  }
  template <typename Value>
  Value value(int32_t name) const {
    return values<Value>(name).at(0);
  }
  const Descriptor& named(int32_t name) const { return *value<const Descriptor*>(name); }
};

struct Handle {
  void* stream = nullptr;
};

/// Engines of the environment, "INDEX=SECONDS,...", for processes that do not see `fake_cudnn()`; without, one. Those of
/// odd numbers differ in bits from the others.
FakeCudnn first_state() {
  FakeCudnn first;
  const char* const given = std::getenv("GHOSTBATCH_FAKE_ENGINES");
  if (given == nullptr) return first;
  first.engines.clear();
  std::istringstream parts(given);
  for (std::string part; std::getline(parts, part, ',');) {
    FakeEngine engine;
    engine.index = std::stoll(part);
    engine.knobs = {{3, engine.index}};
    engine.single = engine.index % 2 != 0;
    engine.seconds = std::stod(part.substr(part.find('=') + 1));
    first.engines.push_back(engine);
  }
  return first;
}

FakeCudnn state = first_state();
std::mutex mutex;  // of `state`
std::set<const void*> alive;

void log(const std::string& line) {
  const std::lock_guard<std::mutex> lock(mutex);
  state.log.push_back(line);
}

std::string text_of(int32_t type, int64_t count, const void* values) {
  std::ostringstream out;
  const auto* const bytes = static_cast<const unsigned char*>(values);
  for (int64_t i = 0; i < count; ++i) {
    const unsigned char* const at = bytes + static_cast<size_t>(i) * size_of(type);
    out << (i > 0 ? "," : "");
    if (type == kInt64) {
      int64_t value;
      std::memcpy(&value, at, sizeof value);
      out << value;
    } else if (type == kFloat) {
      float value;
      std::memcpy(&value, at, sizeof value);
      out << value;
    } else if (type == kBoolean) {
      out << static_cast<int>(*at);
    } else if (size_of(type) == 4) {
      int32_t value;
      std::memcpy(&value, at, sizeof value);
      out << value;
    } else if (type == kDescriptor) {
      const Descriptor* value;
      std::memcpy(&value, at, sizeof value);
      out << "descriptor " << value->type;
    } else {
      out << "pointer";
    }
  }
  return out.str();
}

// Execution.

/// A tensor's memory, addressed by its strides, in the order N, C, H, W.
struct Tensor {
  std::vector<int64_t> dims, strides;
  int32_t type;
  unsigned char* data;

  int64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  /// Of element i, counted with W running fastest.
  int64_t offset(int64_t i) const {
    int64_t sum = 0;
    for (size_t d = 4; d-- > 0; i /= dims[d]) sum += i % dims[d] * strides[d];
    return sum;
  }
  double get(int64_t i) const {
    const int64_t at = offset(i);
    if (type == kBfloat16) return static_cast<double>(ghostbatch::from_bfloat16(reinterpret_cast<uint16_t*>(data)[at]));
    return static_cast<double>(reinterpret_cast<float*>(data)[at]);
  }
  void set(int64_t i, double value) const {
    const int64_t at = offset(i);
    if (type == kBfloat16) {
      reinterpret_cast<uint16_t*>(data)[at] = ghostbatch::to_bfloat16(static_cast<float>(value));
    } else {
      reinterpret_cast<float*>(data)[at] = static_cast<float>(value);
    }
  }
};

/// The attributes of an operation that is a convolution.
struct Names {
  int32_t alpha, beta, convolution, weights, x, y;
};

Names names_of(const Descriptor& operation) {
  if (operation.type == kForward) return {700, 701, 702, 703, 704, 705};
  if (operation.type == kBackwardData) return {706, 707, 708, 709, 710, 711};
  return {712, 713, 714, 715, 716, 717};
}

/// Whether the tensors of an operation that is a convolution go together.
bool fits(const Descriptor& operation) {
  const Names names = names_of(operation);
  const Descriptor& convolution = operation.named(names.convolution);
  const auto x = operation.named(names.x).values<int64_t>(902), y = operation.named(names.y).values<int64_t>(902);
  const auto weights = operation.named(names.weights).values<int64_t>(902);
  if (x.size() != 4 || y.size() != 4 || weights.size() != 4) return false;
  if (x[0] != y[0] || y[1] != weights[0] || x[1] % weights[1] != 0 || y[1] % (x[1] / weights[1]) != 0) return false;
  const auto dilation = convolution.values<int64_t>(102), stride = convolution.values<int64_t>(103);
  const auto after = convolution.values<int64_t>(104), before = convolution.values<int64_t>(105);
  for (size_t i = 0; i < 2; ++i) {
    const int64_t room = x[2 + i] + before[i] + after[i] - dilation[i] * (weights[2 + i] - 1) - 1;
    if (room < 0 || room / stride[i] + 1 != y[2 + i]) return false;
  }
  return true;
}

/// What a convolution's descriptor says.
struct Filter {
  explicit Filter(const Descriptor& convolution)
      : dilation(convolution.values<int64_t>(102)),
        stride(convolution.values<int64_t>(103)),
        pad(convolution.values<int64_t>(105)),
        flipped(convolution.value<int32_t>(101) == 0) {}

  std::vector<int64_t> dilation, stride, pad;
  bool flipped;  // convolution, not cross-correlation
};

/// body(i, j, k) for every product x[i] weights[j] that belongs to y[k].
template <typename Body>
void for_products(const Filter& filter, const Tensor& x, const Tensor& weights, const Tensor& y, const Body& body) {
  const auto &dilation = filter.dilation, &stride = filter.stride, &pad = filter.pad;
  const int64_t channels = weights.dims[1], filters = y.dims[1], groups = x.dims[1] / channels;
  const int64_t rows = weights.dims[2], columns = weights.dims[3];
  for (int64_t k = 0; k < y.elements(); ++k) {
    const int64_t q = k % y.dims[3], p = k / y.dims[3] % y.dims[2];
    const int64_t f = k / (y.dims[3] * y.dims[2]) % filters, n = k / (y.dims[3] * y.dims[2] * filters);
    const int64_t group = f / (filters / groups);
    for (int64_t tap = 0; tap < channels * rows * columns; ++tap) {
      const int64_t s = tap % columns, r = tap / columns % rows, c = tap / (columns * rows);
      const int64_t h = p * stride[0] - pad[0] + r * dilation[0], w = q * stride[1] - pad[1] + s * dilation[1];
      if (h < 0 || w < 0 || h >= x.dims[2] || w >= x.dims[3]) continue;
      const int64_t tap_r = filter.flipped ? rows - 1 - r : r, tap_s = filter.flipped ? columns - 1 - s : s;
      body(((n * x.dims[1] + group * channels + c) * x.dims[2] + h) * x.dims[3] + w,
           ((f * channels + c) * rows + tap_r) * columns + tap_s, k);
    }
  }
}

/// A graph on the memory of a variant pack: its operations in order. It holds all that it needs but the tensors
/// themselves, and may run many times.
class Execution {
 public:
  Execution(const Descriptor& graph, const Descriptor& pack, const FakeEngine& engine)
      : workspace_(pack.value<unsigned char*>(1003)), workspace_bytes_(static_cast<size_t>(engine.workspace_bytes)),
        seconds_(engine.seconds) {
    const auto ids = pack.values<int64_t>(1000);
    const auto pointers = pack.values<unsigned char*>(1001);
    for (size_t i = 0; i < ids.size(); ++i) memory_[ids[i]] = pointers.at(i);
    for (const Descriptor* operation : graph.values<const Descriptor*>(801)) {
      if (operation->type == kPointwiseOperation) {
        add_pointwise(*operation);
      } else {
        add_convolution(*operation, engine.single);
      }
    }
  }
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  void run() const {
    scribble();
    for (const auto& operation : operations_) operation();
    scribble();
    ghostbatch::tests::pass_time(seconds_);
  }

 private:
  void scribble() const {  // the workspace is the library's, from beginning to end
    if (workspace_bytes_ > 0) std::memset(workspace_, 0xFE, workspace_bytes_);
  }

  Tensor tensor(const Descriptor& descriptor) {
    const auto id = descriptor.value<int64_t>(906);
    Tensor result{descriptor.values<int64_t>(902), descriptor.values<int64_t>(903), descriptor.value<int32_t>(901),
                  nullptr};
    const auto is_virtual = descriptor.values<unsigned char>(907);
    if (is_virtual.empty() || is_virtual[0] == 0) {
      result.data = memory_.at(id);  // throws where the variant pack has none
    } else {
      auto& held = virtual_[id];
      held.resize(static_cast<size_t>(result.elements()) * 4);
      result.data = held.data();
    }
    return result;
  }

  static void scale(const Tensor& tensor, const std::vector<double>& sums, double alpha, double beta) {
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      tensor.set(i, alpha * sums[static_cast<size_t>(i)] + (beta == 0 ? 0 : beta * tensor.get(i)));
    }
  }

  void add_convolution(const Descriptor& operation, bool single) {
    const Names names = names_of(operation);
    const bool forward = operation.type == kForward, of_data = operation.type == kBackwardData;
    const Filter filter(operation.named(names.convolution));
    const Tensor weights = tensor(operation.named(names.weights)), x = tensor(operation.named(names.x));
    const Tensor y = tensor(operation.named(names.y));
    const auto alpha = static_cast<double>(operation.value<float>(names.alpha));
    const auto beta = static_cast<double>(operation.value<float>(names.beta));
    operations_.push_back([=] {
      const Tensor& result = forward ? y : of_data ? x : weights;
      std::vector<double> sums(static_cast<size_t>(result.elements()));
      const auto add = [&](int64_t at, double product) {
        double& sum = sums[static_cast<size_t>(at)];
        sum = single ? static_cast<double>(static_cast<float>(sum + product)) : sum + product;
      };
      for_products(filter, x, weights, y, [&](int64_t i, int64_t j, int64_t k) {
        if (forward) {
          add(k, x.get(i) * weights.get(j));
        } else if (of_data) {
          add(i, y.get(k) * weights.get(j));
        } else {
          add(j, x.get(i) * y.get(k));
        }
      });
      scale(result, sums, alpha, beta);
      const std::lock_guard<std::mutex> lock(mutex);
      for (const double sum : sums) {
        state.least = sum < state.least || sum != sum ? sum : state.least;
        state.most = sum > state.most || sum != sum ? sum : state.most;
      }
    });
  }

  void add_pointwise(const Descriptor& operation) {
    const int32_t mode = operation.named(750).value<int32_t>(0);
    const Tensor x = tensor(operation.named(751)), y = tensor(operation.named(753));
    Tensor b = x;
    if (mode == 0) {  // ADD, with dimensions of one element broadcast
      b = tensor(operation.named(752));
      for (size_t d = 0; d < 4; ++d) {
        if (b.dims[d] == 1) b.strides[d] = 0;
      }
      b.dims = x.dims;
    }
    operations_.push_back([=] {
      for (int64_t i = 0; i < y.elements(); ++i) {
        y.set(i, mode == 0 ? x.get(i) + b.get(i) : x.get(i) < 0 ? 0 : x.get(i));
      }
    });
  }

  unsigned char* workspace_;
  size_t workspace_bytes_;
  double seconds_;
  std::map<int64_t, unsigned char*> memory_;
  std::map<int64_t, std::vector<unsigned char>> virtual_;
  std::vector<std::function<void()>> operations_;
};

/// Whether the engine takes the graph.
bool takes(const FakeEngine& engine, const Descriptor& graph) {
  const auto operations = graph.values<const Descriptor*>(801);
  if (operations.size() > 1 && !engine.fused) return false;
  const Descriptor& first = *operations.at(0);
  return engine.widens || first.type != kBackwardFilter ||
         first.named(715).value<int32_t>(901) == first.named(716).value<int32_t>(901);
}

Descriptor* checked(void* pointer) {
  const std::lock_guard<std::mutex> lock(mutex);
  return alive.count(pointer) != 0 ? static_cast<Descriptor*>(pointer) : nullptr;
}

template <typename Value>
void set_value(Descriptor& descriptor, int32_t name, Value value) {
  auto& bytes = descriptor.attributes[name];
  bytes.resize(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
}

}  // namespace

extern "C" {

FakeCudnn* fake_cudnn() {
  return &state;
}

size_t cudnnGetVersion() {
  return FAKE_CUDNN_VERSION;
}

const char* cudnnGetErrorString(int32_t status) {
  switch (status) {
    case kSuccess:
      return "CUDNN_STATUS_SUCCESS";
    case kNotSupported:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case kNotFinalized:
      return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    default:
      return "CUDNN_STATUS_BAD_PARAM";
  }
}

void cudnnGetLastErrorString(char* message, size_t size) {
  std::strncpy(message, "the stand-in refused", size);
}

int32_t cudnnCreate(void** handle) {
  *handle = new Handle();
  const std::lock_guard<std::mutex> lock(mutex);
  ++state.handles;
  return kSuccess;
}

int32_t cudnnDestroy(void* handle) {
  delete static_cast<Handle*>(handle);
  const std::lock_guard<std::mutex> lock(mutex);
  --state.handles;
  return kSuccess;
}

int32_t cudnnSetStream(void* handle, void* stream) {
  static_cast<Handle*>(handle)->stream = stream;
  return kSuccess;
}

int32_t cudnnBackendCreateDescriptor(int32_t type, void** descriptor) {
  if (rules().count(type) == 0) return kBadParameter;
  auto* const made = new Descriptor();
  made->type = type;
  *descriptor = made;
  const std::lock_guard<std::mutex> lock(mutex);
  alive.insert(made);
  ++state.descriptors;
  return kSuccess;
}

int32_t cudnnBackendDestroyDescriptor(void* descriptor) {
  Descriptor* const dead = checked(descriptor);
  if (dead == nullptr) return kBadParameter;
  const std::lock_guard<std::mutex> lock(mutex);
  alive.erase(dead);
  --state.descriptors;
  delete dead;
  return kSuccess;
}

int32_t cudnnBackendSetAttribute(void* descriptor, int32_t name, int32_t type, int64_t count, const void* values) {
  Descriptor* const target = checked(descriptor);
  if (target == nullptr || values == nullptr) return kNullPointer;
  const auto& names = rules().at(target->type);
  const auto rule = names.find(name);
  if (target->finalized || rule == names.end() || rule->second.type != type || count < 1 || count > rule->second.most) {
    return kBadParameter;
  }
  const auto* const bytes = static_cast<const unsigned char*>(values);
  target->attributes[name].assign(bytes, bytes + static_cast<size_t>(count) * size_of(type));
  if (type == kDescriptor) {
    for (void* named : target->values<void*>(name)) {
      const Descriptor* const found = checked(named);
      if (found == nullptr) return kNullPointer;
      if (!found->finalized) return kNotFinalized;
    }
  }
  std::ostringstream line;
  line << "set " << target->type << " " << name << " type " << type << ": " << text_of(type, count, values);
  log(line.str());
  return kSuccess;
}

int32_t cudnnBackendFinalize(void* descriptor) {
  Descriptor* const target = checked(descriptor);
  if (target == nullptr) return kNullPointer;
  if (target->finalized) return kBadParameter;
  for (const auto& [name, rule] : rules().at(target->type)) {
    if (rule.required && target->attributes.count(name) == 0) return kBadParameter;
  }
  if (target->type == kTensor && target->values<int64_t>(902).size() != target->values<int64_t>(903).size()) {
    return kBadParameter;
  }
  const bool convolves = target->type == kForward || target->type == kBackwardData || target->type == kBackwardFilter;
  if (convolves && !fits(*target)) return kBadParameter;
  if (target->type == kEngine) {
    target->graph = &target->named(1300);
    const auto index = target->value<int64_t>(1301);
    for (const FakeEngine& engine : state.engines) {
      if (engine.index == index && target->engine == nullptr) target->engine = &engine;
    }
    if (target->engine == nullptr) return kNotSupported;
  }
  if (target->type == kEngineConfiguration) {
    target->graph = target->named(300).graph;
    std::vector<std::pair<int32_t, int64_t>> knobs;
    for (const Descriptor* knob : target->values<const Descriptor*>(302)) {
      knobs.emplace_back(knob->value<int32_t>(600), knob->value<int64_t>(601));
    }
    for (const FakeEngine& engine : state.engines) {
      auto wanted = engine.knobs;
      std::sort(wanted.begin(), wanted.end());
      const bool same = engine.index == target->named(300).engine->index && wanted == knobs;
      if (same && target->engine == nullptr) target->engine = &engine;
    }
    if (target->engine == nullptr) return kNotSupported;
  }
  if (target->type == kPlan) {
    const Descriptor& configuration = target->named(401);
    if (!configuration.engine->finalizes || !takes(*configuration.engine, *configuration.graph)) return kNotSupported;
  }
  target->finalized = true;
  log("finalize " + std::to_string(target->type));
  return kSuccess;
}

int32_t cudnnBackendGetAttribute(void* descriptor, int32_t name, int32_t type, int64_t wanted, int64_t* count,
                                 void* values) {
  const Descriptor* const source = checked(descriptor);
  if (source == nullptr) return kNullPointer;
  if (!source->finalized) return kNotFinalized;
  const auto give = [&](ValueType of, const auto& all) {
    if (type != of || wanted < 0 || (wanted > 0 && values == nullptr)) return kBadParameter;
    *count = static_cast<int64_t>(all.size());
    const size_t given = std::min(static_cast<size_t>(wanted), all.size());
    if (given > 0) std::memcpy(values, all.data(), given * sizeof(all[0]));
    return kSuccess;
  };
  switch (name) {
    case 202: {  // written into finalized configurations that the caller made
      if (type != kDescriptor) return kBadParameter;
      const auto mode = source->value<int32_t>(200);
      int64_t found = 0;
      for (const FakeEngine& engine : state.engines) {
        if (engine.mode != mode) continue;
        if (found < wanted) {
          Descriptor* const into = checked(static_cast<void**>(values)[found]);
          if (into == nullptr || into->type != kEngineConfiguration) return kBadParameter;
          into->graph = &source->named(201);
          into->engine = &engine;
          into->finalized = true;
        }
        ++found;
      }
      *count = found;
      return kSuccess;
    }
    case 300: {
      Descriptor* const into = values == nullptr ? nullptr : checked(*static_cast<void**>(values));
      if (type != kDescriptor || wanted != 1 || into == nullptr || into->type != kEngine) return kBadParameter;
      into->engine = source->engine;
      into->finalized = true;
      *count = 1;
      return kSuccess;
    }
    case 302: {  // written into knob choices that the caller made
      const auto& knobs = source->engine->knobs;
      if (type != kDescriptor) return kBadParameter;
      for (size_t i = 0; i < std::min(knobs.size(), static_cast<size_t>(wanted)); ++i) {
        Descriptor* const into = checked(static_cast<void**>(values)[i]);
        if (into == nullptr || into->type != kKnobChoice) return kBadParameter;
        set_value(*into, 600, knobs[i].first);
        set_value(*into, 601, knobs[i].second);
        into->finalized = true;
      }
      *count = static_cast<int64_t>(knobs.size());
      return kSuccess;
    }
    case 600:
      return give(kKnobType, source->values<int32_t>(600));
    case 601:
      return give(kInt64, source->values<int64_t>(601));
    case 402:
      return give(kInt64, std::vector<int64_t>{source->named(401).engine->workspace_bytes});
    case 1301:
      return give(kInt64, std::vector<int64_t>{source->engine->index});
    case 1303:
      return give(kNumericalNote, source->engine->notes);
    default:
      return kBadParameter;
  }
}

#ifndef FAKE_WITHOUT_EXECUTE
int32_t cudnnBackendExecute(void* handle, void* plan_pointer, void* pack_pointer) {
  Descriptor* const plan = checked(plan_pointer);
  const Descriptor* const pack = checked(pack_pointer);
  if (plan == nullptr || pack == nullptr || !plan->finalized || !pack->finalized) return kBadParameter;
  const Descriptor& configuration = plan->named(401);
  const bool overlaps = plan->running.fetch_add(1) > 0;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    state.overlapped = state.overlapped || overlaps;
    state.stream = static_cast<Handle*>(handle)->stream;
    state.workspace = pack->value<void*>(1003);
  }
  int32_t status = kSuccess;
  try {
    if (!configuration.engine->executes) throw std::runtime_error("as the test wants it");
    const auto execution =
        std::make_shared<const Execution>(*configuration.graph, *pack, *configuration.engine);
    ghostbatch::tests::submit(static_cast<Handle*>(handle)->stream, [execution] { execution->run(); });
  } catch (const std::exception&) {
    status = kBadParameter;
  }
  plan->running.fetch_sub(1);
  log("execute " + std::to_string(configuration.engine->index));
  return status;
}
#endif

}  // extern "C"
