// oneDNN called straight: single layers, and all convolutions of a network. The primitives are made as cpu/affine.cpp
// makes them, so that what the library adds is what differs.
#include <omp.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/memory.h"
#include "benchmarks/team.h"
#include "benchmarks/work.h"
#include "common/bfloat16.h"
#include "common/check.h"

namespace ghostbatch::benchmarks {

namespace {

using dnnl::memory;
using tag = dnnl::memory::format_tag;
using type = dnnl::memory::data_type;

constexpr int64_t kAlignment = 64;

int64_t aligned(size_t bytes) {
  return (static_cast<int64_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

enum class Direction { forward, backward_data, backward_weights };

const char* name_of(Direction direction) {
  constexpr const char* kNames[] = {"forward", "backward-data", "backward-weights"};
  return kNames[static_cast<int>(direction)];
}

Direction direction_of(const Case& wanted) {
  for (const Direction direction : {Direction::forward, Direction::backward_data, Direction::backward_weights}) {
    if (wanted.direction == name_of(direction)) return direction;
  }
  fail("bench", "direction forward, backward-data or backward-weights", "\"" + wanted.direction + "\"");
}

/// Where an argument of a primitive lies in the memory of its lane. Layers share their activations; gradients of a
/// layer's output lie where its output lay.
enum Place { kSrc, kDst, kDiffSrc, kScratch, kShared, kWeights = kShared };

struct Argument {
  int id;
  memory::desc layout;
  Place place;
};

/// One direction of a layer at a number of rows, made.
struct Operation {
  dnnl::primitive primitive;
  std::vector<Argument> arguments;
  memory::desc natural_weights;  // as a caller has them: what weights are packed from, and gradients unpacked to
  int64_t times = 1;
};

/// What a lane runs, in order.
using Program = std::vector<Operation>;

/// A convolution without bias, padded by half its filter; its batch aside.
struct Convolution {
  int64_t height, width, channels, filters, kernel, stride;

  /// Of N,H,W,C,F,K,S.
  explicit Convolution(const std::vector<int64_t>& sizes)
      : height(sizes[1]), width(sizes[2]), channels(sizes[3]), filters(sizes[4]), kernel(sizes[5]), stride(sizes[6]) {
    check_product("bench", "src", sizes[0], height, width, channels);
    check_product("bench", "dst", sizes[0], out(height), out(width), filters);
    check_product("bench", "weights", filters, kernel, kernel, channels);
  }
  int64_t out(int64_t size) const { return (size + 2 * (kernel / 2) - kernel) / stride + 1; }
  double flops(int64_t rows) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(out(height)) * static_cast<double>(out(width)) *
           static_cast<double>(filters) * static_cast<double>(channels) * static_cast<double>(kernel * kernel);
  }
  std::string name() const {
    return text("src=[", height, ",", width, ",", channels, "] weights=[", filters, ",", kernel, ",", kernel, ",",
                channels, "] stride=", stride);
  }
};

/// A linear layer without bias; its batch aside.
struct Linear {
  int64_t in, out;

  /// Of N,IN,OUT.
  explicit Linear(const std::vector<int64_t>& sizes) : in(sizes[1]), out(sizes[2]) {
    check_product("bench", "src", sizes[0], in);
    check_product("bench", "dst", sizes[0], out);
    check_product("bench", "weights", in, out);
  }
  double flops(int64_t rows) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  }
  std::string name() const { return text("src=[", in, "] weights=[", out, ",", in, "]"); }
};

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr result;
  result.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return result;
}

Operation with_scratch(const dnnl::primitive_desc_base& desc, const dnnl::primitive& primitive,
                       std::vector<Argument> arguments, const memory::desc& natural_weights) {
  arguments.push_back({DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc(), kScratch});
  return {primitive, std::move(arguments), natural_weights};
}

Operation make_operation(const Convolution& layer, int64_t rows, type precision, Direction direction) {
  const memory::desc src({rows, layer.channels, layer.height, layer.width}, precision, tag::nhwc);
  const memory::desc dst({rows, layer.filters, layer.out(layer.height), layer.out(layer.width)}, precision, tag::nhwc);
  const memory::dims dims{layer.filters, layer.channels, layer.kernel, layer.kernel};
  const memory::desc weights(dims, precision, tag::any);
  const memory::desc natural(dims, type::f32, tag::ohwi);
  const memory::dims stride{layer.stride, layer.stride};
  const memory::dims dilation{0, 0};
  const memory::dims padding{layer.kernel / 2, layer.kernel / 2};
  const auto algorithm = dnnl::algorithm::convolution_direct;

  const dnnl::convolution_forward::primitive_desc forward(engine(), dnnl::prop_kind::forward_training, algorithm, src,
                                                          weights, memory::desc(), dst, stride, dilation, padding,
                                                          padding, attributes());
  if (direction == Direction::forward) {
    return with_scratch(
        forward, dnnl::convolution_forward(forward),
        {{DNNL_ARG_SRC, src, kSrc}, {DNNL_ARG_WEIGHTS, forward.weights_desc(), kWeights}, {DNNL_ARG_DST, dst, kDst}},
        natural);
  }
  if (direction == Direction::backward_data) {
    const dnnl::convolution_backward_data::primitive_desc desc(engine(), algorithm, src, weights, dst, stride, dilation,
                                                               padding, padding, forward, attributes());
    return with_scratch(desc, dnnl::convolution_backward_data(desc),
                        {{DNNL_ARG_DIFF_DST, dst, kDst},
                         {DNNL_ARG_WEIGHTS, desc.weights_desc(), kWeights},
                         {DNNL_ARG_DIFF_SRC, src, kDiffSrc}},
                        natural);
  }
  const dnnl::convolution_backward_weights::primitive_desc desc(
      engine(), algorithm, src, memory::desc(dims, type::f32, tag::any), memory::desc(), dst, stride, dilation, padding,
      padding, forward, attributes());
  return with_scratch(desc, dnnl::convolution_backward_weights(desc),
                      {{DNNL_ARG_SRC, src, kSrc},
                       {DNNL_ARG_DIFF_DST, dst, kDst},
                       {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), kWeights}},
                      natural);
}

