package org.ghostbatch.io;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A JSON object: members in the order they were put, read by type, with errors that name the
 * member.
 *
 * <p>Values are {@code JsonObject}, {@code List<?>}, {@code String}, {@code Number}, {@code
 * Boolean} or {@code null}.
 */
public final class JsonObject {
  private final Map<String, Object> members = new LinkedHashMap<>();

  /**
   * Sets a member; {@code value} may be any value that {@link Json#write} accepts. Returns this.
   */
  public JsonObject put(String name, Object value) {
    Json.checkValue(value);
    members.put(name, value);
    return this;
  }

  /** Names of the members, in order. */
  public Set<String> names() {
    return Collections.unmodifiableSet(members.keySet());
  }

  /** Whether there is such a member, be it null. */
  public boolean has(String name) {
    return members.containsKey(name);
  }

  /** Whether there is such a member, and it is null. */
  public boolean isNull(String name) {
    return has(name) && members.get(name) == null;
  }

  /** The member as it is. @throws IllegalArgumentException where there is none */
  public Object get(String name) {
    if (!has(name)) {
      throw new IllegalArgumentException(
          "[json] needs a member \"" + name + "\", got " + members.keySet());
    }
    return members.get(name);
  }

  public String getString(String name) {
    return typed(name, String.class, "a string");
  }

  public boolean getBoolean(String name) {
    return typed(name, Boolean.class, "true or false");
  }

  public JsonObject getObject(String name) {
    return typed(name, JsonObject.class, "an object");
  }

  public List<?> getList(String name) {
    return typed(name, List.class, "an array");
  }

  /** The member, an integer in the range of long. */
  public long getLong(String name) {
    Number value = typed(name, Number.class, "an integer");
    try {
      if (value instanceof BigDecimal decimal) {
        return decimal.longValueExact();
      }
      if (value instanceof BigInteger integer) {
        return integer.longValueExact();
      }
      if (value instanceof Double || value instanceof Float) {
        return new BigDecimal(value.doubleValue()).longValueExact();
      }
      return value.longValue();
    } catch (ArithmeticException e) {
      throw mismatch(name, "an integer of at most 64 bits", value);
    }
  }

  /** The member, an integer in the range of int. */
  public int getInt(String name) {
    long value = getLong(name);
    if (value != (int) value) {
      throw mismatch(name, "an integer of at most 32 bits", value);
    }
    return (int) value;
  }

  /** The member, the nearest double; numbers beyond its range are refused. */
  public double getDouble(String name) {
    double value = typed(name, Number.class, "a number").doubleValue();
    if (!Double.isFinite(value)) {
      throw mismatch(name, "a number in the range of a double", members.get(name));
    }
    return value;
  }

  /**
   * @throws IllegalArgumentException naming the first member that is not one of {@code known}
   */
  public void requireOnly(Set<String> known) {
    for (String name : members.keySet()) {
      if (!known.contains(name)) {
        throw new IllegalArgumentException(
            "[json] needs members among " + known + ", got \"" + name + "\"");
      }
    }
  }

  private <T> T typed(String name, Class<T> type, String what) {
    Object value = get(name);
    if (!type.isInstance(value)) {
      throw mismatch(name, what, value);
    }
    return type.cast(value);
  }

  private static IllegalArgumentException mismatch(String name, String what, Object value) {
    String text = String.valueOf(value);
    String got = text.length() > 80 ? text.substring(0, 80) + "..." : text;
    return new IllegalArgumentException(
        "[json] needs " + what + " at \"" + name + "\", got " + got);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof JsonObject object && members.equals(object.members);
  }

  @Override
  public int hashCode() {
    return members.hashCode();
  }

  /** The object as JSON on one line. */
  @Override
  public String toString() {
    return Json.write(this);
  }
}
