package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.GhostBatchNorm;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * A network as predictions run it: batch norm folded into the convolution or linear layer before
 * it, dropout gone, ReLU fused. A batch norm that stands elsewhere stays, with its running
 * statistics.
 */
public final class InferenceForm {
  /** Where a folded layer gets its parameters from; norm null: they are copied. */
  private record Fold(
      Parameter weight,
      Parameter bias,
      Operation.Norm norm,
      Parameter toWeight,
      Parameter toBias) {}

  /** A batch norm that stays. */
  private record Kept(Operation.Norm from, Operation.Norm to) {}

  private final Network network;
  private final List<Operation> operations = new ArrayList<>();
  private final List<Fold> folds = new ArrayList<>();
  private final List<Kept> kept = new ArrayList<>();
  private long parameterCount;
  private long statisticsCount;

  InferenceForm(Network network) {
    this.network = network;
    List<Operation> from = network.operations();
    int[] consumers = consumers(from);
    // The operation that each layer with weights is fused with: its only consumer, a batch norm or
    // a ReLU.
    Operation[] partner = new Operation[from.size()];
    for (Operation operation : from) {
      int producer = operation.src() - 1;
      boolean fusable = operation instanceof Operation.Relu || operation instanceof Operation.Norm;
      if (fusable
          && producer >= 0
          && consumers[producer + 1] == 1
          && (from.get(producer) instanceof Operation.Convolution
              || from.get(producer) instanceof Operation.Dense)) {
        partner[producer] = operation;
      }
    }
    int[] value = new int[from.size() + 1];
    for (int i = 0; i < from.size(); i++) {
      value[i + 1] = add(from.get(i), i, partner, value);
    }
  }

  /** How many operations read each value. */
  static int[] consumers(List<Operation> operations) {
    int[] consumers = new int[operations.size() + 1];
    for (Operation operation : operations) {
      consumers[operation.src()]++;
      if (operation instanceof Operation.Norm norm && norm.residual() >= 0) {
        consumers[norm.residual()]++;
      } else if (operation instanceof Operation.Add add) {
        consumers[add.other()]++;
      }
    }
    return consumers;
  }

  private int add(Operation operation, int index, Operation[] partner, int[] value) {
    int src = value[operation.src()];
    boolean absorbed = operation.src() > 0 && partner[operation.src() - 1] == operation;
    Operation fused = partner[index];
    if (operation instanceof Operation.Convolution conv) {
      Fold fold = fold(conv.weight(), conv.bias(), fused, conv.spec().filters());
      return append(
          new Operation.Convolution(
              conv.name(),
              src,
              conv.out(),
              conv.spec().withBias(fold.toBias != null).withRelu(relu(fused)),
              fold.toWeight,
              fold.toBias));
    }
    if (operation instanceof Operation.Dense dense) {
      Fold fold = fold(dense.weight(), dense.bias(), fused, dense.spec().out());
      return append(
          new Operation.Dense(
              dense.name(),
              src,
              dense.out(),
              dense.spec().withBias(fold.toBias != null).withRelu(relu(fused)),
              fold.toWeight,
              fold.toBias));
    }
    if (operation instanceof Operation.Norm norm) {
      if (!absorbed) {
        return keep(norm, src, value);
      }
      return norm.residual() < 0
          ? src
          : append(
              new Operation.Add(
                  norm.name(), src, value[norm.residual()], norm.out(), norm.spec().relu()));
    }
    if (operation instanceof Operation.Relu relu) {
      return absorbed ? src : append(new Operation.Relu(relu.name(), src, relu.out()));
    }
    if (operation instanceof Operation.Add add) {
      return append(new Operation.Add(add.name(), src, value[add.other()], add.out(), add.relu()));
    }
    if (operation instanceof Operation.Pool pool) {
      return append(new Operation.Pool(pool.name(), src, pool.out(), pool.spec()));
    }
    return src; // dropout
  }

