#pragma once

#include "common/check.h"
#include "ghostbatch/types.h"

namespace ghostbatch::cpu {

/// "simd:avx512", with the instruction set that was chosen.
const char* simd_implementation();

/// The table for activations of `type`.
template <typename Table>
const Table* table_for(const char* kernel, DataType type, const Table* f32, const Table* bf16) {
  if (type == DataType::f32) return f32;
  if (type == DataType::bf16) return bf16;
  fail(kernel, "activations of f32 or bf16 on the cpu backend", name_of(type));
}

/// The table for parameters of `type`.
template <typename Table>
const Table* parameter_table_for(const char* kernel, DataType type, const Table* f32, const Table* f64) {
  if (type == DataType::f32) return f32;
  if (type == DataType::f64) return f64;
  fail(kernel, "vectors of f32 or f64", name_of(type));
}

}  // namespace ghostbatch::cpu
