// How a delta lies in memory:
//
//   bins   start -> Bin       a few when data is current, thousands in a backfill
//   Bin    series -> cell     sparse (a hash map) at first; dense (a vector indexed
//                             by series number) once that is no larger
//   cells  number -> Cell     chunks of 256, filled in the order of creation
//
// Cells are named by number, not address, so that a dense bin takes 4 bytes per
// series; the cells of a bin are a list through Cell::next.
#include "services/aggregator/fold.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/tier.h"

namespace weir::aggregator {
namespace {

constexpr uint32_t kNoCell = UINT32_MAX;

// Samples folded per round of find, prefetch, add: enough cache misses in flight
// to hide one another, few enough that the lines are still there for the add.
constexpr size_t kRoundSamples = 256;

// A bin turns dense when it has at least this many cells, and one for every so
// many series: a hash map takes some 18 bytes per cell, a vector 4 per series.
constexpr size_t kMinDenseCells = 64;
constexpr size_t kSeriesPerDenseCell = 8;

constexpr size_t kSparseBytesPerCell = 18;
constexpr size_t kMaxSpareBins = 4;

bool IsOverflow(const Series& series) {
  return series.labels.size() == 1 && series.labels[0].name == kOverflowLabel;
}

// Cells by number, at addresses that stay.
class CellSlab {
 public:
  Cell& operator[](uint32_t number) {
    return chunks_[number >> kChunkBits][number & (kChunkCells - 1)];
  }
  const Cell& operator[](uint32_t number) const {
    return chunks_[number >> kChunkBits][number & (kChunkCells - 1)];
  }

  uint32_t Add() {
    WEIR_CHECK(size_ < kNoCell);
    if (size_ >> kChunkBits == chunks_.size()) {
      chunks_.push_back(std::make_unique<Cell[]>(kChunkCells));
    }
    (*this)[size_] = Cell{};
    return size_++;
  }

  uint32_t size() const { return size_; }

  void Clear() {
    const size_t used_chunks = (size_ + kChunkCells - 1) >> kChunkBits;
    chunks_.resize(std::max(used_chunks, chunks_.size() / 2));
    size_ = 0;
  }

 private:
  static constexpr uint32_t kChunkBits = 8;
  static constexpr uint32_t kChunkCells = 1 << kChunkBits;

