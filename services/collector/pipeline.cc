#include "services/collector/pipeline.h"

#include "common/base/check.h"

namespace weir::collector {
namespace {

constexpr absl::Duration kFullRetryInterval = absl::Milliseconds(100);

}  // namespace

Pipeline::Pipeline(GroupCommitOptions options, wal::Wal& log, LogWriter& writer, Clock& clock,
                   PipelineListener& listener)
    : writer_(writer), clock_(clock), listener_(listener), steps_(options, log, writer) {}

Pipeline::~Pipeline() { Stop(); }

void Pipeline::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Pipeline::Stop() {
  steps_.Close();
  if (thread_.joinable()) thread_.join();
}

void Pipeline::OnCommitted(uint64_t lsn) {
  const std::vector<Waiter> told = steps_.OnCommitted(lsn);
  if (!told.empty()) listener_.Told(told);
}

void Pipeline::Run() {
  while (true) {
    // Asked before the step: what was queued before the close is then seen by it.
    const bool closed = steps_.closed();
    const absl::Time start = clock_.Now();
    const absl::StatusOr<Advanced> advanced = steps_.Advance(start);
    WEIR_CHECK_OK(advanced.status());
    const absl::Time now = clock_.Now();
    Report(*advanced, now - start);
    if (steps_.HouseKeepingDue(now)) HouseKeep(now);
    switch (advanced->step) {
      case Advanced::Step::kIdle:
        if (closed) return;
        steps_.Wait(clock_, steps_.next_house_keeping());
        break;
      case Advanced::Step::kFull:
        // The group is given up, unacknowledged. Nothing may enter the log any more,
        // or a session would have a hole.
        if (closed) return;
        steps_.Wait(clock_, now + kFullRetryInterval);
        break;
      case Advanced::Step::kWritten:
      case Advanced::Step::kSynced:
      case Advanced::Step::kTold:
        break;
    }
  }
}

void Pipeline::Report(const Advanced& advanced, absl::Duration took) {
  if (advanced.step == Advanced::Step::kWritten) write_time_ = took;
  if (advanced.step == Advanced::Step::kSynced) sync_time_ = took;
  if (!advanced.told.empty()) listener_.Told(advanced.told);
  if (advanced.step != Advanced::Step::kTold) return;
  if (announced_ != writer_.slot_last()) {
    announced_ = writer_.slot_last();
    listener_.Durable(announced_);
  }
  listener_.GroupCommitted(advanced.sample_count, write_time_, sync_time_);
}

void Pipeline::HouseKeep(absl::Time now) {
  const absl::StatusOr<HouseKept> kept = steps_.HouseKeep(now);
  WEIR_CHECK_OK(kept.status());
  if (!kept->not_trimmed.ok()) listener_.TrimFailed(kept->not_trimmed);
  if (kept->trimmed) listener_.Trimmed(writer_.trimmed_slot_last());
}

}  // namespace weir::collector
