package org.ghostbatch.cli;

import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.TrainingSpec;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.api.lowlevel.Parse;
import org.snakeyaml.engine.v2.events.CollectionEndEvent;
import org.snakeyaml.engine.v2.events.CollectionStartEvent;
import org.snakeyaml.engine.v2.events.Event;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;
import org.snakeyaml.engine.v2.nodes.Tag;

/**
 * Members of a {@link TrainingSpec} in a file: YAML 1.2, and so JSON, {@code config.json} of a run
 * among it. Errors name the file and the line.
 *
 * <p>Only plain values are made: objects, lists, texts, numbers, true, false and null.
 */
final class ConfigFile {
  private static final int MAX_BYTES = 1 << 20;
  private static final String RESOLVED = "resolved";

  /** Members that do not change the bits of a run. */
  private static final Set<String> FREE = Set.of("threads", "data_dir", "checkpoint_every");

  /** Values with those that aliases repeat; a file that doubles itself line by line ends here. */
  private static final int MAX_VALUES = 100_000;

  private final Path file;
  private final Map<String, Integer> lines = new HashMap<>(); // of the members, from 1
  private JsonObject members;
  private int values;

  private ConfigFile(Path file) {
    this.file = file;
  }

  /**
   * @throws UsageException where it is no such file, or a member is unknown or of a wrong type
   */
  static ConfigFile read(Path file) {
    ConfigFile config = new ConfigFile(file);
    config.members = config.parse(config.text());
    for (String name : config.members.names()) {
      config.check(name);
    }
    return config;
  }

  /** Members of a spec, perhaps with {@code resolved} of a run. */
  JsonObject members() {
    return members;
  }

  /**
   * What {@code made} makes of the members. Where it refuses them and one of them is the reason,
   * the error names its line.
   */
  <T> T check(Function<JsonObject, T> made) {
    try {
      return made.apply(members);
    } catch (UsageException refused) {
      for (String name : members.names()) {
        try {
          made.apply(without(name));
        } catch (UsageException stillRefused) {
          continue;
        }
        throw bad(name, refused.getMessage());
      }
      throw refused;
    }
  }

  /**
   * How a run of the same settings differs all the same from the one whose {@code config.json} this
   * file is, so that it does not repeat its bits.
   *
   * @param file {@code config.json} of the run
   */
  List<String> notes(Path file) {
    JsonObject now = ConfigFile.read(file).members;
    if (!(members.has(RESOLVED) && members.get(RESOLVED) instanceof JsonObject then)) {
      return List.of();
    }
    for (String name : now.names()) {
      boolean same = members.has(name) && Objects.equals(members.get(name), now.get(name));
      if (!same && !FREE.contains(name) && !name.equals(RESOLVED)) {
        return List.of(); // another run, by its flags
      }
    }
    List<String> notes = new ArrayList<>();
    JsonObject resolved = now.getObject(RESOLVED);
    for (String name : List.of("data_fingerprint", "micro_batch", "kernels")) {
      if (then.has(name) && !then.get(name).equals(resolved.get(name))) {
        notes.add(
            "note: "
                + name.replace('_', ' ')
                + " differs from that in "
                + this.file
                + ": bits will differ");
      }
    }
    return notes;
  }

  /**
   * The kernels that the run whose {@code config.json} this file is has chosen by timing them;
   * empty where it has none, or has run on another backend.
   */
  String kernelChoices(String backend) {
    boolean same = members.has("backend") && backend.equals(members.get("backend"));
    return same ? RunFolder.kernelChoices(members) : "";
  }

  private JsonObject without(String name) {
    JsonObject others = new JsonObject();
    members.names().stream()
        .filter(other -> !other.equals(name))
        .forEach(other -> others.put(other, members.get(other)));
    return others;
  }

  private void check(String name) {
    try {
      JsonObject member = new JsonObject().put(name, members.get(name));
      TrainingSpec.builder().set(member);
      TrainFlags.requireNames(member);
    } catch (IllegalArgumentException | UsageException e) {
      throw bad(name, e.getMessage());
    }
  }

  private UsageException bad(String name, String message) {
    return new UsageException(file + ":" + lines.get(name) + ": " + name + ": " + message);
  }

  private UsageException bad(Optional<Mark> at, String message) {
    String line = at.map(mark -> ":" + (mark.getLine() + 1)).orElse("");
    return new UsageException(file + line + ": " + message);
  }

