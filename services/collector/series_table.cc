#include "services/collector/series_table.h"

#include <algorithm>
#include <utility>

namespace weir::collector {
namespace {

// Adds or sets a label. REQUIRES: sorted labels, and keeps them so.
void SetLabel(std::string_view name, const std::string& value, std::vector<Label>* labels) {
  const auto place = std::lower_bound(
      labels->begin(), labels->end(), name,
      [](const Label& label, std::string_view wanted) { return label.name < wanted; });
  if (place != labels->end() && place->name == name) {
    place->value = value;
  } else {
    labels->insert(place, {.name = std::string(name), .value = value});
  }
}

}  // namespace

SeriesTable::SeriesTable(int slot_count, int64_t max_series, Overflowed overflowed,
                         const AliasTable* aliases)
    : slot_count_(slot_count),
      max_series_(max_series),
      overflowed_(std::move(overflowed)),
      aliases_(aliases) {}

SeriesHandle SeriesTable::Intern(const Series& series) {
  std::string bytes;
  AppendSeries(series, &bytes);
  SeriesHandle handle;
  std::string overflowed_metric;
  {
    MutexLock lock(&mu_);
    if (const auto found = handles_.find(bytes); found != handles_.end()) return found->second;
    const AliasTable::Alias* alias = AliasOf(series);
    if (alias != nullptr && alias->metric != series.name) {
      handle = InternAliased(series, *alias, std::move(bytes), &overflowed_metric);
    } else {
      handle = InternNamed(series, std::move(bytes), alias == nullptr ? uint8_t{0} : alias->rule,
                           &handles_, &overflowed_metric);
    }
  }
  Tell(overflowed_metric);
  return handle;
}

SeriesHandle SeriesTable::InternUnaliased(const Series& series) {
  if (AliasOf(series) == nullptr) return Intern(series);
  std::string bytes;
  AppendSeries(series, &bytes);
  SeriesHandle handle;
  std::string overflowed_metric;
  {
    MutexLock lock(&mu_);
    handle = InternNamed(series, std::move(bytes), /*rule=*/0, &unaliased_, &overflowed_metric);
  }
  Tell(overflowed_metric);
  return handle;
}

const AliasTable::Alias* SeriesTable::AliasOf(const Series& series) const {
  return aliases_ == nullptr ? nullptr : aliases_->Find(series.name, series.kind);
}

void SeriesTable::Tell(const std::string& overflowed_metric) const {
  if (!overflowed_metric.empty() && overflowed_ != nullptr) overflowed_(overflowed_metric);
}

SeriesHandle SeriesTable::InternNamed(const Series& series, std::string bytes, uint8_t rule,
                                      HandleMap* handles, std::string* overflowed_metric) {
  if (const auto found = handles->find(bytes); found != handles->end()) return found->second;
  if (static_cast<int64_t>(definitions_.size()) < max_series_) {
    return Add(std::move(bytes), {.kind = series.kind, .rule = rule}, handles);
  }
  // Its values are summed up in the same unit.
  SeriesHandle handle = InternOverflow(series, bytes, overflowed_metric);
  handle.rule = rule;
  return handle;
}

SeriesHandle SeriesTable::InternAliased(const Series& series, const AliasTable::Alias& alias,
                                        std::string bytes, std::string* overflowed_metric) {
  Series canonical = series;
  canonical.name = std::string(alias.metric);
  if (alias.keep_source_name) SetLabel(kSourceNameLabel, series.name, &canonical.labels);
  const AliasTable::Alias* itself = AliasOf(canonical);
  std::string canonical_bytes;
  AppendSeries(canonical, &canonical_bytes);
  SeriesHandle handle =
      InternNamed(canonical, std::move(canonical_bytes),
                  itself == nullptr ? uint8_t{0} : itself->rule, &handles_, overflowed_metric);
  handle.rule = alias.rule;
  // As for other series, the overflow series is not remembered for each.
  if (!handle.overflow && static_cast<int64_t>(alias_bytes_.size()) < max_series_) {
    handles_.emplace(alias_bytes_.emplace_back(std::move(bytes)), handle);
  }
  return handle;
}

SeriesHandle SeriesTable::InternOverflow(const Series& series, const std::string& bytes,
                                         std::string* overflowed_metric) {
  if (const auto name = tally_.Add(IdOfSeriesBytes(bytes), series.name); name.has_value()) {
    *overflowed_metric = *name;
  }
  Series overflow = OverflowOf(series);
  while (true) {
    std::string overflow_bytes;
    AppendSeries(overflow, &overflow_bytes);
    if (const auto found = handles_.find(overflow_bytes); found != handles_.end()) {
      return found->second;
    }
    const bool last_resort = overflow.name == kOverflowLabel;
    if (last_resort || static_cast<int64_t>(definitions_.size()) < 2 * max_series_) {
      return Add(std::move(overflow_bytes), {.kind = overflow.kind, .overflow = true}, &handles_);
    }
    // More metric names than series are allowed: the name overflows as well.
    overflow.name = std::string(kOverflowLabel);
  }
}

SeriesHandle SeriesTable::Add(std::string bytes, const SeriesHandle& like, HandleMap* handles) {
  SeriesHandle handle = like;
  handle.number = static_cast<SeriesNumber>(definitions_.size());
  handle.slot = static_cast<uint16_t>(SlotOf(IdOfSeriesBytes(bytes), slot_count_));
  handles->emplace(definitions_.emplace_back(std::move(bytes)), handle);
  return handle;
}

std::string_view SeriesTable::Definition(SeriesNumber number) const {
  MutexLock lock(&mu_);
  return definitions_[number];
}

int64_t SeriesTable::overflowed_count() const {
  MutexLock lock(&mu_);
  return tally_.count();
}

int64_t SeriesTable::size() const {
  MutexLock lock(&mu_);
  return static_cast<int64_t>(definitions_.size());
}

}  // namespace weir::collector
