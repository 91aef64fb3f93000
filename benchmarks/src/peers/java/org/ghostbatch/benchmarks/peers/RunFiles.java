package org.ghostbatch.benchmarks.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * A run's folder, the same for both engines: {@code metrics.csv} (a row an epoch), {@code
 * updates.csv} (a row an update) and, once the run is complete, {@code summary.json}.
 */
final class RunFiles {
  static final String METRICS = "metrics.csv";
  static final String UPDATES = "updates.csv";
  static final String SUMMARY = "summary.json";

  private RunFiles() {}

  static boolean complete(Path folder) {
    return Files.isRegularFile(folder.resolve(SUMMARY));
  }

  static void write(Path file, String text) {
    AtomicFiles.write(file, text.getBytes(StandardCharsets.UTF_8));
  }

  static JsonObject summary(Path folder) {
    return Json.parseObject(read(folder.resolve(SUMMARY)));
  }

  /** The columns of a file of numbers by name; an empty field is NaN. */
  static Map<String, double[]> columns(Path file) {
    List<String> lines = read(file).lines().toList();
    String[] names = lines.get(0).split(",");
    List<double[]> rows = new ArrayList<>();
    for (String line : lines.subList(1, lines.size())) {
      String[] fields = line.split(",", -1);
      if (fields.length != names.length) {
        throw new IllegalArgumentException(
            "[run] needs " + names.length + " fields in each row of " + file + ", got " + line);
      }
      double[] row = new double[fields.length];
      for (int i = 0; i < fields.length; i++) {
        row[i] = fields[i].isEmpty() ? Double.NaN : Double.parseDouble(fields[i]);
      }
      rows.add(row);
    }
    Map<String, double[]> columns = new LinkedHashMap<>();
    for (int i = 0; i < names.length; i++) {
      int column = i;
      columns.put(names[i], rows.stream().mapToDouble(row -> row[column]).toArray());
    }
    return columns;
  }

  private static String read(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException("[run] cannot read " + file + ": " + e.getMessage(), e);
    }
  }

  /** The rows of {@code updates.csv}. */
  static final class Updates {
    private final StringBuilder text =
        new StringBuilder("update,learning_rate,loss,accuracy,gradient_norm\n");

    void add(long update, double rate, double loss, double accuracy, double norm) {
      text.append(update).append(',').append(rate).append(',').append(loss).append(',');
      text.append(accuracy).append(',').append(norm).append('\n');
    }

    void write(Path folder) {
      RunFiles.write(folder.resolve(UPDATES), text.toString());
    }
  }
}
