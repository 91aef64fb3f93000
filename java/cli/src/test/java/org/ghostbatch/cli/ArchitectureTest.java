package org.ghostbatch.cli;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

/** The command line uses the public API; the core knows no terminal. */
class ArchitectureTest {
  private static final JavaClasses OURS =
      new ClassFileImporter()
          .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
          .importPackages("org.ghostbatch");

  @Test
  void theCommandLineDoesNotReachBelowTheDevice() {
    noClasses()
        .that()
        .resideInAPackage("org.ghostbatch.cli..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("org.ghostbatch.binding..", "org.bytedeco..")
        .allowEmptyShould(true)
        .check(OURS);
  }

  @Test
  void theCoreKnowsNoTerminal() {
    noClasses()
        .that()
        .resideOutsideOfPackage("org.ghostbatch.cli..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("org.ghostbatch.cli..", "picocli..", "me.tongfei..", "org.jline..")
        .check(OURS);
  }
}
