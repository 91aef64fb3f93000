package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.train.TrainingSpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

/** What is refused before anything runs, and what the flags mean. */
class UsageTest {
  private static final String TRAIN = "train --model lenet --data strokes --batch 64 --epochs 1 ";

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "trian",
        "train",
        "train --model lenet --data strokes --batch 64",
        "train --model lenet --data strokes --epochs 1",
        "train --data strokes --batch 64 --epochs 1",
        "train --model lenet --batch 64 --epochs 1",
        "train --model lenet9 --data strokes --batch 64 --epochs 1",
        "train --model lenet --data strokse --batch 64 --epochs 1",
        TRAIN + "--batch 0",
        TRAIN + "--batch -1",
        TRAIN + "--batch many",
        "train --model f1 --data strokes --batch auto --updates 5",
        "train --model f1 --data strokes --batch auto --epochs 2 --ghost 128",
        "train --model f1 --data strokes --batch auto --epochs 2", // plain batch norm
        "train --model f1 --data strokes --batch auto --epochs 2 --regime-adaptation",
        "train --model f1 --data strokes --batch-schedule noise --epochs 2 --sam 0.1 --sam-group 32",
        TRAIN + "--updates 5",
        TRAIN + "--batch-schedule 0:64,2:128",
        TRAIN + "--ghost 0",
        TRAIN + "--ghost some",
        TRAIN + "--lr -1",
        TRAIN + "--lr NaN",
        TRAIN + "--lr 0.1 --schedule 0:0.1,1:0.01",
        TRAIN + "--schedule 1:0.1",
        TRAIN + "--schedule cosine",
        TRAIN + "--cosine --poly 2",
        TRAIN + "--lr-rule cubic",
        TRAIN + "--base-batch 0",
        TRAIN + "--optimizer lion",
        TRAIN + "--optimizer lars --beta1 0.5",
        TRAIN + "--optimizer lars --trust 0",
        TRAIN + "--optimizer lamb --trust 0.1",
        TRAIN + "--optimizer lamb --momentum 0.9",
        TRAIN + "--trust 0.1",
        TRAIN + "--optimizer adam --momentum 0.9",
        TRAIN + "--optimizer adamw --nesterov",
        TRAIN + "--beta1 0.5",
        TRAIN + "--momentum 1",
        TRAIN + "--clip 0",
        TRAIN + "--sam 0",
        TRAIN + "--asam -1",
        TRAIN + "--sam 0.05 --asam 0.5",
        TRAIN + "--sam 0.05 --proximal 0.001",
        TRAIN + "--sam-group 32",
        TRAIN + "--sam 0.05 --sam-group 0",
        TRAIN + "--sam 0.05 --ghost 32 --sam-group 48",
        TRAIN + "--sam 0.05 --sam-group 16", // lenet has batch norm over the whole batch
        TRAIN + "--proximal 0",
        TRAIN + "--proximal-steps 3",
        TRAIN + "--proximal 0.001 --proximal-steps 0",
        TRAIN + "--adversarial -0.1",
        TRAIN + "--adversarial NaN",
        TRAIN + "--adversarial 0.1 --sam 0.05",
        TRAIN + "--augment mirror",
        TRAIN + "--label-smoothing 1",
        TRAIN + "--running-stats median",
        TRAIN + "--train-samples 0",
        TRAIN + "--train-samples 7000",
        TRAIN + "--batch 7000",
        TRAIN + "--precision f16",
        TRAIN + "--precision f64",
        TRAIN + "--backend gpu",
        TRAIN + "--autotune",
        TRAIN + "--backend cpu --autotune",
        TRAIN + "--backend auto --autotune",
        TRAIN + "--backend cpu,autotune",
        TRAIN + "--backend cuda,autotune,tf32",
        TRAIN + "--recipe keskar", // lenet is no network of his
        TRAIN + "--config nowhere.json",
        TRAIN + "--threads 0",
        TRAIN + "--threads 5000",
        TRAIN + "--micro-batch 0",
        TRAIN + "--ghost 1 --model f1", // one value a channel
        "train --model lenet --data strokes --batch 64 --updates 5 --regime-adaptation",
        TRAIN + "--resume runs/a",
        "train --resume runs/nowhere",
        // Flags of the contract that this version does not serve.
        TRAIN + "--ema 1",
        TRAIN + "--ema 0",
        TRAIN + "--swa -2",
        TRAIN + "--ema 0.9 --swa 3",
        TRAIN + "--checkpoint-every 0",
        TRAIN + "--validation 1",
        TRAIN + "--early-stop 3",
        TRAIN + "--keep-best 2",
        TRAIN + "--measure flatness",
        TRAIN + "--measure sharpness@0",
        TRAIN + "--measure sharpness@2,sharpness",
        TRAIN + "--measure-samples 5",
        TRAIN + "--measure sharpness --measure-samples 0",
        TRAIN + "--measure sharpness --measure-samples 7000",
        TRAIN + "--json",
        "evaluate",
        "evaluate --run a --checkpoint b",
        "evaluate --checkpoint b --data strokse",
        "predict --checkpoint a.safetensors",
        "study nothing-of-that-name",
        "study --seeds 0",
        "study --epoch-scale 0",
        "study --train-samples 0",
        "sharpness",
        "info --colour"
      })
  void badUsageIsStatus2(String line) {
    Cli cli = Cli.line(withLastOnly(line));
    assertEquals(Main.BAD_USAGE, cli.status(), () -> line + "\n" + cli.err());
    assertEquals("", cli.out());
    assertEquals(1, cli.err().lines().count(), cli::err);
    assertFalse(Files.exists(Path.of("runs")), "a run folder appeared");
  }

  /** The line without the first of two equal flags, which would be bad usage by itself. */
  private static String withLastOnly(String line) {
    for (String flag : List.of("--batch", "--model")) {
      int first = line.indexOf(flag + " ");
      if (first >= 0 && line.indexOf(flag + " ", first + 1) > 0) {
        line = line.substring(0, first) + line.substring(first).replaceFirst(flag + " \\S+ ", "");
      }
    }
    return line;
  }

  @Test
  void helpAndVersionAreNoErrors() {
    assertEquals(0, Cli.line("--help").status());
    assertTrue(Cli.line("--version").out().startsWith("ghostbatch "));
    for (String command :
        List.of(
            "train",
            "evaluate",
            "predict",
            "sharpness",
            "hessian",
            "slice",
            "surface",
            "curves",
            "study",
            "info",
            "completion")) {
      Cli help = Cli.line(command + " --help");
      assertEquals(0, help.status(), command);
      assertTrue(help.out().contains("Usage: ghostbatch " + command), help.out());
      assertTrue(help.out().contains("bad usage"), help.out());
      assertEquals("", help.err());
    }
    assertTrue(Cli.line("train --help").out().contains("130, 143"));
  }

  @Test
  void aRunFolderThatIsNotEmptyIsRefused() throws Exception {
    Path out = Files.createDirectory(folder.resolve("run"));
    Files.writeString(out.resolve("notes.txt"), "mine");
    Cli cli = Cli.line(TRAIN + "--out " + out);
    assertEquals(Main.BAD_USAGE, cli.status(), cli::err);
    assertTrue(cli.err().contains(out.toString()), cli::err);
    try (var files = Files.list(out)) {
      assertEquals(1, files.count());
    }
  }

  @Test
  void flagsBecomeASpec() {
    TrainingSpec spec =
        spec(
            "--model resnet44 --data cifar10 --data-dir d --batch 2048 --ghost 128 --schedule 0:0.1,81:0.01"
                + " --warmup-epochs 5 --lr-rule sqrt --epochs 100 --regime-adaptation --clip 5 --nesterov"
                + " --weight-decay 5e-4 --gradient-noise 0.5 --augment pad-crop-flip --label-smoothing 0.1"
                + " --running-stats averaged --train-samples 10000");
    assertEquals("resnet44", spec.model());
    assertEquals("d", spec.dataDir());
    assertEquals("2048", spec.batch().toString());
    assertEquals(128, spec.ghost());
    assertEquals("0:0.1,81:0.01", spec.learningRate().schedule().toString());
    assertEquals("sqrt:128", spec.learningRate().rule().toString());
    assertEquals(5, spec.learningRate().warmupEpochs());
    assertEquals(1600, spec.trainedEpochs());
    assertEquals(5, spec.clipGradientNorm());
    assertEquals(
        "sgd(momentum=0.9,weight-decay=5.0E-4,nesterov=true)", spec.optimizer().toString());
    assertEquals(0.5, spec.gradientNoise());
    assertEquals("pad-crop-flip", spec.augmentation().toString());
    assertEquals(0.1, spec.labelSmoothing());
    assertEquals("averaged", spec.runningStatistics().toString());
    assertEquals(10000, spec.trainSamples());
  }

  @Test
  void defaultsAreThoseOfTheContract() {
    TrainingSpec spec = spec("--model f1 --data mnist --batch 256 --updates 10");
    assertEquals(
        "sgd(momentum=0.9,weight-decay=1.0E-4,nesterov=false)", spec.optimizer().toString());
    assertEquals(LearningRate.constant(0.1), spec.learningRate());
    assertEquals(0, spec.ghost());
    assertEquals(0, spec.epochs());
    assertEquals(10, spec.updates());
    assertEquals("sequential", spec.runningStatistics().toString());
    assertEquals("none", spec.augmentation().toString());
    assertEquals(0, spec.clipGradientNorm());
    assertEquals(1, spec.seed());
    assertEquals("cpu", spec.backend());
    assertEquals("f32", spec.precision().toString());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "adam --eps 1e-7 | adam(beta1=0.9,beta2=0.999,eps=1.0E-7,weight-decay=1.0E-4)",
        "adamw | adamw(beta1=0.9,beta2=0.999,eps=1.0E-8,weight-decay=1.0E-4)",
        "lars | lars(trust=0.001,momentum=0.9,weight-decay=1.0E-4,nesterov=false)",
        "lars --trust 0.02 --nesterov | lars(trust=0.02,momentum=0.9,weight-decay=1.0E-4,nesterov=true)",
        "lamb --beta1 0.8 --weight-decay 0.1 | lamb(beta1=0.8,beta2=0.999,eps=1.0E-6,weight-decay=0.1)"
      })
  void optimizersTakeTheirFlags(String flags, String optimizer) {
    TrainingSpec spec =
        spec("--model f1 --data mnist --batch 256 --updates 10 --optimizer " + flags);
    assertEquals(optimizer, spec.optimizer().toString());
  }

  @Test
  void sharpnessAwareConservativeAndAdversarialTrainingTakeTheirFlags() {
    String train = "--model f1 --data mnist --batch 256 --updates 10 ";
    TrainingSpec plain = spec(train.strip());
    assertEquals(0, plain.sam() + plain.asam() + plain.samGroup() + plain.proximal());
    assertEquals(0.05, spec(train + "--sam 0.05").sam());
    TrainingSpec grouped = spec(train + "--asam 0.5 --ghost 32 --sam-group 64");
    assertEquals(0.5, grouped.asam());
    assertEquals(64, grouped.samGroup());
    assertEquals(3, spec(train + "--proximal 1e-3").proximalSteps());
    TrainingSpec conservative = spec(train + "--proximal 1e-3 --proximal-steps 5");
    assertEquals(1e-3, conservative.proximal());
    assertEquals(5, conservative.proximalSteps());
    assertEquals(0, plain.adversarial());
    assertEquals(0.25, spec(train + "--adversarial 0.25").adversarial());
    assertEquals(0, spec(train + "--adversarial 0").adversarial());
  }

  @Test
  void measuresTakeTheirFlags() {
    String train = "--model f1 --data mnist --batch 256 --updates 10 ";
    assertEquals("none", spec(train.strip()).measures().toString());
    TrainingSpec measured = spec(train + "--measure sharpness@5,hessian --measure-samples 100");
    assertEquals("sharpness@5,hessian@1", measured.measures().toString());
    assertEquals(100, measured.measureSamples());
    assertEquals("none", spec(train + "--find-lr --measure hessian").measures().toString());
  }

  @Test
  void batchesFollowTheNoiseScale() {
    String train = "--model f1 --data mnist --epochs 3 ";
    assertEquals("auto:128", spec(train + "--batch auto").batch().toString());
    assertEquals("noise:128", spec(train + "--batch-schedule noise").batch().toString());
    TrainingSpec based = spec(train + "--batch auto --base-batch 256 --lr-rule sqrt");
    assertEquals("auto:256", based.batch().toString());
    assertEquals("sqrt:256", based.learningRate().rule().toString());
  }

  @Test
  void aBatchScheduleGivesTheRuleItsFirstBatch() {
    TrainingSpec spec =
        spec(
            "--model f1 --data mnist --batch-schedule 0:64,2:512 --lr-rule linear --epochs 3 --cosine --lr 0.2");
    assertEquals("linear:64", spec.learningRate().rule().toString());
    assertEquals("cosine(rate=0.2)", spec.learningRate().schedule().toString());
    assertEquals("0:64,2:512", spec.batch().toString());
    assertEquals(
        "sgd(momentum=0.9,weight-decay=1.0E-4,nesterov=false)", spec.optimizer().toString());
  }

  private static TrainingSpec spec(String flags) {
    TrainCommand command = new TrainCommand();
    new CommandLine(command).parseArgs(flags.split(" "));
    return command.spec();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "train --epoch 3 | ghostbatch train: knows no option --epoch; did you mean --epochs?",
        "train --xyz --epoch 3 | ghostbatch train: knows no option --xyz (see",
        "trian --epochs 3 | got trian; did you mean train?",
        "xyz | study, bench, info, completion, got xyz (see",
        "train lenet | ghostbatch train: takes no such argument: lenet (see",
      })
  void whatIsUnknownIsNamedAndGuessed(String arguments, String expected) {
    Cli cli = Cli.line(arguments);
    assertEquals(2, cli.status());
    assertTrue(cli.err().contains(expected), cli.err());
  }

  @Test
  void helpIsAsWideAsTheTerminal() {
    for (int columns : new int[] {1, 60, 80, 110, 200}) {
      int width = Main.helpWidth(columns);
      assertTrue(width >= 60 && width <= 110 && (columns < 60 || width <= columns));
      CommandLine commandLine = Main.commandLine();
      commandLine.setHelpFactory(
          (command, colors) -> {
            command.usageMessage().width(width);
            return new CommandLine.Help(command, colors);
          });
      for (CommandLine command : commandLine.getSubcommands().values()) {
        command
            .getUsageMessage()
            .lines()
            .dropWhile(line -> !line.isEmpty()) // how it is called is laid out by hand
            .forEach(line -> assertTrue(line.length() <= width, width + ": " + line));
      }
    }
  }
}
