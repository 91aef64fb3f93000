package org.ghostbatch.nn;

import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.GhostBatchNormSpec;
import org.ghostbatch.device.LinearSpec;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.PoolSpec;

/**
 * One operation of a network on values made before it; operation i makes value i + 1. Specs have
 * batch 1.
 */
sealed interface Operation {
  String name();

  /** What it is, for people. */
  String kind();

  int src();

  SampleShape out();

  /** Multiply-adds times two of one sample, forward. */
  default double flops() {
    return 0;
  }

  /** Adds itself to a plan. */
  void addTo(NetworkPlan plan);

  record Convolution(
      String name, int src, SampleShape out, ConvolutionSpec spec, Parameter weight, Parameter bias)
      implements Operation {
    @Override
    public String kind() {
      return "convolution";
    }

    @Override
    public double flops() {
      return spec.flops();
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.convolution(name, src, spec, weight.offset(), bias == null ? 0 : bias.offset());
    }
  }

  record Dense(
      String name, int src, SampleShape out, LinearSpec spec, Parameter weight, Parameter bias)
      implements Operation {
    @Override
    public String kind() {
      return "linear";
    }

    @Override
    public double flops() {
      return spec.flops();
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.linear(name, src, spec, weight.offset(), bias == null ? 0 : bias.offset());
    }
  }

  /**
   * @param residual a value, or -1
   */
  record Norm(
      String name,
      int src,
      int residual,
      SampleShape out,
      GhostBatchNormSpec spec,
      Parameter gamma,
      Parameter beta,
      Statistics statistics)
      implements Operation {
    @Override
    public String kind() {
      return "batch norm";
    }

    Norm withRelu() {
      return new Norm(name, src, residual, out, spec.withRelu(true), gamma, beta, statistics);
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.ghostBatchNorm(
          name, src, residual, spec, gamma.offset(), beta.offset(), statistics.offset());
    }
  }

  record Relu(String name, int src, SampleShape out) implements Operation {
    @Override
    public String kind() {
      return "relu";
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.relu(name, src);
    }
  }

  record Add(String name, int src, int other, SampleShape out, boolean relu) implements Operation {
    @Override
    public String kind() {
      return "add";
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.add(name, src, other, relu);
    }
  }

  record Pool(String name, int src, SampleShape out, PoolSpec spec) implements Operation {
    @Override
    public String kind() {
      return "pooling";
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.pool(name, src, spec);
    }
  }

  record Drop(String name, int src, SampleShape out, double rate) implements Operation {
    @Override
    public String kind() {
      return "dropout";
    }

    @Override
    public void addTo(NetworkPlan plan) {
      plan.dropout(name, src, rate);
    }
  }
}
