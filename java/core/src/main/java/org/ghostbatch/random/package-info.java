/** Random numbers by key and counter, the same on every JVM and in the native kernels. */
package org.ghostbatch.random;
