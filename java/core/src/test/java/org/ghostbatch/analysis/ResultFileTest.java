package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.List;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Rows that outlive their process. */
class ResultFileTest {
  @TempDir private Path folder;

  private static JsonObject settings(double range) {
    return new JsonObject().put("range", List.of(-range, range)).put("epsilon", 3e-4);
  }

  @Test
  void rowsAreThereAgainToTheLastBit() {
    Path csv = folder.resolve("a.csv");
    for (double range : new double[] {1e-5, 3e-4, 0.1, 1, 1e7, 1e30}) {
      Path own = folder.resolve(range + ".csv");
      double[] row = {Math.PI * range, Double.NaN};
      ResultFile.open(own, settings(range), "t", "loss").add(row);
      List<double[]> read = ResultFile.open(own, settings(range), "t", "loss").rows();
      assertEquals(1, read.size());
      assertArrayEquals(row, read.get(0));
    }
    ResultFile.open(csv, settings(1), "t").add(1);
    for (JsonObject other : List.of(settings(2), new JsonObject())) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> ResultFile.open(csv, other, "t"));
      assertTrue(
          e.getMessage().startsWith("[results] needs a new file, or one of the same analysis"));
    }
    assertThrows(
        IllegalArgumentException.class, () -> ResultFile.open(csv, settings(1), "t", "loss"));
    assertThrows(
        IllegalArgumentException.class, () -> ResultFile.open(csv, settings(1), "t").add(1, 2));
  }
}
