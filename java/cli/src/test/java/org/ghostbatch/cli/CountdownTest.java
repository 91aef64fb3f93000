package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** The time that is left, by a clock of its own. */
class CountdownTest {
  private long now = 5;

  private static String last(ByteArrayOutputStream out) {
    String all = out.toString(StandardCharsets.UTF_8);
    return all.substring(all.lastIndexOf("point"));
  }

  @Test
  void thePaceIsThatOfThePointsOfThisProcess() {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    Terminal terminal =
        Terminal.overwriting(new PrintStream(out, true, StandardCharsets.UTF_8), 80);
    Countdown countdown = new Countdown(terminal, 100, 441, () -> now);
    countdown.at(100);
    assertTrue(last(out).startsWith("point 101 of 441"), last(out));
    assertTrue(!last(out).contains("left"), "nothing is known yet");
    now += 2_000_000_000L;
    countdown.at(101);
    assertTrue(last(out).startsWith("point 102 of 441, 11 min 20 s left"), last(out));
    now += 1_000_000_000L;
    countdown.at(103);
    assertTrue(last(out).startsWith("point 104 of 441, 5 min 38 s left"), last(out));
    assertEquals(3, out.toString(StandardCharsets.UTF_8).split("point").length - 1);
  }
}
