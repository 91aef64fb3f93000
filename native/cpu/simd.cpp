#include "cpu/simd.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "ghostbatch/types.h"

// Every source of simd/ is compiled into a namespace named after its instruction set.
#define GHOSTBATCH_DECLARE_ISA(isa_name)                                                               \
  namespace simd_##isa_name {                                                                          \
    extern const ConvolutionTable convolution_f32, convolution_bf16;                                   \
    extern const WinogradTable winograd_f32;                                                           \
    extern const GhostBatchNormTable ghost_batch_norm_f32, ghost_batch_norm_bf16;                      \
    extern const ElementwiseTable elementwise_f32, elementwise_bf16;                                   \
    extern const SoftmaxTable softmax_f32, softmax_bf16;                                               \
    extern const PoolingTable pooling_f32, pooling_bf16;                                               \
    extern const LoaderTable loader_f32, loader_bf16;                                                  \
    extern const VectorTable vector_f32, vector_f64;                                                   \
    static const SimdTables tables = {#isa_name,        &convolution_f32,      &convolution_bf16,      \
                                      &winograd_f32,    &ghost_batch_norm_f32, &ghost_batch_norm_bf16, \
                                      &elementwise_f32, &elementwise_bf16,     &softmax_f32,           \
                                      &softmax_bf16,    &pooling_f32,          &pooling_bf16,          \
                                      &loader_f32,      &loader_bf16,          &vector_f32,            \
                                      &vector_f64};                                                    \
  }

namespace ghostbatch {

GHOSTBATCH_DECLARE_ISA(portable)
#if defined(__x86_64__)
GHOSTBATCH_DECLARE_ISA(avx2)
GHOSTBATCH_DECLARE_ISA(avx512)
GHOSTBATCH_DECLARE_ISA(avx512bf16)
#endif

namespace {

/// An instruction set that this build has, and whether this CPU and its operating system have it.
struct Isa {
  const SimdTables* tables;
  bool (*available)();
};

// Best first.
const Isa kIsas[] = {
#if defined(__x86_64__)
    {&simd_avx512bf16::tables,
     [] {
       return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f") &&
              __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
     }},
    {&simd_avx512::tables,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512cd");
     }},
    {&simd_avx2::tables,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }},
#endif
    {&simd_portable::tables, [] { return true; }},
};

const SimdTables& choose() {
  const char* const wanted = std::getenv("GHOSTBATCH_ISA");
  if (wanted != nullptr && *wanted != '\0') {
    const SimdTables* const tables = simd_tables(wanted);
    if (tables == nullptr) {
      std::string names;
      for (const Isa& isa : kIsas) {
        if (isa.available()) names += std::string(names.empty() ? "" : ", ") + isa.tables->isa;
      }
      throw Error("[simd] needs GHOSTBATCH_ISA to be one that this CPU has (" + names + "), got " + wanted);
    }
    return *tables;
  }
  for (const Isa& isa : kIsas) {
    if (isa.available()) return *isa.tables;
  }
  return simd_portable::tables;
}

}  // namespace

const SimdTables* simd_tables(const char* name) {
  for (const Isa& isa : kIsas) {
    if (std::strcmp(isa.tables->isa, name) == 0) return isa.available() ? isa.tables : nullptr;
  }
  return nullptr;
}

const SimdTables& simd_tables() {
  static const SimdTables& tables = choose();
  return tables;
}

const char* simd_isa() {
  return simd_tables().isa;
}

}  // namespace ghostbatch
