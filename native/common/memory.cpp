#include "common/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "common/check.h"

namespace ghostbatch {
namespace {

constexpr int64_t kHugePage = int64_t{1} << 21;

int64_t round_up(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// The number in a file of one number; none where there is no such file, or it says "max".
std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

/// The number behind `key` in a file of "key number" lines.
std::optional<int64_t> read_entry(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    int64_t value = 0;
    if (word == key && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

/// Names of the files of one version of control groups.
struct GroupFiles {
  const char* root;
  const char* limit;
  const char* usage;
  const char* cache;  // in memory.stat: page cache that is given up under pressure, though it counts as used
};

constexpr GroupFiles kVersion1{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file"};
constexpr GroupFiles kVersion2{"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

/// Least that is left in the group `path` and those above it.
int64_t left_in_group(const GroupFiles& files, std::string path) {
  int64_t left = std::numeric_limits<int64_t>::max();
  for (;;) {
    const std::string folder = files.root + path + "/";
    const auto limit = read_number(folder + files.limit);
    const auto usage = read_number(folder + files.usage);
    if (limit && usage) {
      const int64_t cache = read_entry(folder + "memory.stat", files.cache).value_or(0);
      left = std::min(left, std::max<int64_t>(0, *limit - (*usage - cache)));
    }
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return left;
    path.erase(slash);
  }
}

/// Least that is left in the control groups of this process.
int64_t left_in_groups() {
  int64_t left = std::numeric_limits<int64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  // A line is "number:controllers:path"; version 2 has no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers == ",,") left = std::min(left, left_in_group(kVersion2, path));
    if (controllers.find(",memory,") != std::string::npos) left = std::min(left, left_in_group(kVersion1, path));
  }
  return left;
}

}  // namespace

int64_t available_memory() {
  const auto kilobytes = read_entry("/proc/meminfo", "MemAvailable:");
  const int64_t machine =
      kilobytes ? *kilobytes * 1024 : static_cast<int64_t>(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return std::min(machine, left_in_groups());
}

void* allocate_huge(int64_t bytes) {
  check_range("memory", "bytes", bytes, 1, 8 * kMaxElements);
  const int64_t free = available_memory();
  const int64_t size = round_up(bytes, sysconf(_SC_PAGESIZE));
  if (size > free) fail("memory", text(bytes, " bytes"), text(free, " bytes free"));

  // Ask for one huge page more, and give back what lies before and behind the aligned part.
  void* const whole = mmap(nullptr, static_cast<size_t>(size + kHugePage), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (whole == MAP_FAILED) fail("memory", text(bytes, " bytes"), text("a refusal, with ", free, " bytes free"));
  char* const begin = static_cast<char*>(whole);
  const int64_t before = round_up(static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin)), kHugePage) -
                         static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin));
  if (before > 0) munmap(begin, static_cast<size_t>(before));
  if (kHugePage - before > 0) munmap(begin + before + size, static_cast<size_t>(kHugePage - before));
  madvise(begin + before, static_cast<size_t>(size), MADV_HUGEPAGE);  // where refused: ordinary pages
  return begin + before;
}

void release_huge(void* data, int64_t bytes) {
  if (data != nullptr) munmap(data, static_cast<size_t>(round_up(bytes, sysconf(_SC_PAGESIZE))));
}

}  // namespace ghostbatch
