// What the conformance suites share: a store under test, and short ways to say
// what is committed and what comes back.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/model/indicator.h"
#include "common/model/series.h"
#include "common/store/store.h"

namespace weir::test {

using StatusOrStore = absl::StatusOr<std::unique_ptr<store::Store>>;
using TextRows = std::vector<std::vector<std::string>>;

// One empty store, and how to open it.
class Backend {
 public:
  virtual ~Backend() = default;
  // A store that persists is the same one every time.
  virtual StatusOrStore Open(const store::StoreOptions& options) = 0;
  // What people ask with SQL, beside any open store. NULL is "".
  virtual TextRows Query(const std::string& sql) { return ADD_FAILURE() << sql, TextRows(); }
  // As Query, without rows.
  virtual void Execute(const std::string& sql) { Query(sql); }
  virtual bool postgres() const { return false; }
  // Creates the store as a program did that knew no migration after `number`.
  virtual absl::Status CreateAt(int /*number*/, const store::StoreOptions& /*options*/) {
    return absl::UnimplementedError("a store that does not persist");
  }
  // The schema as text that does not depend on the server's version.
  virtual std::string DumpSchema() { return ADD_FAILURE(), std::string(); }
};

struct BackendParam {
  std::string name;
  std::function<std::unique_ptr<Backend>()> create;
};
// The stores of this executable; those of the second list persist.
std::vector<BackendParam> Backends();
std::vector<BackendParam> PersistentBackends();
inline std::string ParamName(const ::testing::TestParamInfo<BackendParam>& info) {
  return info.param.name;
}

// 2026-03-01 12:00:00 UTC: a multiple of every default bin but the day's.
inline constexpr int64_t kNoon = 1'772'366'400;

// A series with any labels, and its id.
store::SeriesRow SeriesOf(int slot, std::string name, std::vector<Label> labels = {});
// An aggregate of `count` random samples of one bin, integers and floats mixed.
Aggregate RandomAggregate(std::mt19937_64* random, int64_t start_seconds);

// A row that was read, with memory of its own.
struct OwnedPartial {
  int tier = 0;
  int slot = 0;
  int64_t start_seconds = 0;
  SeriesId series_id;
  Aggregate aggregate;
  std::string sketch;
  friend bool operator==(const OwnedPartial&, const OwnedPartial&) = default;
};
struct OwnedCumulative {
  int slot = 0;
  SeriesId series_id;
  int64_t start_unix_nano = 0;
  int64_t time_unix_nano = 0;
  std::string point;
  friend bool operator==(const OwnedCumulative&, const OwnedCumulative&) = default;
};
// In an order of their own, so that two sets of rows can be compared.
void Sort(std::vector<OwnedPartial>* rows);

class StoreTest : public ::testing::TestWithParam<BackendParam> {
 protected:
  StoreTest();

  store::StoreOptions options_;
  std::unique_ptr<Backend> backend_;

  // Opens the store and claims every slot.
  void Open();
  std::unique_ptr<store::Store> store_;
  store::Claimed claimed_;

  // A transaction for `slots` as claimed_ knows them.
  store::Transaction Next(const std::vector<int>& slots);
  // Commits, expects success, and advances claimed_.
  void MustCommit(const store::Transaction& t);
  absl::StatusOr<store::CommitResult> Commit(const store::Transaction& t) {
    return store_->Commit(t);
  }
  store::Claimed Read();  // what ReadSlots says of every slot
  std::vector<OwnedPartial> Partials(store::Snapshot* snapshot, store::PartialFilter filter);
  std::vector<OwnedPartial> AllPartials(int tier);
  std::vector<OwnedCumulative> Cumulatives(store::Snapshot* snapshot, int slot);
  std::vector<OwnedCumulative> Cumulatives(int slot);
  std::vector<store::IndicatorBin> Bins(store::Snapshot* snapshot,
                                        const store::IndicatorBinFilter& filter);
  std::vector<store::IndicatorBin> AllBins(int tier);
  std::unique_ptr<store::Snapshot> OpenSnapshot();
};

// Stores that are still there after they are closed, with views in SQL.
class PersistentStoreTest : public StoreTest {};

inline store::PartialRow Partial(int tier, int slot, int64_t start, SeriesId id, Aggregate a,
                                 std::string_view sketch = "") {
  return {.tier = tier,
          .slot = slot,
          .start_seconds = start,
          .series_id = id,
          .aggregate = a,
          .sketch = sketch};
}
inline store::CumulativeRow Cumulative(int slot, SeriesId id, int64_t start_unix_nano,
                                       int64_t time_unix_nano, std::string_view point) {
  return {.slot = slot,
          .series_id = id,
          .start_unix_nano = start_unix_nano,
          .time_unix_nano = time_unix_nano,
          .point = point};
}
// An indicator under the id of its name.
inline store::IndicatorRow Indicator(const std::string& tenant, const std::string& name,
                                     int64_t version, std::string definition = "") {
  return {.tenant = tenant,
          .name = name,
          .id = IdOfIndicator(tenant, name),
          .version = version,
          .definition = std::move(definition)};
}
inline store::IndicatorBin Bin(int tier, int slot, int64_t start, IndicatorId id, int64_t good,
                               int64_t total) {
  return {.tier = tier,
          .slot = slot,
          .start_seconds = start,
          .indicator_id = id,
          .good = good,
          .total = total};
}
inline Aggregate OneSample(int64_t value, int64_t start_seconds) {
  Aggregate a;
  a.AddInteger(value, start_seconds * 1'000'000'000);
  return a;
}

}  // namespace weir::test
