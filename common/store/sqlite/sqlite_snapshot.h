// A read transaction on a connection borrowed from the store's pool.
//
// Thread safety: thread-compatible; destroyed before its store.
#pragma once

#include <memory>
#include <vector>

#include "common/store/sqlite/sqlite_store.h"

namespace weir::store {

class SqliteSnapshot : public Snapshot {
 public:
  SqliteSnapshot(SqliteStore* store, const StoreOptions& options,
                 std::unique_ptr<Connection> reader)
      : store_(*store), options_(options), reader_(std::move(reader)) {}
  ~SqliteSnapshot() override;

  absl::StatusOr<std::vector<SlotState>> Slots() override;
  absl::StatusOr<std::vector<Watermark>> Watermarks() override;
  absl::StatusOr<std::vector<int64_t>> Floors() override;
  absl::StatusOr<std::vector<SeriesRow>> FindSeries(const SeriesFilter& filter) override;
  absl::Status ReadPartials(const PartialFilter& filter,
                            absl::FunctionRef<absl::Status(const PartialRow& row)> row) override;
  absl::Status ReadCumulatives(
      int slot, absl::FunctionRef<absl::Status(const CumulativeRow& row)> row) override;
  absl::StatusOr<IndicatorSet> Indicators() override;
  absl::Status ReadIndicatorBins(
      const IndicatorBinFilter& filter,
      absl::FunctionRef<absl::Status(const IndicatorBin& bin)> row) override;

 private:
  SqliteStore& store_;
  const StoreOptions& options_;
  std::unique_ptr<Connection> reader_;
};

}  // namespace weir::store
