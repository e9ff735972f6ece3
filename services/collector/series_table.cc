#include "services/collector/series_table.h"

namespace weir::collector {

SeriesTable::SeriesTable(int slot_count, int64_t max_series)
    : slot_count_(slot_count), max_series_(max_series) {}

SeriesHandle SeriesTable::Intern(const Series& series) {
  std::string bytes;
  AppendSeries(series, &bytes);
  MutexLock lock(&mu_);
  if (const auto found = handles_.find(bytes); found != handles_.end()) return found->second;
  if (static_cast<int64_t>(entries_.size()) < max_series_)
    return Add(std::move(bytes), series.kind);

  overflowed_count_.fetch_add(1, std::memory_order_relaxed);
  Series overflow = OverflowOf(series);
  if (static_cast<int64_t>(entries_.size()) >= 2 * max_series_) {
    // More metric names than series are allowed: the name overflows as well.
    overflow.name = std::string(kOverflowLabel);
  }
  bytes.clear();
  AppendSeries(overflow, &bytes);
  if (const auto found = handles_.find(bytes); found != handles_.end()) return found->second;
  return Add(std::move(bytes), overflow.kind);
}

SeriesHandle SeriesTable::Add(std::string bytes, Kind kind) {
  const size_t number = entries_.size();
  const int slot = SlotOf(IdOfSeriesBytes(bytes), slot_count_);
  const SeriesHandle handle = {.number = static_cast<SeriesNumber>(number),
                               .slot = static_cast<uint16_t>(slot),
                               .kind = kind};
  const Entry& kept = entries_.emplace_back(Entry{.bytes = std::move(bytes), .slot = slot});
  handles_.emplace(kept.bytes, handle);
  return handle;
}

SeriesTable::SeriesDefinition SeriesTable::Definition(SeriesNumber number) const {
  MutexLock lock(&mu_);
  const Entry& entry = entries_[number];
  return {.bytes = entry.bytes, .slot = entry.slot};
}

int64_t SeriesTable::size() const {
  MutexLock lock(&mu_);
  return static_cast<int64_t>(entries_.size());
}

}  // namespace weir::collector
