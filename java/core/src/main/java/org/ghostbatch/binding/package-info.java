/**
 * The native core as Java sees it: classes generated from {@code native/include/ghostbatch} at
 * every build, and {@link org.ghostbatch.binding.NativeLibrary}, which loads it. For the packages
 * beside it, not for applications: sizes and lifetimes are checked there.
 */
package org.ghostbatch.binding;
