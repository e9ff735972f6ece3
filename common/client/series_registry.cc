#include "common/client/series_registry.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/check.h"

namespace weir::client {
namespace {

// Far above what a collector admits, and far below what a message holds.
constexpr int64_t kMaxDefinitionBytes = 64 << 10;

// Tags and lengths of a field are at most 6 bytes; a label is three fields.
int64_t DefinitionBytesOf(const Series& series) {
  int64_t bytes = 32 + static_cast<int64_t>(series.name.size());
  for (const Label& label : series.labels) {
    bytes += 18 + static_cast<int64_t>(label.name.size() + label.value.size());
  }
  return bytes;
}

bool Sendable(const Series& series) {
  return IsUtf8(series.name) && DefinitionBytesOf(series) <= kMaxDefinitionBytes &&
         std::all_of(series.labels.begin(), series.labels.end(),
                     [](const Label& label) { return IsUtf8(label.name) && IsUtf8(label.value); });
}

void AddMissing(absl::Span<const Label> labels, std::vector<Label>* out) {
  const size_t present = out->size();
  for (const Label& label : labels) {
    const auto end = out->begin() + static_cast<std::ptrdiff_t>(present);
    const auto found = std::find_if(out->begin(), end,
                                    [&](const Label& other) { return other.name == label.name; });
    if (found == end) out->push_back(label);
  }
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return false;
    uint32_t rune = lead & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      rune = rune << 6 | (next & 0x3f);
    }
    const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (rune < least || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff)) return false;
    i += length;
  }
  return true;
}

SeriesRegistry::SeriesRegistry(int64_t max_series, std::vector<Label> common)
    : max_series_(max_series), common_(std::move(common)) {}

SeriesRef SeriesRegistry::Intern(std::string_view name, Kind kind, absl::Span<const Label> own,
                                 absl::Span<const Label> extra) {
  Series series{.name = std::string(name), .kind = kind};
  series.labels.reserve(own.size() + extra.size() + common_.size());
  series.labels.assign(extra.begin(), extra.end());
  AddMissing(own, &series.labels);
  AddMissing(common_, &series.labels);
  return Find(std::move(series), max_series_);
}

SeriesRef SeriesRegistry::InternOwn(std::string_view name, Kind kind,
                                    absl::Span<const Label> labels) {
  Series series{.name = std::string(name), .kind = kind};
  series.labels.assign(labels.begin(), labels.end());
  AddMissing(common_, &series.labels);
  return Find(std::move(series), std::numeric_limits<int64_t>::max());
}

SeriesRef SeriesRegistry::Find(Series series, int64_t limit) {
  if (!SortLabels(&series.labels)) return SeriesRef::Dropped(DropReason::kSeriesInvalid);
  std::string key;
  AppendSeries(series, &key);
  MutexLock lock(&mu_);
  if (const auto found = numbers_.find(key); found != numbers_.end()) {
    return SeriesRef::Of(found->second);
  }
  if (!Sendable(series)) return SeriesRef::Dropped(DropReason::kSeriesInvalid);
  if (static_cast<int64_t>(series_.size()) >= limit) {
    return SeriesRef::Dropped(DropReason::kTooManySeries);
  }
  const auto number = static_cast<uint32_t>(series_.size());
  numbers_.emplace(std::move(key), number);
  series_.push_back(std::move(series));
  return SeriesRef::Of(number);
}

Series SeriesRegistry::Get(uint32_t number) const {
  MutexLock lock(&mu_);
  WEIR_CHECK(number < series_.size());
  return series_[number];
}

int64_t SeriesRegistry::DefinitionBytes(uint32_t number) const {
  MutexLock lock(&mu_);
  WEIR_CHECK(number < series_.size());
  return DefinitionBytesOf(series_[number]);
}

}  // namespace weir::client