  /** Whether the layer itself ends with the ReLU of what it is fused with. */
  private static boolean relu(Operation fused) {
    return fused instanceof Operation.Relu
        || fused instanceof Operation.Norm norm && norm.spec().relu() && norm.residual() < 0;
  }

  private Fold fold(Parameter weight, Parameter bias, Operation fused, int outputs) {
    Operation.Norm norm = fused instanceof Operation.Norm n ? n : null;
    Parameter toWeight = place(weight);
    Parameter toBias =
        bias != null
            ? place(bias)
            : norm != null
                ? place(
                    Parameter.vector(weight.name() + "+bias", Parameter.Kind.BIAS, 0, outputs, 1))
                : null;
    Fold fold = new Fold(weight, bias, norm, toWeight, toBias);
    folds.add(fold);
    return fold;
  }

  private int keep(Operation.Norm norm, int src, int[] value) {
    Statistics statistics =
        new Statistics(norm.name(), statisticsCount, norm.statistics().channels());
    statisticsCount += 2L * statistics.channels();
    Operation.Norm to =
        new Operation.Norm(
            norm.name(),
            src,
            norm.residual() < 0 ? -1 : value[norm.residual()],
            norm.out(),
            norm.spec(),
            place(norm.gamma()),
            place(norm.beta()),
            statistics);
    kept.add(new Kept(norm, to));
    return append(to);
  }

  private Parameter place(Parameter parameter) {
    Parameter placed = parameter.at(parameterCount);
    parameterCount += placed.elements();
    return placed;
  }

  private int append(Operation operation) {
    operations.add(operation);
    return operations.size();
  }

  /** Elements of the folded parameter vector. */
  public long parameterCount() {
    return parameterCount;
  }

  /** Elements of the statistics that stay; 0 where all were folded. */
  public long statisticsCount() {
    return statisticsCount;
  }

  /** The operations, for an engine of this device. */
  public NetworkPlan compile(Device device) {
    return network.plan(device, operations);
  }

  /**
   * Writes this form's vectors from the network's.
   *
   * @param parameters of the network
   * @param statistics of the network, or null where it has none
   * @param toParameters {@link #parameterCount} elements
   * @param toStatistics {@link #statisticsCount} elements, or null for none
   */
  public void fold(
      VectorKernels vectors,
      Tensor parameters,
      Tensor statistics,
      Tensor toParameters,
      Tensor toStatistics) {
    for (Fold fold : folds) {
      vectors.copy(slice(parameters, fold.weight), slice(toParameters, fold.toWeight));
      if (fold.bias != null) {
        vectors.copy(slice(parameters, fold.bias), slice(toParameters, fold.toBias));
      } else if (fold.toBias != null) {
        vectors.fill(0, slice(toParameters, fold.toBias));
      }
      if (fold.norm != null) {
        Statistics running = fold.norm.statistics();
        GhostBatchNorm.fold(
            slice(toParameters, fold.toWeight),
            slice(toParameters, fold.toBias),
            new GhostBatchNorm.Arguments()
                .gamma(slice(parameters, fold.norm.gamma()))
                .beta(slice(parameters, fold.norm.beta()))
                .mean(statistics.slice(running.offset(), running.channels()))
                .variance(
                    statistics.slice(running.offset() + running.channels(), running.channels())),
            fold.norm.spec().epsilon());
      }
    }
    for (Kept norm : kept) {
      vectors.copy(slice(parameters, norm.from.gamma()), slice(toParameters, norm.to.gamma()));
      vectors.copy(slice(parameters, norm.from.beta()), slice(toParameters, norm.to.beta()));
      long both = 2L * norm.from.statistics().channels();
      vectors.copy(
          statistics.slice(norm.from.statistics().offset(), both),
          toStatistics.slice(norm.to.statistics().offset(), both));
    }
  }

  private static Tensor slice(Tensor vector, Parameter parameter) {
    return vector.slice(parameter.offset(), parameter.elements());
  }
}
