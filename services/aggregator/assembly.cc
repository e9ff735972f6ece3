#include "services/aggregator/assembly.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace weir::aggregator {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kAwaited = 1 << 7;  // of a part's role
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool IsCount(HistogramPart::Role role) { return role != HistogramPart::Role::kSum; }

bool PossibleValue(HistogramPart::Role role, double value) {
  if (!IsCount(role)) return std::isfinite(value);
  return value >= 0 && value <= static_cast<double>(kMaxPartCount);
}

}  // namespace

// --- One series ------------------------------------------------------------------

HistogramAssembly::Outcome HistogramAssembly::Add(const AssemblyOptions& options,
                                                  int64_t time_unix_nano, const Point& point,
                                                  TakeHistogram take) {
  WEIR_CHECK(point.part.has_value());
  const std::optional<size_t> found = FindOrAddPart(*point.part);
  if (!found.has_value()) return Outcome::kTooMany;
  Part& part = parts_[*found];
  if (point.part->gone) {
    // A marker of the series before it says nothing of one that goes on.
    if (time_unix_nano <= part.last_unix_nano) return Outcome::kLate;
    part.awaited = false;
    learning_ |= AwaitsNone();
    CountBehind();
    TakeWhole(options, take);
    return Outcome::kTaken;
  }
  const bool in_order = time_unix_nano == newest_;
  const bool late = time_unix_nano <= taken_until_;
  Scrape* const scrape = late ? nullptr : &FindOrAddScrape(options, time_unix_nano);
  const bool was_behind = !scrapes_.empty() && IsBehind(part);
  part.awaited = true;
  part.last_unix_nano = std::max(part.last_unix_nano, time_unix_nano);
  if (late) {
    CountBehind();
    return Outcome::kLate;
  }
  if (scrape->values.size() <= *found) {
    waiting_values_ += *found + 1 - scrape->values.size();
    scrape->values.resize(*found + 1);
  }
  if (scrape->values[*found].has_value()) return Outcome::kLate;
  scrape->values[*found] = NumberOf(point.value);
  scrape->start_unix_nano = std::max(scrape->start_unix_nano, point.start_unix_nano);
  if (in_order) {
    behind_ -= was_behind ? 1 : 0;
  } else {
    CountBehind();
  }
  TakeWhole(options, take);
  return Outcome::kTaken;
}

bool HistogramAssembly::AwaitsNone() const {
  return std::none_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.awaited; });
}

bool HistogramAssembly::IsBehind(const Part& part) const {
  return part.awaited && part.last_unix_nano < scrapes_.front().time_unix_nano;
}

void HistogramAssembly::CountBehind() {
  behind_ = 0;
  if (scrapes_.empty()) return;
  for (const Part& part : parts_) behind_ += IsBehind(part) ? 1 : 0;
}

std::optional<size_t> HistogramAssembly::FindOrAddPart(const HistogramPart& part) {
  const auto is_it = [&](const Part& known) {
    return known.role == part.role && known.upper_bound == part.upper_bound;
  };
  // Parts mostly come in the order in which they came before.
  if (++last_found_ >= parts_.size()) last_found_ = 0;
  if (last_found_ < parts_.size() && is_it(parts_[last_found_])) return last_found_;
  const auto known = std::find_if(parts_.begin(), parts_.end(), is_it);
  last_found_ = static_cast<size_t>(known - parts_.begin());
  if (known != parts_.end()) return last_found_;
  const auto is_bound = [](HistogramPart::Role role, double upper_bound) {
    return role == HistogramPart::Role::kBucket && upper_bound < kInfinity;
  };
  if (is_bound(part.role, part.upper_bound) && parts_.size() >= kMaxBounds &&
      std::count_if(parts_.begin(), parts_.end(), [&](const Part& other) {
        return is_bound(other.role, other.upper_bound);
      }) >= static_cast<std::ptrdiff_t>(kMaxBounds)) {
    return std::nullopt;
  }
  parts_.push_back({.role = part.role, .upper_bound = part.upper_bound, .awaited = false});
  return last_found_;
}

HistogramAssembly::Scrape& HistogramAssembly::FindOrAddScrape(const AssemblyOptions& options,
                                                              int64_t time) {
  // It is one of the last, mostly the very last.
  auto at = scrapes_.end();
  while (at != scrapes_.begin() && std::prev(at)->time_unix_nano > time) --at;
  if (at != scrapes_.begin() && std::prev(at)->time_unix_nano == time) return *std::prev(at);
  if (time > newest_) {
    newest_ = time;
    const int64_t silent = time - absl::ToInt64Nanoseconds(options.max_silence);
    for (Part& part : parts_) part.awaited &= part.last_unix_nano >= silent;
    learning_ |= AwaitsNone();
  }
  return *scrapes_.insert(at, {.time_unix_nano = time});
}

