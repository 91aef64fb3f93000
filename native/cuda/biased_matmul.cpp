#include "cuda/biased_matmul.h"

#include "cuda/add_bias.h"

namespace ghostbatch::cuda {

BiasedMatmul::BiasedMatmul(const Context& context, const MatmulSpec& spec)
    : context_(context),
      matmul_(context.cublaslt(), spec, kMostMatmulWorkspace),
      result_(spec.result),
      columns_(spec.gemm.n),
      relu_(spec.gemm.relu),
      workspace_(layout_.add(matmul_.workspace_bytes())),
      bias_(layout_.add(spec.gemm.bias && matmul_.fused() ? columns_ * size_of(result_) : 0)),
      implementation_(matmul_.implementation()) {
  if (!matmul_.fused()) implementation_ += " + add_bias";
}

void BiasedMatmul::run(const void* a, const void* b, const View* bias, const View& c, const View& scratch) const {
  const Stream stream = context_.stream();
  const bool along = bias != nullptr && matmul_.fused();
  void* const vector = along ? as_library_wants(*bias, result_, part_of(scratch, bias_), stream) : nullptr;
  matmul_.run({a, b, c.data, vector}, part_of(scratch, workspace_), stream);
  if (!matmul_.fused()) add_bias(c, bias != nullptr ? bias->as<float>() : nullptr, columns_, relu_, stream);
}

}  // namespace ghostbatch::cuda
