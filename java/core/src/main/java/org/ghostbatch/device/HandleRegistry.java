package org.ghostbatch.device;

import java.util.LinkedHashSet;
import java.util.Set;

/** What lives on a device, in the order in which it was made. */
final class HandleRegistry {
  private final Set<NativeHandle> handles = new LinkedHashSet<>();

  synchronized void add(NativeHandle handle) {
    handles.add(handle);
  }

  synchronized void remove(NativeHandle handle) {
    handles.remove(handle);
  }

  /** Closes all, newest first: what was made from another object goes before it. */
  void closeAll() {
    NativeHandle[] all;
    synchronized (this) {
      all = handles.toArray(new NativeHandle[0]);
    }
    for (int i = all.length - 1; i >= 0; i--) {
      all[i].close();
    }
  }
}
