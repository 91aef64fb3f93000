/**
 * Devices, their memory and their kernels: what an app composes its own layers and losses from.
 *
 * <p>Every object here is freed by {@code close()} and by nothing else. Using one after it was
 * closed, or from two threads at once, is an {@link java.lang.IllegalStateException}; an argument
 * that does not fit is an {@link java.lang.IllegalArgumentException} whose text says what was
 * needed and what came; a failure inside the native library is a {@link
 * org.ghostbatch.device.NativeException}.
 */
package org.ghostbatch.device;
