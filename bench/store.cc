// The flush beside bare inserts of the same rows, turn by turn in one run.
//
//   weir-bench-store --store=sqlite:DIRECTORY | --store=postgresql://...
//                    [--series=10000] [--rounds=9]
//
// Each round folds samples of every series into one new bin, outside the
// measurement, and then takes, in changing order:
//   flush   RunJob(FlushJob): visiting the delta, routing, encoding sketches, and
//           the transaction with its compare-and-set, watermarks and rows
//   bare    the same rows, sketches already encoded, into tables of the same
//           shape: bare_insert.h
// Wall time, because a part of either is the database's and the disk's; what
// counts is the ratio of the medians.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "bench/bare_insert.h"
#include "bench/measure.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "common/store/postgres/postgres_store.h"
#include "common/store/sqlite/sqlite_store.h"
#include "services/aggregator/fold.h"
#include "services/aggregator/jobs.h"

namespace weir::bench {
namespace {

constexpr int kSlots = 16;
constexpr int kSamplesPerBin = 20;  // of one series, until the flush

struct Stores {
  std::string name;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<BareInsert> bare;
};

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  WEIR_CHECK_OK(value.status());
  return *std::move(value);
}

Stores OpenStores(const std::string& url, absl::Time now) {
  const store::StoreOptions options = {.slot_count = kSlots, .created_time = now};
  absl::string_view directory = url;
  if (absl::ConsumePrefix(&directory, "sqlite:")) {
    const std::string path = absl::StrCat(directory, "/flush.db");
    const std::string bare_path = absl::StrCat(directory, "/bare.db");
    for (const std::string& file : {path, bare_path}) {
      for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(file + suffix);
    }
    // Opening makes the schema; the bare side then has the file to itself.
    ValueOrDie(store::SqliteStore::Open(bare_path, options));
    return {.name = "sqlite",
            .store = ValueOrDie(store::SqliteStore::Open(path, options)),
            .bare = ValueOrDie(OpenBareSqlite(bare_path))};
  }
  // New schemas each time, so that a second run does not start with full tables.
  const std::string suffix = absl::StrCat(absl::ToUnixMicros(now));
  const std::string bare_schema = "bench_bare_" + suffix;
  ValueOrDie(store::PostgresStore::Open({.conninfo = url, .schema = bare_schema}, options));
  return {.name = "postgres",
          .store = ValueOrDie(store::PostgresStore::Open(
              {.conninfo = url, .schema = "bench_flush_" + suffix}, options)),
          .bare = ValueOrDie(OpenBarePostgres(url, bare_schema))};
}

// What the aggregator's core keeps between flushes, and nothing else of it.
class Flusher {
 public:
  Flusher(store::Store& store, int64_t series_count, absl::Time now)
      : context_{.store = store, .tiers = tiers_, .slot_count = kSlots},
        series_({.max_series_per_tenant = series_count, .max_series_per_metric = series_count}),
        first_bin_seconds_(AlignDown(absl::ToUnixSeconds(now), kBinSeconds)) {
    aggregator::JobResult claim = RunJob(context_, aggregator::ClaimJob{.owner = "bench"});
    WEIR_CHECK_OK(claim.status);
    claimed_ = std::move(claim.claimed);
    // A quarter of each kind, as `weir load` has it.
    for (int64_t i = 0; i < series_count; ++i) {
      const Series series = {.tenant = "bench",
                             .name = "load.request.duration",
                             .kind = static_cast<Kind>(i % kMaxKind + 1),
                             .labels = {{"model", "swift-small"}, {"replica", absl::StrCat(i)}}};
      std::string bytes;
      AppendSeries(series, &bytes);
      numbers_.push_back(ValueOrDie(series_.Intern(SlotOf(IdOfSeriesBytes(bytes), kSlots), bytes)));
    }
  }

