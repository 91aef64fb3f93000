package org.ghostbatch.benchmarks;

import java.util.Locale;
import java.util.Objects;
import org.ghostbatch.io.JsonObject;

/**
 * What was measured of a case.
 *
 * @param what the case
 * @param oursMs median of the turns, with the least and the most
 * @param peer who was measured beside; null: nobody
 * @param ratio peer's time over ours, median of the turns, with the least and the most
 * @param limit {@code fma} or {@code copy}: what bounds it; {@code none} of a call
 * @param formula the flops or bytes that are counted
 * @param limitPerSecond flops or bytes a second, measured in the same turns
 * @param ofLimit share of that which is reached
 * @param kernel name of the implementation
 */
record Row(
    Case what,
    double oursMs,
    double oursMsMin,
    double oursMsMax,
    long oursPeakBytes,
    String peer,
    double peerMs,
    long peerPeakBytes,
    double ratio,
    double ratioMin,
    double ratioMax,
    String limit,
    String formula,
    double limitPerSecond,
    double ofLimit,
    String kernel) {

  static Row of(Case what, Turns ours, String kernel, String formula, String limit) {
    return new Row(
        what,
        1e3 * ours.median(),
        1e3 * ours.min(),
        1e3 * ours.max(),
        ours.peakBytes(),
        null,
        0,
        0,
        0,
        0,
        0,
        limit,
        formula,
        0,
        0,
        kernel);
  }

  /** A call whose work is next to nothing. */
  static Row ofCall(String method, double ms, double least, double most) {
    Case what = new Case("binding", method, "16", "f32", "forward", 0, 1, "");
    return new Row(what, ms, least, most, 0, null, 0, 0, 0, 0, 0, "none", "", 0, 0, "JavaCPP");
  }

  Row withLimit(double perSecond, double share) {
    return new Row(
        what,
        oursMs,
        oursMsMin,
        oursMsMax,
        oursPeakBytes,
        peer,
        peerMs,
        peerPeakBytes,
        ratio,
        ratioMin,
        ratioMax,
        limit,
        formula,
        perSecond,
        share,
        kernel);
  }

  Row withPeer(String name, Turns peer, Turns ours) {
    Turns ratios = peer.ratio(ours);
    return new Row(
        what,
        oursMs,
        oursMsMin,
        oursMsMax,
        oursPeakBytes,
        name,
        1e3 * peer.median(),
        peer.peakBytes(),
        ratios.median(),
        ratios.min(),
        ratios.max(),
        limit,
        formula,
        limitPerSecond,
        ofLimit,
        kernel);
  }

  /** Whether both measured the same. */
  boolean matches(Row other) {
    return what.equals(other.what) && Objects.equals(peer, other.peer);
  }

  /** The limit in words, as in {@code 231 GFLOP/s}. */
  String limitText() {
    if (limit.equals("none")) {
      return "";
    }
    return String.format(
        Locale.ROOT, "%.0f %s", limitPerSecond / 1e9, limit.equals("fma") ? "GFLOP/s" : "GB/s");
  }

  JsonObject json() {
    JsonObject json =
        new JsonObject()
            .put("suite", what.suite())
            .put("name", what.name())
            .put("shape", what.shape())
            .put("precision", what.precision())
            .put("direction", what.direction())
            .put("ghost", what.ghost())
            .put("threads", what.threads())
            .put("spelling", what.spelling())
            .put("ours_ms", oursMs)
            .put("ours_ms_min", oursMsMin)
            .put("ours_ms_max", oursMsMax)
            .put("ours_peak_bytes", oursPeakBytes)
            .put("peer", peer);
    if (peer != null) {
      json.put("peer_ms", peerMs)
          .put("peer_peak_bytes", peerPeakBytes)
          .put("ratio", ratio)
          .put("ratio_min", ratioMin)
          .put("ratio_max", ratioMax);
    }
    return json.put("limit", limit)
        .put("formula", formula)
        .put("limit_per_second", limitPerSecond)
        .put("of_limit", ofLimit)
        .put("kernel", kernel);
  }

  static Row of(JsonObject json) {
    boolean alone = json.isNull("peer");
    return new Row(
        new Case(
            json.getString("suite"),
            json.getString("name"),
            json.getString("shape"),
            json.getString("precision"),
            json.getString("direction"),
            json.getInt("ghost"),
            json.getInt("threads"),
            json.getString("spelling")),
        json.getDouble("ours_ms"),
        json.getDouble("ours_ms_min"),
        json.getDouble("ours_ms_max"),
        json.getLong("ours_peak_bytes"),
        alone ? null : json.getString("peer"),
        alone ? 0 : json.getDouble("peer_ms"),
        alone ? 0 : json.getLong("peer_peak_bytes"),
        alone ? 0 : json.getDouble("ratio"),
        alone ? 0 : json.getDouble("ratio_min"),
        alone ? 0 : json.getDouble("ratio_max"),
        json.getString("limit"),
        json.getString("formula"),
        json.getDouble("limit_per_second"),
        json.getDouble("of_limit"),
        json.getString("kernel"));
  }
}
