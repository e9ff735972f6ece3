// How the pieces hang together:
//
//   A Delta gathers what is folded. When a flush is due and no job runs, the
//   delta is taken together with the watermarks it leads to, a fresh one takes
//   its place, and a FlushJob is asked for. Until that job's outcome is known
//   beyond doubt, nothing else is asked of the store: the same job is run again,
//   and the store's compares decide. Then collectors are acked.
//
//   A job that ends in a conflict has either committed in an earlier run or met
//   another owner; a ReadSlotsJob tells which.
#include "services/aggregator/core.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/frame/frame.h"

namespace weir::aggregator {
namespace {

constexpr SeriesNumber kUndefined = std::numeric_limits<SeriesNumber>::max();
// A collector numbers series densely and keeps at most twice its limit.
constexpr uint32_t kMaxReference = 1u << 26;
// A gap is answered again when the answer has had no effect for this long.
constexpr absl::Duration kResumeInterval = absl::Seconds(2);

}  // namespace

struct Core::SlotLog {
  uint64_t committed = 0;
  uint64_t applied = 0;
  bool gap = false;  // frames are missing between `applied` and what arrives
};

struct Core::Log {
  WalId id;
  std::string collector;
  std::optional<ConnectionId> connection;
  std::vector<SlotLog> slots;

  // What its segment has defined on this connection.
  uint64_t segment = 0;
  std::vector<SeriesNumber> numbers;

  // Everything acknowledged before it is applied; and committed.
  absl::Time applied_complete = absl::InfinitePast();
  absl::Time committed_complete = absl::InfinitePast();
  absl::Time heard = absl::InfinitePast();
  absl::Time committed_heard = absl::InfinitePast();
  absl::Time resume_sent = absl::InfinitePast();
};

struct Core::State {
  explicit State(const CoreOptions& options)
      : delta(std::make_shared<Delta>(options.tiers[0].bin_seconds)) {}

  bool claimed = false;
  bool fenced = false;
  bool draining = false;
  std::vector<store::SlotState> slots;
  std::vector<int64_t> floors;
  std::map<WalId, Log> logs;
  absl::flat_hash_map<ConnectionId, Log*> connections;
  std::vector<std::pair<ConnectionId, delivery::Hello>> waiting_hellos;

  std::shared_ptr<Delta> delta;
  int64_t received_bytes = 0;  // of the frames in it
  std::shared_ptr<Delta> spare;

  // The job whose outcome is not known yet, and whether it runs right now.
  std::optional<Job> job;
  std::shared_ptr<Delta> flushing;  // the delta of a FlushJob
  bool running = false;
  bool reading_slots = false;  // what runs is the ReadSlotsJob after its conflict
  JobResult conflicting;       // what that conflict told
  absl::Time job_started = absl::InfinitePast();
  absl::Time retry_at = absl::InfinitePast();
  absl::Duration retry_delay = absl::ZeroDuration();

  absl::Time last_now = absl::InfinitePast();
  absl::Time next_flush = absl::InfinitePast();
  absl::Time next_retention = absl::InfinitePast();
  absl::Time next_derive = absl::InfinitePast();

