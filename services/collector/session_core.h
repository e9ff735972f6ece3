// Who sent what, what is counted already, and who waits for which
// acknowledgement. The collector's front half, without I/O.
//
//   Submit ──> queue ──Take──> (a frame is written and synced) ──OnDurable──> acks
//                                  OnCommitted ──────────────────────────────> acks
//
// Invariants:
//   A (session, sequence) enters the log at most once.
//   Batches of a session enter it in the order of their sequence, without gaps.
//   A waiter is released only when its batch, and every batch queued before it,
//   is durable (or committed, as it asked).
//   After a restart the session table is a function of the recovered frames.
//
// Thread safety: thread-compatible; the log thread and the ingest threads share
// it under Pipeline's mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/base/mutant.h"
#include "common/frame/frame.h"
#include "services/collector/batch.h"
#include "services/collector/log_state.h"

namespace weir::collector {

enum class AckLevel { kDurable, kCommitted };

// Who is told that a batch is safe.
struct Waiter {
  uint64_t connection = 0;
  uint64_t sequence = 0;  // of the connection's choosing
  AckLevel level = AckLevel::kDurable;
};

struct Submission {
  Waiter waiter;
  // Absent for requests without idempotency: each counts.
  std::optional<frame::SessionMark> session;
  AdmittedBatch batch;  // may be without samples
};

enum class SubmitResult {
  kQueued,
  kDuplicate,   // known: the waiter is told once it is safe, nothing is counted
  kRewind,      // a batch before it is missing: send from next_sequence on
  kOverloaded,  // no room in the queue: send from next_sequence on, later
  kLogFull,     // no room on the disk: likewise
  kTooManySessions,
};

struct Submitted {
  SubmitResult result = SubmitResult::kQueued;
  uint64_t next_sequence = 0;
};

struct SessionLimits {
  SessionLifetimes lifetimes;
  int64_t max_sessions = 1'000'000;
  // What may wait for the log. A batch is refused when it would go beyond.
  int64_t max_queued_bytes = 64 << 20;
  int64_t max_queued_batches = 65'536;
};

// Batches taken together into one frame.
struct Group {
  std::vector<AdmittedBatch> batches;  // without empty ones
  std::vector<frame::SessionMark> sessions;
  std::vector<Waiter> waiters;
  bool empty() const { return waiters.empty(); }
};

class SessionCore {
 public:
  SessionCore(SessionLimits limits, Mutant mutant);

  // Takes over what recovery found.
  void Restore(const SessionTable& sessions);

  // The highest durable sequence of a session, 0 while its first batch is on its
  // way; nullopt when the session is not known.
  std::optional<uint64_t> LastSequence(const frame::SessionId& id) const;

  Submitted Submit(Submission submission);

  // Submits the batches of one request, all or none of them; `waiter` is told when
  // the last is safe, and those before it then are, too. With an id they are
  // numbered from 1, and those that are known already are not counted again:
  // kDuplicate when all are. Not numbered are the batches of a request known by
  // its content alone while as many sessions are remembered as may be.
  Submitted SubmitAll(const Waiter& waiter, std::optional<frame::SessionId> content,
                      std::vector<AdmittedBatch> batches);

  // The next group: batches in arrival order, at most `max_bytes` of them but at
  // least one. Empty when nothing waits.
  Group Take(int64_t max_bytes);

  // `group` is in the frame with this lsn (or, if it had no samples, everything
  // it waits for is in frames up to it), sealed at `seal_time`, and durable.
  // Returns the waiters to tell.
  std::vector<Waiter> OnDurable(Group group, uint64_t lsn, absl::Time seal_time);

  // Everything up to `lsn` is committed. Returns the waiters to tell.
  std::vector<Waiter> OnCommitted(uint64_t lsn);

  // Forgets sessions idle for too long.
  void Expire(absl::Time now);

  void set_log_full(bool full) { log_full_ = full; }

  bool idle() const { return queue_.empty(); }
  int64_t queued_bytes() const { return queued_bytes_; }
  int64_t session_count() const { return static_cast<int64_t>(sessions_.size()); }
  // As of now, whether durable or not; only the simulation's mutants use it.
  SessionTable VolatileSessions() const;

 private:
  struct Session {
    uint64_t accepted = 0;  // the highest sequence queued or in the log
    uint64_t durable = 0;
    frame::Lifetime lifetime = frame::Lifetime::kSession;
    absl::Time last_time = absl::InfiniteFuture();  // future until something is durable
  };

  // Why `cost` more bytes are not taken now, if so.
  std::optional<SubmitResult> Refusal(int64_t cost) const;
  void QueueRepeat(const Waiter& waiter);

  const SessionLimits limits_;
  const Mutant mutant_;
  absl::flat_hash_map<frame::SessionId, Session> sessions_;
  std::deque<Submission> queue_;
  int64_t queued_bytes_ = 0;
  bool log_full_ = false;
  // Waiters for a commit, by rising lsn.
  std::deque<std::pair<uint64_t, Waiter>> commit_waiters_;
};

}  // namespace weir::collector
