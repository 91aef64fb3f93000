package org.ghostbatch.benchmarks;

import java.util.Locale;
import java.util.Objects;
import org.ghostbatch.io.JsonObject;

/**
 * What was measured of a case.
 *
 * @param ms of ours
 * @param peakBytes the most memory that our process held; on a GPU, what the case takes there
 * @param peer who was measured beside; null: nobody
 * @param limit what bounds the case; null: nothing that is measured
 * @param outside share of a step's lane time that no kernel ran in; negative: not measured
 * @param kernel name of the implementation
 */
record Row(
    Case what, Figure ms, long peakBytes, Peer peer, Limit limit, double outside, String kernel) {

  /**
   * @param ratio the peer's time over ours, turn by turn; of GhostBatch beside itself, our share of
   *     the limit over the peer's of its own
   */
  record Peer(String name, double ms, long peakBytes, Figure ratio) {}

  /**
   * @param name {@code fma} or {@code copy}
   * @param formula the flops or bytes that are counted
   * @param perSecond flops or bytes, measured in the same turns
   * @param share of that which is reached
   */
  record Limit(String name, String formula, double perSecond, double share) {
    /** In words, as in {@code 231 GFLOP/s}. */
    @Override
    public String toString() {
      String unit = name.equals("fma") ? "GFLOP/s" : "GB/s";
      return String.format(Locale.ROOT, "%.0f %s", perSecond / 1e9, unit);
    }
  }

  /**
   * What a run gets done.
   *
   * @param unit {@code images}, {@code flops} or {@code bytes}
   */
  record Amount(String unit, double perRun) {
    double perSecond(double ms) {
      return perRun / ms * 1e3;
    }

    /** In words, as in {@code 231 GB/s}. */
    String rate(double ms) {
      double perSecond = perSecond(ms);
      return switch (unit) {
        case "images" -> String.format(Locale.ROOT, "%,.0f images/s", perSecond);
        case "flops" -> String.format(Locale.ROOT, "%.2f TFLOP/s", perSecond / 1e12);
        default -> String.format(Locale.ROOT, "%.0f GB/s", perSecond / 1e9);
      };
    }
  }

  /** What is counted of this row's case; null: nothing. */
  Amount amount() {
    return switch (what.suite()) {
      case "step" -> new Amount("images", what.sizes("BATCH")[0]);
      case "kernels" -> {
        Kernels.Cost cost = Kernels.cost(what);
        yield cost.flops() > 0
            ? new Amount("flops", cost.flops())
            : new Amount("bytes", cost.bytes());
      }
      default -> null;
    };
  }

  /** A call whose work is next to nothing. */
  static Row ofCall(String method, Figure ms) {
    Case what = new Case("binding", method, "16", "f32", "forward", 0, 1, "");
    return new Row(what, ms, 0, null, null, -1, "JavaCPP");
  }

  /** Whether both measured the same. */
  boolean matches(Row other) {
    return what.equals(other.what) && Objects.equals(peerName(), other.peerName());
  }

  private String peerName() {
    return peer == null ? null : peer.name;
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
            .put("ours_ms", ms.median())
            .put("ours_ms_min", ms.least())
            .put("ours_ms_max", ms.most());
    Amount amount = amount();
    if (amount != null) {
      String name = amount.unit + "_per_second";
      json.put(name, amount.perSecond(ms.median()))
          .put(name + "_min", amount.perSecond(ms.most()))
          .put(name + "_max", amount.perSecond(ms.least()));
    }
    json.put("ours_peak_bytes", peakBytes).put("peer", peerName());
    if (peer != null) {
      json.put("peer_ms", peer.ms)
          .put("peer_peak_bytes", peer.peakBytes)
          .put("ratio", peer.ratio.median())
          .put("ratio_min", peer.ratio.least())
          .put("ratio_max", peer.ratio.most());
    }
    json.put("limit", limit == null ? null : limit.name);
    if (limit != null) {
      json.put("formula", limit.formula)
          .put("limit_per_second", limit.perSecond)
          .put("of_limit", limit.share);
    }
    if (outside >= 0) {
      json.put("outside_kernels", outside);
    }
    return json.put("kernel", kernel);
  }

  static Row of(JsonObject json) {
    Case what =
        new Case(
            json.getString("suite"),
            json.getString("name"),
            json.getString("shape"),
            json.getString("precision"),
            json.getString("direction"),
            json.getInt("ghost"),
            json.getInt("threads"),
            json.getString("spelling"));
    Peer peer =
        json.isNull("peer")
            ? null
            : new Peer(
                json.getString("peer"),
                json.getDouble("peer_ms"),
                json.getLong("peer_peak_bytes"),
                figure(json, "ratio"));
    Limit limit =
        json.isNull("limit")
            ? null
            : new Limit(
                json.getString("limit"),
                json.getString("formula"),
                json.getDouble("limit_per_second"),
                json.getDouble("of_limit"));
    return new Row(
        what,
        figure(json, "ours_ms"),
        json.getLong("ours_peak_bytes"),
        peer,
        limit,
        json.has("outside_kernels") ? json.getDouble("outside_kernels") : -1,
        json.getString("kernel"));
  }

  private static Figure figure(JsonObject json, String name) {
    return new Figure(
        json.getDouble(name), json.getDouble(name + "_min"), json.getDouble(name + "_max"));
  }
}
