package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.ghostbatch.io.JsonObject;

/** Layers to JSON and back: an object with a type and the record's components. */
final class LayerJson {
  private LayerJson() {}

  static JsonObject write(Layer layer) {
    JsonObject json = new JsonObject();
    if (layer instanceof Conv2d l) {
      json.put("type", "conv2d")
          .put("filters", l.filters())
          .put("kernel", l.kernel())
          .put("stride", l.stride())
          .put("padding", l.padding())
          .put("dilation", l.dilation())
          .put("groups", l.groups())
          .put("bias", l.bias())
          .put("init", l.init().toString());
    } else if (layer instanceof Linear l) {
      json.put("type", "linear")
          .put("out", l.out())
          .put("bias", l.bias())
          .put("init", l.init().toString());
    } else if (layer instanceof BatchNorm l) {
      json.put("type", "batchnorm").put("epsilon", l.epsilon());
    } else if (layer instanceof ReLU) {
      json.put("type", "relu");
    } else if (layer instanceof MaxPool2d l) {
      json.put("type", "maxpool2d")
          .put("kernel", l.kernel())
          .put("stride", l.stride())
          .put("padding", l.padding())
          .put("border", l.border().toString());
    } else if (layer instanceof AvgPool2d l) {
      json.put("type", "avgpool2d")
          .put("kernel", l.kernel())
          .put("stride", l.stride())
          .put("padding", l.padding());
    } else if (layer instanceof GlobalAvgPool) {
      json.put("type", "globalavgpool");
    } else if (layer instanceof Dropout l) {
      json.put("type", "dropout").put("rate", l.rate());
    } else if (layer instanceof Flatten) {
      json.put("type", "flatten");
    } else if (layer instanceof Sequential l) {
      json.put("type", "sequential")
          .put("layers", l.layers().stream().map(LayerJson::write).toList());
    } else if (layer instanceof Residual l) {
      json.put("type", "residual")
          .put("body", write(l.body()))
          .put("shortcut", write(l.shortcut()));
    }
    return json;
  }

  static Layer read(JsonObject json) {
    String type = json.getString("type");
    return switch (type) {
      case "conv2d" -> {
        only(json, "filters", "kernel", "stride", "padding", "dilation", "groups", "bias", "init");
        yield new Conv2d(
            json.getInt("filters"),
            json.getInt("kernel"),
            json.getInt("stride"),
            json.getInt("padding"),
            json.getInt("dilation"),
            json.getInt("groups"),
            json.getBoolean("bias"),
            Initializer.of(json.getString("init")));
      }
      case "linear" -> {
        only(json, "out", "bias", "init");
        yield new Linear(
            json.getInt("out"), json.getBoolean("bias"), Initializer.of(json.getString("init")));
      }
      case "batchnorm" -> {
        only(json, "epsilon");
        yield new BatchNorm(json.getDouble("epsilon"));
      }
      case "relu" -> {
        only(json);
        yield new ReLU();
      }
      case "maxpool2d" -> {
        only(json, "kernel", "stride", "padding", "border");
        yield new MaxPool2d(
            json.getInt("kernel"),
            json.getInt("stride"),
            json.getInt("padding"),
            Border.of(json.getString("border")));
      }
      case "avgpool2d" -> {
        only(json, "kernel", "stride", "padding");
        yield new AvgPool2d(json.getInt("kernel"), json.getInt("stride"), json.getInt("padding"));
      }
      case "globalavgpool" -> {
        only(json);
        yield new GlobalAvgPool();
      }
      case "dropout" -> {
        only(json, "rate");
        yield new Dropout(json.getDouble("rate"));
      }
      case "flatten" -> {
        only(json);
        yield new Flatten();
      }
      case "sequential" -> {
        only(json, "layers");
        List<Layer> layers = new ArrayList<>();
        for (Object layer : json.getList("layers")) {
          if (!(layer instanceof JsonObject object)) {
            throw Check.bad("layer", "an object in \"layers\"", layer);
          }
          layers.add(read(object));
        }
        yield new Sequential(layers);
      }
      case "residual" -> {
        only(json, "body", "shortcut");
        yield new Residual(sequential(json, "body"), sequential(json, "shortcut"));
      }
      default ->
          throw Check.bad(
              "layer",
              "conv2d, linear, batchnorm, relu, maxpool2d, avgpool2d, globalavgpool, dropout,"
                  + " flatten, sequential or residual",
              "\"" + type + "\"");
    };
  }

  private static Sequential sequential(JsonObject json, String name) {
    if (read(json.getObject(name)) instanceof Sequential sequential) {
      return sequential;
    }
    throw Check.bad("layer", "a sequential at \"" + name + "\"", json.getObject(name));
  }

  private static void only(JsonObject json, String... members) {
    Set<String> known = new LinkedHashSet<>(List.of(members));
    known.add("type");
    json.requireOnly(known);
  }
}
