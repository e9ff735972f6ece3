#include "services/collector/group_commit.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace weir::collector {

GroupCommit::GroupCommit(GroupCommitOptions options, wal::Wal& log, LogWriter& writer)
    : options_(options), log_(log), writer_(writer), core_(options.limits, options.mutant) {
  MutexLock lock(&mu_);
  core_.Restore(writer.recovered().sessions);
}

// --- Any thread ----------------------------------------------------------------

Submitted GroupCommit::Submit(Submission submission) {
  MutexLock lock(&mu_);
  if (closed_) {
    return {.result = SubmitResult::kOverloaded,
            .next_sequence = submission.session.has_value() ? submission.session->sequence : 0};
  }
  const bool was_idle = core_.idle();
  const Submitted submitted = core_.Submit(std::move(submission));
  if (was_idle && !core_.idle()) changed_.NotifyOne();
  return submitted;
}

Submitted GroupCommit::SubmitAll(const Waiter& waiter, std::optional<frame::SessionId> content,
                                 std::vector<AdmittedBatch> batches) {
  MutexLock lock(&mu_);
  if (closed_) return {.result = SubmitResult::kOverloaded};
  const bool was_idle = core_.idle();
  const Submitted submitted = core_.SubmitAll(waiter, content, std::move(batches));
  if (was_idle && !core_.idle()) changed_.NotifyOne();
  return submitted;
}

std::optional<uint64_t> GroupCommit::LastSequence(const frame::SessionId& id) {
  MutexLock lock(&mu_);
  return core_.LastSequence(id);
}

std::vector<Waiter> GroupCommit::OnCommitted(uint64_t lsn) {
  MutexLock lock(&mu_);
  committed_lsn_ = std::max(committed_lsn_, lsn);
  return core_.OnCommitted(lsn);
}

void GroupCommit::Close() {
  MutexLock lock(&mu_);
  closed_ = true;
  changed_.NotifyAll();
}

bool GroupCommit::closed() {
  MutexLock lock(&mu_);
  return closed_;
}

int64_t GroupCommit::queued_bytes() {
  MutexLock lock(&mu_);
  return core_.queued_bytes();
}

int64_t GroupCommit::session_count() {
  MutexLock lock(&mu_);
  return core_.session_count();
}

bool GroupCommit::queue_empty() {
  MutexLock lock(&mu_);
  return core_.idle();
}

// --- The log thread ------------------------------------------------------------

absl::StatusOr<Advanced> GroupCommit::Advance(absl::Time now) {
  switch (state_) {
    case State::kTake: {
      MutexLock lock(&mu_);
      group_ = core_.Take(options_.max_group_bytes);
      if (group_.empty()) return Advanced{.step = Advanced::Step::kIdle};
      state_ = State::kWrite;
      break;
    }
    case State::kWrite:
      break;
    case State::kSync:
      return Sync();
    case State::kTell:
      return Tell();
  }
  return Write(now);
}

absl::StatusOr<Advanced> GroupCommit::Write(absl::Time now) {
  absl::StatusOr<Written> written = writer_.Write(group_, now);
  if (absl::IsResourceExhausted(written.status())) {
    // The quota was reached within the margin that admission keeps. Nothing of
    // this group is lost: it waits, unacknowledged, for room.
    no_room_ = true;
    next_house_keeping_ = absl::InfinitePast();
    return Advanced{.step = Advanced::Step::kFull};
  }
  WEIR_RETURN_IF_ERROR(written.status());
  written_ = *written;
  state_ = State::kSync;
  if (std::exchange(no_room_, false)) next_house_keeping_ = absl::InfinitePast();
  Advanced advanced = {.step = Advanced::Step::kWritten};
  if (options_.mutant == Mutant::kAckBeforeSync) {
    MutexLock lock(&mu_);
    advanced.told = core_.OnDurable(group_, written_.lsn, written_.seal_time);
  }
  return advanced;
}

absl::StatusOr<Advanced> GroupCommit::Sync() {
  WEIR_RETURN_IF_ERROR(log_.Sync());
  state_ = State::kTell;
  return Advanced{.step = Advanced::Step::kSynced};
}

Advanced GroupCommit::Tell() {
  Advanced advanced = {.step = Advanced::Step::kTold};
  for (const AdmittedBatch& batch : group_.batches) advanced.sample_count += batch.sample_count();
  MutexLock lock(&mu_);
  if (options_.mutant != Mutant::kAckBeforeSync) {
    advanced.told = core_.OnDurable(std::move(group_), written_.lsn, written_.seal_time);
  }
  // The store may have had the frame before this thread came to say so.
  const std::vector<Waiter> committed = core_.OnCommitted(committed_lsn_);
  advanced.told.insert(advanced.told.end(), committed.begin(), committed.end());
  group_ = {};
  state_ = State::kTake;
  return advanced;
}

bool GroupCommit::HouseKeepingDue(absl::Time now) const {
  if (state_ == State::kSync || state_ == State::kTell) return false;
  // A clock that was set back must not put it off.
  return now >= next_house_keeping_ || now + options_.house_keeping_interval < next_house_keeping_;
}

absl::StatusOr<HouseKept> GroupCommit::HouseKeep(absl::Time now) {
  WEIR_CHECK(state_ == State::kTake || state_ == State::kWrite);
  next_house_keeping_ = now + options_.house_keeping_interval;
  uint64_t committed = 0;
  std::optional<SessionTable> volatile_sessions;
  {
    MutexLock lock(&mu_);
    committed = committed_lsn_;
    if (options_.mutant == Mutant::kVolatileSessionsAtTrim) {
      volatile_sessions = core_.VolatileSessions();
    }
    if (now >= next_expiry_ || now + options_.expiry_interval < next_expiry_) {
      next_expiry_ = now + options_.expiry_interval;
      core_.Expire(now);
    }
  }
  HouseKept kept;
  const absl::StatusOr<bool> trimmed =
      writer_.Trim(committed, now, volatile_sessions.has_value() ? &*volatile_sessions : nullptr);
  if (absl::IsResourceExhausted(trimmed.status())) {
    kept.not_trimmed = trimmed.status();
  } else {
    WEIR_RETURN_IF_ERROR(trimmed.status());
    kept.trimmed = *trimmed;
  }

  const bool near_quota = options_.quota_bytes > 0 &&
                          static_cast<double>(log_.bytes()) >=
                              options_.full_ratio * static_cast<double>(options_.quota_bytes);
  const bool full = near_quota || no_room_;
  log_full_.store(full, std::memory_order_relaxed);
  MutexLock lock(&mu_);
  core_.set_log_full(full);
  return kept;
}

void GroupCommit::Wait(Clock& clock, absl::Time deadline) {
  MutexLock lock(&mu_);
  while (!closed_ && (state_ == State::kWrite || core_.idle())) {
    if (!clock.WaitUntil(&mu_, &changed_, deadline)) return;
  }
}

}  // namespace weir::collector
