package org.ghostbatch.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;

/** What is measured on a GPU, here on the CPU: cases go through the same processes. */
class DeviceWorkersTest {
  private static Case kernel(String name, String shape, String precision, String direction) {
    return new Case("kernels", name, shape, precision, direction, 0, 1, "");
  }

  private static Row run(DeviceWorkers workers, Case what) {
    return workers.run(new Comparison(what, null), 3, 0.005);
  }

  private static void checkRates(Row row, JsonObject json, String unit, double perRun) {
    String name = unit + "_per_second";
    assertEquals(1, json.names().stream().filter(n -> n.endsWith("s_per_second")).count());
    double rate = json.getDouble(name);
    assertEquals(perRun / (row.ms().median() / 1e3), rate, 1e-9 * rate, name);
    assertTrue(json.getDouble(name + "_min") <= rate && rate <= json.getDouble(name + "_max"));
  }

  @Test
  void casesTakeTurnsWithTheDevicesCopyInProcessesThatStay() {
    List<Row> rows = new ArrayList<>();
    try (var workers = new DeviceWorkers("cpu")) {
      rows.add(run(workers, new Case("kernels", "gbn", "64,8,8,16", "bf16", "forward", 16, 1, "")));
      rows.add(run(workers, kernel("conv", "40,8,8,16,32,3,2", "f32", "backward-weights")));
      rows.add(run(workers, new Case("step", "lenet-small", "48", "bf16", "train", 16, 1, "")));
      // What cannot be measured is an error of its own.
      var bad = kernel("relu", "9", "f32", "sideways");
      String said = assertThrows(IllegalStateException.class, () -> run(workers, bad)).getMessage();
      assertTrue(said.startsWith("[bench] GhostBatch on cpu: [bench] needs --direction"), said);
      rows.add(run(workers, kernel("relu", "5000", "f32", "forward")));
    }
    var report = new Report(rows, List.of(), new Report.Machine("cuda:1", "a GPU"));
    JsonObject file = Json.parseObject(report.json());
    assertEquals("cuda:1", file.getString("device"));
    assertEquals("a GPU", file.getString("machine"));
    List<JsonObject> json = file.getList("rows").stream().map(each -> (JsonObject) each).toList();

    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      assertEquals(row, Row.of(json.get(i)));
      assertTrue(row.ms().least() > 0 && row.ms().least() <= row.ms().median(), row::toString);
      assertTrue(row.ms().median() <= row.ms().most(), row::toString);
      assertNull(row.peer());
      assertFalse(row.kernel().isEmpty());
      assertFalse(json.get(i).has("outside_kernels"));
    }
    checkRates(rows.get(0), json.get(0), "bytes", 3.0 * 64 * 8 * 8 * 16 * 2);
    checkRates(rows.get(1), json.get(1), "flops", 2.0 * 40 * 4 * 4 * 32 * 16 * 9);
    checkRates(rows.get(2), json.get(2), "images", 48);
    checkRates(rows.get(3), json.get(3), "bytes", 2.0 * 5000 * 4);
    for (int i : new int[] {0, 3}) {
      Row.Limit limit = rows.get(i).limit();
      assertEquals("copy", limit.name());
      assertTrue(limit.perSecond() > 1e7 && limit.perSecond() < 1e13, limit::toString);
      assertTrue(limit.share() > 1e-3 && limit.share() < 1e3, rows.get(i)::toString);
    }
    assertNull(rows.get(1).limit());
    assertNull(rows.get(2).limit());

    List<String> lines = report.text().lines().toList();
    assertEquals(5, lines.size());
    assertTrue(lines.get(0).matches("what +ms +least +most +rate +copy +of it +MiB +kernel"));
    for (String cell : List.of("1: GB/s ", "2: TFLOP/s ", "3: images/s ", "4: GB/s ")) {
      String line = lines.get(cell.charAt(0) - '0');
      assertTrue(line.contains(cell.substring(2)), line);
    }
    String page = report.markdown("./ghostbatch bench --backend cuda:1");
    List<String> table = page.lines().filter(line -> line.startsWith("|")).toList();
    assertEquals(6, table.size(), page);
    for (String line : table) { // whose kernels may name alternatives
      assertEquals(10, line.chars().filter(c -> c == '|').count(), line);
    }
  }

  @Test
  void pyTorchIsMeasuredOnTheSameSteps() throws IOException {
    String script = Files.readString(Path.of("peers/pytorch_step.py"));
    Matcher matcher =
        Pattern.compile(
                "^ {4}\\(\"([a-z0-9-]+)\", (\\d+), (\\d+), \"(\\w+)\"\\),$", Pattern.MULTILINE)
            .matcher(script);
    List<Case> theirs =
        matcher
            .results()
            .map(
                found ->
                    new Case(
                        "step",
                        found.group(1),
                        found.group(2),
                        found.group(4),
                        "train",
                        Integer.parseInt(found.group(3)),
                        1,
                        ""))
            .toList();
    assertEquals(Suites.onGpu("step"), theirs);
  }

  @Test
  void suitesOfAGpuAreCasesThatItsWorkersTake() {
    for (String suite : List.of("step", "kernels")) {
      List<Case> cases = Suites.onGpu(suite);
      assertEquals(suite.equals("step") ? 6 : 2 * (3 * 2 + 8 * 3), cases.size());
      assertEquals(cases.size(), cases.stream().distinct().count());
      for (Case what : cases) {
        assertEquals(suite, what.suite());
        assertEquals(1, what.threads());
        if (suite.equals("step")) {
          Steps.check(what);
        } else {
          Kernels.check(what);
          assertTrue(Kernels.cost(what).flops() + Kernels.cost(what).bytes() > 1e7, what::line);
        }
      }
    }
    // Beyond caches x and y are counted once, and x, dy and dx.
    double tensor = 4096.0 * 32 * 32 * 16;
    var norm = new Case("kernels", "gbn", "4096,32,32,16", "bf16", "forward", 128, 1, "");
    assertTrue(Suites.onGpu("kernels").contains(norm));
    assertEquals(2 * 2 * tensor, Kernels.cost(norm).bytes());
    var backward = new Case("kernels", "gbn", "4096,32,32,16", "f32", "backward", 128, 1, "");
    assertEquals(3 * 4 * tensor, Kernels.cost(backward).bytes());
    assertEquals("67108864", Kernels.copy(2 * 4 * tensor).shape());
  }
}
