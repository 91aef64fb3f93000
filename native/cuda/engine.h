// Runs a network on a GPU: see ghostbatch/engine.h.
#pragma once

#include "cuda/context.h"
#include "cuda/sample_store.h"
#include "ghostbatch/engine.h"

namespace ghostbatch::cuda {

/// An engine whose micro-batches follow one another on the context's stream. What a micro-batch enqueues, or all
/// micro-batches of a ghost larger than one, is captured as a graph when it comes for the second time, and launched as
/// one from then on: what changes from step to step lies in device memory. Lanes are not used: results are those of any
/// number of them. `device` is the one that `context` and `samples` belong to.
Engine* make_engine(Device& device, const Context& context, SampleStore& samples, const Network& network,
                    const EngineSpec& spec);
/// What it would allocate.
int64_t predict_engine_bytes(Device& device, const Context& context, const Network& network, const EngineSpec& spec);

}  // namespace ghostbatch::cuda
