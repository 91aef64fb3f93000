package org.ghostbatch.boundary;

/** Both devices that calls run on. */
final class World implements AutoCloseable {
  final Bench cpu = new Bench("cpu");
  final Bench reference = new Bench("reference");

  Bench bench(Call call) {
    return call.draw(0, 2) > 0 ? cpu : reference;
  }

  Bench other(Bench bench) {
    return bench == cpu ? reference : cpu;
  }

  void tidy() {
    cpu.tidy();
    reference.tidy();
  }

  @Override
  public void close() {
    cpu.close();
    reference.close();
  }
}
