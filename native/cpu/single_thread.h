#pragma once

#include <omp.h>

namespace ghostbatch::cpu {

/// Sets OpenMP to one thread on the calling thread while it lives, and back afterwards. oneDNN takes the number of
/// threads from there, when a primitive is made and, in part, when it runs. Lanes have it at one already, for good.
class SingleThread {
 public:
  SingleThread() : threads_(omp_get_max_threads()) {
    if (threads_ != 1) omp_set_num_threads(1);
  }
  ~SingleThread() {
    if (threads_ != 1) omp_set_num_threads(threads_);
  }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  const int threads_;
};

}  // namespace ghostbatch::cpu
