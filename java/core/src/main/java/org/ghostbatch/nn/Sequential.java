package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.List;

/** Layers one after another; empty is the identity. */
public record Sequential(List<Layer> layers) implements Layer {
  public Sequential {
    layers = List.copyOf(Check.present("sequential", "layers", layers));
  }

  public static Sequential of(Layer... layers) {
    return new Sequential(List.of(layers));
  }

  /** This, and the layer behind it. */
  public Sequential then(Layer layer) {
    List<Layer> longer = new ArrayList<>(layers);
    longer.add(layer);
    return new Sequential(longer);
  }
}
