#include "services/collector/series_table.h"

#include <algorithm>

#include "common/base/check.h"

namespace weir::collector {

SeriesTable::SeriesTable(int slot_count, int64_t max_series)
    : slot_count_(slot_count), max_series_(max_series) {
  // Overflow series come on top, at most one per metric name and kind; twice
  // the limit is room for all of them.
  const size_t chunk_count = static_cast<size_t>(2 * max_series / kChunk + 2);
  chunks_ = std::make_unique<std::atomic<Chunk*>[]>(chunk_count);
}

SeriesTable::~SeriesTable() {
  MutexLock lock(&mu_);
  for (size_t i = 0; i * kChunk < entries_.size(); ++i) delete chunks_[i].load();
}

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
  if (number % kChunk == 0) {
    chunks_[number / kChunk].store(new Chunk, std::memory_order_release);
  }
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

void SeriesTable::set_defined_segment(SeriesNumber number, uint64_t segment) {
  Chunk* chunk = chunks_[number / kChunk].load(std::memory_order_acquire);
  chunk->segments[number % kChunk].store(segment, std::memory_order_relaxed);
}

}  // namespace weir::collector