Operation make_operation(const Linear& layer, int64_t rows, type precision, Direction direction) {
  const memory::desc src({rows, layer.in}, precision, tag::ab);
  const memory::desc dst({rows, layer.out}, precision, tag::ab);
  if (direction == Direction::forward) {
    const dnnl::matmul::primitive_desc desc(engine(), src, memory::desc({layer.in, layer.out}, precision, tag::any),
                                            memory::desc(), dst, attributes());
    return with_scratch(
        desc, dnnl::matmul(desc),
        {{DNNL_ARG_SRC, src, kSrc}, {DNNL_ARG_WEIGHTS, desc.weights_desc(), kWeights}, {DNNL_ARG_DST, dst, kDst}},
        memory::desc({layer.in, layer.out}, type::f32, tag::ba));
  }
  const memory::desc weights({layer.out, layer.in}, precision, tag::any);
  if (direction == Direction::backward_data) {
    const dnnl::matmul::primitive_desc desc(engine(), dst, weights, src, attributes());
    return with_scratch(
        desc, dnnl::matmul(desc),
        {{DNNL_ARG_SRC, dst, kDst}, {DNNL_ARG_WEIGHTS, desc.weights_desc(), kWeights}, {DNNL_ARG_DST, src, kDiffSrc}},
        memory::desc({layer.out, layer.in}, type::f32, tag::ab));
  }
  const dnnl::inner_product_forward::primitive_desc hint(engine(), dnnl::prop_kind::forward_training, src, weights,
                                                         memory::desc(), dst, attributes());
  const dnnl::inner_product_backward_weights::primitive_desc desc(
      engine(), src, memory::desc({layer.out, layer.in}, type::f32, tag::any), memory::desc(), dst, hint, attributes());
  return with_scratch(desc, dnnl::inner_product_backward_weights(desc),
                      {{DNNL_ARG_SRC, src, kSrc},
                       {DNNL_ARG_DIFF_DST, dst, kDst},
                       {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), kWeights}},
                      memory::desc({layer.out, layer.in}, type::f32, tag::ab));
}

