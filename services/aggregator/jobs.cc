#include "services/aggregator/jobs.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/sketch/sketch.h"

namespace weir::aggregator {
namespace {

// Only retention moves floors, and it runs on the same thread: a second
// aggregator that has not noticed its fencing may move them once more.
constexpr int kMaxRoutings = 4;
constexpr int kSeriesPerPage = 10'000;

// Several partials on their way to one row.
struct Merged {
  Aggregate aggregate;
  std::optional<Sketch> sketch;

  void Add(const Aggregate& other, const Sketch* other_sketch) {
    aggregate.Merge(other);
    if (other_sketch == nullptr) return;
    if (sketch.has_value()) {
      sketch->Merge(*other_sketch);
    } else {
      sketch = *other_sketch;
    }
  }

  const Sketch* sketch_or_null() const { return sketch.has_value() ? &*sketch : nullptr; }
};

// A row before it is written: a cell as it was folded, or several merged.
struct RoutedRow {
  int64_t start_seconds;
  const SeriesEntry* series;
  const Aggregate* aggregate;
  const Sketch* sketch;
};

// The order of the primary key, so that a B-tree is appended to bin by bin.
bool InKeyOrder(const RoutedRow& a, const RoutedRow& b) {
  return std::tie(a.start_seconds, a.series->slot, a.series->id) <
         std::tie(b.start_seconds, b.series->slot, b.series->id);
}

std::string_view Encode(const Sketch* sketch, std::deque<std::string>* sketch_bytes) {
  if (sketch == nullptr) return {};
  sketch->AppendTo(&sketch_bytes->emplace_back());
  return sketch_bytes->back();
}

// Assigns cells to tiers, and merges those that meet in one row there.
class Router {
 public:
  Router(const JobContext& context, const FlushJob& job)
      : context_(context), job_(job), cells_(context.tiers.size()), merged_(context.tiers.size()) {}

  // Returns false when no tier keeps a bin that old.
  bool Route(int64_t start_seconds, const Cell& cell, const Sketch* sketch) {
    int tier = 0;
    while (start_seconds < job_.floors[tier]) {
      if (++tier == context_.tiers.size()) return false;
    }
    if (tier == 0) {
      cells_[0].push_back({start_seconds, cell.series, &cell.aggregate, sketch});
    } else {
      Merge(tier, start_seconds, cell, sketch);
    }
    if (context_.mutant == Mutant::kLateSkipsDerived) return true;
    const std::vector<int64_t>& derived_until = job_.derived_until[cell.series->slot];
    for (++tier; tier < context_.tiers.size(); ++tier) {
      if (start_seconds < derived_until[tier] && start_seconds >= job_.floors[tier]) {
        Merge(tier, start_seconds, cell, sketch);
      }
    }
    return true;
  }

  // Appends every row in key order; returns how many are of coarser tiers.
  int64_t AppendRows(std::deque<std::string>* sketch_bytes, std::vector<store::PartialRow>* out) {
    size_t row_count = 0;
    for (int tier = 0; tier < context_.tiers.size(); ++tier) {
      for (const auto& [key, row] : merged_[tier]) {
        cells_[tier].push_back({key.first, key.second, &row.aggregate, row.sketch_or_null()});
      }
      std::sort(cells_[tier].begin(), cells_[tier].end(), InKeyOrder);
      row_count += cells_[tier].size();
    }
    out->reserve(row_count);
    for (int tier = 0; tier < context_.tiers.size(); ++tier) {
      for (const RoutedRow& row : cells_[tier]) {
        out->push_back({.tier = tier,
                        .slot = row.series->slot,
                        .start_seconds = row.start_seconds,
                        .series_id = row.series->id,
                        .aggregate = *row.aggregate,
                        .sketch = Encode(row.sketch, sketch_bytes)});
      }
    }
    return static_cast<int64_t>(row_count - cells_[0].size());
  }

 private:
  void Merge(int tier, int64_t start_seconds, const Cell& cell, const Sketch* sketch) {
    const int64_t start = AlignDown(start_seconds, context_.tiers[tier].bin_seconds);
    merged_[tier][{start, cell.series}].Add(cell.aggregate, sketch);
  }

