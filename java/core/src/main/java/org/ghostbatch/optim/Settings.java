package org.ghostbatch.optim;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.StringJoiner;

/**
 * Texts like {@code sgd(momentum=0.9,nesterov=false)}: a name and settings, each of them known and
 * given once.
 */
final class Settings {
  private final String kind;
  private final String text;
  private final String name;
  private final Map<String, String> values = new LinkedHashMap<>();

  private Settings(String kind, String text) {
    this.kind = kind;
    this.text = text.strip();
    int open = this.text.indexOf('(');
    this.name = open < 0 ? this.text : this.text.substring(0, open);
    if (open < 0) {
      return;
    }
    if (!this.text.endsWith(")")) {
      throw invalid();
    }
    String inside = this.text.substring(open + 1, this.text.length() - 1);
    if (inside.isBlank()) {
      return;
    }
    for (String setting : inside.split(",", -1)) {
      int equals = setting.indexOf('=');
      if (equals < 1
          || values.put(setting.substring(0, equals).strip(), setting.substring(equals + 1).strip())
              != null) {
        throw invalid();
      }
    }
  }

  static Settings parse(String kind, String text) {
    return new Settings(kind, text);
  }

  /** The text that is read again; settings are names and values in turn. */
  static String text(String name, Object... settings) {
    StringJoiner text = new StringJoiner(",", name + "(", ")");
    for (int i = 0; i < settings.length; i += 2) {
      text.add(settings[i] + "=" + settings[i + 1]);
    }
    return text.toString();
  }

  String name() {
    return name;
  }

  double number(String setting, double otherwise) {
    String value = values.remove(setting);
    return value == null ? otherwise : Check.number(kind, setting, value);
  }

  boolean flag(String setting, boolean otherwise) {
    String value = values.remove(setting);
    if (value == null) {
      return otherwise;
    }
    if (!value.equals("true") && !value.equals("false")) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs " + setting + " true or false, got \"" + value + "\"");
    }
    return value.equals("true");
  }

  /** To be called when all known settings are read: whatever is left is unknown. */
  void requireEmpty() {
    if (!values.isEmpty()) {
      throw new IllegalArgumentException(
          "["
              + kind
              + "] needs settings that "
              + name
              + " has, got \""
              + values.keySet().iterator().next()
              + "\"");
    }
  }

  IllegalArgumentException invalid() {
    return new IllegalArgumentException(
        "[" + kind + "] needs name(setting=value,...), got \"" + text + "\"");
  }
}
