package org.ghostbatch.benchmarks.peers;

import static org.bytedeco.pytorch.global.torch.ScalarType.Float;

import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.SGD;
import org.bytedeco.pytorch.SGDOptions;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.random.Shuffle;
import org.ghostbatch.train.EpochRow;

/**
 * A recipe with libtorch, ghost batch norm in the spelling of Hoffer's code: each ghost goes
 * through plain batch norm, gradients add up, then clipping and one step of SGD. Same order of
 * samples, ghosts, crops and flips as GhostBatch's. bf16 is autocast: convolutions and the linear
 * layer in bf16, weights, statistics and the loss in f32.
 */
final class LibtorchRun {
  private static final int EVALUATION_ROWS = 500;

  private final Recipe recipe;
  private final Dataset train;
  private final ImageLoader trainImages;
  private final Dataset test;
  private final ImageLoader testImages;
  private final SampleShape shape;
  private final boolean bf16;
  private final LibtorchNetwork network;
  private final List<Tensor> start = new ArrayList<>();
  private final TensorVector parameters;
  private final SGD optimizer;
  private final FloatPointer values;
  private final FloatBuffer valuesBuffer;
  private final long[] labels;

  // Sums over samples.
  private double loss;
  private long correct;

  private LibtorchRun(Recipe recipe, DataPair data) {
    this.recipe = recipe;
    train = recipe.trainSamples() == 0 ? data.train() : data.train().take(recipe.trainSamples());
    test = data.test();
    trainImages = new ImageLoader(train, data.normalization());
    testImages = new ImageLoader(test, data.normalization());
    shape = train.shape();
    bf16 = recipe.precision().equals("bf16");
    torch.set_num_threads(recipe.threads());
    torch.manual_seed(recipe.seed());
    Network ours = Network.of(Models.resnet(recipe.depth(), train.classes()), shape);
    network = new LibtorchNetwork(ours, LibtorchNetwork.Norm.PLAIN, 1);
    if (!recipe.ownWeights()) {
      network.setWeights(ours, recipe.seed());
    }
    for (Tensor parameter : network.parameters()) {
      start.add(parameter.detach().clone());
    }
    parameters = new TensorVector(network.parameters().toArray(new Tensor[0]));
    optimizer = sgd(parameters, recipe.rate(), recipe.weightDecay());
    int rows = Math.max(Math.min(recipe.ghost(), recipe.batch()), EVALUATION_ROWS);
    values = new FloatPointer((long) rows * shape.elements());
    valuesBuffer = values.asBuffer();
    labels = new long[rows];
  }

  /** SGD with momentum 0.9. */
  static SGD sgd(TensorVector parameters, double rate, double weightDecay) {
    SGDOptions options = new SGDOptions(rate);
    options.momentum().put(Recipe.MOMENTUM);
    options.weight_decay().put(weightDecay);
    return new SGD(parameters, options);
  }

  static void run(Recipe recipe, DataPair data, Path folder) {
    new LibtorchRun(recipe, data).run(folder);
  }

  private void run(Path folder) {
    var updateRows = new RunFiles.Updates();
    var metrics = new StringBuilder(EpochRow.CSV_HEADER).append('\n');
    int[] order = new int[train.count()];
    long begin = System.nanoTime();
    long updates = 0;
    long samples = 0;
    long warmNanos = 0;
    long warmSamples = 0;
    EpochRow row = null;
    for (int epoch = 0; epoch < recipe.epochs(); epoch++) {
      Shuffle.fill(order, recipe.seed(), epoch);
      double epochLoss = 0;
      long epochCorrect = 0;
      double norms = 0;
      int done = 0;
      long nanos = 0;
      long timed = 0;
      int of = (order.length + recipe.batch() - 1) / recipe.batch();
      double rate = 0;
      for (int first = 0; first < order.length; first += recipe.batch()) {
        int count = Math.min(recipe.batch(), order.length - first);
        long before = System.nanoTime();
        rate =
            recipe
                .learningRate()
                .rate(epoch + (double) done / of, of, recipe.epochs(), recipe.batch());
        double norm = update(order, first, count, epoch, rate);
        updates++;
        done++;
        // As in GhostBatch: the first two updates warm up.
        if (updates > 2) {
          nanos += System.nanoTime() - before;
          timed += count;
        }
        samples += count;
        epochLoss += loss;
        epochCorrect += correct;
        norms += norm;
        updateRows.add(updates, rate, loss / count, (double) correct / count, norm);
      }
      warmNanos += nanos;
      warmSamples += timed;
      evaluate();
      row =
          new EpochRow(
              epoch + 1,
              updates,
              samples,
              recipe.batch(),
              rate,
              epochLoss / order.length,
              (double) epochCorrect / order.length,
              loss / test.count(),
              (double) correct / test.count(),
              distance(),
              norms / done,
              timed == 0 ? Double.NaN : timed / (nanos / 1e9),
              (System.nanoTime() - begin) / 1e9,
              Double.NaN,
              Double.NaN);
      metrics.append(row.csv()).append('\n');
      RunFiles.write(folder.resolve(RunFiles.METRICS), metrics.toString());
      updateRows.write(folder);
      Accuracy.log(row);
    }
    JsonObject summary =
        new JsonObject()
            .put("model", "resnet" + recipe.depth())
            .put("device", "libtorch, " + torch.get_num_threads() + " threads")
            .put("precision", recipe.precision())
            .put("batch", recipe.batch())
            .put("ghost", recipe.ghost())
            .put("seed", recipe.seed())
            .put("threads", recipe.threads())
            .put("weights", recipe.ownWeights() ? "own" : "shared")
            .put("epochs", recipe.epochs())
            .put("updates", updates)
            .put("parameters", start.stream().mapToLong(Tensor::numel).sum())
            .put("test_loss", Json.finiteOrNull(row.testLoss()))
            .put("test_accuracy", row.testAccuracy())
            .put("weight_distance", Json.finiteOrNull(row.weightDistance()))
            .put("images_per_second", warmSamples == 0 ? null : warmSamples / (warmNanos / 1e9))
            .put("seconds", (System.nanoTime() - begin) / 1e9);
    RunFiles.write(folder.resolve(RunFiles.SUMMARY), Json.writeIndented(summary) + "\n");
  }

