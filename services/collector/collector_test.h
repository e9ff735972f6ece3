// A collector's log on a simulated disk, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/testing/sim_disk.h"
#include "services/collector/admission.h"
#include "services/collector/log_writer.h"

namespace weir::collector::test {

inline const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

struct TestLog {
  static constexpr int kSlots = 4;

  explicit TestLog(weir::test::SimDisk& disk, uint64_t segment_bytes = 4096,
                   uint64_t quota_bytes = 0)
      : series(kSlots, 1000) {
    WEIR_CHECK_OK(disk.CreateDirectory("/wal"));
    auto opened = wal::Wal::Open({.directory = "/wal",
                                  .new_id = {.high = 1, .low = 1},
                                  .application_tag = "slots=4",
                                  .segment_bytes = segment_bytes,
                                  .quota_bytes = quota_bytes},
                                 disk);
    WEIR_CHECK_OK(opened.status());
    log = *std::move(opened);
    auto recovered = LogWriter::Open(*log, series, {}, Mutant::kNone);
    WEIR_CHECK_OK(recovered.status());
    writer = *std::move(recovered);
  }

  AdmittedBatch Batch(const std::vector<std::string>& names, int64_t value = 1) {
    builder.Start({}, kStart);
    for (const std::string& name : names) {
      const SeriesHandle handle = series.Intern({.tenant = "t", .name = name});
      builder.AddInteger(handle, absl::ToUnixNanos(kStart), value);
    }
    return builder.Build();
  }

  static Group GroupOf(AdmittedBatch batch, std::vector<frame::SessionMark> sessions = {}) {
    Group group;
    group.waiters.push_back({});
    group.sessions = std::move(sessions);
    if (batch.sample_count() > 0) group.batches.push_back(std::move(batch));
    return group;
  }

  uint64_t WriteAndSync(const Group& group, absl::Time now = kStart) {
    const auto written = writer->Write(group, now);
    WEIR_CHECK_OK(written.status());
    WEIR_CHECK_OK(log->Sync());
    return written->lsn;
  }

  SeriesTable series;
  BatchBuilder builder;
  std::unique_ptr<wal::Wal> log;
  std::unique_ptr<LogWriter> writer;
};

}  // namespace weir::collector::test
