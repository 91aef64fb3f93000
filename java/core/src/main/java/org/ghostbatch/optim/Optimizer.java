package org.ghostbatch.optim;

import java.util.List;

/** How a gradient changes the parameters: a specification; the state lives with the trainer. */
public sealed interface Optimizer permits Sgd, Adam, AdamW {
  /** The name on the command line: sgd, adam, adamw. */
  String name();

  /**
   * Names of the vectors, each as long as the parameters and zero at first, that the optimizer
   * keeps.
   */
  List<String> stateNames();

  /** Factor of the decay of all parameters. */
  double weightDecay();

  /** This optimizer with another weight decay. */
  Optimizer weightDecay(double weightDecay);

  /**
   * The optimizer that {@code toString} wrote; settings that are left out are those of {@code
   * of()}.
   */
  static Optimizer parse(String text) {
    Settings settings = Settings.parse("optimizer", text);
    Optimizer optimizer =
        switch (settings.name()) {
          case "sgd" ->
              new Sgd(
                  settings.number("momentum", 0),
                  settings.number("weight-decay", 0),
                  settings.flag("nesterov", false));
          case "adam" ->
              new Adam(
                  settings.number("beta1", 0.9),
                  settings.number("beta2", 0.999),
                  settings.number("eps", 1e-8),
                  settings.number("weight-decay", 0));
          case "adamw" ->
              new AdamW(
                  settings.number("beta1", 0.9),
                  settings.number("beta2", 0.999),
                  settings.number("eps", 1e-8),
                  settings.number("weight-decay", 0.01));
          default ->
              throw new IllegalArgumentException(
                  "[optimizer] needs sgd, adam or adamw, got \"" + settings.name() + "\"");
        };
    settings.requireEmpty();
    return optimizer;
  }
}