  // A job that flushes one more bin with every series in it.
  aggregator::FlushJob MakeJob() {
    auto delta = std::make_shared<aggregator::Delta>(kBinSeconds);
    const int64_t start_nanos = (first_bin_seconds_ + bins_++ * kBinSeconds) * 1'000'000'000;
    frame::Block block;
    std::vector<aggregator::SeriesNumber> numbers;
    for (int i = 0; i < kSamplesPerBin; ++i) {
      for (size_t s = 0; s < numbers_.size(); ++s) {
        const double value = 0.05 + random_.Fraction() * random_.Fraction();
        numbers.push_back(numbers_[s]);
        block.refs.push_back(static_cast<uint32_t>(s));
        block.times.push_back(start_nanos + static_cast<int64_t>(block.times.size()));
        block.bits.push_back(LoadFixed<uint64_t>(reinterpret_cast<const char*>(&value)));
        if (block.size() == frame::kMaxBlockSamples) {
          delta->Fold(series_, numbers, block);
          block.Clear();
          numbers.clear();
        }
      }
    }
    if (block.size() > 0) delta->Fold(series_, numbers, block);
    aggregator::FlushJob job;
    job.delta = std::move(delta);
    for (const store::SlotState& slot : claimed_.slots) {
      job.slots.push_back({.slot = slot.slot,
                           .epoch = slot.epoch,
                           .old_commit_number = slot.commit_number + flushes_});
      job.watermarks.push_back({.slot = slot.slot,
                                .wal_id = {.high = 1, .low = 1},
                                .old_lsn = static_cast<uint64_t>(flushes_),
                                .new_lsn = static_cast<uint64_t>(flushes_ + 1),
                                .complete_until = absl::FromUnixNanos(start_nanos),
                                .heard_time = absl::FromUnixNanos(start_nanos)});
      job.derived_until.push_back(slot.derived_until);
    }
    job.floors = claimed_.floors;
    return job;
  }

  // The rows the job will write.
  std::vector<store::PartialRow> Rows(const aggregator::FlushJob& job,
                                      std::deque<std::string>* sketches) {
    aggregator::JobResult result;
    return RouteFlush(context_, job, sketches, &result).partials;
  }

  int64_t Flush(const aggregator::FlushJob& job) {
    const aggregator::JobResult result = RunJob(context_, job);
    WEIR_CHECK_OK(result.status);
    for (const aggregator::SeriesNumber number : result.stored) series_.MarkStored(number);
    ++flushes_;
    return result.row_count;
  }

 private:
  static constexpr int64_t kBinSeconds = 10;

  const TierTable tiers_ = TierTable::Default();
  const aggregator::JobContext context_;
  aggregator::SeriesIndex series_;
  const int64_t first_bin_seconds_;
  std::vector<aggregator::SeriesNumber> numbers_;
  store::Claimed claimed_;
  Random random_{1};
  int64_t bins_ = 0;
  int64_t flushes_ = 0;
};

void Measure(const std::string& url, int64_t series_count, int rounds) {
  const absl::Time now = Clock::System().Now();
  const Stores stores = OpenStores(url, now);
  Flusher flusher(*stores.store, series_count, now);
  std::vector<double> flush_rates, bare_rates, flush_cpu, bare_cpu;
  for (int round = -2; round < rounds; ++round) {
    const aggregator::FlushJob job = flusher.MakeJob();
    std::deque<std::string> sketches;
    const std::vector<store::PartialRow> rows = flusher.Rows(job, &sketches);
    for (const bool flush : round % 2 == 0 ? std::vector{true, false} : std::vector{false, true}) {
      const absl::Duration start = WallTime(), cpu_start = CpuTime();
      if (flush) {
        WEIR_CHECK(flusher.Flush(job) == static_cast<int64_t>(rows.size()));
      } else {
        WEIR_CHECK_OK(stores.bare->Insert(rows, round + 3));
      }
      const double count = static_cast<double>(rows.size());
      const double rate = count / absl::ToDoubleSeconds(WallTime() - start);
      const double cpu = absl::ToDoubleMicroseconds(CpuTime() - cpu_start) / count;
      // The first rounds insert the series and warm the caches.
      if (round < 0) continue;
      (flush ? flush_rates : bare_rates).push_back(rate);
      (flush ? flush_cpu : bare_cpu).push_back(cpu);
    }
  }
  Print(absl::StrCat(stores.name, "_flush"), Median(flush_rates), "rows/s");
  Print(absl::StrCat(stores.name, "_bare_insert"), Median(bare_rates), "rows/s");
  Print(absl::StrCat(stores.name, "_flush_cpu"), Median(flush_cpu), "us/row");
  Print(absl::StrCat(stores.name, "_bare_insert_cpu"), Median(bare_cpu), "us/row");
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
  using namespace weir::bench;
  const std::string url = Flag(argc, argv, "store", "");
  const int64_t series = IntFlag(argc, argv, "series", 10'000);
  const int rounds = static_cast<int>(IntFlag(argc, argv, "rounds", 9));
  if (url.empty() || series < 1 || rounds < 1) {
    std::fprintf(stderr,
                 "usage: weir-bench-store --store=sqlite:DIRECTORY|postgresql://... "
                 "[--series=10000] [--rounds=9]\n");
    return 2;
  }
  Measure(url, series, rounds);
  return 0;
}
