// Groups of batches into frames of the log, and the log's old end cut off.
//
// Thread safety: thread-compatible; owned by the log thread.
#pragma once

#include <cstdint>
#include <map>
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

namespace weir::collector {

// The most bytes of blocks a group may have, so that its frame, with the
// definitions it needs, stays within one record.
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
  // Reads back what the log holds. `series` learns the segment being written.
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

  absl::Status Recover();
  absl::StatusOr<std::vector<SeriesNumber>> MissingDefinitions(const Group& group,
                                                               uint64_t segment) const;
  absl::Status AppendParts(std::map<int, frame::SubframeParts> parts,
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
  std::string frame_;  // reused
};

}  // namespace weir::collector