  // Reused while parsing.
  frame::SubframeView subframe;
  std::vector<frame::Block> blocks;
  std::vector<SeriesNumber> numbers;
  std::vector<Point> points;  // of all blocks of a subframe
};

Core::Core(CoreOptions options)
    : options_(std::move(options)),
      series_(options_.series_limits),
      assemblies_(options_.assembly),
      cumulatives_(options_.cumulative),
      state_(std::make_unique<State>(options_)) {}

Core::~Core() = default;

bool Core::claimed() const { return state_->claimed; }

bool Core::full() const {
  // An empty delta keeps memory for the next round, which counts for nothing.
  if (state_->delta->empty()) return false;
  const size_t held = state_->delta->memory_bytes() +
                      (state_->flushing == nullptr ? 0 : state_->flushing->memory_bytes());
  return held >= 2 * static_cast<size_t>(options_.flush_memory_bytes);
}

int64_t Core::delta_memory_bytes() const {
  return static_cast<int64_t>(state_->delta->memory_bytes());
}

// The wall clock may be set back. Nothing may wait until it has caught up.
void Core::NoticeClock(absl::Time now) {
  State& state = *state_;
  const absl::Duration back = std::max(state.last_now - now, absl::ZeroDuration());
  state.last_now = now;
  if (back == absl::ZeroDuration()) return;
  state.job_started -= back;
  state.retry_at -= back;
  state.next_flush -= back;
  state.next_retention -= back;
  state.next_derive -= back;
  for (auto& [id, log] : state.logs) {
    log.heard -= back;
    log.committed_heard -= back;
    log.resume_sent -= back;
  }
}

Actions Core::Start(absl::Time now) {
  NoticeClock(now);
  Actions actions;
  StartJob(ClaimJob{.owner = options_.owner}, now, &actions);
  return actions;
}

// --- Streams -----------------------------------------------------------------

Actions Core::OnHello(ConnectionId connection, const delivery::Hello& hello, absl::Time now) {
  NoticeClock(now);
  State& state = *state_;
  Actions actions;
  if (state.fenced) return actions;
  if (hello.slot_count != options_.slot_count) {
    actions.push_back(
        CloseConnection{.connection = connection,
                        .why = absl::FailedPreconditionError(
                            StrCat("the collector divides series into ", hello.slot_count,
                                   " slots, this aggregator's store into ", options_.slot_count))});
    return actions;
  }
  if (!state.claimed) {
    state.waiting_hellos.emplace_back(connection, hello);
    return actions;
  }
  if (state.connections.contains(connection)) {
    actions.push_back(
        CloseConnection{.connection = connection,
                        .why = absl::InvalidArgumentError("a second greeting on one stream")});
    Detach(*state.connections[connection]);
    return actions;
  }
  Log& log = FindLog(hello.wal_id);
  if (log.connection.has_value() && *log.connection != connection) {
    // The same log on a newer connection: the older one is dead or about to be.
    state.connections.erase(*log.connection);
    actions.push_back(
        CloseConnection{.connection = *log.connection,
                        .why = absl::AbortedError("the same log has opened a newer connection")});
  }
  log.collector = hello.collector;
  log.connection = connection;
  log.heard = now;
  log.segment = 0;
  log.numbers.clear();
  for (SlotLog& slot : log.slots) slot.gap = false;
  state.connections[connection] = &log;
  SendResume(log, now, &actions);
  return actions;
}

Core::Log& Core::FindLog(const WalId& id) {
  Log& log = state_->logs[id];
  if (log.slots.empty()) {
    log.id = id;
    log.slots.resize(static_cast<size_t>(options_.slot_count));
  }
  return log;
}

void Core::SendResume(Log& log, absl::Time now, Actions* actions) {
  delivery::Resume resume = {.window_bytes = options_.window_bytes};
  for (size_t i = 0; i < log.slots.size(); ++i) {
    resume.slots.push_back(PositionOf(log, static_cast<int>(i)));
  }
  log.resume_sent = now;
  actions->push_back(SendTo{.connection = *log.connection, .message = std::move(resume)});
}

delivery::SlotPosition Core::PositionOf(const Log& log, int slot) const {
  const SlotLog& position = log.slots[static_cast<size_t>(slot)];
  const bool early = options_.mutant == Mutant::kAckBeforeCommit;
  return {.slot = slot,
          .epoch = state_->slots[static_cast<size_t>(slot)].epoch,
          .committed_lsn = early ? position.applied : position.committed,
          .applied_lsn = position.applied};
}

Actions Core::OnFrame(ConnectionId connection, const delivery::Frame& frame, absl::Time now) {
  NoticeClock(now);
  State& state = *state_;
  Actions actions;
  const auto found = state.connections.find(connection);
  if (state.fenced || found == state.connections.end()) return actions;  // superseded
  Log& log = *found->second;
  log.heard = now;
  ++counts_.frames;
  if (const absl::Status applied = ApplyFrame(log, frame); !applied.ok()) {
    ++counts_.damaged_ranges;
    actions.push_back(CloseConnection{.connection = connection, .why = applied});
    Detach(log);
    return actions;
  }
  AdvanceComplete(log, frame.seal_time, now, &actions);
  if (options_.mutant == Mutant::kAckBeforeCommit) Acknowledge(log, &actions);
  state.received_bytes += delivery::FrameCost(frame);
  if (MuchToFlush()) ContinueJobs(now, &actions);
  return actions;
}

// Folds what the slots lack. An error leaves no part of a range folded, though
// ranges before it are: each is complete in itself.
absl::Status Core::ApplyFrame(Log& log, const delivery::Frame& frame) {
  State& state = *state_;
  if (frame.segment != log.segment) {
    // A new segment, or an older one to which the collector went back for a gap:
    // from its beginning, so everything it uses is defined again.
    log.segment = frame.segment;
    log.numbers.clear();
  }
  for (const delivery::SlotRange& range : frame.ranges) {
    if (range.slot < 0 || range.slot >= options_.slot_count) {
      return absl::InvalidArgumentError(StrCat("no such slot: ", range.slot));
    }
    WEIR_RETURN_IF_ERROR(frame::ParseSubframe(range.subframe, &state.subframe));
    for (const frame::Definition& definition : state.subframe.definitions) {
      if (definition.number >= kMaxReference) {
        return absl::DataLossError(StrCat("series number ", definition.number));
      }
      if (definition.number >= log.numbers.size()) {
        log.numbers.resize(std::max<size_t>(definition.number + 1, log.numbers.size() * 2),
                           kUndefined);
      }
      WEIR_ASSIGN_OR_RETURN(log.numbers[definition.number],
                            series_.Intern(range.slot, definition.series));
    }
    if (range.definitions_only) continue;

    SlotLog& slot = log.slots[static_cast<size_t>(range.slot)];
    if (frame.lsn <= slot.applied && options_.mutant != Mutant::kNoAppliedCheck) {
      ++counts_.repeated_ranges;
      continue;
    }
    if (range.previous_lsn != slot.applied && options_.mutant != Mutant::kNoGapCheck &&
        options_.mutant != Mutant::kNoAppliedCheck) {
      ++counts_.gaps;
      slot.gap = true;
      continue;
    }
    WEIR_RETURN_IF_ERROR(FoldSubframe(log));
    slot.applied = frame.lsn;
    slot.gap = false;
  }
  return absl::OkStatus();
}

// Folds the blocks of state.subframe, all or none.
absl::Status Core::FoldSubframe(const Log& log) {
  State& state = *state_;
  ByteReader reader(state.subframe.blocks);
  size_t count = 0;
  state.points.clear();
  while (!reader.empty()) {
    if (count == state.blocks.size()) state.blocks.emplace_back();
    frame::Block& block = state.blocks[count++];
    WEIR_RETURN_IF_ERROR(frame::ReadBlock(&reader, &block));
    for (const uint32_t ref : block.refs) {
      if (ref >= log.numbers.size() || log.numbers[ref] == kUndefined) {
        return absl::DataLossError(
            StrCat("series ", ref, " is not defined in segment ", log.segment));
      }
    }
    if (block.type == frame::ValueType::kPoint) WEIR_RETURN_IF_ERROR(ParsePoints(block, log));
  }
  size_t first_point = 0;
  for (size_t i = 0; i < count; ++i) {
    const frame::Block& block = state.blocks[i];
    state.numbers.resize(block.size());
    for (size_t j = 0; j < block.size(); ++j) state.numbers[j] = log.numbers[block.refs[j]];
    counts_.samples += static_cast<int64_t>(block.size());
    if (block.type == frame::ValueType::kPoint) {
      FoldPoints(block, first_point);
      first_point += block.size();
    } else {
      state.delta->Fold(series_, state.numbers, block);
    }
  }
  return absl::OkStatus();
}

// Appends the block's points to state.points, if they suit their series.
absl::Status Core::ParsePoints(const frame::Block& block, const Log& log) {
  State& state = *state_;
  std::string_view rest = block.points;
  for (size_t i = 0; i < block.size(); ++i) {
    WEIR_ASSIGN_OR_RETURN(Point point, ParsePoint(rest.substr(0, block.bits[i])));
    rest.remove_prefix(block.bits[i]);
    const Kind kind = series_[log.numbers[block.refs[i]]].kind;
    const bool histogram = std::holds_alternative<Histogram>(point.value) || point.part.has_value();
    if (histogram != (kind == Kind::kDistribution) || kind == Kind::kGauge) {
      return absl::DataLossError(
          StrCat("a ", histogram ? "histogram" : "running total", " of a ", KindName(kind)));
    }
    state.points.push_back(std::move(point));
  }
  return absl::OkStatus();
}

void Core::FoldPoints(const frame::Block& block, size_t first_point) {
  State& state = *state_;
  for (size_t i = 0; i < block.size(); ++i) {
    FoldPoint(state.numbers[i], block.times[i], state.points[first_point + i]);
  }
}

void Core::FoldPoint(SeriesNumber number, int64_t event_unix_nano, const Point& point) {
  const SeriesEntry& entry = series_[number];
  std::optional<PointValue> added = point.value;
  if (point.cumulative) {
    if (entry.overflow) {
      ++counts_.cumulative_overflowed;
      return;
    }
    if (point.part.has_value()) return FoldPart(number, event_unix_nano, point);
    CumulativeOutcome outcome;
    added = cumulatives_.Advance(number, entry.kind == Kind::kCounter, event_unix_nano, point,
                                 &outcome);
    counts_.cumulative_resets += outcome == CumulativeOutcome::kReset ? 1 : 0;
    counts_.cumulative_baselines += outcome == CumulativeOutcome::kBaseline ? 1 : 0;
    counts_.cumulative_late += outcome == CumulativeOutcome::kLate ? 1 : 0;
    counts_.cumulative_overlaps = cumulatives_.overlap_count();
  }
  if (!added.has_value()) return;
  Aggregate aggregate;
  Sketch sketch;
  if (const auto* histogram = std::get_if<Histogram>(&*added)) {
    Observe(*histogram, event_unix_nano, &aggregate, &sketch);
    if (aggregate.count == 0) return;
  } else if (const auto* integer = std::get_if<int64_t>(&*added)) {
    aggregate.AddInteger(*integer, event_unix_nano);
  } else {
    aggregate.AddFloat(std::get<double>(*added), event_unix_nano);
  }
  state_->delta->Merge(series_, number, event_unix_nano, aggregate, &sketch);
}

void Core::FoldPart(SeriesNumber number, int64_t event_unix_nano, const Point& part) {
  const auto outcome = assemblies_.Add(number, event_unix_nano, part,
                                       [&](int64_t time_unix_nano, const Point& histogram) {
                                         FoldPoint(number, time_unix_nano, histogram);
                                       });
  counts_.parts_late += outcome == HistogramAssembly::Outcome::kLate ? 1 : 0;
  counts_.parts_refused += outcome == HistogramAssembly::Outcome::kTooMany ? 1 : 0;
  counts_.incomplete_scrapes = assemblies_.incomplete_count();
}

Actions Core::OnHeartbeat(ConnectionId connection, const delivery::Heartbeat& heartbeat,
                          absl::Time now) {
  NoticeClock(now);
  State& state = *state_;
  Actions actions;
  const auto found = state.connections.find(connection);
  if (state.fenced || found == state.connections.end()) return actions;
  Log& log = *found->second;
  log.heard = now;
  AdvanceComplete(log, heartbeat.time, now, &actions);
  return actions;
}

// Everything the collector acknowledged before `time` has been applied, unless
// frames are missing: then it is asked for them again, now and then. A collector's
// clock may be ahead; completeness is never claimed for times to come.
void Core::AdvanceComplete(Log& log, absl::Time time, absl::Time now, Actions* actions) {
  const bool gap =
      std::any_of(log.slots.begin(), log.slots.end(), [](const SlotLog& slot) { return slot.gap; });
  if (!gap) {
    log.applied_complete = std::max(log.applied_complete, std::min(time, now));
  } else if (options_.mutant != Mutant::kSilentGap && now - log.resume_sent >= kResumeInterval) {
    SendResume(log, now, actions);
  }
}

Actions Core::OnClosed(ConnectionId connection, absl::Time) {
  State& state = *state_;
  std::erase_if(state.waiting_hellos,
                [&](const auto& waiting) { return waiting.first == connection; });
  if (const auto found = state.connections.find(connection); found != state.connections.end()) {
    Detach(*found->second);
  }
  return {};
}

void Core::Detach(Log& log) {
  state_->connections.erase(*log.connection);
  log.connection.reset();
}

void Core::Acknowledge(Log& log, Actions* actions) {
  if (!log.connection.has_value()) return;
  delivery::Ack ack;
  for (size_t i = 0; i < log.slots.size(); ++i) {
    ack.slots.push_back(PositionOf(log, static_cast<int>(i)));
  }
  actions->push_back(SendTo{.connection = *log.connection, .message = std::move(ack)});
}

// --- Jobs --------------------------------------------------------------------

Actions Core::OnTick(absl::Time now) {
  NoticeClock(now);
  Actions actions;
  ContinueJobs(now, &actions);
  return actions;
}

void Core::StartJob(Job job, absl::Time now, Actions* actions) {
  State& state = *state_;
  WEIR_CHECK(!state.running && !state.job.has_value());
  state.job = std::move(job);
  state.retry_delay = options_.min_retry_delay;
  RunAgain(now, actions);
}

void Core::RunAgain(absl::Time now, Actions* actions) {
  State& state = *state_;
  state.running = true;
  state.job_started = now;
  actions->push_back(RunStoreJob{state.reading_slots ? Job(ReadSlotsJob{}) : *state.job});
}

// Starts what is due, if the store is free: the job to be repeated, a flush, a
// derivation, retention, in this order.
void Core::ContinueJobs(absl::Time now, Actions* actions) {
  State& state = *state_;
  if (state.fenced || state.running) return;
  if (state.job.has_value()) {
    if (now >= state.retry_at) RunAgain(now, actions);
    return;
  }
  if (!state.claimed) return;
  if (FlushDue(now)) {
    TakeFlush(now, actions);
    return;
  }
  if (state.draining) return;
  if (const std::optional<DeriveJob> derive = NextDerive(now); derive.has_value()) {
    StartJob(*derive, now, actions);
    return;
  }
  if (now >= state.next_retention) {
    state.next_retention = now + options_.retention_interval;
    StartJob(RetentionJob{.now = now}, now, actions);
  }
}

// Memory, or half of what a collector may have sent and not seen committed: it
// should never have to wait for a flush that only waits for its time.
bool Core::MuchToFlush() const {
  const State& state = *state_;
  return !state.delta->empty() &&
         (state.received_bytes >= options_.window_bytes / 2 ||
          state.delta->memory_bytes() >= static_cast<size_t>(options_.flush_memory_bytes));
}

bool Core::FlushDue(absl::Time now) const {
  const State& state = *state_;
  if (MuchToFlush()) return true;
  if (now < state.next_flush && !state.draining) return false;
  if (!state.delta->empty()) return true;
  for (const auto& [id, log] : state.logs) {
    for (const SlotLog& slot : log.slots) {
      if (slot.applied != slot.committed) return true;
    }
    if (!state.draining &&
        (log.applied_complete > log.committed_complete || log.heard > log.committed_heard)) {
      return true;
    }
  }
  return false;
}

void Core::TakeFlush(absl::Time now, Actions* actions) {
  State& state = *state_;
  FlushJob job = {.floors = state.floors};
  for (const store::SlotState& slot : state.slots) {
    job.slots.push_back(
        {.slot = slot.slot, .epoch = slot.epoch, .old_commit_number = slot.commit_number});
    job.derived_until.push_back(slot.derived_until);
  }
  for (const auto& [id, log] : state.logs) {
    if (!Changed(log)) continue;
    for (size_t i = 0; i < log.slots.size(); ++i) {
      job.watermarks.push_back({.slot = static_cast<int>(i),
                                .wal_id = id,
                                .old_lsn = log.slots[i].committed,
                                .new_lsn = log.slots[i].applied,
                                .complete_until = log.applied_complete,
                                .heard_time = log.heard});
    }
  }
  state.flushing = std::exchange(
      state.delta, state.spare != nullptr ? std::exchange(state.spare, nullptr)
                                          : std::make_shared<Delta>(options_.tiers[0].bin_seconds));
  state.received_bytes = 0;
  job.delta = state.flushing;
  CumulativeChanges changes = cumulatives_.TakeChanges(series_);
  assemblies_.TakeChanges(series_, &changes);
  job.cumulatives = std::make_shared<CumulativeChanges>(std::move(changes));
  StartJob(std::move(job), now, actions);
}

bool Core::Changed(const Log& log) {
  if (log.applied_complete > log.committed_complete || log.heard > log.committed_heard) return true;
  return std::any_of(log.slots.begin(), log.slots.end(),
                     [](const SlotLog& slot) { return slot.applied != slot.committed; });
}

// Everything live collectors acknowledged before it is committed. With no live
// collector nothing is known to be missing, and time goes on.
absl::Time Core::CompleteUntil(absl::Time now) const {
  absl::Time complete = absl::InfiniteFuture();
  for (const auto& [id, log] : state_->logs) {
    if (now - log.heard <= options_.silent_after) {
      complete = std::min(complete, log.committed_complete);
    }
  }
  return complete == absl::InfiniteFuture() ? now - options_.silent_after : complete;
}

std::optional<DeriveJob> Core::NextDerive(absl::Time now) const {
  const State& state = *state_;
  const absl::Time complete = CompleteUntil(now);
  if (complete == absl::InfinitePast() || now < state.next_derive) return std::nullopt;
  const int64_t until = absl::ToUnixSeconds(complete - options_.derive_delay);
  for (int tier = 1; tier < options_.tiers.size(); ++tier) {
    const int64_t width = options_.tiers[tier].bin_seconds;
    const int64_t step =
        std::max(width, AlignDown(absl::ToInt64Seconds(options_.derive_step), width));
    for (const store::SlotState& slot : state.slots) {
      const int64_t from = slot.derived_until[static_cast<size_t>(tier)];
      int64_t target = std::min(until, from + step);
      if (tier > 1) target = std::min(target, slot.derived_until[static_cast<size_t>(tier) - 1]);
      target = AlignDown(target, width);
      if (target <= from) continue;
      return DeriveJob{
          .slot = {.slot = slot.slot, .epoch = slot.epoch, .old_commit_number = slot.commit_number},
          .tier = tier,
          .from_seconds = from,
          .until_seconds = target};
    }
  }
  return std::nullopt;
}

Actions Core::OnJobDone(JobResult result, absl::Time now) {
  NoticeClock(now);
  State& state = *state_;
  Actions actions;
  WEIR_CHECK(state.running);
  state.running = false;
  if (state.fenced) return actions;
  if (state.reading_slots) {
    ResolveConflict(result, now, &actions);
    return actions;
  }
  if (result.status.ok()) {
    FinishJob(result, now, &actions);
    return actions;
  }
  if (absl::IsAborted(result.status)) {
    state.reading_slots = true;
    state.conflicting = std::move(result);
    RunAgain(now, &actions);
    return actions;
  }
  if (options_.mutant == Mutant::kAssumeCommitted && std::holds_alternative<FlushJob>(*state.job)) {
    FinishJob(result, now, &actions);
    return actions;
  }
  if (std::holds_alternative<RetentionJob>(*state.job)) {
    // Never in doubt, and nothing waits for it: the next interval tries again.
    state.job.reset();
    ContinueJobs(now, &actions);
    return actions;
  }
  if (const auto* derive = std::get_if<DeriveJob>(&*state.job);
      derive != nullptr && !derive->rerun && !absl::IsUnavailable(result.status)) {
    // It failed before it could commit, and would again: flushes go before it.
    state.job.reset();
    state.next_derive = now + options_.retention_interval;
    ContinueJobs(now, &actions);
    return actions;
  }
  // Unknown: the same again, later.
  ++counts_.flush_retries;
  if (auto* flush = std::get_if<FlushJob>(&*state.job)) {
    flush->rerun = true;
    if (!result.floors.empty()) flush->floors = result.floors;
  }
  if (auto* derive = std::get_if<DeriveJob>(&*state.job)) derive->rerun = true;
  RetryLater(now);
  return actions;
}

void Core::RetryLater(absl::Time now) {
  State& state = *state_;
  state.retry_at = now + state.retry_delay;
  state.retry_delay = std::min(2 * state.retry_delay, options_.max_retry_delay);
}

// A compare failed. The slots say whether an earlier run of the job committed
// (its commit number is there, under our epoch) or somebody else did.
void Core::ResolveConflict(const JobResult& result, absl::Time now, Actions* actions) {
  State& state = *state_;
  if (!result.status.ok()) {
    RetryLater(now);  // still reading_slots
    return;
  }
  state.reading_slots = false;
  std::vector<store::Transaction::SlotChange> changes;
  if (const auto* flush = std::get_if<FlushJob>(&*state.job)) changes = flush->slots;
  if (const auto* derive = std::get_if<DeriveJob>(&*state.job)) changes = {derive->slot};
  bool committed = true;
  bool untouched = true;
  for (const auto& change : changes) {
    const auto slot = std::find_if(
        result.claimed.slots.begin(), result.claimed.slots.end(),
        [&](const store::SlotState& candidate) { return candidate.slot == change.slot; });
    if (slot == result.claimed.slots.end() || slot->epoch != change.epoch) {
      committed = untouched = false;
      break;
    }
    committed &= slot->commit_number == change.old_commit_number + 1;
    untouched &= slot->commit_number == change.old_commit_number;
  }
  if (committed) {
    ++counts_.conflicts_committed;
    JobResult finished = std::move(state.conflicting);
    finished.status = absl::OkStatus();
    if (const auto* derive = std::get_if<DeriveJob>(&*state.job)) {
      for (const store::SlotState& slot : result.claimed.slots) {
        if (slot.slot != derive->slot.slot) continue;
        finished.derived_until_seconds = slot.derived_until[static_cast<size_t>(derive->tier)];
      }
    }
    FinishJob(finished, now, actions);
    return;
  }
  if (untouched) {
    RetryLater(now);
    return;
  }
  state.fenced = true;
  state.job.reset();
  actions->push_back(Fenced{
      .detail = StrCat("another aggregator has taken the slots, or the store is an older copy; ",
                       "what was not committed is still in the collectors' logs")});
}

// The job is done beyond doubt.
void Core::FinishJob(const JobResult& result, absl::Time now, Actions* actions) {
  State& state = *state_;
  const Job job = *std::exchange(state.job, std::nullopt);
  counts_.rows += result.row_count;
  counts_.late_rows += result.late_row_count;
  counts_.expired_samples += result.expired_sample_count;
  if (!result.floors.empty()) state.floors = result.floors;
  if (std::holds_alternative<ClaimJob>(job)) {
    FinishClaim(result, now, actions);
  } else if (const auto* flush = std::get_if<FlushJob>(&job)) {
    FinishFlush(*flush, result, now, actions);
  } else if (const auto* derive = std::get_if<DeriveJob>(&job)) {
    ++counts_.derives;
    store::SlotState& slot = state.slots[static_cast<size_t>(derive->slot.slot)];
    ++slot.commit_number;
    slot.derived_until[static_cast<size_t>(derive->tier)] = result.derived_until_seconds;
  }
  ContinueJobs(now, actions);
}

void Core::FinishClaim(const JobResult& result, absl::Time now, Actions* actions) {
  State& state = *state_;
  state.slots = result.claimed.slots;
  WEIR_CHECK(static_cast<int>(state.slots.size()) == options_.slot_count);
  state.floors = result.claimed.floors;
  for (const store::SeriesRow& row : result.series) series_.AddStored(row.slot, row.id, row.series);
  for (const JobResult::Cumulative& row : result.cumulatives) {
    const std::optional<SeriesNumber> number = series_.Find(row.slot, row.series_id);
    // A row that cannot be read is as one that is not there: the next point of
    // its series is judged as a first one.
    const auto restore = [&] {
      return row.start_unix_nano == AssemblyTable::kPartsStart
                 ? assemblies_.Restore(*number, row.point)
                 : cumulatives_.Restore(*number, row.start_unix_nano, row.time_unix_nano,
                                        row.point);
    };
    if (!number.has_value() || !restore().ok()) {
      ++counts_.damaged_cumulatives;
    }
  }
  for (const store::Watermark& watermark : result.claimed.watermarks) {
    Log& log = FindLog(watermark.wal_id);
    SlotLog& slot = log.slots[static_cast<size_t>(watermark.slot)];
    slot.committed = slot.applied = watermark.lsn;
    // Another clock's time may be ahead of ours; ours must be able to pass it.
    log.heard = std::max(log.heard, std::min(watermark.heard_time, now));
    log.committed_heard = log.heard;
    log.committed_complete = std::max(log.committed_complete, watermark.complete_until);
    log.applied_complete = log.committed_complete;
  }
  state.claimed = true;
  state.next_retention = now;
  for (const auto& [connection, hello] : std::exchange(state.waiting_hellos, {})) {
    Actions more = OnHello(connection, hello, now);
    std::move(more.begin(), more.end(), std::back_inserter(*actions));
  }
}

void Core::FinishFlush(const FlushJob& flush, const JobResult& result, absl::Time now,
                       Actions* actions) {
  State& state = *state_;
  ++counts_.flushes;
  for (const auto& change : flush.slots)
    ++state.slots[static_cast<size_t>(change.slot)].commit_number;
  for (const SeriesNumber number : result.stored) series_.MarkStored(number);
  Log* acked = nullptr;
  for (const auto& change : flush.watermarks) {  // grouped by log
    Log& log = FindLog(change.wal_id);
    log.slots[static_cast<size_t>(change.slot)].committed = change.new_lsn;
    log.committed_complete = std::max(log.committed_complete, change.complete_until);
    log.committed_heard = std::max(log.committed_heard, change.heard_time);
    if (acked != nullptr && acked != &log) Acknowledge(*acked, actions);
    acked = &log;
  }
  if (acked != nullptr) Acknowledge(*acked, actions);
  state.flushing->Clear();
  state.spare = std::move(state.flushing);

  const absl::Duration took = now - state.job_started;
  state.next_flush = state.job_started +
                     std::clamp(10 * took, options_.flush_interval, options_.max_flush_interval);
}

Actions Core::Drain(absl::Time now) {
  NoticeClock(now);
  Actions actions;
  state_->draining = true;
  ContinueJobs(now, &actions);
  return actions;
}

bool Core::drained() const {
  const State& state = *state_;
  if (state.fenced || !state.claimed) return true;
  return !state.running && !state.job.has_value() && !FlushDue(absl::InfinitePast());
}

}  // namespace weir::aggregator
