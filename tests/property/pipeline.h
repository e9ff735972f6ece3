// The product from the log on, and the model beside it: frames are encoded as a
// collector encodes them, folded by the aggregator's core, written by its jobs to
// a store, and asked for by its queries.
//
// The model goes along by what it is told here alone: which frame was delivered
// for the first time, which flush has really committed, which aggregator died.
// What was folded and not committed is forgotten with its aggregator, and comes
// again in the order in which the next one folds it.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/frame/frame.h"
#include "common/model/tier.h"
#include "common/store/store.h"
#include "services/aggregator/core.h"
#include "services/collector/slot_blocks.h"
#include "tests/property/model.h"
#include "tests/property/schedule.h"

namespace weir::property {

// What a run met, so that silence can be told from success.
struct Tally {
  int64_t cases = 0;
  int64_t points = 0;
  int64_t frames = 0;
  int64_t flushes = 0;
  int64_t derives = 0;
  int64_t late_rows = 0;
  int64_t expired = 0;
  int64_t crashes = 0;
  int64_t fenced_off = 0;
  int64_t in_doubt_committed = 0;
  int64_t increases = 0;
  int64_t firsts = 0;
  int64_t resets = 0;
  int64_t baselines = 0;
  int64_t late_points = 0;
  int64_t restored_points = 0;
  int64_t bins = 0;          // compared that hold something
  int64_t retired_bins = 0;  // gone from a tier that the next one still shows
  int64_t quantiles = 0;
};

class Pipeline {
 public:
  // `schedule`, `store` and `tally` outlive it.
  Pipeline(const Schedule& schedule, store::Store& store, Tally& tally);
  ~Pipeline();

  // Runs every step. Returns what went wrong first, and at which step; empty when
  // nothing did.
  std::string Run();

 private:
  struct LoggedFrame {
    uint64_t lsn = 0;
    uint64_t segment = 0;
    std::string payload;
    frame::FrameView view;  // of the payload
    std::vector<Sent> sent;
  };
  // A collector's log, and its stream to the aggregator.
  struct Log {
    WalId id;
    std::deque<LoggedFrame> frames;
    uint64_t last_lsn = 0;
    uint64_t segment = 1;
    std::vector<uint64_t> slot_last;
    std::vector<bool> defined;  // in the segment, by series
    aggregator::ConnectionId connection = 0;
    bool open = false;
    bool resumed = false;  // the core has said where it is
    size_t folded = 0;     // frames that the model has folded
    size_t committed = 0;  // and whose flush has committed
    size_t taken = 0;      // and that the flush under way has taken
  };

  void Fail(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }
  void RunStep(const Step& step);

  // The collector's side.
  void AppendFrame(const Step& step);
  void Connect(Log& log);
  void HangUp(Log& log);
  void Resume(Log& log, const delivery::Resume& resume);
  void Deliver(Log& log, size_t index, const std::vector<uint64_t>* applied);

  // The aggregator's side.
  void StartAggregator();
  void StopAggregator();
  void Crash(LastJob last_job);
  void Restart();
  void Perform(aggregator::Actions actions);
  void NoticeJob(const aggregator::Job& job);
  void RunPendingJob(Outcome outcome);
  aggregator::JobResult RunJob(const aggregator::Job& job);
  void NoticeCommit(const aggregator::JobResult& result);
  void Settle(int count);
  aggregator::JobContext Context();

  // The comparison.
  void CompareCounts();
  void Check();
  void CheckTier(int tier, store::Snapshot& snapshot, int64_t floor_seconds);
  void CheckRows(int tier, store::Snapshot& snapshot, int64_t floor_seconds);
  void CheckMetric(int tier, const std::string& name, Kind kind, store::Snapshot& snapshot,
                   int64_t floor_seconds, bool grouped);

  const Schedule& schedule_;
  store::Store& store_;
  Tally& tally_;
  const TierTable tiers_ = TierTable::Default();
  std::vector<std::string> series_bytes_;
  std::vector<SeriesId> series_ids_;

  std::string failure_;
  absl::Time now_;
  collector::SlotBlocks blocks_;
  std::vector<Log> logs_;

  std::unique_ptr<aggregator::Core> core_;
  std::optional<aggregator::Job> job_;  // asked for, not run yet
  aggregator::ConnectionId last_connection_ = 0;
  int64_t flushes_finished_ = 0;

  Model model_;
  Model::Mark committed_;
  std::optional<Model::Mark> taken_;  // by the flush under way
  int64_t unfinished_expired_ = 0;    // by a commit the core has not heard of
  int64_t finished_expired_ = 0;
};

}  // namespace weir::property
