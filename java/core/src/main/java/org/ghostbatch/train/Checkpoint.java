package org.ghostbatch.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.io.SafeTensors;

/**
 * Every bit of a run's state between two updates: parameters, running statistics, optimizer,
 * averages, the place in the epoch, the figures so far, and what listeners keep. {@link
 * Trainer#checkpoint} takes one; {@link Trainer.Builder#checkpoint} goes on from it with the same
 * bits as if the run had never stopped.
 *
 * <p>Its file {@code update-N-HASH.safetensors} is a safetensors file, written whole or not at all;
 * HASH is the start of the SHA-256 of its content, so that a damaged file is known before it is
 * used.
 */
public final class Checkpoint {
  private static final String KIND = "checkpoint";
  private static final String VERSION = "1";
  private static final String SUFFIX = ".safetensors";
  private static final String NAME = "update-[0-9]{9,19}-[0-9a-f]{16}\\.safetensors";

  private final TrainingSpec spec;
  private final RunState state;
  private final Map<String, String> identity;
  private final Map<String, String> listeners;
  private final Map<String, Object> tensors;

  /**
   * @param identity what must be the same where the run goes on: name and value
   * @param listeners what they keep, by name
   * @param tensors name and float[] or double[]; not copied
   */
  Checkpoint(
      TrainingSpec spec,
      RunState state,
      Map<String, String> identity,
      Map<String, String> listeners,
      Map<String, Object> tensors) {
    this.spec = spec;
    this.state = state;
    this.identity = identity;
    this.listeners = listeners;
    this.tensors = tensors;
  }

  /** The run's settings. */
  public TrainingSpec spec() {
    return spec;
  }

  /** Updates done. */
  public long updates() {
    return state.updates;
  }

  RunState state() {
    return state;
  }

  Map<String, String> identity() {
    return identity;
  }

  Map<String, String> listeners() {
    return listeners;
  }

  Map<String, Object> tensors() {
    return tensors;
  }

  /** What {@link #restore} takes later. */
  static Object save(Tensor tensor) {
    return tensor.type() == DataType.F64 ? tensor.toDoubles() : tensor.toFloats();
  }

  /** Fills a tensor with what was saved under this name. */
  void restore(String name, Tensor tensor) {
    Object values = tensors.get(name);
    if (values instanceof float[] floats && tensor.type() == DataType.F32) {
      checkLength(name, floats.length, tensor);
      tensor.copyFrom(floats);
    } else if (values instanceof double[] doubles && tensor.type() == DataType.F64) {
      checkLength(name, doubles.length, tensor);
      tensor.copyFrom(doubles);
    } else {
      throw Check.bad(
          KIND,
          name + " of " + tensor.type(),
          values == null ? "none" : values.getClass().getSimpleName());
    }
  }

  private static void checkLength(String name, int length, Tensor tensor) {
    if (length != tensor.elements()) {
      throw Check.bad(KIND, tensor.elements() + " elements of " + name, length);
    }
  }

  /**
   * Writes the checkpoint's file to a folder, whole or not at all.
   *
   * @return its path
   * @throws UncheckedIOException where it cannot be written; other files of the folder are
   *     unchanged
   */
  public Path write(Path folder) {
    SafeTensors.Writer writer =
        SafeTensors.writer()
            .metadata("ghostbatch_checkpoint", VERSION)
            .metadata("spec", Json.write(spec.toJson()))
            .metadata("state", Json.write(state.toJson()))
            .metadata("identity", Json.write(json(identity)))
            .metadata("listeners", Json.write(json(listeners)));
    tensors.forEach(
        (name, values) -> {
          if (values instanceof float[] floats) {
            writer.floats(name, floats, floats.length);
          } else {
            double[] doubles = (double[]) values;
            writer.doubles(name, doubles, doubles.length);
          }
        });
    String prefix = String.format(Locale.ROOT, "update-%09d-", state.updates);
    return AtomicFiles.writeHashed(folder, prefix, SUFFIX, writer::writeTo);
  }

  /**
   * Reads a file that {@link #write} wrote.
   *
   * @throws IllegalArgumentException where the file is damaged, or no checkpoint
   * @throws UncheckedIOException where it cannot be read
   */
  public static Checkpoint read(Path file) {
    String name = Check.present(KIND, "a file", file).getFileName().toString();
    if (!name.matches(NAME)) {
      throw Check.bad(KIND, "a file named update-N-HASH.safetensors", file);
    }
    if (!isWhole(file)) {
      throw Check.bad(KIND, "content with the hash that its name has", "another in " + file);
    }
    return parse(file);
  }

  /**
   * Whether a file has the content that its name says.
   *
   * @throws UncheckedIOException where it cannot be read
   */
  static boolean isWhole(Path file) {
    try {
      return file.getFileName().toString().endsWith("-" + AtomicFiles.hash(file) + SUFFIX);
    } catch (IOException e) {
      throw new UncheckedIOException("[checkpoint] cannot read " + file + ": " + e.getMessage(), e);
    }
  }

  /** As {@link #read}, whatever the file's name and hash. */
  static Checkpoint parse(Path file) {
    try (SafeTensors in = SafeTensors.open(file)) {
      if (!VERSION.equals(in.metadata().get("ghostbatch_checkpoint"))) {
        throw Check.bad(
            KIND, "version " + VERSION + " in " + file, in.metadata().get("ghostbatch_checkpoint"));
      }
      Map<String, String> identity = texts(in, "identity");
      Map<String, String> listeners = texts(in, "listeners");
      TrainingSpec spec = TrainingSpec.fromJson(Json.parseObject(text(in, "spec")));
      RunState state = RunState.fromJson(Json.parseObject(text(in, "state")));
      Map<String, Object> tensors = new LinkedHashMap<>();
      in.entries()
          .forEach(
              (name, entry) ->
                  tensors.put(
                      name,
                      entry.type() == SafeTensors.Type.F64 ? in.doubles(name) : in.floats(name)));
      return new Checkpoint(spec, state, identity, listeners, tensors);
    }
  }

  private static JsonObject json(Map<String, String> texts) {
    JsonObject json = new JsonObject();
    texts.forEach(json::put);
    return json;
  }

  private static Map<String, String> texts(SafeTensors file, String name) {
    JsonObject json = Json.parseObject(text(file, name));
    Map<String, String> texts = new LinkedHashMap<>();
    json.names().forEach(key -> texts.put(key, json.getString(key)));
    return texts;
  }

  private static String text(SafeTensors file, String name) {
    String text = file.metadata().get(name);
    if (text == null) {
      throw Check.bad(KIND, "a member " + name, "none");
    }
    return text;
  }

  /** Files of checkpoints in a folder, the newest first; none where there is no such folder. */
  static List<Path> files(Path folder) {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .filter(file -> file.getFileName().toString().matches(NAME))
          .sorted(Comparator.comparingLong(Checkpoint::updatesOf).reversed())
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[checkpoint] cannot read " + folder + ": " + e.getMessage(), e);
    }
  }

  static long updatesOf(Path file) {
    return Long.parseUnsignedLong(file.getFileName().toString().split("-")[1]);
  }
}
