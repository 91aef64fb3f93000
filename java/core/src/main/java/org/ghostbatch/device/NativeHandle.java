package org.ghostbatch.device;

import java.lang.System.Logger;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.Resource;

/**
 * The one guard between Java and a native object: it is idle, in use by one thread (which may enter
 * again), or closed. Nothing reaches the native object but its user, so freed memory is never
 * touched. Entering and leaving cost one compare-and-set and one store, and allocate nothing.
 */
final class NativeHandle {
  private static final long IDLE = 0;
  private static final long CLOSED = -1;
  private static final VarHandle OWNER;
  private static final Cleaner CLEANER = Cleaner.create();
  private static final AtomicLong LEAKS = new AtomicLong();
  private static final Logger LOG = System.getLogger("org.ghostbatch");

  static {
    try {
      OWNER = MethodHandles.lookup().findVarHandle(NativeHandle.class, "owner", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private final String kind;
  private final Resource[] resources;
  private final HandleRegistry registry;
  private final Pointer[] structs;
  private final Throwable allocation;
  private final AtomicInteger dependents = new AtomicInteger();
  private final NativeHandle[] needed;
  // IDLE, CLOSED, or the id of the thread that uses it: a number, as a reference that is stored in
  // an old object costs the collector's barriers, up to as much as the rest of the call.
  private volatile long owner = IDLE;
  // Entries of the owner; only the owner touches it.
  private int depth;

  /**
   * @param kind what error texts call the object
   * @param resources what is destroyed at the end, in this order
   * @param registry of the device it belongs to, null for a device itself
   * @param structs argument structures that live and die with the object
   * @param needed objects that must not be closed before this one; the caller is inside them
   */
  NativeHandle(
      String kind,
      Resource[] resources,
      HandleRegistry registry,
      Pointer[] structs,
      NativeHandle... needed) {
    this.kind = kind;
    this.resources = resources;
    this.registry = registry;
    this.structs = structs;
    this.needed = needed;
    this.allocation =
        Boolean.getBoolean("ghostbatch.track") ? new Throwable(kind + " was made here") : null;
    for (NativeHandle other : needed) {
      other.dependents.incrementAndGet();
    }
  }

  /** Reports, when {@code outer} is collected without having been closed. Frees nothing. */
  void reportLeakOf(Object outer) {
    CLEANER.register(outer, this::report);
  }

  static long leaks() {
    return LEAKS.get();
  }

  private void report() {
    if (owner == CLOSED) {
      return;
    }
    LEAKS.incrementAndGet();
    String text =
        "[" + kind + "] was not closed; its memory stays taken until its device is closed";
    if (allocation == null) {
      LOG.log(Logger.Level.WARNING, text + " (-Dghostbatch.track=true shows where it was made)");
    } else {
      LOG.log(Logger.Level.WARNING, text, allocation);
    }
  }

  void acquire() {
    long me = Thread.currentThread().getId();
    long seen = owner;
    if (seen == me) {
      depth++;
    } else if (seen == IDLE && OWNER.compareAndSet(this, IDLE, me)) {
      depth = 1;
    } else {
      throw refuse(owner == CLOSED ? "it is closed" : "another thread is using it");
    }
  }

  void release() {
    if (--depth == 0) {
      OWNER.setRelease(this, IDLE);
    }
  }

  boolean closed() {
    return owner == CLOSED;
  }

  /** Frees the object; false where it was freed before. */
  boolean close() {
    if (owner == CLOSED) {
      return false;
    }
    if (!OWNER.compareAndSet(this, IDLE, Thread.currentThread().getId())) {
      if (owner == CLOSED) {
        return false;
      }
      throw refuse("it is in use and cannot be closed now");
    }
    if (dependents.get() > 0) {
      OWNER.setRelease(this, IDLE);
      throw refuse("it cannot be closed before what was made from it");
    }
    try {
      for (Resource resource : resources) {
        resource.destroy();
        resource.setNull();
      }
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      for (Pointer struct : structs) {
        struct.close();
      }
      for (NativeHandle other : needed) {
        other.dependents.decrementAndGet();
      }
      owner = CLOSED;
      if (registry != null) {
        registry.remove(this);
      }
    }
    return true;
  }

  private IllegalStateException refuse(String why) {
    return new IllegalStateException("[" + kind + "] needs an idle, open object, but " + why);
  }
}