  /**
   * One update on order[first .. first + count), in ceil(count / ghost) ghosts whose sizes differ
   * by at most one, the longer ones first.
   *
   * @return the gradient's norm before clipping
   */
  private double update(int[] order, int first, int count, long epoch, double rate) {
    loss = 0;
    correct = 0;
    int ghosts = (count + recipe.ghost() - 1) / recipe.ghost();
    int from = first;
    for (int g = 0; g < ghosts; g++) {
      int rows = count / ghosts + (g < count % ghosts ? 1 : 0);
      valuesBuffer.clear();
      trainImages.augment(order, from, from + rows, recipe.seed(), epoch, valuesBuffer, labels);
      ghost(rows, count);
      from += rows;
    }
    try (var scope = new PointerScope()) {
      double norm = torch.clip_grad_norm_(parameters, recipe.clip());
      optimizer.param_groups().get(0).options().set_lr(rate);
      optimizer.step();
      optimizer.zero_grad();
      Autocast.weightsChange();
      return norm;
    }
  }

  /** Adds the gradient of the loaded rows, as part of a mean over {@code count} samples. */
  private void ghost(int rows, int count) {
    try (var scope = new PointerScope()) {
      Tensor target = target(rows);
      Tensor logits = forward(rows, true);
      Tensor mean = torch.cross_entropy_loss(logits, target);
      mean.mul(new Scalar((double) rows / count)).backward();
      add(mean, logits, target, rows);
    }
  }

  /** Loss and accuracy on the test set, with running statistics, to the sums. */
  private void evaluate() {
    loss = 0;
    correct = 0;
    int[] order = new int[test.count()];
    for (int i = 0; i < order.length; i++) {
      order[i] = i;
    }
    try (var gradients = new AutoGradMode(false)) {
      for (int first = 0; first < order.length; first += EVALUATION_ROWS) {
        int rows = Math.min(EVALUATION_ROWS, order.length - first);
        valuesBuffer.clear();
        testImages.load(order, first, first + rows, valuesBuffer, labels);
        try (var scope = new PointerScope()) {
          Tensor target = target(rows);
          Tensor logits = forward(rows, false);
          add(torch.cross_entropy_loss(logits, target), logits, target, rows);
        }
      }
    }
    Autocast.weightsChange();
  }

  private Tensor target(int rows) {
    return torch
        .from_blob(
            new LongPointer(labels), new long[] {rows}, new TensorOptions(torch.ScalarType.Long))
        .clone();
  }

  private Tensor forward(int rows, boolean training) {
    // [rows, H, W, C] seen as [rows, C, H, W]: channels_last without a copy.
    Tensor images =
        torch
            .from_blob(values, rows, shape.height(), shape.width(), shape.channels())
            .permute(0, 3, 1, 2);
    try (var autocast = new Autocast(bf16)) {
      return network.forward(images, training).to(Float);
    }
  }

  private void add(Tensor mean, Tensor logits, Tensor target, int rows) {
    loss += mean.item_double() * rows;
    correct += logits.argmax(new LongOptional(1), false).eq(target).sum().item_long();
  }

  private double distance() {
    try (var scope = new PointerScope();
        var gradients = new AutoGradMode(false)) {
      double squares = 0;
      for (int i = 0; i < start.size(); i++) {
        double norm = network.parameters().get(i).sub(start.get(i)).norm().item_double();
        squares += norm * norm;
      }
      return Math.sqrt(squares);
    }
  }
}
