package org.ghostbatch.data;

/**
 * A data set by name: what to train on, what to test on, and how both are normalized.
 *
 * @param name as on the command line, {@code mnist} say
 */
public record DataPair(String name, Dataset train, Dataset test, Normalization normalization) {
  public DataPair {
    Check.present("data", "a name", name);
    Check.present("data", "training data", train);
    Check.present("data", "test data", test);
    Check.present("data", "a normalization", normalization);
    if (!train.shape().equals(test.shape()) || train.type() != test.type()) {
      throw new IllegalArgumentException(
          "[data] needs training and test samples of one shape and type, got "
              + train.shape()
              + " "
              + train.type()
              + " and "
              + test.shape()
              + " "
              + test.type());
    }
    if (!train.classNames().equals(test.classNames())) {
      throw new IllegalArgumentException(
          "[data] needs one list of classes for training and test, got "
              + train.classNames()
              + " and "
              + test.classNames());
    }
  }
}
