package org.ghostbatch.train;

/**
 * When the state of a run is saved, beside its end: after every so many epochs, or updates, or not.
 *
 * @param epochs at least 1; 0 where updates count
 * @param updates at least 1; 0 where epochs count; both 0: never
 */
public record CheckpointInterval(int epochs, long updates) {
  /** No checkpoints: a run that is killed is lost. */
  public static final CheckpointInterval NONE = new CheckpointInterval(0, 0);

  public CheckpointInterval {
    if (epochs < 0 || updates < 0 || epochs > 0 && updates > 0) {
      throw Check.bad(
          "checkpoints",
          "an interval in either epochs or updates",
          epochs + " epochs and " + updates + " updates");
    }
  }

  /** After every so many epochs. */
  public static CheckpointInterval epochs(int epochs) {
    return parse(Integer.toString(epochs));
  }

  /**
   * After every so many updates, counted from the start of the run, and after every epoch's end.
   */
  public static CheckpointInterval updates(long updates) {
    return parse(updates + "u");
  }

  /**
   * What {@link #toString} writes: {@code 2} for epochs, {@code 50u} for updates, {@code none}.
   *
   * @throws IllegalArgumentException where it is none of these
   */
  public static CheckpointInterval parse(String text) {
    Check.present("checkpoints", "an interval", text);
    if (text.equals("none")) {
      return NONE;
    }
    if (!text.matches("0*[1-9][0-9]{0,8}u?")) {
      throw Check.bad(
          "checkpoints",
          "an interval of 1 epoch or more, as 2, of updates, as 50u, or none",
          "\"" + text + "\"");
    }
    return text.endsWith("u")
        ? new CheckpointInterval(0, Long.parseLong(text.substring(0, text.length() - 1)))
        : new CheckpointInterval(Integer.parseInt(text), 0);
  }

  boolean dueAfterUpdate(long update) {
    return updates > 0 && update % updates == 0;
  }

  boolean dueAfterEpoch(int epoch) {
    return epochs > 0 && epoch % epochs == 0;
  }

  @Override
  public String toString() {
    if (this.equals(NONE)) {
      return "none";
    }
    return updates > 0 ? updates + "u" : Integer.toString(epochs);
  }
}
