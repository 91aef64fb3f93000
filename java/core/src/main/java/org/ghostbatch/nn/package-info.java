/**
 * Networks: layers as immutable records, a {@link org.ghostbatch.nn.Network} that infers shapes and
 * fuses, and the models of the papers. Names are PyTorch's.
 */
package org.ghostbatch.nn;
