package org.ghostbatch.cli;

import java.util.Locale;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.data.DownloadProgress;
import picocli.CommandLine.Option;

/** How a command comes by its data. */
final class DataFlags {
  /** What {@code --data} takes. */
  static final String NAMES =
      "strokes (embedded), mnist, fashion-mnist, cifar10, cifar100, "
          + "folder:PATH (images: PATH/train/CLASS/*.png|jpg|jpeg, PATH/test/CLASS/...) or "
          + "npy:PATH (PATH/train_x.npy, train_y.npy, test_x.npy, test_y.npy)";

  @Option(
      names = "--offline",
      description =
          "Download nothing: data that is absent is an error. Default: $GHOSTBATCH_OFFLINE.")
  boolean offline;

  /** Options with downloads shown on the terminal. */
  DataOptions options(int threads, Terminal terminal) {
    DataOptions options = DataOptions.defaults();
    return options
        .withOffline(offline || options.offline())
        .withThreads(threads)
        .withProgress(shown(terminal));
  }

  static DownloadProgress shown(Terminal terminal) {
    return new DownloadProgress() {
      @Override
      public void onBytes(String file, long done, long of) {
        if (done == of) {
          terminal.clear();
          return;
        }
        terminal.status(
            String.format(
                Locale.ROOT,
                "%s: %s of %s, %.0f %%",
                file,
                Figures.bytes(done),
                Figures.bytes(of),
                100.0 * done / of));
      }

      @Override
      public void onMessage(String text) {
        terminal.line(text);
      }
    };
  }
}
