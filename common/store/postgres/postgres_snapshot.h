// A REPEATABLE READ READ ONLY transaction on a session borrowed from the
// store's pool.
//
// Thread safety: thread-compatible; destroyed before its store.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/store/postgres/postgres_store.h"

namespace weir::store {

class PostgresSnapshot : public Snapshot {
 public:
  PostgresSnapshot(PostgresStore* store, const StoreOptions& options,
                   std::unique_ptr<Session> session)
      : store_(*store), options_(options), session_(std::move(session)) {}
  ~PostgresSnapshot() override;

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
  // A snapshot whose connection was lost cannot be had again.
  absl::Status Check() const;
  // Runs `query` (a SELECT) behind a cursor, some rows at a time, so that
  // answers of any size fit in memory. Stops with `row`'s error.
  absl::Status ReadRows(const std::string& query, const std::vector<std::string>& params,
                        absl::FunctionRef<absl::Status(const pqxx::row& row)> row);

  PostgresStore& store_;
  const StoreOptions& options_;
  std::unique_ptr<Session> session_;
  int cursor_count_ = 0;
};

}  // namespace weir::store
