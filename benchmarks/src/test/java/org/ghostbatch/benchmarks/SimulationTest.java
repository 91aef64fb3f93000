package org.ghostbatch.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class SimulationTest {
  private static final double PLENTY = 1e15;

  private static Simulation simulation(double bytes, double commit, double update) {
    return new Simulation(1, bytes, 10, commit, update);
  }

  private static double speedup(Simulation simulation, int ghosts, int lanes, double bandwidth) {
    return simulation.step(ghosts, 1, bandwidth).seconds()
        / simulation.step(ghosts, lanes, bandwidth).seconds();
  }

  @Test
  void lanesAreUsedWhileThereAreGhosts() {
    Simulation free = simulation(0, 0, 0);
    assertEquals(512, free.step(512, 1, PLENTY).seconds(), 2);
    assertEquals(16, speedup(free, 512, 16, PLENTY), 0.5);
    assertEquals(8, speedup(free, 8, 64, PLENTY), 0.3);
    assertEquals(3, speedup(free, 9, 4, PLENTY), 0.2); // three rounds
    assertTrue(free.speedup(8, 64, PLENTY).endsWith(", ghosts"));
    assertTrue(free.speedup(512, 16, PLENTY).matches("1[56]\\.\\d"));
  }

  @Test
  void memoryCommitsAndTheUpdateBoundIt() {
    Simulation memory = simulation(10, 0, 0);
    assertEquals(4, speedup(memory, 512, 16, 40), 0.2);
    assertTrue(memory.speedup(512, 16, 40).endsWith(", memory"));
    // Ten layers are added to in a tenth of a second each: in a row, ten ghosts a second.
    Simulation commits = simulation(0, 1, 0);
    assertEquals(10, speedup(commits, 512, 64, PLENTY), 0.5);
    assertTrue(commits.speedup(512, 64, PLENTY).endsWith(", commits"));
    assertEquals(1, speedup(simulation(0, 0, 1e6), 512, 16, PLENTY), 0.01);
  }

  @Test
  void theTableHasALineForEachNumberOfCores() {
    String table = simulation(1, 0.01, 0.01).table(List.of(1024, 8192), 128, PLENTY);
    assertEquals(10, table.lines().count(), table);
    assertTrue(
        table.startsWith("| cores | batch 1,024 | batch 8,192 |\n|--:|---|---|\n| 1 | 1.0"), table);
  }
}
