#include "cuda/engine_choices.h"

#include <charconv>
#include <sstream>
#include <string_view>

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kChoices = "cuda";

/// A line that is read from left to right.
class Cursor {
 public:
  explicit Cursor(std::string_view line) : rest_(line) {}

  bool at_end() const { return rest_.empty(); }
  /// Passes `expected`, where that is next.
  bool take(std::string_view expected) {
    if (rest_.substr(0, expected.size()) != expected) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  /// Passes an integer, where one is next.
  template <typename N>
  bool take_number(N& value) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc()) return false;
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return true;
  }
  size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
};

/// "[1,2]", with `count` numbers.
bool take_list(Cursor& line, int count) {
  for (int i = 0; i < count; ++i) {
    int64_t value = 0;
    if (!line.take(i == 0 ? "[" : ",") || !line.take_number(value) || value < 0) return false;
  }
  return line.take("]");
}

/// A key of convolution.cpp.
bool take_key(Cursor& line) {
  if (line.take("forward")) {
    line.take("+bias");
    line.take("+relu");
  } else if (line.take("backward weights into ")) {
    if (!line.take("f32") && !line.take("bf16")) return false;
  } else if (!line.take("backward data")) {
    return false;
  }
  int64_t groups = 0;
  if (!line.take(" src=") || !take_list(line, 4) || !line.take(" weights=") || !take_list(line, 4) ||
      !line.take(" stride=") || !take_list(line, 2) || !line.take(" padding=") || !take_list(line, 2) ||
      !line.take(" dilation=") || !take_list(line, 2) || !line.take(" groups=") || !line.take_number(groups) ||
      groups < 1 || !line.take(" type=")) {
    return false;
  }
  if (line.take("bf16")) return true;
  if (!line.take("f32")) return false;
  line.take(" tf32");
  return true;
}

bool take_choice(Cursor& line, EngineChoice& choice) {
  if (line.take("none")) return line.at_end();
  if (!line.take("engine ") || !line.take_number(choice.engine) || choice.engine < 0) return false;
  while (!line.at_end()) {
    int32_t type = 0;
    int64_t value = 0;
    if (!line.take(" ") || !line.take_number(type) || type < 0) return false;
    if (!line.take("=") || !line.take_number(value)) return false;
    choice.knobs[type] = value;
  }
  return true;
}

}  // namespace

std::string EngineChoice::text() const {
  if (engine == kNone) return "none";
  std::string written = ghostbatch::text("engine ", engine);
  for (const auto& [type, value] : knobs) written += ghostbatch::text(" ", type, "=", value);
  return written;
}

const EngineChoice* EngineChoices::find(const std::string& key) const {
  const auto found = table_.find(key);
  return found == table_.end() ? nullptr : &found->second;
}

std::string EngineChoices::text() const {
  if (table_.empty()) return "";
  std::string written = hardware_ + "\n";
  for (const auto& [key, choice] : table_) written += key + " -> " + choice.text() + "\n";
  return written;
}

void EngineChoices::take(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line)) return;
  if (line != hardware_) fail(kChoices, ghostbatch::text("kernel choices of ", hardware_), line);
  std::map<std::string, EngineChoice> table = table_;
  while (std::getline(lines, line)) {
    Cursor cursor(line);
    EngineChoice choice;
    const bool has_key = take_key(cursor);
    const std::string key = line.substr(0, line.size() - cursor.left());
    if (!has_key || !cursor.take(" -> ") || !take_choice(cursor, choice)) {
      fail(kChoices, "kernel choices as it has given them", ghostbatch::text("the line \"", line, "\""));
    }
    const auto [held, added] = table.emplace(key, choice);
    if (!added && !(held->second == choice)) {
      fail(kChoices, ghostbatch::text(held->second.text(), " for ", held->first, ", as was chosen before"),
           choice.text());
    }
  }
  table_ = std::move(table);
}

}  // namespace ghostbatch::cuda
