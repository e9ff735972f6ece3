// The collector's one road into the log: batches from every way in wait here,
// the log thread takes them in groups, writes a frame, syncs, and tells who
// waits. While one group is being synced the next gathers: that is group commit.
//
// A failed write or fsync ends the process (WEIR_CHECK), since nothing is known of
// what the disk holds then, and only a restart, which reads it back, is honest.
// A log at its quota waits for room instead.
//
// Thread safety: thread-safe, but for Start and Stop. Listener's calls come on
// the log thread, except Told, which may also come from OnCommitted's caller.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/wal/wal.h"
#include "services/collector/log_writer.h"
#include "services/collector/session_core.h"

namespace weir::collector {

class PipelineListener {
 public:
  virtual ~PipelineListener() = default;
  // These batches are as safe as they asked to be.
  virtual void Told(const std::vector<Waiter>& waiters) = 0;
  // More frames are durable; the last lsn of each slot.
  virtual void Durable(const std::vector<uint64_t>& slot_last) = 0;
  // The log's old end was cut off.
  virtual void Trimmed(const std::vector<uint64_t>& trimmed_slot_last) = 0;
  // The log could not be trimmed for want of space; it is tried again.
  virtual void TrimFailed(const absl::Status& why) = 0;
  // One group is durable: how many samples, and how long write and sync took.
  virtual void GroupCommitted(int64_t samples, absl::Duration write, absl::Duration sync) = 0;
};

struct PipelineOptions {
  SessionLimits limits;
  // Of the log's quota, from which on batches are refused; in (0, 1).
  double full_ratio = 0.9;
  int64_t quota_bytes = 0;  // 0: none
};

class Pipeline {
 public:
  // All outlive this object.
  Pipeline(PipelineOptions options, wal::Wal& log, LogWriter& writer, Clock& clock,
           PipelineListener& listener);
  ~Pipeline();

  void Start();
  // Writes what is queued, then joins the thread. Idempotent.
  void Stop();

  Submitted Submit(Submission submission);
  Submitted SubmitAll(std::vector<Submission> submissions);
  std::optional<uint64_t> LastSequence(const frame::SessionId& id);
  // From the sender: everything up to `lsn` is in the store.
  void OnCommitted(uint64_t lsn);

  int64_t queued_bytes();
  int64_t session_count();
  bool log_full() const { return log_full_.load(std::memory_order_relaxed); }

 private:
  void Run();
  bool WaitForWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Returns false when the group was given up because of Stop: then nothing may
  // enter the log any more, or a session would have a hole.
  bool Commit(Group group);
  void HouseKeep();

  // Constant after construction.
  const PipelineOptions options_;
  wal::Wal& log_;
  LogWriter& writer_;
  Clock& clock_;
  PipelineListener& listener_;
  std::thread thread_;

  // Owned by the log thread.
  absl::Time next_house_keeping_ = absl::InfinitePast();
  absl::Time next_expiry_ = absl::InfinitePast();
  std::vector<uint64_t> announced_;

  std::atomic<bool> log_full_{false};

  Mutex mu_;
  CondVar changed_;
  SessionCore core_ ABSL_GUARDED_BY(mu_);
  uint64_t committed_lsn_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir::collector
