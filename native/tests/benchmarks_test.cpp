// The native worker of the benchmarks: a process that is asked line by line, as `./ghostbatch bench` asks it.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>

extern char** environ;

namespace {

class Worker {
 public:
  Worker() {
    int requests[2], answers[2];
    EXPECT_EQ(pipe(requests), 0);
    EXPECT_EQ(pipe(answers), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, requests[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers[1], STDOUT_FILENO);
    for (const int end : {requests[0], requests[1], answers[0], answers[1]}) {
      posix_spawn_file_actions_addclose(&actions, end);
    }
    std::string path = GHOSTBATCH_BENCHMARKS;
    char* const arguments[] = {path.data(), nullptr};
    EXPECT_EQ(posix_spawn(&process_, path.c_str(), &actions, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(requests[0]);
    close(answers[1]);
    requests_ = fdopen(requests[1], "w");
    answers_ = fdopen(answers[0], "r");
  }
  ~Worker() {
    if (requests_ != nullptr) end();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  std::string ask(const std::string& request) {
    std::fprintf(requests_, "%s\n", request.c_str());
    std::fflush(requests_);
    std::string answer;
    for (int c; (c = std::fgetc(answers_)) != EOF && c != '\n';) answer += static_cast<char>(c);
    return answer;
  }

  /// The answer's words, of which numbers are to be above 0.
  std::map<std::string, double> numbers(const std::string& request) {
    const std::string answer = ask(request);
    std::map<std::string, double> numbers;
    std::istringstream words(answer);
    for (std::string word; words >> word;) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        ADD_FAILURE() << request << ": " << answer;
        return numbers;
      }
      char* end = nullptr;
      const double number = std::strtod(word.c_str() + equals + 1, &end);
      if (*end == '\0') numbers[word.substr(0, equals)] = number;
    }
    EXPECT_EQ(numbers.count("error"), 0u) << request << ": " << answer;
    return numbers;
  }

  /// Ends its input; its exit status.
  int end() {
    std::fclose(requests_);
    std::fclose(answers_);
    requests_ = answers_ = nullptr;
    int status = -1;
    waitpid(process_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t process_ = -1;
  std::FILE* requests_ = nullptr;
  std::FILE* answers_ = nullptr;
};

std::string prepare(const std::string& suite, const std::string& name, const std::string& shape,
                    const std::string& precision, const std::string& direction, int ghost, int threads,
                    const std::string& spelling) {
  std::ostringstream line;
  line << "prepare suite=" << suite << " name=" << name << " shape=" << shape << " precision=" << precision
       << " direction=" << direction << " ghost=" << ghost << " threads=" << threads << " spelling=" << spelling;
  return line.str();
}

bool has_bf16(Worker& worker) {
  return worker.ask(prepare("kernels", "linear", "2,16,16", "bf16", "forward", 0, 1, "lanes")).find("AVX-512") ==
         std::string::npos;
}

void expect_measured(Worker& worker) {
  auto measured = worker.numbers("measure 0.001");
  EXPECT_GT(measured["seconds"], 0);
  EXPECT_GE(measured["calls"], 1);
#if defined(__linux__)
  EXPECT_GT(measured["peak_bytes"], 1e5);
#endif
}

TEST(BenchmarkWorker, MeasuresCopies) {
  Worker worker;
  for (const int threads : {1, 2, 3}) {
    // In whole blocks of every thread, and where that is little, several times in a run.
    const double bytes = worker.numbers(prepare("limits", "copy", "100000", "f32", "", 0, threads, ""))["bytes"];
    EXPECT_GE(bytes, 1e7);
    expect_measured(worker);
    EXPECT_EQ(worker.numbers(prepare("limits", "copy", "50331648", "f32", "", 0, threads, ""))["bytes"], 50331648);
    expect_measured(worker);
  }
  EXPECT_EQ(worker.end(), 0);
}

TEST(BenchmarkWorker, MeasuresMultiplyAdds) {
  Worker worker;
  for (const char* precision : {"f32", "bf16"}) {
    for (const char* isa : {"", "portable", "avx2", "avx512", "avx512bf16"}) {
      const std::string answer = worker.ask(prepare("limits", "fma", "", precision, "", 0, 1, isa));
      if (answer.starts_with("error=")) {  // the best and the portable are everywhere
        EXPECT_TRUE(std::string(isa).starts_with("avx")) << answer;
        EXPECT_NE(answer.find("that this CPU has"), std::string::npos) << answer;
        continue;
      }
      const double of_one = worker.numbers(prepare("limits", "fma", "", precision, "", 0, 1, isa))["flops"];
      const double seconds = worker.numbers("measure 0.01")["seconds"];
      EXPECT_GT(of_one, 0);
      // A loop that the compiler saw through would be faster than any core.
      EXPECT_LT(of_one / seconds, 5e12) << precision << " " << isa;
      EXPECT_EQ(worker.numbers(prepare("limits", "fma", "", precision, "", 0, 2, isa))["flops"], 2 * of_one);
      expect_measured(worker);
    }
  }
}

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/// Multiply-adds a second where each waits for the one before.
double dependent_flops_per_second() {
  constexpr int kSteps = 100000;
  volatile float start = 1, factor = 0.5f;
  const float f = factor;
  float x = start;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kSteps; ++i) x = x * f + 1;
  start = x;
  return 2.0 * kSteps / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(BenchmarkWorker, PeakIsOfVectorsThatDoNotWait) {
  // Measured on Zen 5: 44, 104 and 192 times. The best of many in turn, as others may use the machine.
  const std::map<std::string, double> least{{"portable", 4}, {"avx2", 8}, {"avx512", 16}, {"", 4}};
  for (const auto& [isa, factor] : least) {
    Worker worker;
    const std::string request = prepare("limits", "fma", "", "f32", "", 0, 1, isa);
    if (worker.ask(request).starts_with("error=")) continue;  // see MeasuresMultiplyAdds
    const double flops = worker.numbers(request)["flops"];
    double peak = 0, dependent = 0;
    for (int i = 0; i < 20; ++i) {
      peak = std::max(peak, flops / worker.numbers("measure 0")["seconds"]);
      dependent = std::max(dependent, dependent_flops_per_second());
    }
    EXPECT_GT(peak, factor * dependent) << isa;
  }
}
#endif

TEST(BenchmarkWorker, MeasuresLayersOfOneDnn) {
  Worker worker;
  for (const char* precision : {"f32", "bf16"}) {
    if (precision == std::string("bf16") && !has_bf16(worker)) continue;
    for (const char* direction : {"forward", "backward-data", "backward-weights"}) {
      for (const char* spelling : {"lanes", "omp"}) {
        for (const int threads : {1, 2}) {
          // 5 rows: slices of 3 and 2.
          EXPECT_EQ(worker.numbers(prepare("kernels", "conv", "5,9,7,16,32,3,2", precision, direction, 0, threads,
                                           spelling))["flops"],
                    2.0 * 5 * 5 * 4 * 32 * 16 * 9);
          expect_measured(worker);
          EXPECT_EQ(worker.numbers(
                        prepare("kernels", "linear", "5,17,16", precision, direction, 0, threads, spelling))["flops"],
                    2.0 * 5 * 17 * 16);
          expect_measured(worker);
        }
      }
    }
  }
}

TEST(BenchmarkWorker, MeasuresConvolutionsOfANetwork) {
  Worker worker;
  const std::string shape = "10,8,8,3,16,3,1*1!;10,8,8,16,16,3,1*3;10,8,8,16,32,1,2*1";
  const double stem = 2.0 * 10 * 64 * 16 * 3 * 9, body = 2.0 * 10 * 64 * 16 * 16 * 9,
               shortcut = 2.0 * 10 * 16 * 32 * 16;
  for (const int ghost : {0, 4, 5, 100}) {  // 4: the last micro-batch is shorter
    for (const int threads : {1, 2}) {
      EXPECT_EQ(
          worker.numbers(prepare("step", "convolutions", shape, "f32", "train", ghost, threads, "lanes"))["flops"],
          2 * stem + 3 * 3 * body + 3 * shortcut);
      expect_measured(worker);
      EXPECT_EQ(
          worker.numbers(prepare("step", "convolutions", shape, "f32", "evaluate", ghost, threads, "lanes"))["flops"],
          stem + 3 * body + shortcut);
      expect_measured(worker);
    }
  }
}

TEST(BenchmarkWorker, AnswersWhatItCannotDoWithText) {
  Worker worker;
  const auto refuses = [&](const std::string& request, const std::string& needs) {
    const std::string answer = worker.ask(request);
    EXPECT_TRUE(answer.starts_with("error=")) << request << ": " << answer;
    EXPECT_NE(answer.find(needs), std::string::npos) << request << ": " << answer;
  };
  const std::string conv = "4,8,8,16,16,3,1";
  refuses("measure 1", "a case to be prepared");
  refuses("", "prepare or measure");
  refuses("prepare", "name=value");
  refuses("prepare name=fma", "suite=");
  refuses("prepare suite=limits name=fma", "shape=");
  refuses(prepare("kernel", "conv", conv, "f32", "forward", 0, 1, "lanes"), "suite limits, kernels or step");
  refuses(prepare("limits", "sum", "", "f32", "", 0, 1, ""), "fma or copy");
  refuses(prepare("limits", "fma", "", "f64", "", 0, 1, ""), "precision");
  refuses(prepare("limits", "fma", "", "f32", "", 0, 1, "sse9"), "portable");
  refuses(prepare("limits", "fma", "", "f32", "", 0, 0, ""), "threads");
  refuses(prepare("limits", "fma", "", "f32", "", 0, 1025, ""), "threads");
  refuses(prepare("limits", "fma", "", "f32", "", -1, 1, ""), "ghost");
  for (const char* bytes : {"", "0", "-1", "1", "1000", "1e6", "1000000 000", "99999999999999", "4096,4096"}) {
    refuses(prepare("limits", "copy", bytes, "f32", "", 0, 1, ""), "needs");
  }
  refuses(prepare("limits", "copy", "9999999999999", "f32", "", 0, 1, ""), "bytes free");
  refuses(prepare("kernels", "gbn", conv, "f32", "forward", 0, 1, "lanes"), "conv or linear");
  for (const char* shape : {"", "4,8,8,16,16,3", "4,8,8,16,16,3,1,1", "4,8,8,16,16,3,0", "4,8,8,16,16,3,x",
                            "4,8,8,16,16,3,", "4,8,8,16,16,3,+1", "4,8,8,16,16,3,12345678901"}) {
    refuses(prepare("kernels", "conv", shape, "f32", "forward", 0, 1, "lanes"), "N,H,W,C,F,K,S");
  }
  refuses(prepare("kernels", "conv", "999999999,999999999,999999999,16,16,3,1", "f32", "forward", 0, 1, "lanes"),
          "2^48");
  refuses(prepare("kernels", "conv", "99999,1999,1999,16,16,3,1", "f32", "forward", 0, 1, "lanes"), "bytes free");
  refuses(prepare("kernels", "linear", "4,8", "f32", "forward", 0, 1, "lanes"), "N,IN,OUT");
  refuses(prepare("kernels", "linear", "4,8,8", "f32", "both", 0, 1, "lanes"), "direction");
  refuses(prepare("kernels", "linear", "4,8,8", "f32", "forward", 0, 1, ""), "lanes or omp");
  refuses(prepare("kernels", "linear", "1,8,8", "f32", "forward", 0, 2, "lanes"), "2 rows");
  refuses(prepare("step", "resnet44", conv + "*1", "f32", "train", 0, 1, "lanes"), "convolutions");
  refuses(prepare("step", "convolutions", conv + "*1", "f32", "forward", 0, 1, "lanes"), "train or evaluate");
  refuses(prepare("step", "convolutions", conv + "*1", "f32", "train", 0, 1, "omp"), "lanes");
  for (const std::string& shape : {std::string(""), conv, conv + "*", conv + "*0", conv + "*!", conv + "*1!!",
                                   conv + "*1;", conv + "*1*1", std::string("*1"), conv + "*1;5,8,8,16,16,3,1*1"}) {
    refuses(prepare("step", "convolutions", shape, "f32", "train", 0, 1, "lanes"), "needs");
  }

  // Refused or not, the case before is gone; and the worker still works.
  refuses("measure 1", "a case to be prepared");
  EXPECT_GT(worker.numbers(prepare("kernels", "conv", conv, "f32", "forward", 0, 1, "lanes"))["flops"], 0);
  refuses("measure", "seconds");
  refuses("measure x", "seconds");
  refuses("measure nan", "seconds");
  refuses("measure inf", "seconds");
  refuses("measure -1", "seconds");
  refuses("repeat 1", "prepare or measure");
  expect_measured(worker);
  EXPECT_EQ(worker.end(), 0);
}

TEST(BenchmarkWorker, SaysWhatOneDnnRefuses) {
  setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);  // no convolution in bf16
  Worker worker;
  unsetenv("ONEDNN_MAX_CPU_ISA");
  const std::string answer =
      worker.ask(prepare("kernels", "conv", "4,8,8,16,16,3,1", "bf16", "forward", 0, 2, "lanes"));
  EXPECT_NE(answer.find("error=[bench] needs a forward that oneDNN has on this CPU, got unimplemented for 2 rows"),
            std::string::npos)
      << answer;
}

}  // namespace
