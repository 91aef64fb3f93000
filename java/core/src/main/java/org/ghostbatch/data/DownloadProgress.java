package org.ghostbatch.data;

/** Is told how downloads go, by the thread that loads the data. */
public interface DownloadProgress {
  /** Tells nobody. */
  DownloadProgress NONE =
      new DownloadProgress() {
        @Override
        public void onBytes(String file, long done, long of) {}

        @Override
        public void onMessage(String text) {}
      };

  /** So many bytes of a file are here; called some times a second at most, and at the end. */
  void onBytes(String file, long done, long of);

  /** Something that a person may want to know: where from and where to, why it starts again. */
  void onMessage(String text);
}
