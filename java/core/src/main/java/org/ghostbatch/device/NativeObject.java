package org.ghostbatch.device;

import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.Resource;

/**
 * Base of what a device makes. A call brackets its native work with {@link #begin} and {@link
 * #end}, and takes every other object through {@link #use}: all are held for the length of the call
 * and nothing is allocated.
 */
public abstract class NativeObject implements AutoCloseable {
  static final Pointer[] NO_STRUCTS = {};

  /** What crosses to the native side where an optional tensor is left out. */
  static final long NO_VIEW = 0;

  final Device device;
  final String kind;
  final NativeHandle handle;
  // Keeps what it held: a reference that is stored costs the collector's barriers, and most calls
  // take what the one before took.
  private final NativeHandle[] used = new NativeHandle[16];
  private int uses;

  NativeObject(Device device, String kind, Resource resource) {
    this(device, kind, new Resource[] {resource}, NO_STRUCTS);
  }

  NativeObject(
      Device device, String kind, Resource[] resources, Pointer[] structs, NativeHandle... needed) {
    this.device = device;
    this.kind = kind;
    this.handle = device.register(kind, resources, structs, needed);
    handle.reportLeakOf(this);
  }

  /** The device that this was made on. */
  public final Device device() {
    return device;
  }

  /**
   * Frees the native object; closing twice is silent.
   *
   * @throws IllegalStateException while it is in use, or while something made from it is open
   */
  @Override
  public void close() {
    handle.close();
  }

  /** Whether {@link #close} has been called. */
  public final boolean closed() {
    return handle.closed();
  }

  final void begin() {
    handle.acquire();
  }

  final void end() {
    while (uses > 0) {
      used[--uses].release();
    }
    handle.release();
  }

  final void use(NativeHandle other) {
    other.acquire();
    if (used[uses] != other) {
      used[uses] = other;
    }
    uses++;
  }

  /**
   * The address of the view of a tensor that must hold at least {@code elements} of {@code type}.
   */
  final long use(String role, Tensor tensor, DataType type, long elements) {
    if (tensor == null) {
      throw Check.bad(kind, role, "null");
    }
    if (tensor.type() != type || tensor.elements() < elements) {
      throw Check.bad(kind, role + " of at least " + elements + " " + type, tensor);
    }
    return use(role, tensor);
  }

  /** As {@link #use(String, Tensor, DataType, long)}, but of exactly that many elements. */
  final long useExactly(String role, Tensor tensor, DataType type, long elements) {
    if (tensor == null) {
      throw Check.bad(kind, role, "null");
    }
    if (tensor.type() != type || tensor.elements() != elements) {
      throw Check.bad(kind, role + " of " + elements + " " + type, tensor);
    }
    return use(role, tensor);
  }

  private long use(String role, Tensor tensor) {
    if (tensor.device() != device) {
      throw Check.bad(
          kind, role + " on its own device (" + device.name() + ")", "one of another device");
    }
    use(tensor.handle);
    return tensor.view;
  }

  final void present(String role, Object argument, boolean wanted) {
    if ((argument != null) != wanted) {
      throw wanted
          ? Check.bad(kind, role, "null")
          : Check.bad(kind, "no " + role + ", as its spec has none", "one");
    }
  }
}
