package org.ghostbatch.cli;

import java.util.concurrent.Callable;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What this machine and this build have, and why not what they lack. */
@Command(
    name = "info",
    description = {
      "Tells what this machine and this build have.",
      "Versions, instruction set, kernels chosen, threads, OpenMP runtimes, memory, and GPU or why not."
    },
    customSynopsis = "ghostbatch info [--json] [--backend NAME] [--threads N]%n")
final class InfoCommand implements Callable<Integer> {
  @Mixin private DeviceOptions device;

  @Option(names = "--json", description = "One JSON object on standard output.")
  private boolean json;

  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    Doctor doctor = Doctor.examine(device.backend(), device.threads());
    if (json) {
      System.out.println(Json.write(doctor.json()));
    } else {
      print(doctor.json(), "");
    }
    return doctor.healthy() ? Main.DONE : Main.FAILED;
  }

  private static void print(JsonObject object, String indent) {
    for (String name : object.names()) {
      Object value = object.get(name);
      String label = indent + name.replace('_', ' ');
      if (value instanceof JsonObject inner) {
        System.out.println(label);
        print(inner, indent + "  ");
      } else if (value instanceof Iterable<?> items) {
        System.out.println(label);
        items.forEach(item -> System.out.println(indent + "  " + item));
      } else {
        System.out.printf("%-36s %s%n", label, value == null ? "-" : value);
      }
    }
  }
}
