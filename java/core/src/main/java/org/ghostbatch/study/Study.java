package org.ghostbatch.study;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.LongStream;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.train.TrainingSpec;

/**
 * A study: ways to train (arms), each with the same seeds, and one of them, the baseline, that the
 * others are compared with. It is read from a JSON file:
 *
 * <pre>{@code
 * {
 *   "name": "mine",
 *   "about": "what it asks",
 *   "baseline": "SB",
 *   "first_seed": 1, "seeds": 3,
 *   "test_every_epoch": true,
 *   "spec": {what all arms share, as in the config.json of a run},
 *   "arms": [{"name": "SB", "about": "small batch", "spec": {what differs}}, ...]
 * }
 * }</pre>
 *
 * @param about one line on what the study asks
 * @param baseline name of an arm
 * @param seeds of every arm, each once
 * @param testEveryEpoch whether runs are tested after every epoch, not only at their end; short
 *     epochs take less than that
 */
public record Study(
    String name,
    String about,
    String baseline,
    List<Long> seeds,
    boolean testEveryEpoch,
    List<Arm> arms) {
  /** The built-in studies. */
  public static final List<String> NAMES = List.of("gap");

  /**
   * One way to train.
   *
   * @param about one line on what sets it apart
   * @param settings members of a {@code TrainingSpec} as JSON; those that are missing have their
   *     defaults
   */
  public record Arm(String name, String about, JsonObject settings) {
    public Arm {
      if (!name.matches("[A-Za-z0-9][A-Za-z0-9 +._-]{0,39}")) {
        throw needs(
            "names of arms of up to 40 letters, digits, spaces and + . _ -, a letter or digit first",
            "\"" + name + "\"");
      }
      try {
        TrainingSpec.builder().set(settings);
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException(e.getMessage() + ", in arm \"" + name + "\"", e);
      }
    }
  }

  public Study {
    seeds = List.copyOf(seeds);
    arms = List.copyOf(arms);
    Set<String> names = new HashSet<>();
    for (Arm arm : arms) {
      if (!names.add(arm.name())) {
        throw needs("each arm once", "\"" + arm.name() + "\" twice");
      }
    }
    if (!names.contains(baseline)) {
      throw needs("a baseline among " + names, "\"" + baseline + "\"");
    }
    if (seeds.isEmpty() || new HashSet<>(seeds).size() < seeds.size()) {
      throw needs("one or more seeds, each once", seeds.toString());
    }
  }

  /**
   * A built-in study.
   *
   * @param quick whether its small form, a few minutes on two cores
   * @throws IllegalArgumentException where there is none of that name
   */
  public static Study named(String name, boolean quick) {
    if (!NAMES.contains(name)) {
      throw needs("one of " + NAMES + ", or a file", "\"" + name + "\"");
    }
    String resource = name + (quick ? "-quick" : "") + ".json";
    try (InputStream in = Study.class.getResourceAsStream(resource)) {
      return parse(Json.parseObject(in.readAllBytes()));
    } catch (IOException e) {
      throw new UncheckedIOException("[study] cannot read " + resource + ": " + e.getMessage(), e);
    }
  }

  /**
   * The study that a file describes.
   *
   * @throws UncheckedIOException where it cannot be read
   * @throws IllegalArgumentException naming the file, and what is not as a study needs it
   */
  public static Study read(Path file) {
    JsonObject json = Json.readObject(file);
    try {
      return parse(json);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(e.getMessage() + ", in " + file, e);
    }
  }

  static Study parse(JsonObject json) {
    json.requireOnly(
        Set.of(
            "name",
            "about",
            "baseline",
            "first_seed",
            "seeds",
            "test_every_epoch",
            "spec",
            "arms"));
    JsonObject shared = json.getObject("spec");
    // Before each arm repeats it.
    TrainingSpec.builder().set(shared);
    List<Arm> arms = new ArrayList<>();
    for (Object item : json.getList("arms")) {
      if (!(item instanceof JsonObject arm)) {
        throw needs("objects as arms", Json.write(item));
      }
      arm.requireOnly(Set.of("name", "about", "spec"));
      arms.add(
          new Arm(
              arm.getString("name"), arm.getString("about"), merge(shared, arm.getObject("spec"))));
    }
    return new Study(
        json.getString("name"),
        json.getString("about"),
        json.getString("baseline"),
        seeds(json.getLong("first_seed"), json.getInt("seeds")),
        json.getBoolean("test_every_epoch"),
        arms);
  }

  /** This study with so many seeds, from its first on. */
  public Study withSeeds(int count) {
    return new Study(name, about, baseline, seeds(seeds.get(0), count), testEveryEpoch, arms);
  }

  /** This study with members set in every arm. */
  public Study with(JsonObject settings) {
    List<Arm> changed =
        arms.stream()
            .map(arm -> new Arm(arm.name(), arm.about(), merge(arm.settings(), settings)))
            .toList();
    return new Study(name, about, baseline, seeds, testEveryEpoch, changed);
  }

  /**
   * This study with every length multiplied: epochs (or updates), and the boundaries of schedules.
   *
   * @param factor above 0; lengths stay at least 1
   */
  public Study scaled(double factor) {
    if (!(factor > 0) || Double.isInfinite(factor)) {
      throw needs("a scale of epochs above 0", Double.toString(factor));
    }
    List<Arm> changed =
        arms.stream()
            .map(
                arm ->
                    new Arm(
                        arm.name(),
                        arm.about(),
                        merge(arm.settings(), scaled(arm.settings(), factor))))
            .toList();
    return new Study(name, about, baseline, seeds, testEveryEpoch, changed);
  }

  private static JsonObject scaled(JsonObject settings, double factor) {
    TrainingSpec spec = TrainingSpec.builder().set(settings).build();
    LearningRate rate = spec.learningRate().stretch(factor);
    JsonObject scaled =
        new JsonObject()
            .put("schedule", rate.schedule().toString())
            .put("warmup_epochs", rate.warmupEpochs())
            .put("batch", spec.batch().stretch(factor).toString());
    return spec.updates() > 0
        ? scaled.put("updates", Math.max(1, Math.round(spec.updates() * factor)))
        : scaled.put("epochs", (int) Math.max(1, Math.round(spec.epochs() * factor)));
  }

  /** The study as its file would have it, all settings with their arms. */
  JsonObject toJson() {
    return new JsonObject()
        .put("name", name)
        .put("about", about)
        .put("baseline", baseline)
        .put("seeds", seeds)
        .put("test_every_epoch", testEveryEpoch)
        .put(
            "arms",
            arms.stream()
                .map(
                    arm ->
                        new JsonObject()
                            .put("name", arm.name())
                            .put("about", arm.about())
                            .put("spec", arm.settings()))
                .toList());
  }

  private static List<Long> seeds(long first, int count) {
    if (count < 1 || count > 10_000) {
      throw needs("1 to 10000 seeds", Integer.toString(count));
    }
    return LongStream.range(first, first + count).boxed().toList();
  }

  private static JsonObject merge(JsonObject base, JsonObject over) {
    JsonObject merged = new JsonObject();
    base.names().forEach(name -> merged.put(name, base.get(name)));
    over.names().forEach(name -> merged.put(name, over.get(name)));
    return merged;
  }

  private static IllegalArgumentException needs(String what, String got) {
    return new IllegalArgumentException("[study] needs " + what + ", got " + got);
  }
}
