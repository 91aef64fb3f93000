#include "cpu/onednn.h"

#include <string_view>

namespace ghostbatch::cpu {

namespace {

void check(dnnl_status_t status, const char* implementation) {
  if (status != dnnl_success) fail("onednn", text(implementation, " to run"), dnnl_status2str(status));
}

/// Whether oneDNN may use all of this instruction set here.
bool has(dnnl::cpu_isa isa) {
  const auto wanted = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}

}  // namespace

const dnnl::engine& onednn_engine() {
  // Never destroyed: kernels may outlive static destructors. No other engine is asked for: engine::get_count(gpu) ends
  // the process where OpenCL is missing.
  static const dnnl::engine& engine = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

bool supports_bf16() {
  return has(dnnl::cpu_isa::avx512_core);
}

bool has_bf16_instructions() {
  return has(dnnl::cpu_isa::avx512_core_bf16);
}

const char* onednn_isa() {
  const char* const name = dnnl_cpu_isa2str(dnnl_get_effective_cpu_isa());
  constexpr std::string_view kPrefix = "cpu_isa_";
  return std::string_view(name).starts_with(kPrefix) ? name + kPrefix.size() : name;
}

dnnl::memory::data_type onednn_type(const char* kernel, DataType type) {
  if (type == DataType::f32) return dnnl::memory::data_type::f32;
  if (type != DataType::bf16) fail(kernel, "f32 or bf16 on backend cpu", name_of(type));
  if (!supports_bf16()) fail(kernel, "AVX-512 for bf16", onednn_isa());
  return dnnl::memory::data_type::bf16;
}

dnnl::primitive_attr onednn_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

Primitive::Call::Call(const std::vector<Argument>& arguments_of_primitive) : stream(onednn_engine()) {
  for (const Argument& argument : arguments_of_primitive) {
    memories.emplace_back(argument.layout, onednn_engine(), nullptr);
    arguments.push_back({argument.id, memories.back().get()});
  }
}

Primitive::Primitive(const dnnl::primitive& primitive, std::vector<Argument> arguments)
    : primitive_(primitive), arguments_(std::move(arguments)), calls_(std::make_unique<Calls>()) {
  const_dnnl_memory_desc_t scratchpad =
      dnnl_primitive_desc_query_md(primitive_.get_primitive_desc(), dnnl_query_scratchpad_md, 0);
  scratch_bytes_ = scratchpad == nullptr ? 0 : static_cast<int64_t>(dnnl_memory_desc_get_size(scratchpad));
  if (scratch_bytes_ > 0) {
    dnnl_memory_desc_t copy = nullptr;
    check(dnnl_memory_desc_clone(&copy, scratchpad), implementation());
    arguments_.push_back({DNNL_ARG_SCRATCHPAD, dnnl::memory::desc(copy)});
  }
  give_back(borrow());  // one thread never has to make any later
}

const char* Primitive::implementation() const {
  const char* name = "";
  dnnl_primitive_desc_query(primitive_.get_primitive_desc(), dnnl_query_impl_info_str, 0, &name);
  return name;
}

void Primitive::run(std::initializer_list<void*> data, void* scratch) const {
  SingleThread single_thread;
  std::unique_ptr<Call> call = borrow();
  dnnl_status_t status = dnnl_success;
  auto memory = call->memories.begin();
  for (void* pointer : data) {
    if (status == dnnl_success) status = dnnl_memory_set_data_handle((memory++)->get(), pointer);
  }
  if (status == dnnl_success && scratch_bytes_ > 0) status = dnnl_memory_set_data_handle(memory->get(), scratch);
  if (status == dnnl_success) {
    status = dnnl_primitive_execute(primitive_.get(), call->stream.get(), static_cast<int>(call->arguments.size()),
                                    call->arguments.data());
  }
  if (status == dnnl_success) status = dnnl_stream_wait(call->stream.get());
  give_back(std::move(call));
  check(status, implementation());
}

std::unique_ptr<Primitive::Call> Primitive::borrow() const {
  {
    const std::lock_guard lock(calls_->mutex);
    if (!calls_->idle.empty()) {
      std::unique_ptr<Call> call = std::move(calls_->idle.back());
      calls_->idle.pop_back();
      return call;
    }
    calls_->idle.reserve(++calls_->made);  // so that giving back never allocates
  }
  return std::make_unique<Call>(arguments_);
}

void Primitive::give_back(std::unique_ptr<Call> call) const {
  const std::lock_guard lock(calls_->mutex);
  calls_->idle.push_back(std::move(call));
}

}  // namespace ghostbatch::cpu