  private String text() {
    byte[] bytes;
    try (var in = Files.newInputStream(file)) {
      bytes = in.readNBytes(MAX_BYTES + 1);
    } catch (IOException e) {
      throw new UsageException("--config needs a file that can be read, got " + file);
    }
    if (bytes.length > MAX_BYTES) {
      throw bad(Optional.empty(), "needs at most " + MAX_BYTES + " bytes, got more");
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw bad(Optional.empty(), "needs UTF-8, got other bytes");
    }
  }

  // YAML to JSON.

  private JsonObject parse(String text) {
    LoadSettings settings =
        LoadSettings.builder().setLabel(file.toString()).setMaxAliasesForCollections(50).build();
    try {
      requireFlat(new Parse(settings).parseString(text));
      Node root =
          new Compose(settings)
              .composeString(text)
              .orElseThrow(() -> bad(Optional.empty(), "needs members, got an empty file"));
      if (!(root instanceof MappingNode)) {
        throw bad(root.getStartMark(), "needs members, NAME: VALUE or JSON, got another value");
      }
      for (NodeTuple tuple : ((MappingNode) root).getValue()) {
        tuple
            .getKeyNode()
            .getStartMark()
            .ifPresent(
                mark ->
                    lines.putIfAbsent(
                        tuple.getKeyNode() instanceof ScalarNode key ? key.getValue() : "",
                        mark.getLine() + 1));
      }
      return (JsonObject) value(root, 0);
    } catch (MarkedYamlEngineException e) {
      Optional<Mark> at = e.getProblemMark().or(e::getContextMark);
      throw bad(at, "needs YAML or JSON, got an error: " + e.getProblem());
    } catch (UsageException e) {
      throw e;
    } catch (RuntimeException e) {
      // The parser lets some slip through: for "\\x" without digits a NumberFormatException.
      throw bad(Optional.empty(), "needs YAML or JSON, got an error: " + e.getMessage());
    }
  }

  /** Refuses what lies too deep, before anything walks down there. */
  private void requireFlat(Iterable<Event> events) {
    int depth = 0;
    for (Event event : events) {
      if (event instanceof CollectionStartEvent && ++depth > Json.MAX_DEPTH) {
        throw bad(event.getStartMark(), "needs at most " + Json.MAX_DEPTH + " levels, got more");
      }
      if (event instanceof CollectionEndEvent) {
        depth--;
      }
    }
  }

  private Object value(Node node, int depth) {
    // Aliases can make more of both than the text has.
    if (++values > MAX_VALUES || depth > Json.MAX_DEPTH) {
      throw bad(
          node.getStartMark(),
          "needs at most " + MAX_VALUES + " values and " + Json.MAX_DEPTH + " levels, got more");
    }
    if (node instanceof MappingNode mapping) {
      JsonObject object = new JsonObject();
      for (NodeTuple tuple : mapping.getValue()) {
        String name = name(tuple.getKeyNode());
        if (object.has(name)) {
          throw bad(tuple.getKeyNode().getStartMark(), "needs each name once, got " + name);
        }
        object.put(name, value(tuple.getValueNode(), depth + 1));
      }
      return object;
    }
    if (node instanceof SequenceNode sequence) {
      List<Object> items = new ArrayList<>();
      sequence.getValue().forEach(item -> items.add(value(item, depth + 1)));
      return items;
    }
    return scalar((ScalarNode) node);
  }

  private String name(Node key) {
    if (key instanceof ScalarNode scalar && key.getTag().equals(Tag.STR)) {
      return scalar.getValue();
    }
    throw bad(key.getStartMark(), "needs texts as names, got another value");
  }

  private Object scalar(ScalarNode node) {
    String text = node.getValue();
    Tag tag = node.getTag();
    if (tag.equals(Tag.STR)) {
      return text;
    }
    if (tag.equals(Tag.NULL)) {
      return null;
    }
    if (tag.equals(Tag.BOOL)) {
      return text.equals("true");
    }
    try {
      if (text.length() <= 100 && tag.equals(Tag.INT)) {
        BigInteger value = new BigInteger(text);
        return value.bitLength() < Long.SIZE ? (Number) value.longValue() : value;
      }
      if (text.length() <= 100 && tag.equals(Tag.FLOAT)) {
        return new BigDecimal(text);
      }
    } catch (NumberFormatException e) {
      // Infinite, or not a number.
    }
    throw bad(
        node.getStartMark(),
        "needs a text, a finite number, true, false or null, got " + tag.getValue() + " " + text);
  }
}
