// What the tests tell and ask the stand-in for cuBLASLt (cublaslt.cpp), which they open beside the code under test.
#pragma once

#include <cstdint>

namespace ghostbatch::tests {

/// What the stand-in shares with the tests: `fake_cublaslt()`, exported by it.
struct FakeCublasLt {
  bool epilogues = true;         // whether there are algorithms with an epilogue
  uint64_t first_workspace = 0;  // bytes that the first algorithm wants; the second wants none
  bool second = true;            // whether there is one
  uint64_t asked_workspace = 0;  // the last preference's
  uint32_t asked_reduction = 0;
  uint32_t asked_alignment = 0;  // the least of the four
  int32_t compute_type = 0;      // of the last product
  uint64_t algorithm = 0;        // 1 or 2
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
  void* stream = nullptr;
  int64_t objects = 0;  // alive, handles among them
};

}  // namespace ghostbatch::tests