template <typename Layer>
Operation make(const Layer& layer, int64_t rows, type precision, Direction direction, int64_t times) {
  try {
    Operation operation = make_operation(layer, rows, precision, direction);
    operation.times = times;
    return operation;
  } catch (const dnnl::error& error) {
    fail("bench", text("a ", name_of(direction), " that oneDNN has on this CPU"),
         text(dnnl_status2str(error.status), " for ", rows, " rows, ", layer.name(), " ",
              dnnl_dt2str(memory::convert_to_c(precision))));
  }
}

/// Fills with numbers between -1 and 1.
void fill_random(char* data, size_t bytes, type precision) {
  constexpr size_t kPeriod = 100003;  // elements: no multiple of any row
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<char> period;
  for (size_t i = 0; i < kPeriod; ++i) {
    const float value = uniform(random);
    const uint16_t half = to_bfloat16(value);
    const char* const from =
        precision == type::bf16 ? reinterpret_cast<const char*>(&half) : reinterpret_cast<const char*>(&value);
    period.insert(period.end(), from, from + memory::data_type_size(precision));
  }
  for (size_t begin = 0; begin < bytes; begin += period.size()) {
    std::memcpy(data + begin, period.data(), std::min(period.size(), bytes - begin));
  }
}

/// Operations on memory of their own, run by one thread at a time.
///
/// All layers read their src from one place, write dst to one, and so on: a training step finds the src of a
/// convolution, and the gradient of its dst, in cache, because batch norm has just written them. Only the src that
/// backward-weights reads again lies in memory there, and in cache here. So the time is the least that oneDNN could
/// spend in a step.
class Lane {
 public:
  Lane(std::vector<Program> programs, type precision) : stream_(engine()), programs_(std::move(programs)) {
    // Sizes of the shared places, then of the weights one by one.
    std::array<int64_t, kShared> sizes{};
    int64_t weights_bytes = 0;
    for_each_argument([&](Operation&, const Argument& argument) {
      const int64_t bytes = aligned(argument.layout.get_size());
      if (argument.place == kWeights) {
        weights_bytes += bytes;
      } else {
        sizes[argument.place] = std::max(sizes[argument.place], bytes);
      }
    });
    int64_t total = weights_bytes;
    for (const int64_t size : sizes) total += size;
    memory_ = Memory(total);
    std::array<char*, kShared + 1> places{};
    places[0] = memory_.data();
    for (size_t place = 0; place < kShared; ++place) places[place + 1] = places[place] + sizes[place];
    fill_random(places[kSrc], static_cast<size_t>(sizes[kSrc]), precision);
    fill_random(places[kDst], static_cast<size_t>(sizes[kDst]), precision);
    std::memset(places[kDiffSrc], 0, static_cast<size_t>(total - sizes[kSrc] - sizes[kDst]));

    for_each_argument([&](Operation& operation, const Argument& argument) {
      char*& place = places[argument.place];
      memories_.emplace_back(argument.layout, engine(), place);
      if (argument.place != kWeights) return;
      if (argument.id == DNNL_ARG_WEIGHTS) pack(operation.natural_weights, memories_.back());
      place += aligned(argument.layout.get_size());
    });
    auto next = memories_.begin();
    for (const Program& program : programs_) {
      std::vector<Call>& calls = calls_.emplace_back();
      for (const Operation& operation : program) {
        Call& call = calls.emplace_back(Call{operation.primitive.get(), {}, operation.times});
        for (const Argument& argument : operation.arguments) call.arguments.push_back({argument.id, (next++)->get()});
      }
    }
  }

  void run(size_t program) {
    for (const Call& call : calls_[program]) {
      for (int64_t i = 0; i < call.times; ++i) {
        check(dnnl_primitive_execute(call.primitive, stream_.get(), static_cast<int>(call.arguments.size()),
                                     call.arguments.data()));
        check(dnnl_stream_wait(stream_.get()));
      }
    }
  }

  /// The names of what runs, each once.
  std::string kernel() const {
    std::vector<std::string> names;
    for (const Program& program : programs_) {
      for (const Operation& operation : program) {
        const char* name = "";
        dnnl_primitive_desc_query(operation.primitive.get_primitive_desc(), dnnl_query_impl_info_str, 0, &name);
        if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
      }
    }
    std::string joined = names.front();
    for (size_t i = 1; i < names.size(); ++i) joined += "+" + names[i];
    return joined;
  }

