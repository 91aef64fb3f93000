package org.ghostbatch.cli;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.stream.Stream;
import org.ghostbatch.analysis.Measures;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.nn.Models;
import org.ghostbatch.study.Study;
import org.ghostbatch.train.Recipe;

/** Values that help names and shell completion offers. */
final class Candidates {
  private Candidates() {}

  /** As picocli wants them. */
  abstract static class Of extends ArrayList<String> {
    private static final long serialVersionUID = 1;

    Of(Collection<String> values) {
      super(values);
    }
  }

  /** Networks. */
  static final class Networks extends Of {
    private static final long serialVersionUID = 1;

    Networks() {
      super(Models.names());
    }
  }

  /** Data sets. */
  static final class Data extends Of {
    private static final long serialVersionUID = 1;

    Data() {
      super(Datasets.NAMES);
    }
  }

  /** Parts of a data set. */
  static final class Parts extends Of {
    private static final long serialVersionUID = 1;

    Parts() {
      super(EvaluateCommand.PARTS);
    }
  }

  /** Optimizers. */
  static final class Optimizers extends Of {
    private static final long serialVersionUID = 1;

    Optimizers() {
      super(List.of("sgd", "adam", "adamw", "lars", "lamb"));
    }
  }

  /** Augmentations. */
  static final class Augmentations extends Of {
    private static final long serialVersionUID = 1;

    Augmentations() {
      super(Stream.of(Augmentation.values()).map(Augmentation::toString).toList());
    }
  }

  /** Policies of running statistics. */
  static final class Policies extends Of {
    private static final long serialVersionUID = 1;

    Policies() {
      super(Stream.of(RunningStatistics.values()).map(RunningStatistics::toString).toList());
    }
  }

  /** Rules for the batch size. */
  static final class Rules extends Of {
    private static final long serialVersionUID = 1;

    Rules() {
      super(List.of("none", "sqrt", "linear"));
    }
  }

  /** Recipes. */
  static final class Recipes extends Of {
    private static final long serialVersionUID = 1;

    Recipes() {
      super(Recipe.NAMES);
    }
  }

  /** Precisions. */
  static final class Precisions extends Of {
    private static final long serialVersionUID = 1;

    Precisions() {
      super(List.of("f32", "bf16", "f64"));
    }
  }

  /** Paths of slices. */
  static final class Paths extends Of {
    private static final long serialVersionUID = 1;

    Paths() {
      super(List.of("line", "arc"));
    }
  }

  /** Sources of batch norm's statistics. */
  static final class Norms extends Of {
    private static final long serialVersionUID = 1;

    Norms() {
      super(AnalysisOptions.NORMS);
    }
  }

  /** Measures. */
  static final class OfMeasures extends Of {
    private static final long serialVersionUID = 1;

    OfMeasures() {
      super(Measures.NAMES);
    }
  }

  /** Sources of batch norm's statistics at many points. */
  static final class PointNorms extends Of {
    private static final long serialVersionUID = 1;

    PointNorms() {
      super(PointLosses.NORMS);
    }
  }

  /** Directions of slices. */
  static final class Rays extends Of {
    private static final long serialVersionUID = 1;

    Rays() {
      super(Ray.NAMES);
    }
  }

  /** Backends. */
  static final class Backends extends Of {
    private static final long serialVersionUID = 1;

    Backends() {
      super(List.of("cpu", "cuda", "auto", "reference"));
    }
  }

  /** Studies. */
  static final class Studies extends Of {
    private static final long serialVersionUID = 1;

    Studies() {
      super(Study.NAMES);
    }
  }
}