  std::vector<std::unique_ptr<Cell[]>> chunks_;
  uint32_t size_ = 0;
};

}  // namespace

SeriesIndex::SeriesIndex(SeriesLimits limits) : limits_(limits) {}

absl::StatusOr<SeriesNumber> SeriesIndex::Intern(int slot, std::string_view series_bytes) {
  const Key key{.id = IdOfSeriesBytes(series_bytes), .slot = slot};
  if (auto found = numbers_.find(key); found != numbers_.end()) return found->second;
  WEIR_ASSIGN_OR_RETURN(Series series, ParseSeries(series_bytes));
  TenantCounts& counts = tenants_[series.tenant];
  // A collector past its own limit sends overflow series, which are no series of
  // the metric's.
  if (IsOverflow(series)) return InternOverflow(slot, std::move(series), &counts);
  if (Full(counts, series.name)) {
    if (counts.overflowed.Add(key.id, series.name).has_value()) {
      ++overflowed_count_;
      last_overflowed_metric_ = series.name;
    }
    return InternOverflow(slot, std::move(series), &counts);
  }
  ++counts.series;
  ++counts.metrics[series.name].series;
  return Add(key, series, /*stored=*/false, std::string(series_bytes));
}

bool SeriesIndex::Full(const TenantCounts& counts, const std::string& name) const {
  if (counts.series >= limits_.max_series_per_tenant) return true;
  auto found = counts.metrics.find(name);
  return found != counts.metrics.end() && found->second.series >= limits_.max_series_per_metric;
}

absl::StatusOr<SeriesNumber> SeriesIndex::InternOverflow(int slot, Series series,
                                                         TenantCounts* counts) {
  series.labels = {{std::string(kOverflowLabel), "true"}};
  // Twice at most: under the metric's name, else under the name of last resort,
  // of which there is one per kind and slot.
  while (true) {
    const bool last_resort = series.name == kOverflowLabel;
    std::string bytes;
    AppendSeries(series, &bytes);
    const Key key{.id = IdOfSeriesBytes(bytes), .slot = slot};
    if (auto found = numbers_.find(key); found != numbers_.end()) return found->second;
    if (last_resort || counts->overflow_series < limits_.max_overflow_series_per_tenant) {
      ++counts->overflow_series;
      ++counts->metrics[series.name].overflow_series;
      return Add(key, series, /*stored=*/false, std::move(bytes));
    }
    series.name = std::string(kOverflowLabel);
  }
}

void SeriesIndex::AddStored(int slot, const SeriesId& id, const Series& series) {
  const Key key{.id = id, .slot = slot};
  if (auto found = numbers_.find(key); found != numbers_.end()) {
    MarkStored(found->second);
    return;
  }
  TenantCounts& counts = tenants_[series.tenant];
  if (IsOverflow(series)) {
    ++counts.overflow_series;
    ++counts.metrics[series.name].overflow_series;
  } else {
    ++counts.series;
    ++counts.metrics[series.name].series;
  }
  Add(key, series, /*stored=*/true, "");
}

void SeriesIndex::MarkStored(SeriesNumber number) {
  SeriesEntry& entry = entries_[number];
  entry.stored = true;
  entry.bytes = std::string();
}

void SeriesIndex::Clear() {
  entries_.clear();
  numbers_.clear();
  tenants_.clear();
  overflowed_count_ = 0;
}

SeriesUsage SeriesIndex::Usage(const UsageQuery& query) const {
  SeriesUsage usage{.limits = limits_};
  const auto found = tenants_.find(query.tenant);
  if (found == tenants_.end()) return usage;
  const TenantCounts& counts = found->second;
  usage.series_count = counts.series;
  usage.overflowed_count = counts.overflowed.count();
  usage.overflowed_cut = counts.overflowed.cut();

  struct Entry {
    std::string_view name;
    MetricCounts counts;
    int64_t overflowed;
    int64_t all() const { return counts.series + overflowed; }
  };
  std::vector<Entry> entries;
  for (const auto& [name, metric] : counts.metrics) {
    if (metric.series > 0) ++usage.metric_count;
    if (!query.name.empty() && name != query.name) continue;
    entries.push_back({name, metric, counts.overflowed.CountOf(name)});
  }
  // Those of which no series fitted, nor an overflow series of their own.
  for (const auto& [name, overflowed] : counts.overflowed.metrics()) {
    if (counts.metrics.contains(name) || (!query.name.empty() && name != query.name)) continue;
    entries.push_back({name, {}, overflowed});
  }
  const auto middle =
      entries.begin() + static_cast<std::ptrdiff_t>(std::min(query.limit, entries.size()));
  std::partial_sort(entries.begin(), middle, entries.end(), [](const Entry& a, const Entry& b) {
    return a.all() != b.all() ? a.all() > b.all() : a.name < b.name;
  });
  for (auto entry = entries.begin(); entry != middle; ++entry) {
    usage.metrics.push_back(
        {.name = std::string(entry->name),
         .series_count = entry->counts.series,
         .overflowed_count = entry->overflowed,
         .overflowing = entry->overflowed > 0 || entry->counts.overflow_series > 0});
  }
  return usage;
}

std::optional<SeriesNumber> SeriesIndex::Find(int slot, const SeriesId& id) const {
  const auto found = numbers_.find(Key{.id = id, .slot = slot});
  if (found == numbers_.end()) return std::nullopt;
  return found->second;
}

SeriesNumber SeriesIndex::Add(const Key& key, const Series& series, bool stored,
                              std::string bytes) {
  const auto number = static_cast<SeriesNumber>(entries_.size());
  entries_.push_back({.number = number,
                      .id = key.id,
                      .slot = key.slot,
                      .kind = series.kind,
                      .stored = stored,
                      .overflow = IsOverflow(series),
                      .bytes = std::move(bytes)});
  numbers_.emplace(key, number);
  return number;
}

struct Delta::Bin {
  int64_t start_seconds = 0;
  uint32_t first = kNoCell;
  uint32_t last = kNoCell;
  size_t cell_count = 0;
  // `dense` once it is not empty, `sparse` until then.
  absl::flat_hash_map<SeriesNumber, uint32_t> sparse;
  std::vector<uint32_t> dense;
};

struct Delta::State {
  explicit State(int64_t width_seconds) : bin_seconds(width_seconds) {}

