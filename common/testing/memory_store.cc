#include "common/testing/memory_store.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/store/transaction.h"

namespace weir::test {

using store::Claimed;
using store::CommitResult;
using store::CumulativeKey;
using store::CumulativeRow;
using store::IndicatorBin;
using store::IndicatorBinFilter;
using store::IndicatorRow;
using store::IndicatorSet;
using store::IndicatorSweep;
using store::PartialFilter;
using store::PartialRow;
using store::SeriesFilter;
using store::SeriesRow;
using store::SlotState;
using store::StoreOptions;
using store::Transaction;
using store::Watermark;

namespace {

absl::Status Down() { return absl::UnavailableError("the store is down"); }
absl::Status ReplyLost() { return absl::UnavailableError("the reply was lost"); }

}  // namespace

// A transaction that outlives its caller: views point into memory of its own.
struct MemoryStore::Ghost {
  explicit Ghost(const Transaction& t) : transaction(t) {
    bytes.reserve(t.partials.size() + t.cumulatives.size());
    for (PartialRow& row : transaction.partials) row.sketch = bytes.emplace_back(row.sketch);
    for (CumulativeRow& row : transaction.cumulatives) row.point = bytes.emplace_back(row.point);
  }
  Transaction transaction;
  std::vector<std::string> bytes;  // never grows past what was reserved: views point into it
};

class MemoryStore::MemorySnapshot : public store::Snapshot {
 public:
  MemorySnapshot(MemoryStore* store, std::shared_ptr<const State> state)
      : store_(*store), state_(std::move(state)) {}
  ~MemorySnapshot() override { store_.Release(std::move(state_)); }

  absl::StatusOr<std::vector<SlotState>> Slots() override { return state_->slots; }
  absl::StatusOr<std::vector<Watermark>> Watermarks() override {
    std::vector<Watermark> watermarks;
    for (const auto& [key, watermark] : state_->watermarks) watermarks.push_back(watermark);
    return watermarks;
  }
  absl::StatusOr<std::vector<int64_t>> Floors() override { return state_->floors; }

  absl::StatusOr<std::vector<SeriesRow>> FindSeries(const SeriesFilter& filter) override {
    std::vector<SeriesRow> found;
    for (const auto& [key, row] : state_->series) {
      if (filter.limit > 0 && static_cast<int>(found.size()) >= filter.limit) break;
      if (filter.after.has_value() && key.first <= *filter.after) continue;
      if (!found.empty() && found.back().id == row.id) continue;
      if (row.series.tenant != filter.tenant) continue;
      if (!filter.name.empty() && row.series.name != filter.name) continue;
      const std::vector<Label>& labels = row.series.labels;
      if (std::all_of(filter.labels.begin(), filter.labels.end(), [&](const Label& label) {
            return std::find(labels.begin(), labels.end(), label) != labels.end();
          })) {
        found.push_back(row);
      }
    }
    return found;
  }

