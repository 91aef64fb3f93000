package org.ghostbatch.benchmarks;

import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.ProfileEntry;
import org.ghostbatch.device.Samples;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.train.Predictor;
import org.ghostbatch.train.Trainer;

/**
 * Whole passes of a network on random images: {@code train} is one update (load, forward, backward,
 * clip, SGD with momentum and weight decay), {@code evaluate} is images in Java arrays to logits.
 * On a GPU as well, an update waits for its loss and its gradient's norm, as a training does.
 */
public final class Steps {
  private static final int CLASSES = 10;

  private Steps() {}

  /** Shape of the images that a network is measured on: MNIST's or CIFAR's. */
  static SampleShape images(String model) {
    return List.of("softmax", "f1", "lenet", "lenet-small").contains(model)
        ? new SampleShape(28, 28, 1)
        : new SampleShape(32, 32, 3);
  }

  public static Network network(Case what) {
    return Network.of(layers(what), images(what.name()));
  }

  private static Sequential layers(Case what) {
    return Models.byName(what.name(), CLASSES);
  }

  /** Checks the words of a case. */
  static void check(Case what) {
    layers(what);
    what.sizes("BATCH");
    if (!List.of("train", "evaluate").contains(what.direction())) {
      throw new IllegalArgumentException(
          "[bench] needs --direction train or evaluate for a network, got " + what.direction());
    }
    if (what.direction().equals("evaluate") && !what.precision().equals("f32")) {
      throw new IllegalArgumentException(
          "[bench] needs precision f32 to evaluate, got " + what.precision());
    }
  }

  /** Multiply-adds times two of the whole batch: forward, and for training twice that more. */
  static double flops(Case what) {
    return network(what).flops()
        * what.sizes("BATCH")[0]
        * (what.direction().equals("train") ? 3 : 1);
  }

  /** The flops that are counted, in words. */
  static String formula(Case what) {
    return what.direction().equals("train")
        ? "3 x flops of convolutions and matrix products, forward"
        : "flops of convolutions and matrix products";
  }

  static Work prepare(Case what, String device) {
    check(what);
    return what.direction().equals("train") ? new Train(what, device) : new Evaluate(what, device);
  }

  private static Normalization normalization(SampleShape shape) {
    List<Double> halves = IntStream.range(0, shape.channels()).mapToObj(c -> 0.5).toList();
    return Normalization.ofBytes(halves, halves);
  }

  private static final class Train implements Work {
    private final Device device;
    private final Trainer trainer;
    private final Samples samples;
    private final int[] rows;
    private final String kernel;
    private final double flops;
    private final int threads;
    private final long deviceBytes;
    private long steps;

    Train(Case what, String deviceName) {
      int batch = what.sizes("BATCH")[0];
      SampleShape shape = images(what.name());
      byte[] images = new byte[Math.multiplyExact(batch, shape.elements())];
      new Random(1).nextBytes(images);
      int[] labels = IntStream.range(0, batch).map(i -> i % CLASSES).toArray();
      rows = IntStream.range(0, batch).toArray();
      flops = Steps.flops(what);
      threads = what.threads();
      device = Device.of(deviceName, threads);
      try {
        long free = device.availableBytes();
        Trainer.Builder builder =
            Trainer.of(layers(what))
                .batchSize(batch)
                .ghostBatchSize(what.ghost())
                .optimizer(Sgd.withMomentum(0.9).weightDecay(1e-4))
                .clipGradientNorm(5)
                .precision(DataType.of(what.precision()))
                .learningRate(1e-3)
                .updates(1)
                .threads(what.threads());
        if (!what.spelling().isEmpty()) {
          builder.microBatch(Integer.parseInt(what.spelling().replace("micro-batch-", "")));
        }
        trainer = builder.on(device);
        trainer.prepare(Dataset.of(images, shape, labels).withNormalization(normalization(shape)));
        samples =
            device.samples(
                DataType.U8, batch, shape.height(), shape.width(), shape.channels(), CLASSES);
        samples.write(0, batch, images);
        samples.writeLabels(0, batch, labels);
        deviceBytes = Work.deviceBytes(device, free);
      } catch (RuntimeException e) {
        device.close();
        throw e;
      }
      kernel = "micro-batch " + trainer.engine().microBatch();
    }

    @Override
    public String kernel() {
      return kernel;
    }

    @Override
    public double flops() {
      return flops;
    }

    @Override
    public double bytes() {
      return 0;
    }

    @Override
    public void run() {
      trainer.step(samples, rows, rows.length, null, 1e-3, steps++);
    }

    @Override
    public void finish() {
      trainer.engine().parameters().copyTo(0, new float[1]); // comes behind the optimizer's kernel
    }

    @Override
    public long deviceBytes() {
      return deviceBytes;
    }

    /** The update, which the profile does not know, counts as outside; so does waiting. */
    @Override
    public double outsideKernels() {
      Engine engine = trainer.engine();
      engine.profile(true);
      long begin = System.nanoTime();
      run();
      double wall = (System.nanoTime() - begin) / 1e9;
      double kernels =
          engine.profile().stream()
              .filter(entry -> !entry.name().equals("wait"))
              .mapToDouble(ProfileEntry::seconds)
              .sum();
      engine.profile(false);
      return 1 - kernels / (threads * wall);
    }

    @Override
    public void close() {
      trainer.close();
      device.close();
    }
  }

  private static final class Evaluate implements Work {
    private final Device device;
    private final Predictor predictor;
    private final float[][] images;
    private final double flops;
    private final long deviceBytes;

    Evaluate(Case what, String deviceName) {
      flops = Steps.flops(what);
      Network network = network(what);
      ModelFile model =
          new ModelFile(
              network,
              normalization(network.inputShape()),
              IntStream.range(0, CLASSES).mapToObj(Integer::toString).toList(),
              DataType.F32,
              network.initialParameters(1),
              network.initialStatistics());
      images = new float[what.sizes("BATCH")[0]][network.inputShape().elements()];
      Random random = new Random(1);
      for (float[] image : images) {
        for (int i = 0; i < image.length; i++) {
          image[i] = random.nextFloat();
        }
      }
      device = Device.of(deviceName, what.threads());
      try {
        long free = device.availableBytes();
        predictor = Predictor.of(model, device, what.threads());
        run(); // takes its memory
        deviceBytes = Work.deviceBytes(device, free);
      } catch (RuntimeException e) {
        device.close();
        throw e;
      }
    }

    @Override
    public String kernel() {
      return "folded batch norm";
    }

    @Override
    public double flops() {
      return flops;
    }

    @Override
    public double bytes() {
      return 0;
    }

    @Override
    public long deviceBytes() {
      return deviceBytes;
    }

    @Override
    public void run() {
      if (images.length == 1) {
        predictor.predict(images[0]);
      } else {
        predictor.predict(images);
      }
    }

    @Override
    public void close() {
      predictor.close();
      device.close();
    }
  }
}
