package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.ghostbatch.device.Augmentation;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.Sgd;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RecipeTest {
  private static TrainingSpec spec(String recipe, String model) {
    return TrainingSpec.builder().model(model).set(Recipe.of(recipe, model)).build();
  }

  @Test
  void keskarIsAdamAsKerasHasIt() {
    for (String model : new String[] {"f1", "f2", "c1", "c2", "c3", "c4"}) {
      TrainingSpec spec = spec("keskar", model);
      assertEquals(Adam.of(), spec.optimizer());
      assertEquals(256, spec.batch().first());
      assertEquals(0, spec.ghost());
      assertEquals(20, spec.epochs());
      assertEquals(1e-3, spec.learningRate().rate(7, 10, 20, 5000), "whatever the batch size");
      assertEquals(Augmentation.NONE, spec.augmentation());
      assertEquals(0, spec.clipGradientNorm());
    }
    assertEquals(150, spec("keskar", "vgg11").epochs());
    assertEquals(250, spec("keskar", "vgg11").batch().first());
  }

  /** LITERATURE: the sqrt rule turns F1's 0.1 into 0.566, ResNet-44's into 0.283. */
  @ParameterizedTest
  @CsvSource({
    "f1, 4096, 128, 50, 1e-4, 0.5657, 35, 0.0005657",
    "hoffer-c1, 4096, 128, 200, 5e-4, 0.005657, 60, 0.05657",
    "hoffer-c3, 4096, 128, 200, 5e-4, 0.005657, 180, 0.0005657",
    "resnet44, 2048, 256, 100, 1e-4, 0.28284, 81, 0.028284",
    "resnet20, 2048, 256, 100, 1e-4, 0.28284, 122, 0.0028284",
    "resnet110, 2048, 256, 100, 1e-4, 0.28284, 164, 0.00028284",
    "wrn-16-4, 1024, 0, 100, 1e-4, 0.2, 240, 0.04",
    "alexnet, 2048, 128, 200, 5e-4, 0.04, 15, 0.004"
  })
  void hofferIsThePublishedCommand(
      String model,
      int batch,
      int ghost,
      int epochs,
      double decay,
      double firstRate,
      double epoch,
      double rate) {
    TrainingSpec spec = spec("hoffer", model);
    assertEquals(batch, spec.batch().first());
    assertEquals(ghost, spec.ghost());
    assertEquals(epochs, spec.epochs());
    assertEquals(decay, spec.optimizer().weightDecay());
    assertEquals(model.startsWith("hoffer") ? 0 : 0.9, ((Sgd) spec.optimizer()).momentum());
    assertEquals(5, spec.clipGradientNorm());
    var trained = spec.trainedLearningRate();
    assertEquals(firstRate, trained.rate(0, 10, spec.trainedEpochs(), batch), 1e-4 * firstRate);
    assertEquals(rate, trained.rate(epoch, 10, spec.trainedEpochs(), batch), 1e-3 * rate);
    assertEquals(model.equals("wrn-16-4") ? 400 : epochs, spec.trainedEpochs());
  }

  @Test
  void settingsOfTheUserCoverThoseOfTheRecipe() {
    TrainingSpec spec =
        TrainingSpec.builder()
            .set(Recipe.of("hoffer", "resnet44"))
            .set(new JsonObject().put("batch", 1024).put("clip", null).put("updates", 10))
            .build();
    assertEquals(1024, spec.batch().first());
    assertEquals(0, spec.clipGradientNorm());
    assertEquals(10, spec.updates());
    assertEquals(0, spec.epochs());
    assertEquals(256, spec.ghost());
  }

  @Test
  void refusesWhatNoPaperTrained() {
    refused("[recipe] needs keskar or hoffer, got \"goyal\"", "goyal", "f1");
    refused(
        "[recipe] needs for keskar one of f1, f2, c1, c2, c3, c4, vgg11, got \"resnet44\"",
        "keskar",
        "resnet44");
    refused(
        "[recipe] needs for hoffer one of f1, hoffer-c1, hoffer-c3, resnet20, resnet44, resnet110,"
            + " wrn-16-4, alexnet, got \"c1\"",
        "hoffer",
        "c1");
    for (String model : Models.names()) {
      for (String recipe : Recipe.NAMES) {
        try {
          spec(recipe, model);
        } catch (IllegalArgumentException e) {
          assertEquals(0, e.getMessage().indexOf("[recipe] needs for " + recipe + " one of "));
        }
      }
    }
  }

  private static void refused(String message, String recipe, String model) {
    assertEquals(
        message,
        assertThrows(IllegalArgumentException.class, () -> Recipe.of(recipe, model)).getMessage());
  }
}
