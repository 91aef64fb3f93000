// What the worker measures: cases, and work made ready from them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ghostbatch::benchmarks {

/// The words of a `prepare` request: the same as those of the Java worker's Case.
struct Case {
  std::string suite, name, shape, precision, direction, spelling;
  int64_t ghost = 0;
  int threads = 1;

  /// name=value, separated by spaces.
  static Case of(const std::string& line);

  /// Whether its precision is bf16; Error where it is neither that nor f32.
  bool bf16() const;
};

/// The numbers of "3,4,5", as many as `names` ("N,IN,OUT") has. Error where there are others, or they are not whole
/// numbers from 1 of at most `digits` digits.
std::vector<int64_t> sizes(const std::string& shape, const std::string& names, size_t digits = 9);
/// The parts of `line` between separators; one empty part of an empty line.
std::vector<std::string> split(const std::string& line, char separator);

/// A case made ready: its memory is there and holds data.
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;

  /// Name of the implementation that runs.
  virtual std::string kernel() const = 0;
  /// Floating-point operations of one run, by the textbook formula; 0: not what limits it.
  virtual double flops() const = 0;
  /// Bytes that one run has to read and write; 0: not what limits it.
  virtual double bytes() const = 0;
  /// Does the work once.
  virtual void run() = 0;
};

/// Suite limits, names fma and copy.
std::unique_ptr<Work> make_limit(const Case& wanted);
/// Suite kernels, names conv and linear; suite step, name convolutions: oneDNN, without anything of ours.
std::unique_ptr<Work> make_onednn(const Case& wanted);

}  // namespace ghostbatch::benchmarks
