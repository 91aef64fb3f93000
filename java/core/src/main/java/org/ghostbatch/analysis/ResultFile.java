package org.ghostbatch.analysis;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * Rows of numbers as a CSV file, each row in the file as soon as it is known, beside a JSON file
 * with the settings that they belong to: an analysis of the same settings goes on behind the last
 * row. Numbers are written in full; each file is whole or not there.
 */
public final class ResultFile {
  private final Path csv;
  private final String[] columns;
  private final List<double[]> rows = new ArrayList<>();

  private ResultFile(Path csv, String[] columns) {
    this.csv = csv;
    this.columns = columns;
  }

  /**
   * Opens a file, with the rows that it has.
   *
   * @param csv its path, which ends in {@code .csv}; the settings lie beside it, as {@code .json}
   * @throws IllegalArgumentException where it holds rows of other settings or columns
   */
  public static ResultFile open(Path csv, JsonObject settings, String... columns) {
    String name = Check.present("results", "a path", csv).getFileName().toString();
    if (!name.endsWith(".csv")) {
      throw Check.bad("results", "a file that ends in .csv", csv);
    }
    Path json = csv.resolveSibling(name.substring(0, name.length() - 4) + ".json");
    ResultFile file = new ResultFile(csv, columns.clone());
    if (Files.exists(csv)) {
      // As they are read: a file tells 3.0E-4 from 0.00030, a reader does not.
      String ours = Json.write(Json.parse(Json.write(settings)));
      String theirs = Files.exists(json) ? Json.write(Json.readObject(json)) : "none";
      if (!ours.equals(theirs)) {
        throw Check.bad(
            "results", "a new file, or one of the same analysis, " + ours, csv + " of " + theirs);
      }
      file.read();
    } else {
      AtomicFiles.write(json, Json.writeIndented(settings).getBytes(StandardCharsets.UTF_8));
    }
    return file;
  }

  private void read() {
    try {
      List<String> lines = Files.readAllLines(csv);
      if (lines.isEmpty() || !lines.get(0).equals(String.join(",", columns))) {
        throw Check.bad("results", "the columns " + String.join(",", columns), csv);
      }
      for (String line : lines.subList(1, lines.size())) {
        double[] row = Arrays.stream(line.split(",")).mapToDouble(Double::parseDouble).toArray();
        if (row.length != columns.length) {
          throw Check.bad("results", "rows of " + columns.length + " numbers", line + " in " + csv);
        }
        rows.add(row);
      }
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "[results] needs numbers, got " + csv + ": " + e.getMessage(), e);
    } catch (IOException e) {
      throw new UncheckedIOException("[results] cannot read " + csv + ": " + e.getMessage(), e);
    }
  }

  /** The rows so far. */
  public List<double[]> rows() {
    return rows.stream().map(double[]::clone).toList();
  }

  /** Adds a row, and writes the file. */
  public void add(double... row) {
    addAll(List.of(row));
  }

  /** Adds rows that are known together, and writes the file. */
  public void addAll(List<double[]> added) {
    for (double[] row : added) {
      if (row.length != columns.length) {
        throw Check.bad("results", "a row of " + columns.length + " numbers", row.length);
      }
      rows.add(row.clone());
    }
    String text =
        rows.stream()
            .map(
                row ->
                    Arrays.stream(row).mapToObj(Double::toString).collect(Collectors.joining(",")))
            .collect(Collectors.joining("\n", String.join(",", columns) + "\n", "\n"));
    AtomicFiles.write(csv, text.getBytes(StandardCharsets.UTF_8));
  }
}
