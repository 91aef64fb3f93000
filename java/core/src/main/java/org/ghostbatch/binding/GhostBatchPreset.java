package org.ghostbatch.binding;

import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/**
 * Tells JavaCPP how to bind {@code native/include/ghostbatch}: which headers, in which order, and
 * what has no place in Java. The other classes of this package are generated from it at every
 * build.
 */
@Properties(
    target = "org.ghostbatch.binding",
    global = "org.ghostbatch.binding.GhostBatch",
    value =
        @Platform(
            include = {
              "ghostbatch/types.h",
              "ghostbatch/affine.h",
              "ghostbatch/gemm.h",
              "ghostbatch/ghost_batch_norm.h",
              "ghostbatch/pooling.h",
              "ghostbatch/elementwise.h",
              "ghostbatch/samples.h",
              "ghostbatch/lanes.h",
              "ghostbatch/vector.h",
              "ghostbatch/sign_matrix.h",
              "ghostbatch/lbfgsb.h",
              "ghostbatch/device.h",
              "ghostbatch/network.h",
              "ghostbatch/engine.h"
            },
            compiler = "cpp17",
            link = "ghostbatch",
            preload = {"gomp@.1", "dnnl@.3"},
            preloadresource = "/org/bytedeco/dnnl/"))
public class GhostBatchPreset implements InfoMapper {
  @Override
  public void map(InfoMap infoMap) {
    for (String type :
        new String[] {
          "DataType",
          "NormMode",
          "RunningStatistics",
          "PoolKind",
          "Augmentation",
          "Adversary",
          "LbfgsbStatus"
        }) {
      infoMap.put(new Info("ghostbatch::" + type).enumerate());
    }
    infoMap.put(new Info("const char").pointerTypes("String"));
    // Views cross as their addresses: of an object, every call would read two fields.
    infoMap.put(
        new Info("ghostbatch::View")
            .skip()
            .pointerTypes("@Cast(\"const ghostbatch::View*\") long"));
    // Java has its own exceptions and threads, and holds memory as Tensor and Samples only.
    infoMap
        .put(new Info("ghostbatch::Error", "ghostbatch::LaneWork", "ghostbatch::Lanes::run").skip())
        .put(
            new Info(
                    "ghostbatch::Device::allocate",
                    "ghostbatch::Device::release",
                    "ghostbatch::Device::write",
                    "ghostbatch::Device::read",
                    "ghostbatch::Device::zero",
                    "ghostbatch::Device::make_engine",
                    "ghostbatch::Device::predict_engine_bytes")
                .skip())
        .put(
            new Info(
                    "ghostbatch::Samples::row",
                    "ghostbatch::Samples::label",
                    "ghostbatch::Samples::number",
                    "ghostbatch::Samples::labels",
                    "ghostbatch::Samples::numbers",
                    "ghostbatch::Samples::id",
                    "ghostbatch::Samples::revision")
                .skip())
        .put(new Info("ghostbatch::Segments::Segment", "ghostbatch::Segments::all").skip());
    // Building blocks that the engine calls.
    infoMap.put(
        new Info("ghostbatch::Elementwise::sign", "ghostbatch::BatchLoader::perturb").skip());
  }
}
