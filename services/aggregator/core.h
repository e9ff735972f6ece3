// The aggregator without I/O: receives frames, folds them, decides when to
// flush, derive and retire, and answers collectors. Exactly once is decided
// here and in the store's compare-and-set, nowhere else.
//
//   Hello, Frame, Heartbeat, Closed ─┐              ┌─> Send, Close (a connection)
//   Tick ────────────────────────────┼─> Core::On… ─┼─> Run (one store job at a time)
//   JobDone ─────────────────────────┘              └─> Fenced (another owner took over)
//
// Invariants, per (slot, WAL), committed <= applied:
//   I1  Rows in the store are the fold of exactly the subframes up to the
//       watermark, which is `committed` or, while a flush is in doubt, the value
//       that flush writes.
//   I2  The delta in memory holds exactly the subframes in (committed, applied],
//       and the last points of running totals are those of `applied` in memory
//       and of `committed` in the store.
//   I3  An Ack for l is sent only after a commit of a watermark >= l.
//   I4  A frame that does not follow `applied` is not folded, and is answered
//       with a Resume.
//
// Thread safety: thread-compatible; owned by the delivery thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutant.h"
#include "common/delivery/messages.h"
#include "common/model/tier.h"
#include "services/aggregator/assembly.h"
#include "services/aggregator/cumulative.h"
#include "services/aggregator/fold.h"
#include "services/aggregator/jobs.h"

namespace weir::aggregator {

using ConnectionId = uint64_t;

struct CoreOptions {
  std::string owner;  // host and process, for people
  int slot_count = 16;
  TierTable tiers = TierTable::Default();
  SeriesLimits series_limits;
  AssemblyOptions assembly;
  CumulativeOptions cumulative;

  // Flush at least this often while there is something to flush; stretched to
  // ten times the duration of the last flush, up to max_flush_interval.
  absl::Duration flush_interval = absl::Seconds(1);
  absl::Duration max_flush_interval = absl::Seconds(10);
  // Flush early when the delta holds this much.
  int64_t flush_memory_bytes = 256 << 20;
  // The most bytes of frames one collector may have sent and not seen acked.
  int64_t window_bytes = 32 << 20;
  // Derive a bin this long after complete_until has passed its end.
  absl::Duration derive_delay = absl::Seconds(5);
  // The most of a tier one derivation covers, so that catching up takes steps.
  absl::Duration derive_step = absl::Hours(6);
  absl::Duration retention_interval = absl::Minutes(1);
  // A log not heard for this long no longer holds complete_until back.
  absl::Duration silent_after = absl::Seconds(60);
  // Wait between runs of a job that failed, doubled each time up to the second.
  absl::Duration min_retry_delay = absl::Milliseconds(50);
  absl::Duration max_retry_delay = absl::Seconds(5);

  Mutant mutant = Mutant::kNone;
};

// Actions.
struct SendTo {
  ConnectionId connection = 0;
  delivery::FromAggregator message;
};
struct CloseConnection {
  ConnectionId connection = 0;
  absl::Status why;  // what the collector is told
};
struct RunStoreJob {
  Job job;
};
// Another aggregator owns the slots: nothing of ours commits any more. The
// process should end; what was not committed is still in the collectors' logs.
struct Fenced {
  std::string detail;
};
using Action = std::variant<SendTo, CloseConnection, RunStoreJob, Fenced>;
using Actions = std::vector<Action>;

// Counts since the start, for metrics and tests.
struct CoreCounts {
  int64_t frames = 0;
  int64_t samples = 0;          // folded
  int64_t repeated_ranges = 0;  // skipped because applied already
  int64_t gaps = 0;             // answered with a Resume
  int64_t flushes = 0;          // committed
  int64_t flush_retries = 0;
  int64_t conflicts_committed = 0;  // re-runs that found their commit had happened
  int64_t rows = 0;
  int64_t late_rows = 0;
  int64_t expired_samples = 0;
  int64_t derives = 0;
  int64_t damaged_ranges = 0;  // subframes that did not parse; the stream is refused
  // Cumulative points by what they were (CumulativeOutcome).
  int64_t cumulative_resets = 0;
  int64_t cumulative_baselines = 0;
  int64_t cumulative_late = 0;
  int64_t cumulative_overlaps = 0;  // CumulativeTable::overlap_count
  // Of series past a limit, which cannot be followed: they add nothing.
  int64_t cumulative_overflowed = 0;
  // Parts of histograms that add nothing: their scrape is done, or the histogram has
  // too many; and scrapes without a count.
  int64_t parts_late = 0;
  int64_t parts_refused = 0;
  int64_t incomplete_scrapes = 0;
  int64_t damaged_cumulatives = 0;  // rows of the store that were not taken over
};

class Core {
 public:
  explicit Core(CoreOptions options);
  ~Core();