 private:
  struct Call {
    const_dnnl_primitive_t primitive;
    std::vector<dnnl_exec_arg_t> arguments;
    int64_t times;
  };

  static void check(dnnl_status_t status) {
    if (status != dnnl_success) fail("bench", "oneDNN to run", dnnl_status2str(status));
  }

  template <typename Visit>
  void for_each_argument(const Visit& visit) {
    for (Program& program : programs_) {
      for (Operation& operation : program) {
        for (const Argument& argument : operation.arguments) visit(operation, argument);
      }
    }
  }

  void pack(const memory::desc& natural, memory& packed) {
    std::vector<char> values(natural.get_size());
    fill_random(values.data(), values.size(), type::f32);
    memory from(natural, engine(), values.data());
    dnnl::reorder(from, packed).execute(stream_, from, packed);
    stream_.wait();
  }

  dnnl::stream stream_;
  std::vector<Program> programs_;
  Memory memory_;
  std::vector<memory> memories_;
  std::vector<std::vector<Call>> calls_;
};

/// A batch on threads with a lane each: a slice for every lane, or micro-batches that lanes take as they come.
class Lanes final : public Work {
 public:
  using Maker = std::function<Program(int64_t rows)>;

  /// Slices; where `openmp_threads` > 1, on OpenMP within each.
  Lanes(int threads, int openmp_threads, int64_t rows, type precision, double flops, const Maker& make_program)
      : team_(threads), flops_(flops) {
    if (rows < threads) fail("bench", text("at least ", threads, " rows for as many threads"), text(rows));
    make_lanes(openmp_threads, precision,
               [&](int thread) { return std::vector<Program>{make_program((rows + threads - 1 - thread) / threads)}; });
  }

  /// Micro-batches; the last may be shorter.
  Lanes(int threads, int64_t rows, int64_t micro_batch, type precision, double flops, const Maker& make_program)
      : team_(threads),
        flops_(flops),
        micro_batches_((rows + micro_batch - 1) / micro_batch),
        last_is_short_(rows % micro_batch != 0) {
    make_lanes(1, precision, [&](int) {
      std::vector<Program> programs{make_program(micro_batch)};
      if (last_is_short_) programs.push_back(make_program(rows % micro_batch));
      return programs;
    });
  }

  std::string kernel() const override { return lanes_.front()->kernel(); }
  double flops() const override { return flops_; }
  double bytes() const override { return 0; }
  void run() override {
    next_ = 0;
    team_.run(job_);
  }

 private:
  template <typename Programs>
  void make_lanes(int openmp_threads, type precision, const Programs& programs_of) {
    lanes_.resize(static_cast<size_t>(team_.threads()));
    team_.run([&](int thread) {
      // For as long as the thread lives, or until the next case: oneDNN looks when a primitive is made and when it
      // runs.
      omp_set_num_threads(openmp_threads);
      // By the thread that uses it, so that its memory lies near.
      lanes_[static_cast<size_t>(thread)] = std::make_unique<Lane>(programs_of(thread), precision);
    });
  }

  Team team_;
  const double flops_;
  const int64_t micro_batches_ = 0;  // 0: slices
  const bool last_is_short_ = false;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<int64_t> next_{0};
  const Team::Job job_ = [this](int thread) {
    Lane& lane = *lanes_[static_cast<size_t>(thread)];
    if (micro_batches_ == 0) {
      lane.run(0);
      return;
    }
    for (int64_t i; (i = next_++) < micro_batches_;) lane.run(last_is_short_ && i + 1 == micro_batches_ ? 1 : 0);
  };
};

/// The layer alone, with the gradient of its weights in the layout of a caller, who can do nothing with oneDNN's.
template <typename Layer>
Program make_program(const Layer& layer, int64_t rows, type precision, Direction direction) {
  Program program{make(layer, rows, precision, direction, 1)};
  if (direction != Direction::backward_weights) return program;
  Operation& gradient = program.front();
  for (Argument& argument : gradient.arguments) {
    if (argument.place != kWeights || argument.layout == gradient.natural_weights) continue;
    argument.place = kDiffSrc;
    const memory::desc& natural = gradient.natural_weights;
    const dnnl::reorder::primitive_desc desc(engine(), argument.layout, engine(), natural, attributes());
    Operation unpack = with_scratch(
        desc, dnnl::reorder(desc),
        {{DNNL_ARG_FROM, argument.layout, kDiffSrc}, {DNNL_ARG_TO, natural, kWeights}}, memory::desc());
    program.push_back(std::move(unpack));
    break;
  }
  return program;
}

