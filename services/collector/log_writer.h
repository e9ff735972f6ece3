// Groups of batches into frames of the log, and the log's old end cut off.
//
// Thread safety: thread-compatible; owned by the log thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutant.h"
#include "common/wal/wal.h"
#include "services/collector/log_state.h"
#include "services/collector/series_table.h"
#include "services/collector/session_core.h"
#include "services/collector/slot_blocks.h"

namespace weir::collector {

// The most bytes of batches a group may have (unless it is a single one), so that
// its frame, with the definitions it needs, stays within one record: encoded,
// samples take less, but for a few that begin a block.
inline constexpr int64_t kMaxGroupBytes = 2 << 20;
// Definitions beyond this go into frames of their own before the samples.
inline constexpr size_t kMaxDefinitionBytes = 1 << 20;
// The most samples of one batch that must enter the log as a whole.
inline constexpr int64_t kMaxBatchSamples = 65'536;

// Where a group went.
struct Written {
  uint64_t lsn = 0;
  absl::Time seal_time;
};

class LogWriter {
 public:
  // Reads back what the log holds.
  // Errors: those of the log, and DataLoss for frames that do not parse.
  static absl::StatusOr<std::unique_ptr<LogWriter>> Open(wal::Wal& log, SeriesTable& series,
                                                         SessionLifetimes lifetimes, Mutant mutant);

  // What recovery found: the sessions to recognise and where each slot is.
  const LogState& recovered() const { return recovered_; }

  // Appends the group as a frame, after frames with definitions where there are
  // many; nothing is durable yet. A group without samples and sessions writes
  // nothing and is as safe as the last frame.
  // Errors: ResourceExhausted when the log is at its quota: call again with the
  // same group once Trim has made room. Any other error is final for the log.
  absl::StatusOr<Written> Write(const Group& group, absl::Time now);

  // The last lsn of each slot among the frames written.
  const std::vector<uint64_t>& slot_last() const { return slot_last_; }

  // Forgets segments whose frames are all committed. Returns whether any was.
  // `volatile_sessions` is for a mutant and null otherwise.
  absl::StatusOr<bool> Trim(uint64_t committed_lsn, absl::Time now,
                            const SessionTable* volatile_sessions = nullptr);

  // Per slot, the last lsn at or below the trim point.
  const std::vector<uint64_t>& trimmed_slot_last() const { return trimmed_.slot_last; }

 private:
  LogWriter(wal::Wal& log, SeriesTable& series, SessionLifetimes lifetimes, Mutant mutant);

  int slot_count() const { return series_.slot_count(); }
  absl::Status Recover();
  // Divides the group's samples and finds the series `segment` does not define.
  void Gather(const Group& group, uint64_t segment);
  absl::StatusOr<Written> WriteGathered(const Group& group, absl::Time now);
  absl::Status Append(std::vector<frame::SubframeParts> parts,
                      const std::vector<frame::SessionMark>& sessions, absl::Time seal_time);

  wal::Wal& log_;
  SeriesTable& series_;
  const SessionLifetimes lifetimes_;
  const Mutant mutant_;

  LogState recovered_;
  LogState trimmed_;
  std::vector<uint64_t> slot_last_;
  uint64_t last_lsn_ = 0;
  absl::Time last_seal_time_ = absl::InfinitePast();

  // The segment that defined each series last, by number; 0 for none.
  std::vector<uint64_t> defined_segments_;

  // Of the group being written; reused.
  struct MissingSeries {
    SeriesNumber number;
    int slot;
  };
  std::vector<MissingSeries> missing_;
  size_t defined_count_ = 0;  // of them, in frames appended already
  SlotBlocks samples_;
  std::string frame_;
};

}  // namespace weir::collector