bool HistogramAssembly::FrontIsWhole(const AssemblyOptions& options) const {
  if (scrapes_.size() > options.max_waiting || waiting_values_ > options.max_waiting_values) {
    return true;
  }
  if (behind_ > 0) return false;
  return !learning_ || scrapes_.size() > 2 || AwaitsNone();
}

void HistogramAssembly::TakeWhole(const AssemblyOptions& options, TakeHistogram take) {
  while (!scrapes_.empty() && FrontIsWhole(options)) {
    learning_ = AwaitsNone();
    const Scrape scrape = std::move(scrapes_.front());
    scrapes_.pop_front();
    waiting_values_ -= scrape.values.size();
    taken_until_ = scrape.time_unix_nano;
    CountBehind();
    if (const std::optional<Point> histogram = Assemble(scrape)) {
      take(scrape.time_unix_nano, *histogram);
    } else {
      ++incomplete_;
    }
  }
  if (scrapes_.empty()) ForgetParts();
}

void HistogramAssembly::ForgetParts() {
  std::erase_if(parts_, [](const Part& part) { return !part.awaited; });
}

std::optional<Point> HistogramAssembly::Assemble(const Scrape& scrape) const {
  std::vector<std::pair<double, int64_t>> cumulative;  // upper bound, count
  std::optional<int64_t> total;
  Histogram histogram;
  for (size_t i = 0; i < scrape.values.size(); ++i) {
    if (!scrape.values[i].has_value()) continue;
    const double value = *scrape.values[i];
    switch (parts_[i].role) {
      case HistogramPart::Role::kSum:
        histogram.sum = value;
        break;
      case HistogramPart::Role::kCount:
        // The last bucket is the better witness: buckets add up to it.
        if (!total.has_value()) total = static_cast<int64_t>(value);
        break;
      case HistogramPart::Role::kBucket:
        if (parts_[i].upper_bound == kInfinity) {
          total = static_cast<int64_t>(value);
        } else {
          cumulative.emplace_back(parts_[i].upper_bound, static_cast<int64_t>(value));
        }
        break;
    }
  }
  if (!total.has_value()) return std::nullopt;
  std::sort(cumulative.begin(), cumulative.end());
  ExplicitBuckets buckets;
  int64_t below = 0;
  for (const auto& [bound, count] : cumulative) {
    // A target that counts while it is scraped may show fewer in the wider bucket.
    const int64_t up_to = std::max(count, below);
    buckets.bounds.push_back(bound);
    buckets.counts.push_back(up_to - below);
    below = up_to;
  }
  histogram.count = std::max(*total, below);
  if (!buckets.bounds.empty()) buckets.counts.push_back(histogram.count - below);
  histogram.buckets = std::move(buckets);
  if (!ValidateHistogram(histogram).ok()) return std::nullopt;
  return Point{
      .cumulative = true, .start_unix_nano = scrape.start_unix_nano, .value = std::move(histogram)};
}

void HistogramAssembly::AppendTo(std::string* out) const {
  AppendFixed(kVersion, out);
  AppendFixed(newest_, out);
  AppendFixed(taken_until_, out);
  AppendFixed(static_cast<uint8_t>(learning_), out);
  AppendVarint(parts_.size(), out);
  for (const Part& part : parts_) {
    const auto role = static_cast<uint8_t>(part.role);
    AppendFixed(static_cast<uint8_t>(role | (part.awaited ? kAwaited : 0)), out);
    if (part.role == HistogramPart::Role::kBucket) AppendFixed(part.upper_bound, out);
    AppendVarint(ZigZag(newest_ - part.last_unix_nano), out);
  }
  AppendVarint(scrapes_.size(), out);
  for (const Scrape& scrape : scrapes_) {
    AppendFixed(scrape.time_unix_nano, out);
    AppendFixed(scrape.start_unix_nano, out);
    AppendVarint(scrape.values.size(), out);
    for (size_t i = 0; i < scrape.values.size(); ++i) {
      const std::optional<double>& value = scrape.values[i];
      AppendFixed(static_cast<uint8_t>(value.has_value()), out);
      if (!value.has_value()) continue;
      if (IsCount(parts_[i].role)) {
        AppendVarint(static_cast<uint64_t>(*value), out);
      } else {
        AppendFixed(*value, out);
      }
    }
  }
}

