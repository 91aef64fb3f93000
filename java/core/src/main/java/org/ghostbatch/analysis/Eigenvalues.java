package org.ghostbatch.analysis;

import java.util.List;

/**
 * The ends of the spectrum of a Hessian. Closing frees the vectors.
 *
 * @param largest descending
 * @param smallest ascending
 * @param converged whether the wanted accuracy was reached within the steps
 * @param steps of Lanczos' method
 */
public record Eigenvalues(
    List<Eigenpair> largest, List<Eigenpair> smallest, boolean converged, int steps)
    implements AutoCloseable {
  public Eigenvalues {
    largest = List.copyOf(largest);
    smallest = List.copyOf(smallest);
  }

  @Override
  public void close() {
    largest.forEach(pair -> pair.vector().close());
    smallest.forEach(pair -> pair.vector().close());
  }
}
