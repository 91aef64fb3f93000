#include "cuda/engine_choices.h"

#include <regex>
#include <sstream>

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

constexpr const char* kChoices = "cuda";
constexpr size_t kMostLine = 1024;  // std::regex recurses with the length

/// A line of text(): key, engine, knobs. Keys are those of convolution.cpp.
const std::regex& line_pattern() {
  static const std::regex pattern(
      "((?:forward(?:\\+bias)?(?:\\+relu)?|backward data|backward weights into (?:f32|bf16))"
      " src=\\[\\d+,\\d+,\\d+,\\d+\\] weights=\\[\\d+,\\d+,\\d+,\\d+\\] stride=\\[\\d+,\\d+\\] padding=\\[\\d+,\\d+\\]"
      " dilation=\\[\\d+,\\d+\\] groups=\\d+ type=(?:f32|f32 tf32|bf16))"
      " -> (?:none|engine (\\d{1,9})((?: \\d{1,9}=-?\\d{1,18})*))");
  return pattern;
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
    std::smatch parts;
    if (line.size() > kMostLine || !std::regex_match(line, parts, line_pattern())) {
      fail(kChoices, "kernel choices as it has given them", ghostbatch::text("the line \"", line, "\""));
    }
    EngineChoice choice;
    if (parts[2].matched) choice.engine = std::stoll(parts[2]);
    std::istringstream knobs(parts[3]);
    for (std::string knob; knobs >> knob;) {
      const size_t equals = knob.find('=');
      choice.knobs[std::stoi(knob)] = std::stoll(knob.substr(equals + 1));
    }
    const auto [held, added] = table.emplace(parts[1], choice);
    if (!added && !(held->second == choice)) {
      fail(kChoices, ghostbatch::text(held->second.text(), " for ", held->first, ", as was chosen before"),
           choice.text());
    }
  }
  table_ = std::move(table);
}

}  // namespace ghostbatch::cuda
