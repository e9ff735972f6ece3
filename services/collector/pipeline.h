// The collector's one road into the log: batches from every way in wait here,
// the log thread takes them in groups, writes a frame, syncs, and tells who
// waits. While one group is being synced the next gathers: that is group commit,
// whose steps and their order are GroupCommit's; here is the thread that takes
// them.
//
// A failed write or fsync ends the process (WEIR_CHECK), since nothing is known of
// what the disk holds then, and only a restart, which reads it back, is honest.
// A log at its quota waits for room instead.
//
// Thread safety: thread-safe, but for Start and Stop. Listener's calls come on
// the log thread, except Told, which may also come from OnCommitted's caller.
#pragma once

#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/wal/wal.h"
#include "services/collector/group_commit.h"
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

class Pipeline {
 public:
  // All outlive this object.
  Pipeline(GroupCommitOptions options, wal::Wal& log, LogWriter& writer, Clock& clock,
           PipelineListener& listener);
  ~Pipeline();

  void Start();
  // Writes what is queued, then joins the thread. Idempotent.
  void Stop();

  Submitted Submit(Submission submission) { return steps_.Submit(std::move(submission)); }
  Submitted SubmitAll(const Waiter& waiter, std::optional<frame::SessionId> content,
                      std::vector<AdmittedBatch> batches) {
    return steps_.SubmitAll(waiter, content, std::move(batches));
  }
  std::optional<uint64_t> LastSequence(const frame::SessionId& id) {
    return steps_.LastSequence(id);
  }
  // From the sender: everything up to `lsn` is in the store.
  void OnCommitted(uint64_t lsn);

  int64_t queued_bytes() { return steps_.queued_bytes(); }
  int64_t session_count() { return steps_.session_count(); }
  bool log_full() const { return steps_.log_full(); }

 private:
  void Run();
  // Says what a step has done.
  void Report(const Advanced& advanced, absl::Duration took);
  void HouseKeep(absl::Time now);

  // Constant after construction.
  LogWriter& writer_;
  Clock& clock_;
  PipelineListener& listener_;
  std::thread thread_;

  // Self-synchronized.
  GroupCommit steps_;

  // Owned by the log thread.
  std::vector<uint64_t> announced_;
  absl::Duration write_time_;  // of the group on its way
  absl::Duration sync_time_;
};

}  // namespace weir::collector
