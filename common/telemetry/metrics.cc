#include "common/telemetry/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <deque>
#include <optional>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace weir::telemetry {
namespace {

bool ValidName(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// Help texts escape the backslash and the newline, label values the quote too.
void AppendEscaped(std::string_view text, bool quotes, std::string* out) {
  for (const char c : text) {
    if (c == '\\') {
      out->append("\\\\");
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '"' && quotes) {
      out->append("\\\"");
    } else {
      out->push_back(c);
    }
  }
}

// `{a="1",b="2"}`, or nothing; `extra` is one more pair, already escaped.
std::string LabelText(const Labels& labels, std::string_view extra = "") {
  if (labels.empty() && extra.empty()) return "";
  std::string text = "{";
  for (const auto& [name, value] : labels) {
    if (text.size() > 1) text.push_back(',');
    text.append(name).append("=\"");
    AppendEscaped(value, /*quotes=*/true, &text);
    text.push_back('"');
  }
  if (!extra.empty()) {
    if (text.size() > 1) text.push_back(',');
    text.append(extra);
  }
  text.push_back('}');
  return text;
}

std::string NumberText(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char buffer[40];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

void AppendLine(std::string_view name, const std::string& labels, std::string_view value,
                std::string* out) {
  out->append(name).append(labels);
  out->push_back(' ');
  out->append(value);
  out->push_back('\n');
}

void AppendHistogram(std::string_view name, const Labels& labels, const Histogram& histogram,
                     std::string* out) {
  const std::string bucket = StrCat(name, "_bucket");
  const std::vector<int64_t> counts = histogram.counts();
  int64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    total += counts[i];
    const bool last = i == histogram.bounds().size();
    const std::string bound = last ? "+Inf" : NumberText(histogram.bounds()[i]);
    AppendLine(bucket, LabelText(labels, StrCat("le=\"", bound, "\"")), StrCat(total), out);
  }
  AppendLine(StrCat(name, "_sum"), LabelText(labels), NumberText(histogram.sum()), out);
  AppendLine(StrCat(name, "_count"), LabelText(labels), StrCat(total), out);
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(new std::atomic<int64_t>[bounds_.size() + 1]()) {
  WEIR_CHECK(!bounds_.empty() && bounds_.size() <= 64);
  for (size_t i = 0; i < bounds_.size(); ++i) {
    WEIR_CHECK(std::isfinite(bounds_[i]) && (i == 0 || bounds_[i - 1] < bounds_[i]));
  }
}

void Histogram::Observe(double value) {
  if (std::isnan(value)) return;
  const size_t cell = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[cell].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<int64_t> Histogram::counts() const {
  std::vector<int64_t> counts(bounds_.size() + 1);
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  return counts;
}

const std::vector<double>& LatencyBounds() {
  static const std::vector<double>& bounds = *new std::vector<double>{
      .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
  return bounds;
}

std::vector<double> ExponentialBounds(double first, double factor, int count) {
  std::vector<double> bounds;
  for (double bound = first; static_cast<int>(bounds.size()) < count; bound *= factor) {
    bounds.push_back(bound);
  }
  return bounds;
}

struct Registry::Cell {
  Labels labels;
  Counter counter;
  Gauge gauge;
  std::unique_ptr<Histogram> histogram;
  std::function<double()> callback;
};

struct Registry::Family {
  Kind kind;
  std::string help;
  std::deque<Cell> cells;  // never move
};

Registry::Registry() = default;
Registry::~Registry() = default;

Registry::Cell& Registry::FindOrAdd(Kind kind, std::string_view name, std::string_view help,
                                    Labels labels) {
  std::sort(labels.begin(), labels.end());
  for (size_t i = 0; i < labels.size(); ++i) {
    WEIR_CHECK_MSG(ValidName(labels[i].first), labels[i].first);
    WEIR_CHECK_MSG(labels[i].first != "le" || kind != Kind::kHistogram, name);
    WEIR_CHECK_MSG(i == 0 || labels[i - 1].first != labels[i].first, labels[i].first);
  }
  auto found = families_.find(name);
  if (found == families_.end()) {
    WEIR_CHECK_MSG(ValidName(name), name);
    WEIR_CHECK_MSG(!help.empty(), name);
    WEIR_CHECK_MSG((kind == Kind::kCounter) == name.ends_with("_total"), name);
    auto family = std::make_unique<Family>();
    family->kind = kind;
    family->help = help;
    found = families_.emplace(name, std::move(family)).first;
  }
  Family& family = *found->second;
  WEIR_CHECK_MSG(family.kind == kind, name);
  const auto matching = [&]() -> Cell* {
    for (Cell& cell : family.cells) {
      if (cell.labels == labels) return &cell;
    }
    return nullptr;
  };
  if (Cell* cell = matching()) return *cell;
  if (family.cells.size() >= kMaxLabelSets) {
    for (auto& [label, value] : labels) value = "other";
    if (Cell* cell = matching()) return *cell;
  }
  family.cells.emplace_back();
  family.cells.back().labels = std::move(labels);
  return family.cells.back();
}

Counter& Registry::AddCounter(std::string_view name, std::string_view help, Labels labels) {
  MutexLock lock(&mu_);
  return FindOrAdd(Kind::kCounter, name, help, std::move(labels)).counter;
}

Gauge& Registry::AddGauge(std::string_view name, std::string_view help, Labels labels) {
  MutexLock lock(&mu_);
  return FindOrAdd(Kind::kGauge, name, help, std::move(labels)).gauge;
}

Histogram& Registry::AddHistogram(std::string_view name, std::string_view help,
                                  const std::vector<double>& bounds, Labels labels) {
  MutexLock lock(&mu_);
  Cell& cell = FindOrAdd(Kind::kHistogram, name, help, std::move(labels));
  if (cell.histogram == nullptr) cell.histogram = std::make_unique<Histogram>(bounds);
  WEIR_CHECK_MSG(cell.histogram->bounds() == bounds, name);
  return *cell.histogram;
}

void Registry::AddCallbackGauge(std::string_view name, std::string_view help, Labels labels,
                                std::function<double()> value) {
  MutexLock lock(&mu_);
  FindOrAdd(Kind::kGauge, name, help, std::move(labels)).callback = std::move(value);
}

void Registry::AddCallbackCounter(std::string_view name, std::string_view help, Labels labels,
                                  std::function<double()> value) {
  MutexLock lock(&mu_);
  FindOrAdd(Kind::kCounter, name, help, std::move(labels)).callback = std::move(value);
}

std::string Registry::Render() const {
  // Callbacks run without the lock, so what to render is gathered first. Cells
  // never move; of what they hold only the callback can be replaced.
  struct Line {
    const Cell* cell;
    std::function<double()> callback;
  };
  struct Block {
    std::string_view name;
    std::string_view help;
    Kind kind;
    std::vector<Line> lines;
  };
  std::vector<Block> blocks;
  {
    MutexLock lock(&mu_);
    for (const auto& [name, family] : families_) {
      Block block{name, family->help, family->kind, {}};
      for (const Cell& cell : family->cells) block.lines.push_back({&cell, cell.callback});
      blocks.push_back(std::move(block));
    }
  }
  constexpr std::string_view kKindNames[] = {"counter", "gauge", "histogram"};
  std::string out;
  for (const Block& block : blocks) {
    out.append("# HELP ").append(block.name).append(" ");
    AppendEscaped(block.help, /*quotes=*/false, &out);
    out.append("\n# TYPE ").append(block.name).append(" ");
    out.append(kKindNames[static_cast<int>(block.kind)]).append("\n");
    for (const Line& line : block.lines) {
      if (block.kind == Kind::kHistogram) {
        AppendHistogram(block.name, line.cell->labels, *line.cell->histogram, &out);
        continue;
      }
      std::string value;
      if (line.callback != nullptr) {
        value = NumberText(line.callback());
      } else if (block.kind == Kind::kCounter) {
        value = StrCat(line.cell->counter.value());
      } else {
        value = NumberText(line.cell->gauge.value());
      }
      AppendLine(block.name, LabelText(line.cell->labels), value, &out);
    }
  }
  return out;
}

}  // namespace weir::telemetry
