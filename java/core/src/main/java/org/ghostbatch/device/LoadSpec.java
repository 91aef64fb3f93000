package org.ghostbatch.device;

import java.util.List;

/**
 * What a loader does to a sample [H,W,C]: dst = (src * scale - mean[c]) / std[c], after
 * augmentation.
 *
 * @param pad cells around the image, for the crops
 * @param fill value around the image, in the units of the samples
 * @param degrees largest rotation, for {@link Augmentation#AFFINE}
 * @param translate largest translation, as a share of the size, for {@link Augmentation#AFFINE}
 * @param scale what samples are multiplied by: 1/255 for bytes
 * @param mean per channel, or empty for 0; at most 16 channels
 * @param std per channel, above 0, or empty for 1; at most 16 channels
 * @param type of dst
 */
public record LoadSpec(
    int height,
    int width,
    int channels,
    Augmentation augmentation,
    int pad,
    double fill,
    double degrees,
    double translate,
    double scale,
    List<Double> mean,
    List<Double> std,
    DataType type) {
  private static final String KIND = "batch_loader";
  private static final int MAX_CHANNELS = 16;

  public LoadSpec {
    Check.positive(KIND, "height", height);
    Check.positive(KIND, "width", width);
    Check.positive(KIND, "channels", channels);
    Check.present(KIND, "an augmentation", augmentation);
    Check.range(KIND, "pad", pad, 0, 4096);
    Check.finite(KIND, "fill", fill);
    Check.finite(KIND, "degrees", degrees);
    Check.finite(KIND, "translate", translate);
    Check.finite(KIND, "scale", scale);
    Check.activation(KIND, type);
    mean = copy("means", mean);
    std = copy("standard deviations", std);
    channels(channels, "means", mean);
    channels(channels, "standard deviations", std);
    for (double value : mean) {
      Check.finite(KIND, "mean", value);
    }
    for (double value : std) {
      if (!(value > 0) || Double.isInfinite(value)) {
        throw Check.bad(KIND, "finite standard deviations above 0", std);
      }
    }
  }

  private static List<Double> copy(String what, List<Double> values) {
    for (Double value : Check.present(KIND, what, values)) {
      Check.present(KIND, what, value);
    }
    return List.copyOf(values);
  }

  private static void channels(int channels, String what, List<Double> values) {
    if (!values.isEmpty() && (values.size() != channels || channels > MAX_CHANNELS)) {
      throw Check.bad(
          KIND,
          what + " of each of " + channels + " channels (none above " + MAX_CHANNELS + ")",
          values.size());
    }
  }

  /** Values as they are, f32, no augmentation; pad 4, 10 degrees, translation 0.1 once there is. */
  public static LoadSpec of(int height, int width, int channels) {
    return new LoadSpec(
        height,
        width,
        channels,
        Augmentation.NONE,
        4,
        0,
        10,
        0.1,
        1,
        List.of(),
        List.of(),
        DataType.F32);
  }

  public LoadSpec withAugmentation(Augmentation augmentation) {
    return new LoadSpec(
        height,
        width,
        channels,
        augmentation,
        pad,
        fill,
        degrees,
        translate,
        scale,
        mean,
        std,
        type);
  }

  public LoadSpec withPad(int pad, double fill) {
    return new LoadSpec(
        height,
        width,
        channels,
        augmentation,
        pad,
        fill,
        degrees,
        translate,
        scale,
        mean,
        std,
        type);
  }

  public LoadSpec withNormalization(double scale, List<Double> mean, List<Double> std) {
    return new LoadSpec(
        height,
        width,
        channels,
        augmentation,
        pad,
        fill,
        degrees,
        translate,
        scale,
        mean,
        std,
        type);
  }

  public LoadSpec withType(DataType type) {
    return new LoadSpec(
        height,
        width,
        channels,
        augmentation,
        pad,
        fill,
        degrees,
        translate,
        scale,
        mean,
        std,
        type);
  }

  /** H * W * C. */
  public long sampleElements() {
    return Check.product(KIND, "sample", height, width, channels, 1);
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.LoadSpec toBinding() {
    org.ghostbatch.binding.LoadSpec binding =
        new org.ghostbatch.binding.LoadSpec()
            .height(height)
            .width(width)
            .channels(channels)
            .augmentation(augmentation.binding)
            .pad(pad)
            ._fill(fill)
            .degrees(degrees)
            .translate(translate)
            .value_scale(scale)
            .type(type.binding);
    for (int c = 0; c < mean.size(); c++) {
      binding.mean(c, mean.get(c).floatValue());
    }
    for (int c = 0; c < std.size(); c++) {
      binding.std(c, std.get(c).floatValue());
    }
    return binding;
  }
}