template <typename Layer>
std::unique_ptr<Work> make_kernel(const Case& wanted, const Layer& layer, int64_t rows, type precision) {
  const Direction direction = direction_of(wanted);
  const bool openmp = wanted.spelling == "omp";
  if (!openmp && wanted.spelling != "lanes") fail("bench", "spelling lanes or omp", "\"" + wanted.spelling + "\"");
  return std::make_unique<Lanes>(openmp ? 1 : wanted.threads, openmp ? wanted.threads : 1, rows, precision,
                                 layer.flops(rows),
                                 [&](int64_t share) { return make_program(layer, share, precision, direction); });
}

/// All convolutions of a network, from a list of N,H,W,C,F,K,S*COUNT separated by semicolons; `!` behind the count: no
/// gradient of its input is wanted. A micro-batch has `ghost` rows; it goes forward through the list, then backward.
std::unique_ptr<Work> make_convolutions(const Case& wanted, type precision) {
  struct Entry {
    Convolution layer;
    int64_t times;
    bool backward_data;
  };
  const bool train = wanted.direction == "train";
  if (!train && wanted.direction != "evaluate") {
    fail("bench", "direction train or evaluate", "\"" + wanted.direction + "\"");
  }
  if (wanted.spelling != "lanes") fail("bench", "spelling lanes", "\"" + wanted.spelling + "\"");

  std::vector<Entry> entries;
  std::optional<int64_t> batch;
  double flops = 0;
  for (std::string part : split(wanted.shape, ';')) {
    const std::vector<std::string> halves = split(part, '*');
    if (halves.size() != 2) fail("bench", "N,H,W,C,F,K,S*COUNT as shape", "\"" + part + "\"");
    const bool first = halves[1].ends_with('!');
    const std::vector<int64_t> numbers = sizes(halves[0], "N,H,W,C,F,K,S");
    const int64_t times = sizes(first ? halves[1].substr(0, halves[1].size() - 1) : halves[1], "COUNT")[0];
    if (batch.value_or(numbers[0]) != numbers[0]) fail("bench", text("one batch, ", *batch), text(numbers[0]));
    batch = numbers[0];
    entries.push_back({Convolution(numbers), times, !first});
    flops += static_cast<double>(train ? (first ? 2 : 3) : 1) * static_cast<double>(times) *
             entries.back().layer.flops(*batch);
  }

  const int64_t micro_batch = wanted.ghost == 0 ? *batch : std::min(wanted.ghost, *batch);
  return std::make_unique<Lanes>(wanted.threads, *batch, micro_batch, precision, flops, [&](int64_t rows) {
    Program program;
    const auto add = [&](const Entry& entry, Direction direction) {
      program.push_back(make(entry.layer, rows, precision, direction, entry.times));
    };
    for (const Entry& entry : entries) add(entry, Direction::forward);
    if (!train) return program;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      add(*entry, Direction::backward_weights);
      if (entry->backward_data) add(*entry, Direction::backward_data);
    }
    return program;
  });
}

}  // namespace

std::unique_ptr<Work> make_onednn(const Case& wanted) {
  const type precision = wanted.bf16() ? type::bf16 : type::f32;
  if (wanted.suite == "step") {
    if (wanted.name == "convolutions") return make_convolutions(wanted, precision);
    fail("bench", "step convolutions", "\"" + wanted.name + "\"");
  }
  if (wanted.name == "conv") {
    const std::vector<int64_t> numbers = sizes(wanted.shape, "N,H,W,C,F,K,S");
    return make_kernel(wanted, Convolution(numbers), numbers[0], precision);
  }
  if (wanted.name == "linear") {
    const std::vector<int64_t> numbers = sizes(wanted.shape, "N,IN,OUT");
    return make_kernel(wanted, Linear(numbers), numbers[0], precision);
  }
  fail("bench", "kernel conv or linear", "\"" + wanted.name + "\"");
}

}  // namespace ghostbatch::benchmarks
