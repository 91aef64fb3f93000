package org.ghostbatch;

import static com.tngtech.archunit.core.domain.JavaModifier.PROTECTED;
import static com.tngtech.archunit.core.domain.JavaModifier.PUBLIC;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Who may use whom: study, analysis -> train -> nn, optim, data -> device -> binding. */
class ArchitectureTest {
  private static JavaClasses ours;

  @BeforeAll
  static void readClasses() {
    ours =
        new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages("org.ghostbatch");
    assertTrue(ours.stream().anyMatch(type -> type.getPackageName().endsWith(".binding")));
  }

  @Test
  void nothingLooksUp() {
    layeredArchitecture()
        .consideringOnlyDependenciesInAnyPackage("org.ghostbatch..")
        .withOptionalLayers(true)
        .layer("study")
        .definedBy("org.ghostbatch.study..", "org.ghostbatch.analysis..")
        .layer("train")
        .definedBy("org.ghostbatch.train..")
        .layer("parts")
        .definedBy("org.ghostbatch.nn..", "org.ghostbatch.optim..", "org.ghostbatch.data..")
        .layer("device")
        .definedBy("org.ghostbatch.device..")
        .layer("binding")
        .definedBy("org.ghostbatch.binding..")
        .whereLayer("study")
        .mayNotBeAccessedByAnyLayer()
        .whereLayer("train")
        .mayOnlyBeAccessedByLayers("study")
        .whereLayer("parts")
        .mayOnlyBeAccessedByLayers("train", "study")
        .whereLayer("device")
        .mayOnlyBeAccessedByLayers("parts", "train", "study")
        .whereLayer("binding")
        .mayOnlyBeAccessedByLayers("device")
        .check(ours);
  }

  @Test
  void helpersUseHelpersOnly() {
    classes()
        .that()
        .resideInAnyPackage("org.ghostbatch.io..", "org.ghostbatch.random..")
        .should()
        .onlyDependOnClassesThat()
        .resideInAnyPackage("java..", "org.ghostbatch.io..", "org.ghostbatch.random..")
        .allowEmptyShould(true)
        .check(ours);
  }

  @Test
  void javaCppStaysInBindingAndDevice() {
    noClasses()
        .that()
        .resideOutsideOfPackages("org.ghostbatch.binding..", "org.ghostbatch.device..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("org.bytedeco..")
        .allowEmptyShould(true)
        .check(ours);
  }

  @Test
  void noSignatureShowsTheBinding() {
    Set<String> shown =
        ours.stream()
            .filter(type -> !type.getPackageName().equals("org.ghostbatch.binding"))
            .filter(type -> type.getModifiers().contains(PUBLIC))
            .flatMap(type -> type.getCodeUnits().stream())
            .filter(ArchitectureTest::isVisible)
            .filter(
                unit ->
                    isNative(unit.getRawReturnType())
                        || unit.getRawParameterTypes().stream()
                            .anyMatch(ArchitectureTest::isNative))
            .map(JavaCodeUnit::getFullName)
            .collect(Collectors.toCollection(TreeSet::new));
    assertEquals(Set.of(), shown);
  }

  private static boolean isVisible(JavaCodeUnit unit) {
    return unit.getModifiers().contains(PUBLIC) || unit.getModifiers().contains(PROTECTED);
  }

  private static boolean isNative(JavaClass type) {
    String name = type.getBaseComponentType().getPackageName();
    return name.equals("org.ghostbatch.binding") || name.startsWith("org.bytedeco");
  }

  @Test
  void everyPackageIsDescribed() {
    Stream<String> packages = ours.stream().map(JavaClass::getPackageName).distinct();
    Set<String> silent =
        packages
            .filter(name -> !Files.exists(source(name, "package-info.java")))
            .collect(Collectors.toCollection(TreeSet::new));
    assertEquals(Set.of(), silent, "packages without package-info.java");
  }

  private static Path source(String packageName, String file) {
    return Path.of("src", "main", "java").resolve(packageName.replace('.', '/')).resolve(file);
  }
}
