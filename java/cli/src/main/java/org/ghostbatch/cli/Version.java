package org.ghostbatch.cli;

import picocli.CommandLine.IVersionProvider;

/** The version that the jar's manifest names. */
final class Version implements IVersionProvider {
  static String text() {
    String version = Version.class.getPackage().getImplementationVersion();
    return version != null ? version : "development";
  }

  @Override
  public String[] getVersion() {
    return new String[] {"ghostbatch " + text()};
  }
}
