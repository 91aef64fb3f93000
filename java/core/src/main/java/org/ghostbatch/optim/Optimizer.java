package org.ghostbatch.optim;

import java.util.List;

/** How a gradient changes the parameters: a specification; the state lives with the trainer. */
public sealed interface Optimizer permits Sgd, Adam, Lars, Lamb {
  /** The name on the command line: sgd, adam, adamw, lars, lamb. */
  String name();

  /**
   * Names of the vectors, each as long as the parameters and zero at first, that the optimizer
   * keeps.
   */
  List<String> stateNames();

  /** Factor of the decay of the parameters that it applies to. */
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
          case "sgd" -> {
            Sgd usual = Sgd.of();
            yield new Sgd(
                settings.number("momentum", usual.momentum()),
                settings.number("weight-decay", usual.weightDecay()),
                settings.flag("nesterov", usual.nesterov()));
          }
          case "adam", "adamw" -> {
            Adam usual = settings.name().equals("adam") ? Adam.of() : Adam.ofDecoupled();
            yield new Adam(
                settings.number("beta1", usual.beta1()),
                settings.number("beta2", usual.beta2()),
                settings.number("eps", usual.eps()),
                settings.number("weight-decay", usual.weightDecay()),
                usual.decoupled());
          }
          case "lars" -> {
            Lars usual = Lars.of();
            yield new Lars(
                settings.number("trust", usual.trust()),
                settings.number("momentum", usual.momentum()),
                settings.number("weight-decay", usual.weightDecay()),
                settings.flag("nesterov", usual.nesterov()));
          }
          case "lamb" -> {
            Lamb usual = Lamb.of();
            yield new Lamb(
                settings.number("beta1", usual.beta1()),
                settings.number("beta2", usual.beta2()),
                settings.number("eps", usual.eps()),
                settings.number("weight-decay", usual.weightDecay()));
          }
          default ->
              throw new IllegalArgumentException(
                  "[optimizer] needs sgd, adam, adamw, lars or lamb, got \""
                      + settings.name()
                      + "\"");
        };
    settings.requireEmpty();
    return optimizer;
  }
}
