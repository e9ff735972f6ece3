#include "services/collector/pipeline.h"

#include <algorithm>

#include "common/base/check.h"

namespace weir::collector {
namespace {

constexpr absl::Duration kHouseKeepingInterval = absl::Seconds(1);
constexpr absl::Duration kExpiryInterval = absl::Minutes(10);
constexpr absl::Duration kFullRetryInterval = absl::Milliseconds(100);

}  // namespace

Pipeline::Pipeline(PipelineOptions options, wal::Wal& log, LogWriter& writer, Clock& clock,
                   PipelineListener& listener)
    : options_(options),
      log_(log),
      writer_(writer),
      clock_(clock),
      listener_(listener),
      core_(options.limits, Mutant::kNone) {
  MutexLock lock(&mu_);
  core_.Restore(writer.recovered().sessions);
}

Pipeline::~Pipeline() { Stop(); }

void Pipeline::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Pipeline::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

Submitted Pipeline::Submit(Submission submission) {
  MutexLock lock(&mu_);
  if (stopping_) {
    return {.result = SubmitResult::kOverloaded,
            .next_sequence = submission.session.has_value() ? submission.session->sequence : 0};
  }
  const bool was_idle = core_.idle();
  const Submitted submitted = core_.Submit(std::move(submission));
  if (was_idle && !core_.idle()) changed_.NotifyOne();
  return submitted;
}

Submitted Pipeline::SubmitAll(std::vector<Submission> submissions) {
  MutexLock lock(&mu_);
  if (stopping_) return {.result = SubmitResult::kOverloaded};
  const bool was_idle = core_.idle();
  const Submitted submitted = core_.SubmitAll(std::move(submissions));
  if (was_idle && !core_.idle()) changed_.NotifyOne();
  return submitted;
}

std::optional<uint64_t> Pipeline::LastSequence(const frame::SessionId& id) {
  MutexLock lock(&mu_);
  return core_.LastSequence(id);
}

void Pipeline::OnCommitted(uint64_t lsn) {
  std::vector<Waiter> told;
  {
    MutexLock lock(&mu_);
    committed_lsn_ = std::max(committed_lsn_, lsn);
    told = core_.OnCommitted(lsn);
  }
  if (!told.empty()) listener_.Told(told);
}

int64_t Pipeline::queued_bytes() {
  MutexLock lock(&mu_);
  return core_.queued_bytes();
}

int64_t Pipeline::session_count() {
  MutexLock lock(&mu_);
  return core_.session_count();
}

// Returns false when it is time to end.
bool Pipeline::WaitForWork() {
  while (core_.idle()) {
    if (stopping_) return false;
    if (!clock_.WaitUntil(&mu_, &changed_, next_house_keeping_)) return true;
  }
  return true;
}

void Pipeline::Run() {
  while (true) {
    Group group;
    {
      MutexLock lock(&mu_);
      if (!WaitForWork()) return;
      group = core_.Take(kMaxGroupBytes);
    }
    if (!group.empty() && !Commit(std::move(group))) return;
    // A clock that was set back must not put it off.
    const absl::Time now = clock_.Now();
    if (now >= next_house_keeping_ || now + kHouseKeepingInterval < next_house_keeping_) {
      HouseKeep();
    }
  }
}

bool Pipeline::Commit(Group group) {
  const absl::Time start = clock_.Now();
  absl::StatusOr<Written> written = writer_.Write(group, start);
  while (absl::IsResourceExhausted(written.status())) {
    // The quota was reached within the margin that admission keeps. Nothing of
    // this group is lost: it waits, unacknowledged, for room.
    HouseKeep();
    {
      MutexLock lock(&mu_);
      if (stopping_) return false;
      clock_.WaitUntil(&mu_, &changed_, clock_.Now() + kFullRetryInterval);
    }
    written = writer_.Write(group, clock_.Now());
  }
  WEIR_CHECK_OK(written.status());
  const absl::Time wrote = clock_.Now();
  WEIR_CHECK_OK(log_.Sync());
  const absl::Time synced = clock_.Now();

  int64_t samples = 0;
  for (const AdmittedBatch& batch : group.batches) samples += batch.sample_count();
  std::vector<Waiter> told;
  {
    MutexLock lock(&mu_);
    told = core_.OnDurable(std::move(group), written->lsn, written->seal_time);
    std::vector<Waiter> committed = core_.OnCommitted(committed_lsn_);
    told.insert(told.end(), committed.begin(), committed.end());
  }
  listener_.Told(told);
  if (announced_ != writer_.slot_last()) {
    announced_ = writer_.slot_last();
    listener_.Durable(announced_);
  }
  listener_.GroupCommitted(samples, wrote - start, synced - wrote);
  return true;
}

void Pipeline::HouseKeep() {
  const absl::Time now = clock_.Now();
  next_house_keeping_ = now + kHouseKeepingInterval;
  uint64_t committed = 0;
  {
    MutexLock lock(&mu_);
    committed = committed_lsn_;
    if (now >= next_expiry_) {
      next_expiry_ = now + kExpiryInterval;
      core_.Expire(now);
    }
  }
  const absl::StatusOr<bool> trimmed = writer_.Trim(committed, now);
  if (absl::IsResourceExhausted(trimmed.status())) {
    listener_.TrimFailed(trimmed.status());  // the checkpoint before it is in force
  } else {
    WEIR_CHECK_OK(trimmed.status());
    if (*trimmed) listener_.Trimmed(writer_.trimmed_slot_last());
  }

  const bool full = options_.quota_bytes > 0 &&
                    static_cast<double>(log_.bytes()) >=
                        options_.full_ratio * static_cast<double>(options_.quota_bytes);
  log_full_.store(full, std::memory_order_relaxed);
  MutexLock lock(&mu_);
  core_.set_log_full(full);
}

}  // namespace weir::collector
