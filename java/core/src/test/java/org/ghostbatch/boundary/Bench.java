package org.ghostbatch.boundary;

import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Supplier;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.Tensor;

/** A device with what calls share on it: tensors, kernels, lanes. */
final class Bench implements AutoCloseable {
  private static final int MOST_TENSORS = 600;

  final Device device;
  final Lanes lanes;
  private final Map<String, Tensor> tensors = new HashMap<>();
  private final Map<Object, AutoCloseable> kernels = new HashMap<>();

  Bench(String name) {
    device = Device.of(name, 2);
    lanes = device.lanes(2);
  }

  /** Types of activations that this device computes with. */
  DataType type(Call call) {
    return device.name().equals("cpu") ? DataType.F32 : call.pick(DataType.F32, DataType.F64);
  }

  /** The {@code index}-th shared tensor of a type and size, with ordinary values in it. */
  synchronized Tensor tensor(DataType type, long elements, int index) {
    return tensors.computeIfAbsent(
        type + " " + elements + " " + index, key -> filled(type, elements));
  }

  private Tensor filled(DataType type, long elements) {
    Tensor made = device.tensor(type, elements);
    SplittableRandom random = new SplittableRandom(elements);
    if (type == DataType.U8 || type == DataType.S32) {
      int[] values = new int[(int) elements];
      for (int i = 0; i < values.length; i++) {
        values[i] = random.nextInt(3);
      }
      made.copyFrom(values);
    } else {
      double[] values = new double[(int) elements];
      for (int i = 0; i < values.length; i++) {
        values[i] = random.nextDouble(-1, 1.5);
      }
      made.copyFrom(values);
    }
    return made;
  }

  /** The shared object made for this key. */
  @SuppressWarnings("unchecked")
  synchronized <T extends AutoCloseable> T kernel(Object key, Supplier<T> make) {
    T made = (T) kernels.get(key);
    if (made == null) {
      made = make.get();
      kernels.put(key, made);
    }
    return made;
  }

  /** Between calls: keeps the number of tensors bounded. */
  synchronized void tidy() {
    if (tensors.size() > MOST_TENSORS) {
      tensors.values().forEach(Tensor::close);
      tensors.clear();
    }
  }

  @Override
  public void close() {
    device.close();
  }
}