  absl::Status ReadPartials(const PartialFilter& filter,
                            absl::FunctionRef<absl::Status(const PartialRow& row)> visit) override {
    if (filter.tier < 0 || filter.tier >= static_cast<int>(state_->partials.size())) {
      return absl::InvalidArgumentError(absl::StrCat("tier ", filter.tier));
    }
    const absl::flat_hash_set<SeriesId> wanted(filter.series.begin(), filter.series.end());
    const auto& bins = state_->partials[filter.tier];
    const int64_t start = std::max(filter.start_seconds, state_->floors[filter.tier]);
    for (auto bin = bins.lower_bound(start); bin != bins.end() && bin->first < filter.end_seconds;
         ++bin) {
      for (const StoredPartial& stored : bin->second) {
        if (filter.slot.has_value() && stored.slot != *filter.slot) continue;
        if (!wanted.empty() && !wanted.contains(stored.series_id)) continue;
        WEIR_RETURN_IF_ERROR(visit({.tier = stored.tier,
                                    .slot = stored.slot,
                                    .start_seconds = stored.start_seconds,
                                    .series_id = stored.series_id,
                                    .aggregate = stored.aggregate,
                                    .sketch = stored.sketch}));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadCumulatives(
      int slot, absl::FunctionRef<absl::Status(const CumulativeRow& row)> visit) override {
    const int slot_count = static_cast<int>(state_->slots.size());
    WEIR_RETURN_IF_ERROR(store::CheckSlots({slot}, slot_count).status());
    for (const auto& [key, stored] : state_->cumulatives[slot]) {
      WEIR_RETURN_IF_ERROR(visit({.slot = slot,
                                  .series_id = key.first,
                                  .start_unix_nano = key.second,
                                  .time_unix_nano = stored.time_unix_nano,
                                  .point = stored.point}));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<IndicatorSet> Indicators() override {
    IndicatorSet set{.version = state_->indicator_set_version};
    for (const auto& [key, row] : state_->indicators) set.rows.push_back(row);
    return set;
  }

  absl::Status ReadIndicatorBins(
      const IndicatorBinFilter& filter,
      absl::FunctionRef<absl::Status(const IndicatorBin& bin)> visit) override {
    WEIR_RETURN_IF_ERROR(store::CheckIndicatorTier(filter.tier));
    if (filter.slot.has_value()) {
      const int slot_count = static_cast<int>(state_->slots.size());
      WEIR_RETURN_IF_ERROR(store::CheckSlots({*filter.slot}, slot_count).status());
    }
    const absl::flat_hash_set<IndicatorId> wanted(filter.ids.begin(), filter.ids.end());
    const auto& bins = state_->indicator_bins;
    for (auto found = bins.lower_bound({filter.tier, filter.start_seconds, IndicatorId(), 0});
         found != bins.end(); ++found) {
      const IndicatorBin& bin = found->second;
      if (bin.tier != filter.tier || bin.start_seconds >= filter.end_seconds) break;
      if (filter.slot.has_value() && bin.slot != *filter.slot) continue;
      if (!wanted.empty() && !wanted.contains(bin.indicator_id)) continue;
      WEIR_RETURN_IF_ERROR(visit(bin));
    }
    return absl::OkStatus();
  }

 private:
  MemoryStore& store_;
  std::shared_ptr<const State> state_;
};

MemoryStore::MemoryStore(StoreOptions options)
    : options_(std::move(options)), state_(std::make_shared<State>()) {
  const TierTable& tiers = options_.tiers;
  const int64_t created = absl::ToUnixSeconds(options_.created_time);
  for (int slot = 0; slot < options_.slot_count; ++slot) {
    SlotState state{.slot = slot, .derived_until = std::vector<int64_t>(tiers.size())};
    for (int tier = 1; tier < tiers.size(); ++tier) {
      state.derived_until[tier] = AlignDown(created, tiers[tier].bin_seconds);
    }
    state_->slots.push_back(std::move(state));
  }
  state_->owners.resize(options_.slot_count);
  state_->cumulatives.resize(options_.slot_count);
  for (int tier = 0; tier < tiers.size(); ++tier) {
    state_->floors.push_back(tiers.FloorSeconds(tier, options_.created_time));
  }
  state_->partials.resize(tiers.size());
}

MemoryStore::~MemoryStore() = default;

absl::StatusOr<std::unique_ptr<MemoryStore>> MemoryStore::Create(StoreOptions options) {
  if (options.slot_count < 1 || options.slot_count > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("slot_count is ", options.slot_count, ", not within [1, 1024]"));
  }
  return std::unique_ptr<MemoryStore>(new MemoryStore(std::move(options)));
}

MemoryStore::State& MemoryStore::Mutable() {
  if (state_.use_count() > 1) state_ = std::make_shared<State>(*state_);
  return *state_;
}

// A snapshot gives its share back under the mutex, so that the next commit's
// look at the count orders its writes after the snapshot's reads.
void MemoryStore::Release(std::shared_ptr<const State> state) {
  MutexLock lock(&mu_);
  state.reset();
}

Claimed MemoryStore::ReadClaimed(const std::vector<int>& slots) {
  Claimed claimed;
  for (const int slot : slots) claimed.slots.push_back(state_->slots[slot]);
  for (const auto& [key, watermark] : state_->watermarks) {
    if (std::binary_search(slots.begin(), slots.end(), key.first)) {
      claimed.watermarks.push_back(watermark);
    }
  }
  claimed.floors = state_->floors;
  claimed.indicator_set_version = state_->indicator_set_version;
  return claimed;
}

absl::StatusOr<Claimed> MemoryStore::Claim(const std::vector<int>& slots,
                                           const std::string& owner) {
  WEIR_ASSIGN_OR_RETURN(const auto sorted, store::CheckSlots(slots, options_.slot_count));
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  State& state = Mutable();
  for (const int slot : sorted) {
    ++state.slots[slot].epoch;
    state.owners[slot] = owner;
  }
  return ReadClaimed(sorted);
}

absl::StatusOr<Claimed> MemoryStore::ReadSlots(const std::vector<int>& slots) {
  WEIR_ASSIGN_OR_RETURN(const auto sorted, store::CheckSlots(slots, options_.slot_count));
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  return ReadClaimed(sorted);
}

absl::StatusOr<CommitResult> MemoryStore::Commit(const Transaction& t) {
  WEIR_RETURN_IF_ERROR(store::CheckTransaction(t, options_.slot_count, options_.tiers));
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  const CommitFault fault = policy_ ? policy_(t) : CommitFault::kNone;
  ++fault_counts_[static_cast<int>(fault)];
  const bool apart = options_.mutant == Mutant::kWatermarkApart;
  switch (fault) {
    case CommitFault::kRefused:
      return Down();
    case CommitFault::kNotCommitted:
      // The first of the two transactions of this mutant has been committed.
      if (apart && Compare(t) == CommitResult::kCommitted) WriteWatermarks(t);
      return ReplyLost();
    case CommitFault::kGhost:
      ghosts_.push_back(std::make_unique<Ghost>(t));
      return ReplyLost();
    case CommitFault::kCommitted: {
      WEIR_RETURN_IF_ERROR(Apply(t, apart).status());
      return ReplyLost();
    }
    case CommitFault::kNone:
      break;
  }
  return Apply(t, apart);
}

bool MemoryStore::WatermarksAgree(const Transaction& t) {
  for (const auto& change : t.watermarks) {
    const auto found = state_->watermarks.find({change.slot, change.wal_id});
    const uint64_t lsn = found == state_->watermarks.end() ? 0 : found->second.lsn;
    if (lsn != change.old_lsn) return false;
  }
  return true;
}

bool MemoryStore::IndicatorsAgree(const Transaction& t) {
  if (t.indicator_set_version != 0 && t.indicator_set_version != state_->indicator_set_version) {
    return false;
  }
  for (const auto& change : t.indicator_changes) {
    const auto found = state_->indicators.find({change.row.tenant, change.row.name});
    const int64_t version = found == state_->indicators.end() ? 0 : found->second.version;
    if (version != change.old_version) return false;
  }
  return true;
}

CommitResult MemoryStore::Compare(const Transaction& t) {
  const Mutant mutant = options_.mutant;
  const bool compares = mutant != Mutant::kNoCompareAndSet;
  // Without its own comparison a derivation is also not stopped by the number
  // of its commit.
  const bool derives_compared = compares && mutant != Mutant::kDeriveTwice;
  const bool numbers_compared = compares && (derives_compared || t.derives.empty());
  for (const auto& change : t.slots) {
    const SlotState& slot = state_->slots[change.slot];
    if (mutant != Mutant::kNoEpochCheck && slot.epoch != change.epoch) {
      return CommitResult::kConflict;
    }
    if (numbers_compared && slot.commit_number != change.old_commit_number) {
      return CommitResult::kConflict;
    }
  }
  if (compares && !WatermarksAgree(t)) return CommitResult::kConflict;
  for (const auto& change : t.derives) {
    const int64_t until = state_->slots[change.slot].derived_until[change.tier];
    if (derives_compared && until != change.old_until_seconds) return CommitResult::kConflict;
  }
  if (!IndicatorsAgree(t)) return CommitResult::kConflict;
  if (mutant != Mutant::kFloorUnchecked && !t.floors.empty() && t.floors != state_->floors) {
    return CommitResult::kFloorsMoved;
  }
  return CommitResult::kCommitted;
}

void MemoryStore::WriteWatermarks(const Transaction& t) {
  State& state = Mutable();
  for (const auto& change : t.watermarks) {
    state.watermarks[{change.slot, change.wal_id}] = {
        .slot = change.slot,
        .wal_id = change.wal_id,
        .lsn = change.new_lsn,
        .complete_until = store::TimeOfNanos(store::NanosOfTime(change.complete_until)),
        .heard_time = store::TimeOfNanos(store::NanosOfTime(change.heard_time))};
  }
}

absl::Status MemoryStore::WriteIndicators(const Transaction& t, State* state) {
  if (t.indicator_changes.empty()) return absl::OkStatus();
  auto rows = state->indicators;  // those stay when a change is refused
  bool orphans = false;
  for (const auto& change : t.indicator_changes) {
    if (change.deleted) orphans = rows.erase({change.row.tenant, change.row.name}) > 0 || orphans;
  }
  for (const auto& change : t.indicator_changes) {
    if (change.deleted) continue;
    const IndicatorRow& row = change.row;
    const std::pair<std::string, std::string> key(row.tenant, row.name);
    for (const auto& [other, stored] : rows) {
      if (stored.id == row.id && other != key) {
        return absl::InvalidArgumentError(absl::StrCat(row.name, " has the id of ", stored.name));
      }
    }
    const auto [found, inserted] = rows.try_emplace(key, row);
    if (!inserted) orphans = orphans || found->second.id != row.id;
    found->second = row;
  }
  state->indicators = std::move(rows);
  ++state->indicator_set_version;
  if (orphans) state->indicator_deleted_version = state->indicator_set_version;
  return absl::OkStatus();
}

absl::Status MemoryStore::CheckPartials(const Transaction& t) {
  // The key of a row, without the commit number, which is new for its slot.
  absl::flat_hash_set<std::pair<std::pair<int, int>, std::pair<int64_t, SeriesId>>> keys;
  for (const PartialRow& row : t.partials) {
    if (!keys.insert({{row.tier, row.slot}, {row.start_seconds, row.series_id}}).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two partials of series ", row.series_id.ToHex(), " in one bin"));
    }
  }
  return absl::OkStatus();
}

void MemoryStore::WritePartials(const Transaction& t, State* state) {
  for (const PartialRow& row : t.partials) {
    state->partials[row.tier][row.start_seconds].push_back(
        {.tier = row.tier,
         .slot = row.slot,
         .start_seconds = row.start_seconds,
         .series_id = row.series_id,
         .commit_number = state->slots[row.slot].commit_number + 1,
         .aggregate = row.aggregate,
         .sketch = std::string(row.sketch)});
  }
}

absl::StatusOr<CommitResult> MemoryStore::Apply(const Transaction& t, bool apart) {
  const CommitResult compared = Compare(t);
  if (compared != CommitResult::kCommitted) return compared;
  if (apart) WriteWatermarks(t);
  State& state = Mutable();
  // What can fail comes first and changes nothing when it does.
  WEIR_RETURN_IF_ERROR(CheckPartials(t));
  WEIR_RETURN_IF_ERROR(WriteIndicators(t, &state));
  WritePartials(t, &state);
  for (const auto& change : t.slots) ++state.slots[change.slot].commit_number;
  for (const auto& change : t.derives) {
    state.slots[change.slot].derived_until[change.tier] = change.new_until_seconds;
  }
  for (const SeriesRow& row : t.series) state.series.try_emplace({row.id, row.slot}, row);
  for (const CumulativeRow& row : t.cumulatives) {
    state.cumulatives[row.slot][{row.series_id, row.start_unix_nano}] = {
        .time_unix_nano = row.time_unix_nano, .point = std::string(row.point)};
  }
  for (const CumulativeKey& key : t.dropped_cumulatives) {
    state.cumulatives[key.slot].erase({key.series_id, key.start_unix_nano});
  }
  for (const IndicatorBin& bin : t.indicator_bins) {
    const auto [found, inserted] = state.indicator_bins.try_emplace(
        {bin.tier, bin.start_seconds, bin.indicator_id, bin.slot}, bin);
    if (inserted) continue;
    found->second.good = store::SaturatingAdd(found->second.good, bin.good);
    found->second.total = store::SaturatingAdd(found->second.total, bin.total);
  }
  if (!apart) WriteWatermarks(t);
  return CommitResult::kCommitted;
}

int MemoryStore::CommitGhosts() {
  MutexLock lock(&mu_);
  int committed = 0;
  for (const auto& ghost : std::exchange(ghosts_, {})) {
    const auto result = Apply(ghost->transaction, options_.mutant == Mutant::kWatermarkApart);
    if (result.ok() && *result == CommitResult::kCommitted) ++committed;
  }
  return committed;
}

absl::StatusOr<std::unique_ptr<store::Snapshot>> MemoryStore::OpenSnapshot() {
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  return std::make_unique<MemorySnapshot>(this, state_);
}

absl::StatusOr<int64_t> MemoryStore::RaiseFloor(int tier, int64_t floor_seconds) {
  if (tier < 0 || tier >= options_.tiers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", tier));
  }
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  int64_t lowest = 0;
  if (tier + 1 < options_.tiers.size()) {
    lowest = state_->slots[0].derived_until[tier + 1];
    for (const SlotState& slot : state_->slots) {
      lowest = std::min(lowest, slot.derived_until[tier + 1]);
    }
  }
  int64_t& floor = Mutable().floors[tier];
  floor = store::RaisedFloor(options_.tiers, tier, floor, floor_seconds, lowest);
  return floor;
}

absl::StatusOr<bool> MemoryStore::DropBelowFloor(int tier, int64_t max_rows) {
  if (tier < 0 || tier >= options_.tiers.size() || max_rows < 1) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", tier, ", ", max_rows, " rows"));
  }
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  State& state = Mutable();
  auto& bins = state.partials[tier];
  while (!bins.empty() && bins.begin()->first < state.floors[tier]) {
    std::vector<StoredPartial>& rows = bins.begin()->second;
    if (static_cast<int64_t>(rows.size()) > max_rows) {
      rows.resize(rows.size() - max_rows);
      return true;
    }
    max_rows -= static_cast<int64_t>(rows.size());
    bins.erase(bins.begin());
    if (max_rows == 0) break;
  }
  return !bins.empty() && bins.begin()->first < state.floors[tier];
}

absl::StatusOr<bool> MemoryStore::DropIndicatorBins(int tier, int64_t before_seconds,
                                                    int64_t max_rows) {
  WEIR_RETURN_IF_ERROR(store::CheckIndicatorTier(tier));
  if (max_rows < 1) return absl::InvalidArgumentError(absl::StrCat(max_rows, " rows"));
  MutexLock lock(&mu_);
  if (unavailable_) return Down();
  State& state = Mutable();
  auto& bins = state.indicator_bins;
  auto next = bins.lower_bound({tier, std::numeric_limits<int64_t>::min(), IndicatorId(), 0});
  const auto of_tier = [&] { return next != bins.end() && std::get<0>(next->first) == tier; };
  while (of_tier() && next->second.start_seconds < before_seconds) {
    if (max_rows-- == 0) return true;
    next = bins.erase(next);
  }
  IndicatorSweep& sweep = sweeps_[tier];
  sweep.Begin(state.indicator_deleted_version);
  if (!sweep.pending) return false;
  absl::flat_hash_set<IndicatorId> ids;
  for (const auto& [key, row] : state.indicators) ids.insert(row.id);
  const IndicatorSweep::Position after = sweep.after;
  next = bins.upper_bound({tier, after.start_seconds, after.indicator_id, after.slot});
  while (of_tier()) {
    if (max_rows-- == 0) return true;
    const IndicatorBin& bin = next->second;
    sweep.after = {bin.start_seconds, bin.indicator_id, bin.slot};
    next = ids.contains(bin.indicator_id) ? std::next(next) : bins.erase(next);
  }
  sweep.pending = false;
  return false;
}

void MemoryStore::set_fault_policy(FaultPolicy policy) {
  MutexLock lock(&mu_);
  policy_ = std::move(policy);
}

void MemoryStore::set_unavailable(bool unavailable) {
  MutexLock lock(&mu_);
  unavailable_ = unavailable;
}

int MemoryStore::ghost_count() {
  MutexLock lock(&mu_);
  return static_cast<int>(ghosts_.size());
}

std::array<int64_t, kCommitFaultCount> MemoryStore::fault_counts() {
  MutexLock lock(&mu_);
  return fault_counts_;
}

std::shared_ptr<const MemoryStore::State> MemoryStore::state() {
  MutexLock lock(&mu_);
  return state_;
}

void MemoryStore::Restore(const std::shared_ptr<const State>& state) {
  MutexLock lock(&mu_);
  state_ = std::make_shared<State>(*state);
  ghosts_.clear();
}

}  // namespace weir::test