  Cell& CellOf(const SeriesIndex& series, SeriesNumber number, int64_t time_unix_nano) {
    // One comparison: times before the bin wrap around to large differences.
    if (static_cast<uint64_t>(time_unix_nano) - start_nano >= width_nano) [[unlikely]] {
      SelectBin(time_unix_nano);
    }
    if (number < bin->dense.size()) [[likely]] {
      const uint32_t cell = bin->dense.data()[number];
      if (cell != kNoCell) [[likely]]
        return cells[cell];
    }
    return FindOrAddCell(series, number);
  }

  void SelectBin(int64_t time_unix_nano);
  Cell& FindOrAddCell(const SeriesIndex& series, SeriesNumber number);
  uint32_t AddCell(const SeriesEntry& entry);
  void Clear();

  const int64_t bin_seconds;
  CellSlab cells;
  std::vector<Sketch> sketches;
  absl::flat_hash_map<int64_t, std::unique_ptr<Bin>> bins;
  std::vector<std::unique_ptr<Bin>> spare_bins;
  size_t index_bytes = 0;  // of `bins`, roughly

  // The bin folded into last, and the times it covers; no width, no bin.
  Bin* bin = nullptr;
  uint64_t start_nano = 0;
  uint64_t width_nano = 0;
};

void Delta::State::SelectBin(int64_t time_unix_nano) {
  const int64_t start_seconds = AlignDown(SecondsOfNanos(time_unix_nano), bin_seconds);
  std::unique_ptr<Bin>& slot = bins[start_seconds];
  if (slot == nullptr) {
    if (spare_bins.empty()) {
      slot = std::make_unique<Bin>();
    } else {
      slot = std::move(spare_bins.back());
      spare_bins.pop_back();
    }
    slot->start_seconds = start_seconds;
    index_bytes += sizeof(Bin);
  }
  bin = slot.get();
  // The first and last bin of the range of int64 would wrap: those two are
  // looked up for every sample.
  int64_t start = 0;
  int64_t end = 0;
  const bool wraps =
      __builtin_mul_overflow(start_seconds, int64_t{1'000'000'000}, &start) ||
      __builtin_mul_overflow(start_seconds + bin_seconds, int64_t{1'000'000'000}, &end);
  start_nano = static_cast<uint64_t>(start);
  width_nano = wraps ? 0 : static_cast<uint64_t>(end - start);
}

Cell& Delta::State::FindOrAddCell(const SeriesIndex& series, SeriesNumber number) {
  if (bin->dense.empty()) {
    auto [found, added] = bin->sparse.try_emplace(number, kNoCell);
    if (!added) return cells[found->second];
    found->second = AddCell(series[number]);
    const uint32_t cell = found->second;
    index_bytes += kSparseBytesPerCell;
    if (bin->cell_count >= std::max(kMinDenseCells, series.size() / kSeriesPerDenseCell)) {
      bin->dense.assign(series.size(), kNoCell);
      for (const auto& [known, number_of_cell] : bin->sparse) bin->dense[known] = number_of_cell;
      index_bytes += bin->dense.size() * sizeof(uint32_t);
      index_bytes -= bin->sparse.size() * kSparseBytesPerCell;
      bin->sparse = {};
    }
    return cells[cell];
  }
  if (number >= bin->dense.size()) {
    index_bytes += (series.size() - bin->dense.size()) * sizeof(uint32_t);
    bin->dense.resize(series.size(), kNoCell);
  }
  uint32_t& cell = bin->dense[number];
  if (cell == kNoCell) cell = AddCell(series[number]);
  return cells[cell];
}

uint32_t Delta::State::AddCell(const SeriesEntry& entry) {
  const uint32_t number = cells.Add();
  Cell& cell = cells[number];
  cell.series = &entry;
  if (entry.kind == Kind::kDistribution) {
    cell.sketch = static_cast<int32_t>(sketches.size());
    sketches.emplace_back();
  }
  if (bin->cell_count++ == 0) {
    bin->first = number;
  } else {
    cells[bin->last].next = number;
  }
  bin->last = number;
  return number;
}

void Delta::State::Clear() {
  for (auto& [start, used] : bins) {
    if (spare_bins.size() == kMaxSpareBins) break;
    used->first = used->last = kNoCell;
    used->cell_count = 0;
    used->sparse.clear();
    used->dense.clear();
    spare_bins.push_back(std::move(used));
  }
  bins = {};
  bin = nullptr;
  start_nano = width_nano = 0;
  index_bytes = 0;
  cells.Clear();
  const size_t kept_sketches = std::max(sketches.size(), sketches.capacity() / 2);
  sketches = {};
  sketches.reserve(kept_sketches);
}

Delta::Delta(int64_t bin_seconds) : state_(std::make_unique<State>(bin_seconds)) {
  WEIR_CHECK(bin_seconds > 0);
}

Delta::~Delta() = default;

void Delta::Fold(const SeriesIndex& series, absl::Span<const SeriesNumber> numbers,
                 const frame::Block& block) {
  WEIR_CHECK(numbers.size() == block.size());
  if (block.type == frame::ValueType::kInteger) {
    FoldAs<int64_t>(series, numbers, block);
  } else {
    FoldAs<double>(series, numbers, block);
  }
  sample_count_ += static_cast<int64_t>(numbers.size());
}

template <typename Value>
void Delta::FoldAs(const SeriesIndex& series, absl::Span<const SeriesNumber> numbers,
                   const frame::Block& block) {
  State& state = *state_;
  Cell* cells[kRoundSamples];
  for (size_t begin = 0; begin < numbers.size(); begin += kRoundSamples) {
    const size_t count = std::min(kRoundSamples, numbers.size() - begin);
    const SeriesNumber* number = numbers.data() + begin;
    const int64_t* time = block.times.data() + begin;
    const uint64_t* bits = block.bits.data() + begin;
    for (size_t i = 0; i < count; ++i) {
      cells[i] = &state.CellOf(series, number[i], time[i]);
      __builtin_prefetch(cells[i], /*write=*/1);
      __builtin_prefetch(reinterpret_cast<const char*>(cells[i]) + 64, /*write=*/1);
    }
    for (size_t i = 0; i < count; ++i) {
      Cell& cell = *cells[i];
      const Value value = std::bit_cast<Value>(bits[i]);
      if constexpr (std::is_same_v<Value, int64_t>) {
        cell.aggregate.AddInteger(value, time[i]);
      } else {
        cell.aggregate.AddFloat(value, time[i]);
      }
      if (cell.sketch >= 0) state.sketches[cell.sketch].Add(static_cast<double>(value));
    }
  }
}

void Delta::Merge(const SeriesIndex& series, SeriesNumber number, int64_t event_unix_nano,
                  const Aggregate& aggregate, const Sketch* sketch) {
  Cell& cell = state_->CellOf(series, number, event_unix_nano);
  cell.aggregate.Merge(aggregate);
  if (cell.sketch >= 0 && sketch != nullptr) state_->sketches[cell.sketch].Merge(*sketch);
  ++sample_count_;
}

void Delta::ForEach(
    absl::FunctionRef<void(int64_t start_seconds, const Cell& cell, const Sketch* sketch)> visit)
    const {
  std::vector<const Bin*> bins;
  bins.reserve(state_->bins.size());
  for (const auto& [start, bin] : state_->bins) bins.push_back(bin.get());
  std::sort(bins.begin(), bins.end(),
            [](const Bin* a, const Bin* b) { return a->start_seconds < b->start_seconds; });
  for (const Bin* bin : bins) {
    for (uint32_t number = bin->first; number != kNoCell;) {
      const Cell& cell = state_->cells[number];
      visit(bin->start_seconds, cell, cell.sketch >= 0 ? &state_->sketches[cell.sketch] : nullptr);
      number = cell.next;
    }
  }
}

int64_t Delta::cell_count() const { return state_->cells.size(); }

size_t Delta::memory_bytes() const {
  // A few sketches stand for all: asking each would cost more than folding.
  constexpr size_t kProbes = 64;
  const std::vector<Sketch>& sketches = state_->sketches;
  const size_t probes = std::min(kProbes, sketches.size());
  size_t probed_bytes = 0;
  for (size_t i = 0; i < probes; ++i) {
    probed_bytes += sketches[i * sketches.size() / probes].memory_bytes();
  }
  const size_t sketch_bytes = probes == 0 ? 0 : probed_bytes * sketches.size() / probes;
  return state_->cells.size() * sizeof(Cell) + state_->index_bytes + sketch_bytes;
}

void Delta::Clear() {
  state_->Clear();
  sample_count_ = 0;
}

}  // namespace weir::aggregator
