package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.device.AdamStep;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.SgdStep;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.AdamW;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Sgd;

/** An optimizer at work: its settings, and its state beside the parameter vector. */
final class Updater implements AutoCloseable {
  private final VectorKernels vectors;
  private final List<NamedTensor> state = new ArrayList<>();
  private final SgdStep sgd;
  private final AdamStep adam;
  private long updates;

  Updater(
      Device device, VectorKernels vectors, Optimizer optimizer, DataType type, long parameters) {
    this.vectors = vectors;
    if (optimizer instanceof Sgd settings) {
      sgd =
          new SgdStep()
              .momentum(settings.momentum())
              .nesterov(settings.nesterov())
              .weightDecay(settings.weightDecay());
      adam = null;
    } else if (optimizer instanceof Adam settings) {
      sgd = null;
      adam =
          new AdamStep()
              .beta1(settings.beta1())
              .beta2(settings.beta2())
              .epsilon(settings.eps())
              .weightDecay(settings.weightDecay());
    } else if (optimizer instanceof AdamW settings) {
      sgd = null;
      adam =
          new AdamStep()
              .beta1(settings.beta1())
              .beta2(settings.beta2())
              .epsilon(settings.eps())
              .weightDecay(settings.weightDecay())
              .decoupled(true);
    } else {
      throw Check.bad("optimizer", "sgd, adam or adamw", optimizer);
    }
    try {
      for (String name : optimizer.stateNames()) {
        state.add(new NamedTensor(name, device.tensor(type, parameters)));
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** Updates done. */
  long updates() {
    return updates;
  }

  /** Goes on from a checkpoint, whose tensors have been copied to {@link #state}. */
  void updates(long updates) {
    this.updates = updates;
  }

  /** All that a checkpoint has to hold beside {@link #updates()}; zero before the first update. */
  List<NamedTensor> state() {
    return state;
  }

  /** One update with {@code scale} * gradient. */
  void update(double rate, double scale, Tensor weights, Tensor gradient) {
    updates++;
    if (sgd != null) {
      vectors.sgd(sgd.rate(rate).gradientScale(scale), weights, gradient, tensor(0));
    } else {
      vectors.adam(
          adam.rate(rate).gradientScale(scale).step(updates),
          weights,
          gradient,
          tensor(0),
          tensor(1));
    }
  }

  private Tensor tensor(int i) {
    return state.get(i).tensor();
  }

  @Override
  public void close() {
    state.forEach(part -> part.tensor().close());
  }
}
