package org.ghostbatch.data;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.ghostbatch.io.Hashes;

/**
 * Brings a file of known length and MD5 over HTTP: in a file beside the target, which is renamed
 * once its checksum is right. What is cut off or stands still is tried again after a while, and
 * goes on where it stopped, also in a later process.
 */
final class Download {
  /**
   * @param attempts in a row that bring nothing new before it is given up
   * @param firstWaitMillis before the second attempt; doubled before each other
   * @param connectMillis until a connection stands
   * @param stallMillis without a byte until an attempt is given up
   */
  record Patience(int attempts, long firstWaitMillis, int connectMillis, int stallMillis) {
    static final Patience DEFAULT = new Patience(5, 1000, 15_000, 30_000);
  }

  /** What is brought. */
  record Item(String file, long bytes, String md5) {}

  /** An attempt that failed. */
  private static final class Failure extends IOException {
    private static final long serialVersionUID = 1;

    /** Whether another attempt at the same place may help. */
    private final boolean passing;

    Failure(boolean passing, String message) {
      super(message);
      this.passing = passing;
    }
  }

  private static final int MAX_REDIRECTS = 10;
  private static final int MAX_ATTEMPTS = 50;
  private static final int PIECE = 1 << 16;
  private static final long NANOS_BETWEEN_REPORTS = 100_000_000;

  /** A connection that brings less than this in twice the time of a stall stands still. */
  private static final int MIN_BYTES = 1 << 10;

  private static final Pattern CONTENT_RANGE = Pattern.compile("bytes (\\d{1,18})-\\d+/(\\d+|\\*)");

  private final URI address;
  private final Item item;
  private final Path part;
  private final Path validatorFile;
  private final Patience patience;
  private final DownloadProgress progress;
  private long reported;

  private Download(
      URI address, Item item, Path target, Patience patience, DownloadProgress progress) {
    this.address = address;
    this.item = item;
    this.part = target.resolveSibling(target.getFileName() + ".part");
    this.validatorFile = target.resolveSibling(target.getFileName() + ".part.validator");
    this.patience = patience;
    this.progress = progress;
  }

  /**
   * Brings the item to {@code target}, whose folder is there and which no other process writes.
   *
   * @throws IOException saying where it failed and why
   */
  static void fetch(
      URI address, Item item, Path target, Patience patience, DownloadProgress progress)
      throws IOException {
    var download = new Download(address, item, target, patience, progress);
    download.bring();
    Files.move(download.part, target, StandardCopyOption.ATOMIC_MOVE);
    Files.deleteIfExists(download.validatorFile);
  }

  private void bring() throws IOException {
    long wait = patience.firstWaitMillis;
    int futile = 0;
    // A part that another process left may be of another version: then once more from its start.
    int sums = here() == 0 ? 2 : 3;
    for (int attempt = 1; ; attempt++) {
      long before = here();
      try {
        if (before < item.bytes) {
          transfer(before);
        }
        checkSum();
        return;
      } catch (IOException e) {
        boolean passing = !(e instanceof Failure failure) || failure.passing;
        if (e instanceof WrongSum) {
          Files.deleteIfExists(part);
          passing = --sums > 0;
        }
        futile = here() > before ? 0 : futile + 1;
        if (e instanceof UnknownHostException
            || !passing
            || futile >= patience.attempts
            || attempt >= MAX_ATTEMPTS) {
          throw new IOException(address + ": " + reason(e), e);
        }
        progress.onMessage(item.file + ": " + reason(e) + "; trying again");
        if (futile == 0) {
          wait = patience.firstWaitMillis;
        }
        pause(wait);
        wait *= 2;
      }
    }
  }

  private static String reason(IOException e) {
    if (e instanceof UnknownHostException) {
      return "no such host, or no network";
    }
    return e.getMessage() == null ? e.toString() : e.getMessage();
  }

