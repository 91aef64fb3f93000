// A process that measures, native side: limits of the machine, and oneDNN called straight. Lines of requests on
// standard input, a line each of answers on standard output, as from the Java worker (WorkerLoop):
//
//   prepare suite=kernels name=conv ...   flops=... bytes=... kernel=NAME
//   measure SECONDS                       seconds=... calls=... peak_bytes=...
//
// An answer may be error=TEXT. `seconds` is the mean of `calls` runs. Ends with its input.
//
// Not on Google Benchmark: it decides by itself when it runs what, and for how long. Here a parent process asks two
// workers in turn, so that both sides of a ratio are measured in the same seconds.
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "benchmarks/work.h"
#include "common/check.h"

namespace ghostbatch::benchmarks {

std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = line.find(separator, begin)) != std::string::npos; begin = end + 1) {
    parts.push_back(line.substr(begin, end - begin));
  }
  parts.push_back(line.substr(begin));
  return parts;
}

std::vector<int64_t> sizes(const std::string& shape, const std::string& names, size_t digits) {
  const std::vector<std::string> words = split(shape, ',');
  std::vector<int64_t> numbers;
  for (const std::string& word : words) {
    int64_t number = 0;
    const auto end = std::from_chars(word.data(), word.data() + word.size(), number);
    if (number >= 1 && word.size() <= digits && end.ptr == word.data() + word.size()) numbers.push_back(number);
  }
  if (numbers.size() != words.size() || words.size() != split(names, ',').size()) {
    fail("bench", text("whole numbers from 1 as shape ", names), "\"" + shape + "\"");
  }
  return numbers;
}

Case Case::of(const std::string& line) {
  const std::vector<std::string> words = split(line, ' ');
  for (const std::string& word : words) {
    if (word.find('=') == std::string::npos) fail("bench", "words name=value", "\"" + word + "\"");
  }
  const auto value = [&](const std::string& name) {
    for (const std::string& word : words) {
      if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
    }
    fail("bench", "a case with " + name + "=...", "\"" + line + "\"");
  };
  const auto number = [&](const std::string& name, int64_t low, int64_t high) {
    const std::string word = value(name);
    int64_t result = -1;
    const auto end = std::from_chars(word.data(), word.data() + word.size(), result);
    if (word.empty() || end.ptr != word.data() + word.size()) fail("bench", "a number as " + name, "\"" + word + "\"");
    check_range("bench", name.c_str(), result, low, high);
    return result;
  };
  Case wanted;
  wanted.suite = value("suite");
  wanted.name = value("name");
  wanted.shape = value("shape");
  wanted.precision = value("precision");
  wanted.direction = value("direction");
  wanted.spelling = value("spelling");
  wanted.ghost = number("ghost", 0, kMaxDimension);
  wanted.threads = static_cast<int>(number("threads", 1, 1024));
  return wanted;
}

bool Case::bf16() const {
  if (precision != "f32" && precision != "bf16") fail("bench", "precision f32 or bf16", "\"" + precision + "\"");
  return precision == "bf16";
}

namespace {

std::unique_ptr<Work> make_work(const Case& wanted) {
  if (wanted.suite == "limits") return make_limit(wanted);
  if (wanted.suite == "kernels" || wanted.suite == "step") return make_onednn(wanted);
  fail("bench", "suite limits, kernels or step", "\"" + wanted.suite + "\"");
}

/// The shortest text that reads back as the same number.
std::string shortest(double value) {
  char digits[32];
  return std::string(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

/// The most memory that this process has held; 0 where the system does not tell.
int64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  int64_t kilobytes = 0;
  for (std::string line; std::getline(status, line);) {
    if (std::sscanf(line.c_str(), "VmHWM: %ld kB", &kilobytes) == 1) return kilobytes * 1024;
  }
  return 0;
}

std::string measure(Work& work, const std::string& wanted) {
  double seconds = -1;
  const auto end = std::from_chars(wanted.data(), wanted.data() + wanted.size(), seconds);
  if (end.ptr != wanted.data() + wanted.size() || !(std::isfinite(seconds) && seconds >= 0)) {
    fail("bench", "seconds to measure", "\"" + wanted + "\"");
  }
  work.run();  // what others ran meanwhile has left the caches cold
  int64_t calls = 0;
  double elapsed;
  const auto begin = std::chrono::steady_clock::now();
  do {
    work.run();
    ++calls;
    elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  } while (elapsed < seconds);
  return "seconds=" + shortest(elapsed / static_cast<double>(calls)) + " calls=" + std::to_string(calls) +
         " peak_bytes=" + std::to_string(peak_bytes());
}

/// A text in one word, or in one line.
std::string replaced(std::string value, char old, char by) {
  for (char& c : value) c = c == old ? by : c;
  return value;
}

std::string answer_to(const std::string& line, std::unique_ptr<Work>& work) {
  const size_t space = line.find(' ');
  const std::string request = line.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
  try {
    if (request == "prepare") {
      work.reset();  // before the next takes its memory
      work = make_work(Case::of(rest));
      return "flops=" + shortest(work->flops()) + " bytes=" + shortest(work->bytes()) +
             " kernel=" + replaced(work->kernel(), ' ', '_');
    }
    if (request != "measure") fail("bench", "prepare or measure", "\"" + line + "\"");
    if (work == nullptr) return "error=needs a case to be prepared";
    return measure(*work, rest);
  } catch (const std::exception& error) {
    return "error=" + replaced(error.what(), '\n', ' ');
  }
}

}  // namespace
}  // namespace ghostbatch::benchmarks

int main() {
  // What libraries print goes to standard error.
  std::FILE* const answers = fdopen(dup(STDOUT_FILENO), "w");
  if (answers == nullptr || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    std::perror("[bench] needs standard output and standard error");
    return 1;
  }
  std::unique_ptr<ghostbatch::benchmarks::Work> work;
  for (std::string line; std::getline(std::cin, line);) {
    std::fprintf(answers, "%s\n", ghostbatch::benchmarks::answer_to(line, work).c_str());
    std::fflush(answers);
  }
  return 0;
}
