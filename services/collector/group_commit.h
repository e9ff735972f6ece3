// The order in which a batch becomes an acknowledgement, one step at a time and
// without a thread:
//
//   Submit ──> queue ──> write ──> sync ──> tell ──> waiters
//                        Advance   Advance  Advance
//
// Pipeline takes the steps back to back on the log thread; the simulation takes
// them as events, so that a power loss may fall between any two.
//
// Invariants:
//   Nobody is told before everything that he waits for is synced.
//   One group is on its way at a time; one that the full log does not take is kept
//   and tried again, before any other.
//   The log is trimmed between groups only, and never beyond what is committed.
//
// Thread safety: the methods of the log thread belong to one thread; the others
// are thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutant.h"
#include "common/base/mutex.h"
#include "common/wal/wal.h"
#include "services/collector/log_writer.h"
#include "services/collector/session_core.h"

namespace weir::collector {

struct GroupCommitOptions {
  SessionLimits limits;
  // The most bytes of batches in one group, unless it is a single batch.
  int64_t max_group_bytes = kMaxGroupBytes;
  // Of the log's quota, from which on batches are refused; in (0, 1).
  double full_ratio = 0.9;
  int64_t quota_bytes = 0;  // 0: none
  // How often the log is trimmed and looked at, and sessions are expired.
  absl::Duration house_keeping_interval = absl::Seconds(1);
  absl::Duration expiry_interval = absl::Minutes(1);
  Mutant mutant = Mutant::kNone;
};

// What Advance did.
struct Advanced {
  enum class Step {
    kIdle,     // nothing: no batch waits
    kFull,     // nothing: the log is at its quota, house keeping is due, and the
               // group is tried again by the next call
    kWritten,  // a group is in the log, and may be lost with the machine
    kSynced,   // it is durable
    kTold,     // and `told` are to be told
  };
  Step step = Step::kIdle;
  std::vector<Waiter> told;
  int64_t sample_count = 0;  // of the group, with kTold
};

// What house keeping did.
struct HouseKept {
  bool trimmed = false;
  // Why the log's old end could not be cut off, if so: there was no space for the
  // checkpoint, and the one before it is in force. It is tried again.
  absl::Status not_trimmed;
};

class GroupCommit {
 public:
  // Knows the sessions that `writer` recovered. Both outlive this object.
  GroupCommit(GroupCommitOptions options, wal::Wal& log, LogWriter& writer);

  // --- Any thread -------------------------------------------------------------

  Submitted Submit(Submission submission);
  Submitted SubmitAll(const Waiter& waiter, std::optional<frame::SessionId> content,
                      std::vector<AdmittedBatch> batches);
  std::optional<uint64_t> LastSequence(const frame::SessionId& id);
  // From the sender: everything up to `lsn` is in the store. Returns whom to tell.
  std::vector<Waiter> OnCommitted(uint64_t lsn);

  // Nothing is taken any more; what is queued is still written. Wakes Wait.
  void Close();
  bool closed();

  int64_t queued_bytes();
  int64_t session_count();
  bool queue_empty();
  bool log_full() const { return log_full_.load(std::memory_order_relaxed); }

  // --- The log thread ---------------------------------------------------------

  // Takes the next step.
  // Errors: those of the log, but for a quota that is reached. All are final:
  // nothing is known of what the disk holds then, and only a restart, which reads
  // it back, is honest.
  absl::StatusOr<Advanced> Advance(absl::Time now);

  // Whether HouseKeep should be called now: between groups, when its time has
  // come, when a group found no room or has now got it, or when the clock was set
  // back.
  bool HouseKeepingDue(absl::Time now) const;

  // Trims what is committed, forgets idle sessions, and decides whether the log is
  // full, so that batches are refused: near its quota, or without room for a group.
  // REQUIRES: no group is between its write and its telling.
  // Errors: as Advance.
  absl::StatusOr<HouseKept> HouseKeep(absl::Time now);
  absl::Time next_house_keeping() const { return next_house_keeping_; }

  // Waits until a batch is queued (when the log is full, that is not enough), until
  // Close, or until `deadline`.
  void Wait(Clock& clock, absl::Time deadline);

  // The group on its way, or tried again; empty between groups.
  const Group& group() const { return group_; }
  // Where it went, from kWritten on.
  const Written& written() const { return written_; }

 private:
  enum class State { kTake, kWrite, kSync, kTell };

  absl::StatusOr<Advanced> Write(absl::Time now);
  absl::StatusOr<Advanced> Sync();
  Advanced Tell();

  // Constant after construction.
  const GroupCommitOptions options_;
  wal::Wal& log_;
  LogWriter& writer_;

  // Owned by the log thread.
  State state_ = State::kTake;  // the step that is next
  Group group_;
  Written written_;
  bool no_room_ = false;  // for the group that is to be written
  absl::Time next_house_keeping_ = absl::InfinitePast();
  absl::Time next_expiry_ = absl::InfinitePast();

  std::atomic<bool> log_full_{false};

  Mutex mu_;
  CondVar changed_;
  SessionCore core_ ABSL_GUARDED_BY(mu_);
  uint64_t committed_lsn_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir::collector
