#include "tests/simulation/collector_node.h"

#include <algorithm>
#include <map>
#include <utility>

namespace weir::simulation {
namespace {

using collector::Advanced;
using collector::GroupCommit;
using collector::SubmitResult;
using collector::Submitted;
using collector::Waiter;

constexpr absl::Duration kTickInterval = absl::Milliseconds(50);
constexpr absl::Duration kHouseKeepingInterval = absl::Milliseconds(300);

collector::Limits AdmissionLimits() {
  collector::Limits limits;
  limits.max_future = absl::Hours(1);  // further than any clock jumps
  return limits;
}

}  // namespace

struct CollectorNode::Process {
  std::unique_ptr<wal::Wal> log;
  std::unique_ptr<collector::SeriesTable> series;
  std::unique_ptr<collector::LogWriter> writer;
  std::unique_ptr<GroupCommit> steps;
  collector::BatchBuilder builder;
  std::unique_ptr<collector::Sender> sender;

  bool busy = false;                // the log thread has a step to take
  std::vector<uint64_t> announced;  // to the sender's thread
  std::vector<uint64_t> trimmed;
  std::vector<Push> pushes;
  std::map<LinkId, uint64_t> rewound;  // where a stream was asked to go on
};

CollectorNode::CollectorNode(Environment& env, Network& network, Surroundings& surroundings,
                             int number)
    : env_(env),
      network_(network),
      surroundings_(surroundings),
      name_(StrCat("collector ", number)),
      slot_lsns_(static_cast<size_t>(env.profile.slot_count)) {
  wal_id_ = {.high = env_.random(), .low = env_.random() | 1};
}

CollectorNode::~CollectorNode() = default;

void CollectorNode::After(absl::Duration delay, Kind kind) {
  env_.queue.After(delay, *this, {.kind = kind, .a = generation_});
}

void CollectorNode::Start() { Restart(); }

// --- Life and death ----------------------------------------------------------

void CollectorNode::Crash(bool power_loss) {
  if (process_ == nullptr) return;
  if (env_.trace) {
    env_.Trace(name_, power_loss ? "loses power" : "crashes", ", durable ",
               process_->log->durable_lsn());
  }
  ++env_.counts.crashes;
  ++generation_;
  for (Push& push : process_->pushes) {
    if (push.lsn != 0) written_pushes_.push_back(std::move(push));
  }
  Tally();
  if (power_loss) {
    ++env_.counts.power_losses;
    disk_.PowerLoss(env_.random);
  } else {
    disk_.Crash();
  }
  disk_.ClearFaults();
  process_.reset();
  network_.Forget(*this);
  upstream_ = 0;
  After(env_.Between(absl::Milliseconds(10), absl::Seconds(2)), kRestart);
}

// Production ends with WEIR_CHECK_OK.
void CollectorNode::Die(const absl::Status& why) {
  if (env_.trace) env_.Trace(name_, "dies: ", why.ToString());
  ++env_.counts.fsync_failures;
  // The operator's next step may well be to turn the machine off and on.
  Crash(/*power_loss=*/env_.random.OneIn(3));
}

void CollectorNode::FailNextSync() {
  if (process_ == nullptr) return;
  using FaultKind = test::SimDisk::Fault::Kind;
  constexpr FaultKind kKinds[] = {FaultKind::kFail, FaultKind::kFailAfter, FaultKind::kPartial,
                                  FaultKind::kLie};
  disk_.FailNth(test::SimDisk::Operation::kSync, 1,
                {.kind = kKinds[env_.random.Below(4)], .bytes = env_.random.Below(2048)});
}

void CollectorNode::FillDisk(absl::Duration duration) {
  if (env_.trace) env_.Trace(name_, "has a full disk");
  disk_.SetCapacity(disk_.used_bytes() + env_.random.Below(4096));
  env_.queue.After(duration, *this, {.kind = kDiskFreed});
}

void CollectorNode::Restart() {
  auto process = std::make_unique<Process>();
  auto log = wal::Wal::Open({.directory = "/wal",
                             .new_id = wal_id_,
                             .application_tag = "simulation",
                             .segment_bytes = env_.profile.segment_bytes,
                             .quota_bytes = env_.profile.quota_bytes,
                             .mutant = env_.mutant},
                            disk_);
  if (absl::IsResourceExhausted(log.status())) {
    After(absl::Milliseconds(500), kRestart);
    return;
  }
  if (!log.ok()) {
    env_.Break(StrCat(name_, " cannot open its log: ", log.status().ToString()));
    return;
  }
  process->log = *std::move(log);
  wal_id_ = process->log->id();
  if (process->log->recovery().torn_bytes > 0) ++env_.counts.torn_tails;
  process->series = std::make_unique<collector::SeriesTable>(env_.profile.slot_count, 1000);
  const collector::SessionLimits limits = {.max_queued_bytes = env_.profile.max_queued_bytes};
  auto writer =
      collector::LogWriter::Open(*process->log, *process->series, limits.lifetimes, env_.mutant);
  if (!writer.ok()) {
    env_.Break(StrCat(name_, " cannot read its log: ", writer.status().ToString()));
    return;
  }
  process->writer = *std::move(writer);
  process->steps = std::make_unique<GroupCommit>(
      collector::GroupCommitOptions{.limits = limits,
                                    .max_group_bytes = env_.profile.max_group_bytes,
                                    .quota_bytes = static_cast<int64_t>(env_.profile.quota_bytes),
                                    .house_keeping_interval = kHouseKeepingInterval,
                                    .expiry_interval = kHouseKeepingInterval,
                                    .mutant = env_.mutant},
      *process->log, *process->writer);
  process->sender.reset(new collector::Sender({.slot_count = env_.profile.slot_count,
                                               .collector = name_,
                                               .heartbeat_interval = absl::Milliseconds(200),
                                               .stall_timeout = absl::Seconds(4),
                                               .greeting_timeout = absl::Seconds(2),
                                               .min_reconnect_delay = absl::Milliseconds(50),
                                               .max_reconnect_delay = absl::Seconds(1),
                                               .mutant = env_.mutant},
                                              *process->log, process->writer->recovered().slot_last,
                                              process->writer->trimmed_slot_last(), *this));
  high_clock_ = std::max(high_clock_, process->writer->recovered().last_seal_time);
  const uint64_t durable = process->log->durable_lsn();
  if (env_.trace) {
    env_.Trace(name_, "starts, durable ", durable, ", trimmed ", process->log->trim_lsn(),
               ", torn bytes ", process->log->recovery().torn_bytes);
  }
  for (std::vector<uint64_t>& lsns : slot_lsns_) {
    while (!lsns.empty() && lsns.back() > durable) lsns.pop_back();
  }
  process_ = std::move(process);
  ResolvePushes(durable);
  After(kTickInterval, kTick);
  After(kHouseKeepingInterval, kHouseKeep);
}

// The frames that survived say which pushes count that nobody was told of.
void CollectorNode::ResolvePushes(uint64_t durable_lsn) {
  for (const Push& push : written_pushes_) {
    if (push.lsn <= durable_lsn) env_.oracle.Expect(push.batch);
  }
  written_pushes_.clear();
}

bool CollectorNode::settled() const {
  if (process_ == nullptr || process_->busy || !process_->steps->queue_empty()) return false;
  const wal::Wal& log = *process_->log;
  return process_->sender->committed_lsn() == log.durable_lsn() &&
         log.oldest_segment_last_lsn() == 0;
}

uint64_t CollectorNode::committed_lsn() const {
  return process_ == nullptr ? 0 : process_->sender->committed_lsn();
}

std::string CollectorNode::Describe() const {
  if (process_ == nullptr) return StrCat(name_, " is down");
  const wal::Wal& log = *process_->log;
  return StrCat(name_, ": durable ", log.durable_lsn(), ", committed ",
                process_->sender->committed_lsn(), ", trimmed ", log.trim_lsn(),
                ", oldest segment ends at ", log.oldest_segment_last_lsn(), ", queued ",
                process_->steps->queued_bytes(), process_->busy ? ", writing" : "",
                process_->sender->streaming() ? ", streaming" : "");
}

void CollectorNode::Tally() {
  if (process_ != nullptr) env_.counts.stalls += process_->sender->counts().stalls;
}

// --- Clients -----------------------------------------------------------------

void CollectorNode::OnRequest(LinkId link, const ClientRequest& request) {
  if (request.kind == ClientRequest::Kind::kBatch) {
    Submit(link, request);
    return;
  }
  // As BatchStream::OnOpen.
  const std::optional<uint64_t> last = process_->steps->LastSequence(request.session->id);
  const bool unknown = request.session->sequence > last.value_or(0);
  network_.Send(
      link, *this,
      ClientReply{.kind = unknown ? ClientReply::Kind::kSessionUnknown : ClientReply::Kind::kOpened,
                  .number = last.value_or(0)});
}

void CollectorNode::Submit(LinkId link, const ClientRequest& request) {
  const bool stream =
      request.session.has_value() && request.session->lifetime == frame::Lifetime::kSession;
  if (stream) {
    // One rewind is enough: what was sent before it was heard is passed over.
    const auto rewound = process_->rewound.find(link);
    if (rewound != process_->rewound.end()) {
      if (request.number > rewound->second) return;
      process_->rewound.erase(rewound);
    }
  }
  collector::BatchBuilder& builder = process_->builder;
  builder.Start(AdmissionLimits(), Clock());
  for (const SimulatedSample& sample : request.batch->samples) {
    const collector::SeriesHandle handle =
        process_->series->Intern(env_.oracle.series(sample.series));
    if (!builder.AddInteger(handle, sample.event_unix_nano, sample.value)) {
      env_.Break("a sample was not admitted");
    }
  }
  const Submitted submitted = process_->steps->Submit(
      {.waiter = {.connection = link, .sequence = request.number, .level = request.level},
       .session = request.session,
       .batch = builder.Build()});
  if (env_.trace) {
    env_.Trace(name_, "batch ", request.batch->id, " (", request.number,
               "): ", static_cast<int>(submitted.result));
  }
  switch (submitted.result) {
    case SubmitResult::kQueued:
      if (!request.session.has_value()) {
        process_->pushes.push_back(
            {.link = link, .number = request.number, .batch = request.batch});
      }
      break;
    case SubmitResult::kDuplicate:
      ++env_.counts.repeats;
      break;
    case SubmitResult::kRewind:
    case SubmitResult::kOverloaded:
    case SubmitResult::kLogFull:
    case SubmitResult::kTooManySessions: {
      ++env_.counts.rewinds;
      if (stream) process_->rewound[link] = submitted.next_sequence;
      network_.Send(
          link, *this,
          ClientReply{.kind = stream ? ClientReply::Kind::kRewind : ClientReply::Kind::kRefused,
                      .number = stream ? submitted.next_sequence : request.number,
                      .delay = submitted.result == SubmitResult::kRewind ? absl::ZeroDuration()
                                                                         : absl::Milliseconds(50)});
      return;
    }
  }
  WakeLogThread();
}

void CollectorNode::TellWaiters(const std::vector<Waiter>& waiters) {
  for (const Waiter& waiter : waiters) {
    std::erase_if(process_->pushes, [&](const Push& push) {
      const bool told = push.link == waiter.connection && push.number == waiter.sequence;
      if (told) env_.oracle.Expect(push.batch);
      return told;
    });
    network_.Send(waiter.connection, *this,
                  ClientReply{.kind = ClientReply::Kind::kAcked, .number = waiter.sequence});
  }
}

// --- The log thread ----------------------------------------------------------

void CollectorNode::WakeLogThread() {
  if (process_->busy || process_->steps->queue_empty()) return;
  process_->busy = true;
  After(env_.Between(absl::ZeroDuration(), absl::Milliseconds(2)), kStep);
}

// As Pipeline::Run, with time between the steps.
void CollectorNode::Step() {
  Process& process = *process_;
  const std::vector<uint64_t> before = process.writer->slot_last();
  const absl::StatusOr<Advanced> advanced = process.steps->Advance(Clock());
  RecordFrames(before);
  if (!advanced.ok()) {
    Die(advanced.status());
    return;
  }
  if (advanced->step == Advanced::Step::kWritten) OnWritten();
  if (advanced->step == Advanced::Step::kTold) OnTold();
  TellWaiters(advanced->told);
  switch (advanced->step) {
    case Advanced::Step::kWritten:
      After(env_.Between(absl::Microseconds(50), env_.SyncTime()), kStep);
      return;
    case Advanced::Step::kSynced:
      After(env_.Between(absl::ZeroDuration(), absl::Milliseconds(3)), kStep);
      return;
    case Advanced::Step::kFull:
      HouseKeep();
      if (process_ != nullptr) After(absl::Milliseconds(100), kStep);
      return;
    case Advanced::Step::kTold:
      if (process.announced != process.writer->slot_last()) {
        process.announced = process.writer->slot_last();
        After(env_.Between(absl::ZeroDuration(), absl::Milliseconds(20)), kNotice);
      }
      break;
    case Advanced::Step::kIdle:
      break;
  }
  process.busy = false;
  if (process.steps->HouseKeepingDue(Clock())) HouseKeep();
  if (process_ != nullptr) WakeLogThread();
}

void CollectorNode::OnWritten() {
  const GroupCommit& steps = *process_->steps;
  for (const Waiter& waiter : steps.group().waiters) {
    for (Push& push : process_->pushes) {
      if (push.link == waiter.connection && push.number == waiter.sequence) {
        push.lsn = steps.written().lsn;
      }
    }
  }
  if (env_.trace) {
    env_.Trace(name_, "writes lsn ", steps.written().lsn, " with ", steps.group().batches.size(),
               " batches");
  }
}

void CollectorNode::OnTold() {
  const collector::Written& written = process_->steps->written();
  high_clock_ = std::max(high_clock_, written.seal_time);
  told_.push_back({.receive_time = ReceiveTime(), .lsn = written.lsn});
}

void CollectorNode::RecordFrames(const std::vector<uint64_t>& before) {
  const std::vector<uint64_t>& after = process_->writer->slot_last();
  for (size_t i = 0; i < after.size(); ++i) {
    if (after[i] != before[i]) slot_lsns_[i].push_back(after[i]);
  }
}

void CollectorNode::HouseKeep() {
  Process& process = *process_;
  const absl::StatusOr<collector::HouseKept> kept = process.steps->HouseKeep(Clock());
  if (!kept.ok()) {
    Die(kept.status());
    return;
  }
  if (kept->trimmed) {
    ++env_.counts.trims;
    process.trimmed = process.writer->trimmed_slot_last();
    After(env_.Between(absl::ZeroDuration(), absl::Milliseconds(20)), kTrimNotice);
    if (!env_.healed && env_.Percent(env_.profile.stops_after_trim_percent)) {
      After(env_.Between(absl::ZeroDuration(), absl::Milliseconds(10)), kStop);
    }
    if (env_.mutant == Mutant::kNone) CheckCommitted(process.log->trim_lsn(), "trimmed");
  }
}

// --- The sender's thread -----------------------------------------------------

void CollectorNode::Connect() {
  Endpoint* const aggregator = surroundings_.Aggregator();
  aggregator_ = aggregator;
  upstream_ = network_.Open(*this, aggregator);
  if (env_.trace) env_.Trace(name_, "connects, link ", upstream_);
}

void CollectorNode::Send(const delivery::FromCollector& message) {
  if (!env_.healed && static_cast<int>(env_.random.Below(10'000)) < env_.profile.messages_dropped) {
    ++env_.counts.dropped_messages;
    if (env_.trace) env_.Trace(name_, "a message to the aggregator is dropped");
    return;
  }
  if (env_.trace) {
    if (const auto* frame = std::get_if<delivery::Frame>(&message)) {
      env_.Trace(name_, "sends frame ", frame->lsn);
    }
  }
  network_.Send(upstream_, *this, ToAggregator(message));
}

void CollectorNode::Disconnect(const absl::Status& why) {
  if (env_.trace) env_.Trace(name_, "disconnects: ", why.ToString());
  network_.Break(upstream_);
}

void CollectorNode::Committed(uint64_t lsn) {
  if (env_.trace) env_.Trace(name_, "committed ", lsn);
  CheckCommitted(lsn, "told to be committed");
  TellWaiters(process_->steps->OnCommitted(lsn));
}

void CollectorNode::Problem(const absl::Status& what) {
  // One that was replaced, and does not know yet, tells of a store that was: an
  // alarm for nothing, but only for as long as it lives.
  if (!surroundings_.Owns(aggregator_)) return;
  env_.Break(StrCat(name_, " reports: ", what.ToString()));
}

// --- What must hold ----------------------------------------------------------

bool CollectorNode::CommittedUpTo(uint64_t lsn) const {
  for (size_t slot = 0; slot < slot_lsns_.size(); ++slot) {
    const std::vector<uint64_t>& lsns = slot_lsns_[slot];
    const auto after = std::upper_bound(lsns.begin(), lsns.end(), lsn);
    if (after == lsns.begin()) continue;
    if (surroundings_.CommittedLsn(wal_id_, static_cast<int>(slot)) < *std::prev(after)) {
      return false;
    }
  }
  return true;
}

void CollectorNode::CheckCommitted(uint64_t lsn, std::string_view what) {
  if (!CommittedUpTo(lsn)) env_.Break(StrCat(name_, ": lsn ", lsn, " is ", what, ", but is not"));
}

// The clock as the log has it: when the machine's is set back, the log's stands
// still, but for the nanosecond that tells frames apart.
absl::Time CollectorNode::ReceiveTime() {
  high_clock_ = std::max(high_clock_, Clock());
  return high_clock_;
}

bool CollectorNode::CompleteUntil(absl::Time before) const {
  const auto after =
      std::lower_bound(told_.begin(), told_.end(), before,
                       [](const Told& told, absl::Time time) { return told.receive_time < time; });
  return after == told_.begin() || CommittedUpTo(std::prev(after)->lsn);
}

// --- Events ------------------------------------------------------------------

void CollectorNode::OnEvent(const Event& event) {
  if (event.kind == kDiskFreed) {
    disk_.SetCapacity(0);
    return;
  }
  if (event.a != generation_) return;
  if (env_.now() < paused_until()) {
    env_.queue.At(paused_until(), *this, event);
    return;
  }
  ReceiveTime();
  switch (static_cast<Kind>(event.kind)) {
    case kRestart:
      Restart();
      return;
    case kStep:
      Step();
      return;
    case kNotice:
      process_->sender->OnDurable(process_->announced, Clock());
      return;
    case kTrimNotice:
      process_->sender->OnTrimmed(process_->trimmed);
      return;
    case kHouseKeep:
      After(kHouseKeepingInterval, kHouseKeep);
      if (!process_->busy) HouseKeep();
      return;
    case kDiskFreed:
      return;
    case kStop:
      Crash(/*power_loss=*/true);
      return;
    case kTick:
      After(kTickInterval, kTick);
      process_->sender->OnTick(Clock());
      return;
  }
}

void CollectorNode::OnLinkOpened(LinkId link) {
  if (link == upstream_) process_->sender->OnConnected(Clock());
}

void CollectorNode::OnLinkMessage(LinkId link, const Message& message) {
  if (process_ == nullptr) return;
  ReceiveTime();
  if (const auto* request = std::get_if<ClientRequest>(&message)) {
    OnRequest(link, *request);
  } else if (link == upstream_) {
    process_->sender->OnMessage(std::get<delivery::FromAggregator>(message), Clock());
  }
}

void CollectorNode::OnLinkClosed(LinkId link) {
  if (process_ == nullptr || link != upstream_) return;
  upstream_ = 0;
  process_->sender->OnClosed(absl::UnavailableError("the connection broke"), Clock());
}

}  // namespace weir::simulation
