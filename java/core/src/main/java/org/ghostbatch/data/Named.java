package org.ghostbatch.data;

import java.util.List;

/** A data set with other names of its classes. */
final class Named extends ForwardingDataset {
  private final List<String> names;

  Named(Dataset source, List<String> names) {
    super(source);
    Check.present("dataset", "names of classes", names);
    names.forEach(name -> Check.present("dataset", "a name of each class", name));
    this.names = List.copyOf(names);
    int largest = 0;
    for (int i = 0; i < source.count(); i++) {
      largest = Math.max(largest, source.label(i));
    }
    if (names.size() <= largest) {
      throw new IllegalArgumentException(
          "[dataset] needs a name for each label up to "
              + largest
              + ", got "
              + names.size()
              + " names");
    }
  }

  @Override
  public List<String> classNames() {
    return names;
  }
}