  // The first call: asks for the claim. Streams may open before it is answered;
  // their Hello is answered after it.
  Actions Start(absl::Time now);

  Actions OnHello(ConnectionId connection, const delivery::Hello& hello, absl::Time now);
  Actions OnFrame(ConnectionId connection, const delivery::Frame& frame, absl::Time now);
  Actions OnHeartbeat(ConnectionId connection, const delivery::Heartbeat& heartbeat,
                      absl::Time now);
  Actions OnClosed(ConnectionId connection, absl::Time now);
  Actions OnTick(absl::Time now);
  // The result of the one job asked for by RunStoreJob.
  Actions OnJobDone(JobResult result, absl::Time now);

  // Flush what there is as soon as possible and derive nothing more; drained()
  // once everything applied is committed.
  Actions Drain(absl::Time now);
  bool drained() const;

  bool claimed() const;
  // Whether what is folded and not committed takes as much memory as it may: no
  // more frames should be read until a flush has succeeded. While the store is
  // away, collectors' logs fill, not this.
  bool full() const;
  const CoreCounts& counts() const { return counts_; }
  const SeriesIndex& series() const { return series_; }
  int64_t delta_memory_bytes() const;

 private:
  struct Log;      // what is known of one WAL
  struct SlotLog;  // per (slot, WAL): committed, applied
  struct State;

  void NoticeClock(absl::Time now);

  // Streams.
  Log& FindLog(const WalId& id);
  void Detach(Log& log);
  delivery::SlotPosition PositionOf(const Log& log, int slot) const;
  void SendResume(Log& log, absl::Time now, Actions* actions);
  void Acknowledge(Log& log, Actions* actions);
  absl::Status ApplyFrame(Log& log, const delivery::Frame& frame);
  absl::Status FoldSubframe(const Log& log);
  absl::Status ParsePoints(const frame::Block& block, const Log& log);
  void FoldPoints(const frame::Block& block, size_t first_point);
  void FoldPoint(SeriesNumber number, int64_t event_unix_nano, const Point& point);
  void FoldPart(SeriesNumber number, int64_t event_unix_nano, const Point& part);
  void AdvanceComplete(Log& log, absl::Time time, absl::Time now, Actions* actions);

  // Jobs.
  void StartJob(Job job, absl::Time now, Actions* actions);
  void RunAgain(absl::Time now, Actions* actions);
  void RetryLater(absl::Time now);
  void ContinueJobs(absl::Time now, Actions* actions);
  bool MuchToFlush() const;
  bool FlushDue(absl::Time now) const;
  void TakeFlush(absl::Time now, Actions* actions);
  static bool Changed(const Log& log);
  absl::Time CompleteUntil(absl::Time now) const;
  std::optional<DeriveJob> NextDerive(absl::Time now) const;
  void ResolveConflict(const JobResult& result, absl::Time now, Actions* actions);
  void FinishJob(const JobResult& result, absl::Time now, Actions* actions);
  void FinishClaim(const JobResult& result, absl::Time now, Actions* actions);
  void FinishFlush(const FlushJob& flush, const JobResult& result, absl::Time now,
                   Actions* actions);

  const CoreOptions options_;
  SeriesIndex series_;
  AssemblyTable assemblies_;
  CumulativeTable cumulatives_;
  CoreCounts counts_;
  const std::unique_ptr<State> state_;
};

}  // namespace weir::aggregator
