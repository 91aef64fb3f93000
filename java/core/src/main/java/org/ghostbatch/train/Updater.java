package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.device.AdamStep;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.LambStep;
import org.ghostbatch.device.LarsStep;
import org.ghostbatch.device.Segments;
import org.ghostbatch.device.SgdStep;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Lars;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Sgd;

/** An optimizer at work: its settings, and its state beside the parameter vector. */
final class Updater implements AutoCloseable {
  /** One update with {@code scale} * gradient. */
  private interface Rule {
    void update(double rate, double scale, Tensor weights, Tensor gradient);
  }

  private final Device device;
  private final VectorKernels vectors;
  private final List<NamedTensor> state = new ArrayList<>();
  private Segments segments;
  private Rule rule;
  private long updates;

  /**
   * @param vectors of the run; it stays the caller's
   * @param network whose parameters are updated: LARS and LAMB see its weights layer by layer
   */
  Updater(
      Device device, VectorKernels vectors, Optimizer optimizer, DataType type, Network network) {
    this.device = device;
    this.vectors = vectors;
    try {
      for (String name : optimizer.stateNames()) {
        state.add(new NamedTensor(name, device.tensor(type, network.parameterCount())));
      }
      rule = rule(optimizer, network);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private Rule rule(Optimizer optimizer, Network network) {
    if (optimizer instanceof Sgd settings) {
      SgdStep step =
          new SgdStep()
              .momentum(settings.momentum())
              .nesterov(settings.nesterov())
              .weightDecay(settings.weightDecay());
      Tensor velocity = tensor(0);
      return (rate, scale, weights, gradient) ->
          vectors.sgd(step.rate(rate).gradientScale(scale), weights, gradient, velocity);
    }
    if (optimizer instanceof Adam settings) {
      AdamStep step =
          new AdamStep()
              .beta1(settings.beta1())
              .beta2(settings.beta2())
              .epsilon(settings.eps())
              .weightDecay(settings.weightDecay())
              .decoupled(settings.decoupled());
      Tensor m = tensor(0);
      Tensor v = tensor(1);
      return (rate, scale, weights, gradient) ->
          vectors.adam(step.rate(rate).gradientScale(scale).step(updates), weights, gradient, m, v);
    }
    segments = segments(network);
    if (optimizer instanceof Lars settings) {
      LarsStep step =
          new LarsStep()
              .trust(settings.trust())
              .momentum(settings.momentum())
              .nesterov(settings.nesterov())
              .weightDecay(settings.weightDecay());
      Tensor velocity = tensor(0);
      return (rate, scale, weights, gradient) ->
          vectors.lars(step.rate(rate).gradientScale(scale), segments, weights, gradient, velocity);
    }
    Lamb settings = (Lamb) optimizer;
    LambStep step =
        new LambStep()
            .beta1(settings.beta1())
            .beta2(settings.beta2())
            .epsilon(settings.eps())
            .weightDecay(settings.weightDecay());
    Tensor m = tensor(0);
    Tensor v = tensor(1);
    return (rate, scale, weights, gradient) ->
        vectors.lamb(
            step.rate(rate).gradientScale(scale).step(updates), segments, weights, gradient, m, v);
  }

  /** The parameters, each a layer of its own; only weights are adapted. */
  private Segments segments(Network network) {
    Segments made = device.segments();
    try {
      for (Parameter parameter : network.parameters()) {
        made.add(parameter.elements(), parameter.kind() == Parameter.Kind.WEIGHT);
      }
    } catch (RuntimeException e) {
      made.close();
      throw e;
    }
    return made;
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
    rule.update(rate, scale, weights, gradient);
  }

  private Tensor tensor(int i) {
    return state.get(i).tensor();
  }

  @Override
  public void close() {
    state.forEach(part -> part.tensor().close());
    if (segments != null) {
      segments.close();
    }
  }
}
