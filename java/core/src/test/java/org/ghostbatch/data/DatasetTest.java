package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class DatasetTest {
  private static final SampleShape SHAPE = new SampleShape(2, 3, 2);

  private static Dataset bytes(int count) {
    byte[] values = new byte[count * 12];
    new Random(1).nextBytes(values);
    int[] labels = new int[count];
    for (int i = 0; i < count; i++) {
      labels[i] = i * 7 % 5;
    }
    return Dataset.of(values, SHAPE, labels);
  }

  @Test
  void refusesWrongArrays() {
    refused(
        "[dataset] needs 24 values for 2 samples of 2x3x2, got 23",
        () -> Dataset.of(new byte[23], SHAPE, new int[2]));
    refused("got 25", () -> Dataset.of(new float[25], SHAPE, new int[2]));
    refused("got none", () -> Dataset.of(new byte[0], SHAPE, new int[0]));
    refused("got -1 at sample 1", () -> Dataset.of(new byte[24], SHAPE, new int[] {0, -1}));
    refused("at sample 0", () -> Dataset.of(new byte[24], SHAPE, new int[] {Integer.MAX_VALUE, 0}));
    refused(
        "got NaN at sample 1, element 3", () -> Dataset.of(with(15, Float.NaN), SHAPE, new int[2]));
    refused(
        "got Infinity at sample 0, element 0",
        () -> Dataset.of(with(0, 1 / 0f), SHAPE, new int[2]));
    // 2^31 values would be needed; the product must not wrap to 0.
    var large = new SampleShape(1 << 10, 1 << 10, 1 << 10);
    refused("needs 4294967296 values", () -> Dataset.of(new byte[0], large, new int[4]));
  }

  @Test
  void missingPartsAreNamed() {
    Dataset data = bytes(4);
    var none = Normalization.none(ElementType.U8, 2);
    refused("values, got null", () -> Dataset.of((byte[]) null, SHAPE, new int[1]));
    refused("values, got null", () -> Dataset.of((float[]) null, SHAPE, new int[1]));
    refused("values, got null", () -> Dataset.of((ByteBuffer) null, SHAPE, new int[1]));
    refused("values, got null", () -> Dataset.of((FloatBuffer) null, SHAPE, new int[1]));
    refused("a shape, got null", () -> Dataset.of(new byte[12], null, new int[1]));
    refused("labels, got null", () -> Dataset.of(new byte[12], SHAPE, null));
    refused("indices, got null", () -> data.select((int[]) null));
    refused("a normalization, got null", () -> data.withNormalization(null));
    refused("names of classes, got null", () -> data.withClassNames(null));
    refused(
        "a name of each class, got null",
        () -> data.withClassNames(Arrays.asList("a", "b", "c", "d", null)));
    refused("a name, got null", () -> new DataPair(null, data, data, none));
    refused("training data, got null", () -> new DataPair("own", null, data, none));
    refused("test data, got null", () -> new DataPair("own", data, null, none));
    refused("a normalization, got null", () -> new DataPair("own", data, data, null));
    refused("means, got null", () -> new Normalization(1, null, List.of(1.0)));
    refused(
        "standard deviations, got null",
        () -> new Normalization(1, List.of(1.0), Collections.singletonList(null)));
  }

  private static float[] with(int index, float value) {
    float[] values = new float[24];
    values[index] = value;
    return values;
  }

  private static void refused(String part, Runnable made) {
    var error = assertThrows(IllegalArgumentException.class, made::run);
    assertTrue(error.getMessage().contains(part), error.getMessage());
  }

  @Test
  void shapesValidateAndComeBack() {
    for (int[] sizes :
        new int[][] {
          {0, 1, 1}, {1, -1, 1}, {1, 1, 0}, {1 << 16, 1 << 16, 1}, {1 << 11, 1 << 10, 1 << 10}
        }) {
      assertThrows(
          IllegalArgumentException.class, () -> new SampleShape(sizes[0], sizes[1], sizes[2]));
    }
    assertEquals(SHAPE, SampleShape.parse(SHAPE.toString()));
    for (String text : List.of("", "28x28", "28x28x", "axbxc", "0x1x1", "1x1x1x1")) {
      assertThrows(IllegalArgumentException.class, () -> SampleShape.parse(text), text);
    }
  }

  @Test
  void readsRowsByIndex() {
    byte[] values = new byte[5 * 12];
    for (int i = 0; i < values.length; i++) {
      values[i] = (byte) i;
    }
    ByteBuffer direct = ByteBuffer.allocateDirect(80).position(7).put(values).flip().position(7);
    for (Dataset data :
        List.of(Dataset.of(values, SHAPE, new int[5]), Dataset.of(direct, SHAPE, new int[5]))) {
      assertEquals(ElementType.U8, data.type());
      for (ByteBuffer target : List.of(ByteBuffer.allocate(40), ByteBuffer.allocateDirect(40))) {
        target.position(3);
        data.read(new int[] {9, 4, 0, 4, -1}, 1, 4, target);
        assertEquals(39, target.position());
        for (int i = 0; i < 36; i++) {
          assertEquals(new int[] {48, 0, 48}[i / 12] + i % 12, target.get(3 + i));
        }
      }
      assertThrows(
          IndexOutOfBoundsException.class,
          () -> data.read(new int[] {5}, 0, 1, ByteBuffer.allocate(12)));
      assertThrows(
          IndexOutOfBoundsException.class,
          () -> data.read(new int[] {-1}, 0, 1, ByteBuffer.allocate(12)));
      assertThrows(
          IndexOutOfBoundsException.class,
          () -> data.read(new int[] {0}, 0, 2, ByteBuffer.allocate(99)));
      assertThrows(
          IllegalArgumentException.class,
          () -> data.read(new int[] {0}, 0, 1, ByteBuffer.allocate(11)));
    }
  }

  @Test
  void readsFloatsInTheByteOrderOfTheTarget() {
    FloatBuffer values = FloatBuffer.allocate(40);
    for (int i = 0; i < 40; i++) {
      values.put(i, i / 8f);
    }
    Dataset data = Dataset.of(values.position(4), SHAPE, new int[] {0, 1, 0});
    assertEquals(ElementType.F32, data.type());
    assertEquals(48, data.sampleBytes());
    for (ByteOrder order : List.of(ByteOrder.LITTLE_ENDIAN, ByteOrder.BIG_ENDIAN)) {
      ByteBuffer target = ByteBuffer.allocate(100).order(order).position(4);
      data.read(new int[] {2, 1}, 0, 2, target);
      assertEquals(100, target.position());
      for (int i = 0; i < 24; i++) {
        assertEquals((4 + new int[] {24, 12}[i / 12] + i % 12) / 8f, target.getFloat(4 + 4 * i));
      }
    }
  }

  @Test
  void labelsAndClasses() {
    Dataset data = Dataset.of(new byte[36], SHAPE, new int[] {2, 0, 1});
    assertEquals(3, data.classes());
    assertEquals(List.of("0", "1", "2"), data.classNames());
    assertEquals(2, data.label(0));
    Dataset named = data.withClassNames(List.of("a", "b", "c", "d"));
    assertEquals(4, named.classes());
    assertThrows(IllegalArgumentException.class, () -> data.withClassNames(List.of("a", "b")));
  }

  @Test
  void takeIsThePrefixAndSelectTheChoice() {
    Dataset data = bytes(50);
    Dataset taken = data.take(7);
    assertEquals(7, taken.count());
    assertSame(data, data.take(50));
    for (int i = 0; i < 7; i++) {
      assertArrayEquals(row(data, i), row(taken, i));
      assertEquals(data.label(i), taken.label(i));
    }
    Dataset chosen = data.select(3, 3, 49);
    assertArrayEquals(row(data, 49), row(chosen, 2));
    assertArrayEquals(row(chosen, 0), row(chosen, 1));
    assertThrows(IllegalArgumentException.class, () -> data.take(0));
    assertThrows(IllegalArgumentException.class, () -> data.take(51));
    assertThrows(IllegalArgumentException.class, () -> data.select(50));
    assertThrows(IllegalArgumentException.class, () -> data.select());
  }

  private static byte[] row(Dataset data, int index) {
    ByteBuffer target = ByteBuffer.allocate(data.sampleBytes());
    data.read(new int[] {index}, 0, 1, target);
    return target.array();
  }

  @Test
  void splitParts() {
    Dataset data = bytes(50);
    Dataset.Split split = data.split(0.2, 3);
    assertEquals(10, split.validation().count());
    assertEquals(40, split.train().count());
    var rows = new TreeSet<String>();
    for (Dataset part : List.of(split.train(), split.validation())) {
      for (int i = 0; i < part.count(); i++) {
        rows.add(Arrays.toString(row(part, i)));
      }
    }
    assertEquals(50, rows.size());
    assertEquals(split.validation().fingerprint(), data.split(0.2, 3).validation().fingerprint());
    assertNotEquals(
        split.validation().fingerprint(), data.split(0.2, 4).validation().fingerprint());
    for (double fraction : new double[] {0, 1, -1, 2, 0.001, 0.999, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> data.split(fraction, 1));
    }
  }

  @Test
  void fingerprintIsOfTheContent() {
    Dataset data = Dataset.of(new byte[24], SHAPE, new int[] {0, 1});
    String hash = data.fingerprint();
    assertEquals(64, hash.length());
    assertEquals(
        hash, Dataset.of(ByteBuffer.allocateDirect(24), SHAPE, new int[] {0, 1}).fingerprint());
    byte[] changed = new byte[24];
    changed[23] = 1;
    var others = new ArrayList<Dataset>();
    others.add(Dataset.of(changed, SHAPE, new int[] {0, 1}));
    others.add(Dataset.of(new byte[24], SHAPE, new int[] {1, 0}));
    others.add(Dataset.of(new byte[24], new SampleShape(3, 2, 2), new int[] {0, 1}));
    others.add(Dataset.of(new float[24], SHAPE, new int[] {0, 1}));
    others.add(data.withClassNames(List.of("a", "b", "c")));
    others.add(data.take(1));
    var hashes = new TreeSet<>(others.stream().map(Dataset::fingerprint).toList());
    hashes.add(hash);
    assertEquals(7, hashes.size());
    assertEquals(hash, data.withNormalization(Normalization.none(ElementType.U8, 2)).fingerprint());
    // More than one piece of a mebibyte.
    int count = (1 << 20) / 12 + 100;
    assertEquals(bytes(count).fingerprint(), bytes(count).fingerprint());
  }

  @Test
  void normalizationIsMeasuredPerChannel() {
    var random = new Random(2);
    int count = 1000;
    byte[] values = new byte[count * 12];
    float[] floats = new float[count * 12];
    for (int i = 0; i < values.length; i++) {
      values[i] = (byte) (i % 2 == 0 ? 200 : random.nextInt(256));
      // Far off centre: a plain sum of squares in float would lose the deviation.
      floats[i] = i % 2 == 0 ? 1e6f + random.nextInt(3) : (float) random.nextGaussian();
    }
    Normalization bytes = Dataset.of(values, SHAPE, new int[count]).normalization();
    assertEquals(1 / 255.0, bytes.scale());
    assertEquals(200 / 255.0, bytes.mean().get(0), 1e-12);
    assertEquals(1, bytes.std().get(0));
    assertEquals(0.5, bytes.mean().get(1), 0.02);
    assertEquals(Math.sqrt(1 / 12.0), bytes.std().get(1), 0.02);
    Normalization measured = Dataset.of(floats, SHAPE, new int[count]).normalization();
    assertEquals(1, measured.scale());
    assertEquals(1e6 + 1, measured.mean().get(0), 0.05);
    assertEquals(Math.sqrt(2 / 3.0), measured.std().get(0), 0.02);
    assertEquals(1, measured.std().get(1), 0.05);
    Dataset many = Dataset.of(new byte[34], new SampleShape(1, 1, 17), new int[2]);
    assertEquals(Normalization.none(ElementType.U8, 17), many.normalization());
  }

  @Test
  void normalizationValidates() {
    var one = List.of(1.0);
    assertThrows(IllegalArgumentException.class, () -> new Normalization(0, one, one));
    assertThrows(IllegalArgumentException.class, () -> new Normalization(1, one, List.of(0.0)));
    assertThrows(
        IllegalArgumentException.class, () -> new Normalization(1, one, List.of(Double.NaN)));
    assertThrows(
        IllegalArgumentException.class, () -> new Normalization(1, List.of(Double.NaN), one));
    assertThrows(
        IllegalArgumentException.class, () -> new Normalization(1, one, List.of(1.0, 2.0)));
    assertThrows(IllegalArgumentException.class, () -> new Normalization(1, List.of(), List.of()));
    var many = Collections.nCopies(17, 1.0);
    assertThrows(IllegalArgumentException.class, () -> new Normalization(1, many, many));
    Dataset data = bytes(5);
    assertThrows(
        IllegalArgumentException.class,
        () -> data.withNormalization(new Normalization(1, one, one)));
    var known = new Normalization(1, List.of(1.0, 2.0), List.of(3.0, 4.0));
    assertEquals(known, data.withNormalization(known).take(2).normalization());
  }

  @Test
  void anOwnImplementationNeedsSixMethods() {
    Dataset own =
        new Dataset() {
          @Override
          public int count() {
            return 300_000;
          }

          @Override
          public SampleShape shape() {
            return new SampleShape(1, 1, 4);
          }

          @Override
          public ElementType type() {
            return ElementType.F32;
          }

          @Override
          public List<String> classNames() {
            return List.of("even", "odd");
          }

          @Override
          public int label(int index) {
            return index % 2;
          }

          @Override
          public void read(int[] indices, int from, int to, ByteBuffer target) {
            for (int i = from; i < to; i++) {
              target.putFloat(indices[i] % 2).putFloat(0).putFloat(1).putFloat(2);
            }
          }
        };
    assertEquals(2, own.classes());
    assertEquals(List.of(0.5, 0.0, 1.0, 2.0), own.normalization().mean());
    assertEquals(List.of(0.5, 1.0, 1.0, 1.0), own.normalization().std());
    assertEquals(own.fingerprint(), own.take(300_000).fingerprint());
    assertEquals(1, own.select(3, 4).label(0));
  }

  @Test
  void pairsMustMatch() {
    Dataset data = bytes(10);
    Normalization none = Normalization.none(ElementType.U8, 2);
    assertEquals(10, new DataPair("own", data, data, none).train().count());
    Dataset other = Dataset.of(new float[24], SHAPE, new int[] {0, 4});
    assertThrows(IllegalArgumentException.class, () -> new DataPair("own", data, other, none));
    Dataset fewer = data.select(0);
    assertEquals(5, fewer.classes());
    Dataset named = data.withClassNames(List.of("a", "b", "c", "d", "e"));
    assertThrows(IllegalArgumentException.class, () -> new DataPair("own", data, named, none));
  }
}
