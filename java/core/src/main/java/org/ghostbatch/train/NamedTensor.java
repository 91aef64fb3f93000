package org.ghostbatch.train;

import org.ghostbatch.device.Tensor;

/** A part of a run's state, under the name that it has in a checkpoint. */
record NamedTensor(String name, Tensor tensor) {}