  private static void pause(long millis) throws IOException {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new Failure(false, "interrupted");
    }
  }

  /** Bytes that are here already. */
  private long here() throws IOException {
    if (!Files.exists(part)) {
      return 0;
    }
    long bytes = Files.size(part);
    if (bytes > item.bytes) {
      Files.delete(part);
      return 0;
    }
    return bytes;
  }

  private void transfer(long from) throws IOException {
    HttpURLConnection connection = open(from);
    try {
      int status = connection.getResponseCode();
      boolean appends = status == 206;
      if (appends) {
        checkRange(connection.getHeaderField("Content-Range"), from);
      } else if (status != 200) {
        if (status == 416) {
          Files.deleteIfExists(part); // what is here is not of this file
        }
        boolean passing = status >= 500 || status == 408 || status == 416 || status == 429;
        throw new Failure(passing, "needs status 200 or 206, got " + status);
      }
      long start = appends ? from : 0;
      long length = connection.getContentLengthLong();
      if (length >= 0 && start + length != item.bytes) {
        throw new Failure(
            false, "needs a file of " + item.bytes + " bytes, got " + (start + length));
      }
      long free = Files.getFileStore(part.getParent()).getUsableSpace();
      if (free < item.bytes - start) {
        throw new Failure(
            false,
            "needs "
                + (item.bytes - start)
                + " bytes of disk, got "
                + free
                + " in "
                + part.getParent());
      }
      keepValidator(connection);
      receive(connection.getInputStream(), start);
    } finally {
      connection.disconnect();
    }
  }

  private HttpURLConnection open(long from) throws IOException {
    URI at = address;
    for (int redirects = 0; ; redirects++) {
      HttpURLConnection connection = connect(at);
      connection.setInstanceFollowRedirects(false); // they are followed here, with their checks
      connection.setConnectTimeout(patience.connectMillis);
      connection.setReadTimeout(patience.stallMillis);
      connection.setUseCaches(false);
      connection.setRequestProperty("User-Agent", "ghostbatch");
      connection.setRequestProperty("Accept-Encoding", "identity");
      if (from > 0) {
        connection.setRequestProperty("Range", "bytes=" + from + "-");
        String validator = validator();
        if (validator != null) {
          connection.setRequestProperty("If-Range", validator);
        }
      }
      int status = connection.getResponseCode();
      if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308) {
        return connection;
      }
      String location = connection.getHeaderField("Location");
      connection.disconnect();
      if (redirects == MAX_REDIRECTS) {
        throw new Failure(false, "needs at most " + MAX_REDIRECTS + " redirects, got more");
      }
      at = redirect(at, location);
    }
  }

  private static HttpURLConnection connect(URI at) throws IOException {
    if (at.toURL().openConnection() instanceof HttpURLConnection connection) {
      return connection;
    }
    throw new Failure(false, "needs an http or https address, got " + at);
  }

  /** Where a redirect leads: never from https to anything else. */
  static URI redirect(URI from, String location) throws IOException {
    try {
      URI to = location == null ? null : from.resolve(new URI(location));
      boolean secure = to != null && "https".equalsIgnoreCase(to.getScheme());
      boolean plain = to != null && "http".equalsIgnoreCase(to.getScheme());
      if (secure || plain && "http".equalsIgnoreCase(from.getScheme())) {
        return to;
      }
    } catch (URISyntaxException e) {
      // Refused below.
    }
    throw new Failure(
        false, "needs a redirect to https, or from http to http, got one to " + location);
  }

  private static void checkRange(String range, long from) throws IOException {
    Matcher matcher = CONTENT_RANGE.matcher(range == null ? "" : range);
    if (!matcher.matches() || Long.parseLong(matcher.group(1)) != from) {
      throw new Failure(false, "needs the bytes from " + from + " on, got the range " + range);
    }
  }

  /** What tells this version of the file from others: a strong entity tag, or the date. */
  private void keepValidator(HttpURLConnection connection) throws IOException {
    String tag = connection.getHeaderField("ETag");
    String validator =
        tag != null && tag.startsWith("\"") ? tag : connection.getHeaderField("Last-Modified");
    if (validator == null) {
      Files.deleteIfExists(validatorFile);
    } else {
      Files.writeString(validatorFile, validator, StandardCharsets.UTF_8);
    }
  }

  private String validator() throws IOException {
    if (!Files.exists(validatorFile) || Files.size(validatorFile) > 1024) {
      return null;
    }
    String text = new String(Files.readAllBytes(validatorFile), StandardCharsets.ISO_8859_1);
    return text.isBlank() || text.chars().anyMatch(c -> c < ' ') ? null : text;
  }

  private void receive(InputStream in, long start) throws IOException {
    byte[] piece = new byte[PIECE];
    long done = start;
    long windowBegin = System.nanoTime();
    long windowStart = start;
    try (in;
        var out = new FileOutputStream(part.toFile(), start > 0)) {
      for (int read = in.read(piece); read >= 0; read = in.read(piece)) {
        if (read > item.bytes - done) {
          throw new Failure(false, "needs a file of " + item.bytes + " bytes, got more");
        }
        out.write(piece, 0, read);
        done += read;
        long now = System.nanoTime();
        if (now - reported > NANOS_BETWEEN_REPORTS || done == item.bytes) {
          reported = now;
          progress.onBytes(item.file, done, item.bytes);
        }
        if (done - windowStart >= MIN_BYTES) {
          windowBegin = now;
          windowStart = done;
        } else if (now - windowBegin > 2_000_000L * patience.stallMillis && done < item.bytes) {
          throw new Failure(true, "stalled after " + done + " bytes");
        }
      }
      out.getFD().sync();
    } catch (java.net.SocketTimeoutException e) {
      throw new Failure(true, "stalled after " + done + " bytes");
    }
    if (done < item.bytes) {
      throw new Failure(true, "needs " + item.bytes + " bytes, got the end after " + done);
    }
  }

  private void checkSum() throws IOException {
    MessageDigest digest = Hashes.of("MD5");
    byte[] piece = new byte[PIECE];
    try (InputStream in = Files.newInputStream(part)) {
      for (int read = in.read(piece); read >= 0; read = in.read(piece)) {
        digest.update(piece, 0, read);
      }
    }
    String sum = HexFormat.of().formatHex(digest.digest());
    if (!sum.equals(item.md5)) {
      throw new WrongSum("needs the MD5 " + item.md5 + ", got " + sum);
    }
  }

  /** The whole file is here, but not as it should be. */
  private static final class WrongSum extends IOException {
    private static final long serialVersionUID = 1;

    WrongSum(String message) {
      super(message);
    }
  }
}