absl::StatusOr<HistogramAssembly> HistogramAssembly::Parse(std::string_view bytes) {
  const absl::Status damaged = absl::DataLossError("what waits of a histogram is damaged");
  ByteReader reader(bytes);
  HistogramAssembly assembly;
  if (reader.Fixed<uint8_t>() != kVersion) return damaged;
  assembly.newest_ = reader.Fixed<int64_t>();
  assembly.taken_until_ = reader.Fixed<int64_t>();
  const auto learning = reader.Fixed<uint8_t>();
  if (learning > 1) return damaged;
  assembly.learning_ = learning == 1;
  const uint64_t part_count = reader.Varint();
  if (part_count > kMaxParts) return damaged;
  for (uint64_t i = 0; i < part_count && reader.ok(); ++i) {
    const auto role = reader.Fixed<uint8_t>();
    Part part = {.role = static_cast<HistogramPart::Role>(role & ~kAwaited),
                 .awaited = (role & kAwaited) != 0};
    if (part.role > HistogramPart::Role::kCount) return damaged;
    if (part.role == HistogramPart::Role::kBucket) part.upper_bound = reader.Fixed<double>();
    if (!(part.upper_bound > -kInfinity)) return damaged;
    if (__builtin_sub_overflow(assembly.newest_, UnZigZag(reader.Varint()), &part.last_unix_nano)) {
      return damaged;
    }
    assembly.parts_.push_back(part);
  }
  const uint64_t scrape_count = reader.Varint();
  for (uint64_t i = 0; i < scrape_count && reader.ok(); ++i) {
    Scrape scrape = {.time_unix_nano = reader.Fixed<int64_t>()};
    scrape.start_unix_nano = reader.Fixed<int64_t>();
    const int64_t before =
        assembly.scrapes_.empty() ? assembly.taken_until_ : assembly.scrapes_.back().time_unix_nano;
    if (scrape.time_unix_nano <= before || scrape.start_unix_nano < 0) return damaged;
    const uint64_t value_count = reader.Varint();
    if (value_count > part_count) return damaged;
    scrape.values.resize(value_count);
    assembly.waiting_values_ += value_count;
    for (uint64_t j = 0; j < value_count && reader.ok(); ++j) {
      const auto present = reader.Fixed<uint8_t>();
      if (present > 1) return damaged;
      if (present == 0) continue;
      const HistogramPart::Role role = assembly.parts_[j].role;
      const double value =
          IsCount(role) ? static_cast<double>(reader.Varint()) : reader.Fixed<double>();
      if (!PossibleValue(role, value)) return damaged;
      scrape.values[j] = value;
    }
    assembly.scrapes_.push_back(std::move(scrape));
  }
  if (!reader.ok() || !reader.empty()) return damaged;
  assembly.CountBehind();
  return assembly;
}

// --- All series ------------------------------------------------------------------

HistogramAssembly::Outcome AssemblyTable::Add(SeriesNumber series, int64_t time_unix_nano,
                                              const Point& point, TakeHistogram take) {
  std::unique_ptr<Entry>& entry = entries_[series];
  if (entry == nullptr) entry = std::make_unique<Entry>();
  const auto outcome = entry->assembly.Add(options_, time_unix_nano, point, take);
  incomplete_ += entry->assembly.TakeIncomplete();
  // What is late is waited for from now on.
  if (outcome != HistogramAssembly::Outcome::kTooMany && !std::exchange(entry->changed, true)) {
    changed_.push_back(series);
  }
  return outcome;
}

absl::Status AssemblyTable::Restore(SeriesNumber series, std::string_view bytes) {
  WEIR_ASSIGN_OR_RETURN(HistogramAssembly assembly, HistogramAssembly::Parse(bytes));
  entries_[series] = std::make_unique<Entry>(Entry{.assembly = std::move(assembly)});
  return absl::OkStatus();
}

void AssemblyTable::TakeChanges(const SeriesIndex& series, CumulativeChanges* changes) {
  for (const SeriesNumber number : changed_) {
    Entry& entry = *entries_[number];
    entry.changed = false;
    CumulativeChanges::Row& row = changes->rows.emplace_back();
    row.series = &series[number];
    row.start_unix_nano = kPartsStart;
    row.time_unix_nano = entry.assembly.newest_unix_nano();
    entry.assembly.AppendTo(&row.point);
  }
  changed_.clear();
}

}  // namespace weir::aggregator