  const JobContext& context_;
  const FlushJob& job_;
  // Per tier: rows that are one cell, and rows of several by start and series.
  // A series has one entry per slot, so these are also the parts of the key.
  std::vector<std::vector<RoutedRow>> cells_;
  std::vector<absl::flat_hash_map<std::pair<int64_t, const SeriesEntry*>, Merged>> merged_;
};

absl::StatusOr<std::vector<int64_t>> ReadFloors(store::Store& store) {
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<store::Snapshot> snapshot, store.OpenSnapshot());
  return snapshot->Floors();
}

std::vector<int> AllSlots(int slot_count) {
  std::vector<int> slots(slot_count);
  for (int slot = 0; slot < slot_count; ++slot) slots[slot] = slot;
  return slots;
}

absl::Status Conflict() {
  return absl::AbortedError("the store's epoch, commit number or watermark is another");
}

absl::Status RunClaim(const JobContext& context, const ClaimJob& job, JobResult* result) {
  WEIR_ASSIGN_OR_RETURN(result->claimed,
                        context.store.Claim(AllSlots(context.slot_count), job.owner));
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<store::Snapshot> snapshot, context.store.OpenSnapshot());
  store::SeriesFilter filter{.tenant = context.tenant, .limit = kSeriesPerPage};
  while (true) {
    WEIR_ASSIGN_OR_RETURN(std::vector<store::SeriesRow> page, snapshot->FindSeries(filter));
    const bool last = page.size() < kSeriesPerPage;
    if (!page.empty()) filter.after = page.back().id;
    std::move(page.begin(), page.end(), std::back_inserter(result->series));
    if (last) break;
  }
  for (int slot = 0; slot < context.slot_count; ++slot) {
    WEIR_RETURN_IF_ERROR(snapshot->ReadCumulatives(slot, [&](const store::CumulativeRow& row) {
      result->cumulatives.push_back({.slot = row.slot,
                                     .series_id = row.series_id,
                                     .start_unix_nano = row.start_unix_nano,
                                     .time_unix_nano = row.time_unix_nano,
                                     .point = std::string(row.point)});
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

absl::Status RunReadSlots(const JobContext& context, JobResult* result) {
  WEIR_ASSIGN_OR_RETURN(result->claimed, context.store.ReadSlots(AllSlots(context.slot_count)));
  return absl::OkStatus();
}

absl::Status RunFlush(const JobContext& context, const FlushJob& job, JobResult* result) {
  FlushJob routed = job;
  for (int routing = 0; routing < kMaxRoutings; ++routing) {
    std::deque<std::string> sketch_bytes;
    const store::Transaction transaction = RouteFlush(context, routed, &sketch_bytes, result);
    WEIR_ASSIGN_OR_RETURN(const store::CommitResult committed, context.store.Commit(transaction));
    switch (committed) {
      case store::CommitResult::kCommitted:
        return absl::OkStatus();
      case store::CommitResult::kConflict:
        return Conflict();
      case store::CommitResult::kFloorsMoved:
        break;
    }
    WEIR_ASSIGN_OR_RETURN(routed.floors, ReadFloors(context.store));
    result->floors = routed.floors;
  }
  return absl::UnavailableError("the floors moved again and again while a flush was routed");
}

// Collects the rows of one coarser bin at a time: the finer rows come by bin.
class Derivation {
 public:
  Derivation(const JobContext& context, const DeriveJob& job)
      : context_(context), job_(job), bin_seconds_(context.tiers[job.tier].bin_seconds) {}

  // Returns false, without taking the row, when enough bins are complete.
  absl::StatusOr<bool> Add(const store::PartialRow& row) {
    const int64_t start = AlignDown(row.start_seconds, bin_seconds_);
    if (start != start_seconds_) {
      FinishBin();
      if (static_cast<int64_t>(partials_.size()) >= context_.derive_rows_per_job) {
        until_seconds_ = start;
        return false;
      }
      start_seconds_ = start;
    }
    std::optional<Sketch> sketch;
    if (!row.sketch.empty()) {
      WEIR_ASSIGN_OR_RETURN(sketch, Sketch::Parse(row.sketch));
    }
    bin_[row.series_id].Add(row.aggregate, sketch.has_value() ? &*sketch : nullptr);
    return true;
  }

  store::Transaction Finish() {
    FinishBin();
    store::Transaction transaction;
    transaction.slots = {job_.slot};
    transaction.derives = {{.slot = job_.slot.slot,
                            .tier = job_.tier,
                            .old_until_seconds = job_.from_seconds,
                            .new_until_seconds = until_seconds()}};
    transaction.partials = std::move(partials_);
    return transaction;
  }

  int64_t until_seconds() const { return until_seconds_.value_or(job_.until_seconds); }

 private:
  void FinishBin() {
    const size_t first = partials_.size();
    for (const auto& [id, merged] : bin_) {
      partials_.push_back({.tier = job_.tier,
                           .slot = job_.slot.slot,
                           .start_seconds = start_seconds_,
                           .series_id = id,
                           .aggregate = merged.aggregate,
                           .sketch = Encode(merged.sketch_or_null(), &sketch_bytes_)});
    }
    bin_.clear();
    std::sort(partials_.begin() + first, partials_.end(),
              [](const store::PartialRow& a, const store::PartialRow& b) {
                return a.series_id < b.series_id;
              });
  }

  const JobContext& context_;
  const DeriveJob& job_;
  const int64_t bin_seconds_;
  int64_t start_seconds_ = 0;  // of `bin_`, when that is not empty
  absl::flat_hash_map<SeriesId, Merged> bin_;
  std::vector<store::PartialRow> partials_;
  std::deque<std::string> sketch_bytes_;
  std::optional<int64_t> until_seconds_;
};

absl::Status RunDerive(const JobContext& context, const DeriveJob& job, JobResult* result) {
  WEIR_CHECK(job.tier > 0 && job.tier < context.tiers.size());
  WEIR_CHECK(job.from_seconds < job.until_seconds);
  Derivation derivation(context, job);
  {
    WEIR_ASSIGN_OR_RETURN(std::unique_ptr<store::Snapshot> snapshot, context.store.OpenSnapshot());
    WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, snapshot->Floors());
    const store::PartialFilter filter{
        .tier = job.tier - 1,
        .slot = job.slot.slot,
        // A floor never passes the derived_until above it, so this cuts nothing
        // off; were it broken, rows being dropped must not be half read.
        .start_seconds = std::max(job.from_seconds, floors[job.tier - 1]),
        .end_seconds = job.until_seconds};
    bool enough = false;
    const absl::Status status =
        snapshot->ReadPartials(filter, [&](const store::PartialRow& row) -> absl::Status {
          WEIR_ASSIGN_OR_RETURN(const bool taken, derivation.Add(row));
          enough = !taken;
          return enough ? absl::CancelledError("enough rows") : absl::OkStatus();
        });
    if (!enough) WEIR_RETURN_IF_ERROR(status);
  }
  const store::Transaction transaction = derivation.Finish();
  result->derived_until_seconds = derivation.until_seconds();
  result->row_count = static_cast<int64_t>(transaction.partials.size());
  WEIR_ASSIGN_OR_RETURN(const store::CommitResult committed, context.store.Commit(transaction));
  return committed == store::CommitResult::kCommitted ? absl::OkStatus() : Conflict();
}

absl::Status RunRetention(const JobContext& context, const RetentionJob& job, JobResult* result) {
  std::vector<int64_t> floors(context.tiers.size());
  for (int tier = 0; tier < context.tiers.size(); ++tier) {
    WEIR_ASSIGN_OR_RETURN(
        floors[tier], context.store.RaiseFloor(tier, context.tiers.FloorSeconds(tier, job.now)));
  }
  // Told to the core even when dropping fails: the floors are in force.
  result->floors = std::move(floors);
  for (int tier = 0; tier < context.tiers.size(); ++tier) {
    bool more = true;
    for (int step = 0; more && step < context.max_retention_steps; ++step) {
      WEIR_ASSIGN_OR_RETURN(more,
                            context.store.DropBelowFloor(tier, context.retention_rows_per_step));
    }
  }
  return absl::OkStatus();
}

}  // namespace

store::Transaction RouteFlush(const JobContext& context, const FlushJob& job,
                              std::deque<std::string>* sketch_bytes, JobResult* result) {
  WEIR_CHECK(static_cast<int>(job.floors.size()) == context.tiers.size());
  store::Transaction transaction;
  transaction.slots = job.slots;
  transaction.watermarks = job.watermarks;
  transaction.floors = job.floors;
  result->stored.clear();
  result->expired_sample_count = 0;

  Router router(context, job);
  absl::flat_hash_set<const SeriesEntry*> unstored;
  if (job.delta != nullptr) {
    job.delta->ForEach([&](int64_t start_seconds, const Cell& cell, const Sketch* sketch) {
      if (!router.Route(start_seconds, cell, sketch)) {
        result->expired_sample_count += cell.aggregate.count;
      } else if (!cell.series->stored) {
        unstored.insert(cell.series);
      }
    });
  }
  if (job.cumulatives != nullptr) {
    for (const CumulativeChanges::Row& row : job.cumulatives->rows) {
      transaction.cumulatives.push_back({.slot = row.series->slot,
                                         .series_id = row.series->id,
                                         .start_unix_nano = row.start_unix_nano,
                                         .time_unix_nano = row.time_unix_nano,
                                         .point = row.point});
      if (!row.series->stored) unstored.insert(row.series);
    }
    // In the order of the primary key, as the partials.
    std::sort(transaction.cumulatives.begin(), transaction.cumulatives.end(),
              [](const store::CumulativeRow& a, const store::CumulativeRow& b) {
                return std::tie(a.slot, a.series_id, a.start_unix_nano) <
                       std::tie(b.slot, b.series_id, b.start_unix_nano);
              });
    for (const CumulativeChanges::Key& key : job.cumulatives->dropped) {
      transaction.dropped_cumulatives.push_back({.slot = key.series->slot,
                                                 .series_id = key.series->id,
                                                 .start_unix_nano = key.start_unix_nano});
    }
  }
  result->late_row_count = router.AppendRows(sketch_bytes, &transaction.partials);
  result->row_count = static_cast<int64_t>(transaction.partials.size());

  for (const SeriesEntry* entry : unstored) result->stored.push_back(entry->number);
  std::sort(result->stored.begin(), result->stored.end());
  transaction.series.reserve(unstored.size());
  for (const SeriesEntry* entry : unstored) {
    absl::StatusOr<Series> series = ParseSeries(entry->bytes);
    WEIR_CHECK_OK(series.status());  // it was parsed when it was interned
    transaction.series.push_back(
        {.slot = entry->slot, .id = entry->id, .series = *std::move(series)});
  }
  std::sort(transaction.series.begin(), transaction.series.end(),
            [](const store::SeriesRow& a, const store::SeriesRow& b) {
              return std::tie(a.slot, a.id) < std::tie(b.slot, b.id);
            });
  return transaction;
}

JobResult RunJob(const JobContext& context, const Job& job) {
  JobResult result;
  struct Run {
    absl::Status operator()(const ClaimJob& claim) { return RunClaim(context, claim, result); }
    absl::Status operator()(const FlushJob& flush) { return RunFlush(context, flush, result); }
    absl::Status operator()(const DeriveJob& derive) { return RunDerive(context, derive, result); }
    absl::Status operator()(const RetentionJob& retention) {
      return RunRetention(context, retention, result);
    }
    absl::Status operator()(const ReadSlotsJob&) { return RunReadSlots(context, result); }
    const JobContext& context;
    JobResult* result;
  };
  result.status = std::visit(Run{context, &result}, job);
  return result;
}

}  // namespace weir::aggregator
