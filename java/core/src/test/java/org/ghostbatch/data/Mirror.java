package org.ghostbatch.data;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** A server on this machine that misbehaves as it is told: request by request, then no more. */
final class Mirror implements AutoCloseable {
  /** What is done with a request. */
  interface Answer {
    void send(HttpExchange exchange, byte[] content) throws IOException;
  }

  static final String TAG = "\"v1\"";

  private final HttpServer server;
  private final ExecutorService threads = Executors.newCachedThreadPool();
  private final CountDownLatch closed = new CountDownLatch(1);
  private final Map<String, byte[]> files = new HashMap<>();
  private final Map<String, Deque<Answer>> answers = new HashMap<>();
  private final List<String> requests = Collections.synchronizedList(new ArrayList<>());

  Mirror() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(threads);
    server.createContext("/", this::handle);
    server.start();
  }

  /** With a slash at the end. */
  String address() {
    return "http://127.0.0.1:" + server.getAddress().getPort() + "/";
  }

  Mirror file(String name, byte[] content) {
    files.put(name, content);
    return this;
  }

  /** What to do with the next requests for a file; those after them are answered well. */
  Mirror answers(String name, Answer... next) {
    synchronized (answers) {
      answers.put(name, new ArrayDeque<>(Arrays.asList(next)));
    }
    return this;
  }

  /** Of each request: name, range and validator. */
  List<String> requests() {
    return List.copyOf(requests);
  }

  private void handle(HttpExchange exchange) throws IOException {
    try (exchange) {
      String name = exchange.getRequestURI().getPath().substring(1);
      String range = exchange.getRequestHeaders().getFirst("Range");
      String validator = exchange.getRequestHeaders().getFirst("If-Range");
      requests.add(
          name
              + (range == null ? "" : " " + range)
              + (validator == null ? "" : " if " + validator));
      Answer answer;
      synchronized (answers) {
        Deque<Answer> next = answers.get(name);
        answer = next == null || next.isEmpty() ? Mirror::well : next.poll();
      }
      answer.send(exchange, files.get(name));
    }
  }

  /** As a good server does: with ranges, of this version only. */
  static void well(HttpExchange exchange, byte[] content) throws IOException {
    if (content == null) {
      status(404).send(exchange, null);
      return;
    }
    int from = from(exchange);
    String validator = exchange.getRequestHeaders().getFirst("If-Range");
    exchange.getResponseHeaders().set("ETag", TAG);
    if (from > 0 && (validator == null || validator.equals(TAG))) {
      part(exchange, content, from, content.length);
    } else {
      send(exchange, 200, content, content.length, content.length);
    }
  }

  private static int from(HttpExchange exchange) {
    String range = exchange.getRequestHeaders().getFirst("Range");
    return range == null ? 0 : Integer.parseInt(range.replaceAll("bytes=(\\d+)-", "$1"));
  }

  private static void part(HttpExchange exchange, byte[] content, int from, int to)
      throws IOException {
    exchange
        .getResponseHeaders()
        .set("Content-Range", "bytes " + from + "-" + (content.length - 1) + "/" + content.length);
    byte[] rest = Arrays.copyOfRange(content, from, content.length);
    send(exchange, 206, rest, rest.length, to - from);
  }

  private static void send(HttpExchange exchange, int status, byte[] body, long length, int sent)
      throws IOException {
    exchange.sendResponseHeaders(status, length);
    OutputStream out = exchange.getResponseBody();
    out.write(body, 0, sent);
    out.flush();
  }

  /** Says the whole length, and ends the connection after the byte before {@code end}. */
  static Answer cutAt(int end) {
    return (exchange, content) -> {
      exchange.getResponseHeaders().set("ETag", TAG);
      if (from(exchange) > 0) {
        part(exchange, content, from(exchange), end);
      } else {
        send(exchange, 200, content, content.length, end);
      }
    };
  }

  /** Sends the bytes before {@code end}, then nothing until the server is closed. */
  Answer stallAt(int end) {
    return (exchange, content) -> {
      cutAt(end).send(exchange, content);
      try {
        closed.await(60, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    };
  }

  /** Ignores ranges, and changes a byte. */
  static void corrupt(HttpExchange exchange, byte[] content) throws IOException {
    byte[] changed = content.clone();
    changed[changed.length / 2] ^= 1;
    send(exchange, 200, changed, changed.length, changed.length);
  }

  /** Ignores ranges, and has no validator. */
  static void whole(HttpExchange exchange, byte[] content) throws IOException {
    send(exchange, 200, content, content.length, content.length);
  }

  /** In pieces, without saying how long it will be; never ends. */
  static void endless(HttpExchange exchange, byte[] content) throws IOException {
    exchange.sendResponseHeaders(200, 0);
    byte[] piece = new byte[4096];
    for (int i = 0; i < 100_000; i++) {
      exchange.getResponseBody().write(piece);
    }
  }

  static Answer status(int status) {
    return (exchange, content) -> {
      byte[] page = "an error page".getBytes();
      send(exchange, status, page, page.length, page.length);
    };
  }

  static Answer redirect(int status, String location) {
    return (exchange, content) -> {
      if (location != null) {
        exchange.getResponseHeaders().set("Location", location);
      }
      exchange.sendResponseHeaders(status, -1);
    };
  }

  /** Another range than was asked for. */
  static void wrongRange(HttpExchange exchange, byte[] content) throws IOException {
    part(exchange, content, Math.max(0, from(exchange) - 1), content.length);
  }

  @Override
  public void close() {
    closed.countDown();
    server.stop(0);
    threads.shutdownNow();
  }
}
