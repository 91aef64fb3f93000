package org.ghostbatch.cli;

import java.util.LinkedHashMap;
import java.util.Map;

/** What the exit status of a command means, for its help. */
final class ExitStatus {
  private ExitStatus() {}

  static Map<String, String> of(String command) {
    Map<String, String> texts = new LinkedHashMap<>();
    texts.put("0", "done");
    texts.put("1", "failed; the message says why, --debug adds a stack trace");
    texts.put("2", "bad usage");
    if (command.equals("train") || command.equals("study")) {
      texts.put(
          "130, 143", "interrupted (Ctrl-C, SIGTERM), after saving the last completed update");
    }
    return texts;
  }
}
