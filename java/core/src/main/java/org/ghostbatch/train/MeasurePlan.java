package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/**
 * What a run measures while it trains, and when.
 *
 * @param entries in the order in which they are taken, each name once
 */
public record MeasurePlan(List<Entry> entries) {
  /** No measures. */
  public static final MeasurePlan NONE = new MeasurePlan(List.of());

  private static final String KIND = "measures";

  /**
   * A measure, taken after every so many epochs, and after the last.
   *
   * @param name of lower-case letters, digits and dashes
   * @param every at least 1
   */
  public record Entry(String name, int every) {
    public Entry {
      if (!Check.present(KIND, "a name", name).matches("[a-z][a-z0-9-]*")) {
        throw Check.bad(
            KIND, "a name of lower-case letters, digits and dashes", "\"" + name + "\"");
      }
      if (every < 1) {
        throw Check.bad(KIND, "an interval of 1 epoch or more", every);
      }
    }

    @Override
    public String toString() {
      return name + "@" + every;
    }
  }

  public MeasurePlan {
    entries = List.copyOf(entries);
    if (entries.stream().map(Entry::name).distinct().count() < entries.size()) {
      throw Check.bad(KIND, "each name once", entries);
    }
  }

  /** This plan with another measure behind the others, or in the place of one of its name. */
  public MeasurePlan with(String name, int every) {
    Entry added = new Entry(name, every);
    List<Entry> all = new ArrayList<>(entries);
    all.replaceAll(entry -> entry.name().equals(name) ? added : entry);
    if (!all.contains(added)) {
      all.add(added);
    }
    return new MeasurePlan(all);
  }

  /**
   * What {@link #toString} writes, {@code sharpness@5,hessian@1} or {@code none}; {@code hessian}
   * is {@code hessian@1}.
   *
   * @throws IllegalArgumentException where it is neither
   */
  public static MeasurePlan parse(String text) {
    if (Check.present(KIND, "a plan", text).equals("none")) {
      return NONE;
    }
    List<Entry> entries = new ArrayList<>();
    for (String entry : text.split(",", -1)) {
      String[] parts = entry.split("@", -1);
      boolean plain = parts.length == 1;
      if (!plain && !(parts.length == 2 && parts[1].matches("[0-9]{1,9}"))) {
        throw Check.bad(
            KIND, "NAME or NAME@EPOCHS, as in sharpness@5, or none", "\"" + entry + "\"");
      }
      entries.add(new Entry(parts[0], plain ? 1 : Integer.parseInt(parts[1])));
    }
    return new MeasurePlan(entries);
  }

  @Override
  public String toString() {
    return entries.isEmpty()
        ? "none"
        : entries.stream().map(Entry::toString).collect(Collectors.joining(","));
  }
}
