// Which engine of cuDNN does which convolution, where that was measured, now or in an earlier run: as text it goes to
// the run's folder, and is read back from there, so that nothing is timed twice and the run keeps its bits.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace ghostbatch::cuda {

/// An engine of cuDNN as it is configured: enough to make it again, without heuristics; or that none was found.
struct EngineChoice {
  static constexpr int64_t kNone = -1;
  int64_t engine = kNone;            // cuDNN's global index
  std::map<int32_t, int64_t> knobs;  // value by type

  /// "engine 7", "engine 7 3=1 15=0", "none".
  std::string text() const;
};

inline bool operator==(const EngineChoice& a, const EngineChoice& b) {
  return a.engine == b.engine && a.knobs == b.knobs;
}

/// The choices of one device, by what they are for: a line of text that names all that an engine depends on.
class EngineChoices {
 public:
  /// `hardware`: GPU and version of cuDNN in one line, outside of which choices mean nothing.
  explicit EngineChoices(std::string hardware) : hardware_(std::move(hardware)) {}

  /// Null where there is none.
  const EngineChoice* find(const std::string& key) const;
  void add(const std::string& key, const EngineChoice& choice) { table_[key] = choice; }

  /// The hardware, then a line "KEY -> CHOICE" each, sorted; empty where there are none.
  std::string text() const;
  /// Adds what `text` gave. Error, and nothing changes, where it is of other hardware, has a line that is not
  /// understood, or another choice than this has.
  void take(const std::string& text);

 private:
  std::string hardware_;
  std::map<std::string, EngineChoice> table_;
};

}  // namespace ghostbatch::cuda
