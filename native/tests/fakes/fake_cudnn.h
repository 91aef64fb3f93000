// What the tests tell and ask the stand-in for cuDNN (cudnn.cpp), which they open beside the code under test.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ghostbatch::tests {

/// An engine of the stand-in, as its heuristics propose it.
struct FakeEngine {
  int64_t index = 0;
  int32_t mode = 3;  // of the heuristics that propose it: CUDNN_HEUR_MODE_A
  std::vector<int32_t> notes;
  std::vector<std::pair<int32_t, int64_t>> knobs;  // type and value
  int64_t workspace_bytes = 0;
  double seconds = 1e-5;  // that an execution takes
  bool fused = true;      // takes graphs of more than one operation
  bool widens = true;     // writes f32 weight gradients from bf16
  bool finalizes = true;  // plans are made
  bool executes = true;
  bool single = false;  // sums in f32, others in double
};

/// What the stand-in shares with the tests: `fake_cudnn()`, exported by it.
struct FakeCudnn {
  std::vector<FakeEngine> engines{FakeEngine()};
  std::vector<std::string> log;  // a line a call: "set 17 901 type 1: 0", "finalize 17", ...
  int64_t descriptors = 0;       // alive
  int64_t handles = 0;           // alive
  double least = 0, most = 0;    // among the results of convolutions; NaN once there is one
  bool overlapped = false;       // whether a plan ran twice at once
  void* stream = nullptr;        // of the last handle that executed
  void* workspace = nullptr;     // of the last execution
};

}  // namespace ghostbatch::tests
