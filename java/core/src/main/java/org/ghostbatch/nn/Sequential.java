package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Layers one after another; empty is the identity. */
public record Sequential(List<Layer> layers) implements Layer {
  public Sequential {
    for (Layer layer : Check.present("sequential", "layers", layers)) {
      Check.present("sequential", "layers", layer);
    }
    layers = List.copyOf(layers);
  }

  public static Sequential of(Layer... layers) {
    return new Sequential(Arrays.asList(Check.present("sequential", "layers", layers)));
  }

  /** This, and the layer behind it. */
  public Sequential then(Layer layer) {
    List<Layer> longer = new ArrayList<>(layers);
    longer.add(layer);
    return new Sequential(longer);
  }
}
