package org.ghostbatch.benchmarks.peers;

import static org.bytedeco.pytorch.global.torch.ScalarType.BFloat16;
import static org.bytedeco.pytorch.global.torch.ScalarType.Float;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.SGD;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.benchmarks.Case;
import org.ghostbatch.benchmarks.Steps;
import org.ghostbatch.nn.Network;

/** Whole passes of a network with libtorch on random images that lie in memory as 32-bit floats. */
final class LibtorchSteps {
  private static final double RATE = 1e-3;
  private static final double WEIGHT_DECAY = 1e-4;
  private static final double CLIP = 5;

  private LibtorchSteps() {}

  /** One run; what the runs share goes to the caller's scope. */
  static Runnable of(Case what) {
    Network ours = Steps.network(what);
    int batch = what.sizes("BATCH")[0];
    return switch (what.direction()) {
      case "train" -> train(what, ours, batch);
      case "evaluate" -> evaluate(what, ours, batch);
      default ->
          throw new IllegalArgumentException(
              "[libtorch] needs direction train or evaluate, got " + what.direction());
    };
  }

  /** One update: forward, backward, clip, SGD with momentum and weight decay. */
  private static Runnable train(Case what, Network ours, int batch) {
    int ghosts = what.ghost() == 0 ? 1 : (batch + what.ghost() - 1) / what.ghost();
    LibtorchNetwork.Norm norm =
        switch (what.spelling()) {
          case "plain", "accumulate" -> LibtorchNetwork.Norm.PLAIN;
          case "chunk" -> LibtorchNetwork.Norm.CHUNK;
          case "fold" -> LibtorchNetwork.Norm.FOLD;
          default ->
              throw new IllegalArgumentException(
                  "[libtorch] needs spelling plain, accumulate, chunk or fold, got "
                      + what.spelling());
        };
    var network = new LibtorchNetwork(ours, norm, ghosts);
    network.setWeights(ours, 1);
    var parameters = new TensorVector(network.parameters().toArray(new Tensor[0]));
    SGD optimizer = LibtorchRun.sgd(parameters, RATE, WEIGHT_DECAY);
    boolean bf16 = what.precision().equals("bf16");
    int passes = what.spelling().equals("accumulate") ? ghosts : 1;
    TensorVector images = images(ours, batch).tensor_split(passes, 0);
    TensorVector labels =
        torch
            .randint(ours.classes(), new long[] {batch}, new TensorOptions(torch.ScalarType.Long))
            .tensor_split(passes, 0);
    return () -> {
      for (int pass = 0; pass < passes; pass++) {
        try (var scope = new PointerScope()) {
          Tensor logits;
          try (var autocast = new Autocast(bf16)) {
            logits = network.forward(images.get(pass), true).to(Float);
          }
          Tensor loss = torch.cross_entropy_loss(logits, labels.get(pass));
          double share = (double) labels.get(pass).size(0) / batch;
          (passes == 1 ? loss : loss.mul(new Scalar(share))).backward();
        }
      }
      try (var scope = new PointerScope()) {
        torch.clip_grad_norm_(parameters, CLIP);
        optimizer.step();
        optimizer.zero_grad();
        Autocast.weightsChange();
      }
    };
  }

  /** Images to logits, with running statistics. In bf16 weights are converted beforehand. */
  private static Runnable evaluate(Case what, Network ours, int batch) {
    var network = new LibtorchNetwork(ours, LibtorchNetwork.Norm.PLAIN, 1);
    network.setWeights(ours, 1);
    boolean bf16 = what.precision().equals("bf16");
    if (bf16) {
      network.toBf16();
    }
    new InferenceMode();
    Tensor images = images(ours, batch);
    return () -> {
      try (var scope = new PointerScope()) {
        network.forward(bf16 ? images.to(BFloat16) : images, false);
      }
    };
  }

  /** [batch, C, H, W] in channels_last. */
  private static Tensor images(Network ours, int batch) {
    var shape = ours.inputShape();
    return torch.rand(batch, shape.height(), shape.width(), shape.channels()).permute(0, 3, 1, 2);
  }
}
