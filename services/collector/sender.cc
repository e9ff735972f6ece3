#include "services/collector/sender.h"

#include <algorithm>
#include <limits>

#include "common/base/strings.h"

namespace weir::collector {
namespace {

// What may wait in the port; a tick or an ack goes on.
constexpr int64_t kMaxQueuedBytes = 8 << 20;

}  // namespace

Sender::Sender(SenderOptions options, const wal::Wal& log, std::vector<uint64_t> slot_last,
               std::vector<uint64_t> trimmed_slot_last, SenderPort& port)
    : options_(std::move(options)),
      log_(log),
      port_(port),
      slots_(static_cast<size_t>(options_.slot_count)),
      known_lsn_(log.durable_lsn()),
      reconnect_delay_(options_.min_reconnect_delay) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].last = slot_last[i];
    slots_[i].trimmed = trimmed_slot_last[i];
  }
}

// The wall clock may be set back. Nothing may wait until it has caught up.
void Sender::NoticeClock(absl::Time now) {
  const absl::Duration back = std::max(last_now_ - now, absl::ZeroDuration());
  last_now_ = now;
  if (back == absl::ZeroDuration()) return;
  phase_since_ -= back;
  last_progress_ -= back;
  next_heartbeat_ -= back;
  next_connect_ -= back;
}

void Sender::OnTick(absl::Time now) {
  NoticeClock(now);
  switch (phase_) {
    case Phase::kIdle:
      if (now < next_connect_) return;
      phase_ = Phase::kConnecting;
      phase_since_ = now;
      ++counts_.connections;
      port_.Connect();
      return;
    case Phase::kConnecting:
      return;  // the port's own deadline ends it
    case Phase::kGreeting:
      if (now - phase_since_ > options_.greeting_timeout) {
        GiveUp(absl::DeadlineExceededError("the aggregator does not answer the greeting"));
      }
      return;
    case Phase::kStreaming:
      if (Owed() && now - last_progress_ > options_.stall_timeout) {
        ++counts_.stalls;
        GiveUp(absl::DeadlineExceededError(StrCat("nothing was committed for ",
                                                  absl::FormatDuration(now - last_progress_),
                                                  " of ", outstanding_bytes_, " bytes sent")));
        return;
      }
      Pump(now);
      if (now >= next_heartbeat_) SendHeartbeat(now);
      return;
  }
}

void Sender::OnConnected(absl::Time now) {
  NoticeClock(now);
  phase_ = Phase::kGreeting;
  phase_since_ = now;
  port_.Send(delivery::Hello{.wal_id = log_.id(),
                             .slot_count = options_.slot_count,
                             .durable_lsn = log_.durable_lsn(),
                             .trim_lsn = log_.trim_lsn(),
                             .collector = options_.collector});
}

void Sender::OnClosed(const absl::Status&, absl::Time now) {
  NoticeClock(now);
  // A connection that streamed was a good one: the next attempt comes at once.
  if (phase_ == Phase::kStreaming) reconnect_delay_ = options_.min_reconnect_delay;
  phase_ = Phase::kIdle;
  next_connect_ = now + reconnect_delay_;
  reconnect_delay_ = std::min(2 * reconnect_delay_, options_.max_reconnect_delay);
  reader_.reset();
  in_flight_.clear();
  in_flight_head_ = 0;
  outstanding_bytes_ = 0;
}

void Sender::OnMessage(const delivery::FromAggregator& message, absl::Time now) {
  NoticeClock(now);
  if (const auto* resume = std::get_if<delivery::Resume>(&message)) {
    OnResume(*resume, now);
    return;
  }
  if (phase_ != Phase::kStreaming) return;
  bool progressed = false;
  for (const delivery::SlotPosition& position : std::get<delivery::Ack>(message).slots) {
    progressed |= TakePosition(position);
  }
  if (progressed) last_progress_ = now;
  UpdateCommitted();
  Pump(now);
}

// Returns whether the slot came further.
bool Sender::TakePosition(const delivery::SlotPosition& position) {
  if (position.slot < 0 || position.slot >= options_.slot_count) return false;
  Slot& slot = slots_[static_cast<size_t>(position.slot)];
  if (position.epoch < slot.epoch) return false;  // from before a change of owner
  slot.epoch = position.epoch;
  if (position.committed_lsn < slot.committed) {
    ++counts_.rollbacks;
    rolled_back_ = true;
  }
  const bool further = position.committed_lsn > slot.committed;
  slot.committed = position.committed_lsn;
  return further;
}

void Sender::OnResume(const delivery::Resume& resume, absl::Time now) {
  if (phase_ != Phase::kGreeting && phase_ != Phase::kStreaming) return;
  if (phase_ == Phase::kStreaming) ++counts_.rewinds;
  for (const delivery::SlotPosition& position : resume.slots) {
    if (position.slot < 0 || position.slot >= options_.slot_count) continue;
    Slot& slot = slots_[static_cast<size_t>(position.slot)];
    if (position.epoch < slot.epoch) {
      GiveUp(absl::AbortedError("the aggregator's slots were taken by another"));
      return;
    }
    TakePosition(position);
    slot.has = position.applied_lsn;
    if (position.committed_lsn > log_.durable_lsn()) {
      port_.Problem(absl::DataLossError(
          StrCat("slot ", position.slot, " is committed up to lsn ", position.committed_lsn,
                 ", but this log ends at ", log_.durable_lsn(),
                 ": the log was restored from an older copy, or two collectors use copies of one; "
                 "start with an empty directory")));
      GiveUp(absl::DataLossError("the log is older than the store"));
      return;
    }
    if (position.applied_lsn < slot.trimmed) {
      port_.Problem(absl::DataLossError(StrCat(
          "slot ", position.slot, " is committed up to lsn ", position.committed_lsn,
          ", but the log was trimmed up to ", slot.trimmed,
          ": the store is older than what it had acknowledged; restore a newer one, or start "
          "the collector with an empty directory")));
      GiveUp(absl::DataLossError("the store is older than the log's trim point"));
      return;
    }
  }
  positions_known_ = true;
  window_bytes_ = resume.window_bytes;
  phase_ = Phase::kStreaming;
  last_progress_ = now;
  next_heartbeat_ = now;
  UpdateCommitted();
  Restart(now);
}

// Whether the aggregator has something that it has not told to be committed: sent
// on this connection or on one before.
bool Sender::Owed() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const Slot& slot) { return slot.committed < slot.sent; });
}

// Begins to read where the aggregator needs it.
void Sender::Restart(absl::Time now) {
  in_flight_.clear();
  in_flight_head_ = 0;
  outstanding_bytes_ = 0;
  reader_.reset();
  cursor_ = 0;
  // The first frame a slot lacks is above what it has. Slots that have all of
  // theirs need nothing.
  uint64_t lacking = std::numeric_limits<uint64_t>::max();
  for (Slot& slot : slots_) {
    slot.sent = slot.has;
    if (slot.has < slot.last) lacking = std::min(lacking, slot.has + 1);
  }
  if (lacking == std::numeric_limits<uint64_t>::max()) lacking = known_lsn_ + 1;
  lacking = std::max(lacking, log_.trim_lsn() + 1);
  auto reader = wal::WalReader::OpenAtSegmentOf(log_, lacking);
  if (!reader.ok()) {
    port_.Problem(reader.status());
    GiveUp(reader.status());
    return;
  }
  reader_ = std::move(reader).value();
  Pump(now);
}

void Sender::OnDurable(const std::vector<uint64_t>& slot_last, absl::Time now) {
  NoticeClock(now);
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].last = std::max(slots_[i].last, slot_last[i]);
    known_lsn_ = std::max(known_lsn_, slot_last[i]);
  }
  UpdateCommitted();
  if (phase_ == Phase::kStreaming) Pump(now);
}

void Sender::OnTrimmed(const std::vector<uint64_t>& trimmed_slot_last) {
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i].trimmed = trimmed_slot_last[i];
}

void Sender::UpdateCommitted() {
  if (!positions_known_) return;
  // A slot that lacks nothing holds nothing back. One that does holds the log at
  // what it has committed, though its next frame may come much later: a lower
  // bound, so what was known to be committed before stays so.
  uint64_t committed = known_lsn_;
  uint64_t acked = cursor_;  // the same, among what was sent
  for (const Slot& slot : slots_) {
    if (slot.committed < slot.last) committed = std::min(committed, slot.committed);
    if (slot.committed < slot.sent) acked = std::min(acked, slot.committed);
  }
  while (in_flight_head_ < in_flight_.size() && in_flight_[in_flight_head_].lsn <= acked) {
    outstanding_bytes_ -= in_flight_[in_flight_head_++].cost;
  }
  if (in_flight_head_ == in_flight_.size()) {
    in_flight_.clear();
    in_flight_head_ = 0;
  }
  if (rolled_back_) {
    rolled_back_ = false;
    committed_lsn_ = committed;
  } else if (committed > committed_lsn_) {
    committed_lsn_ = committed;
    port_.Committed(committed);
  }
}

void Sender::Pump(absl::Time now) {
  caught_up_ = false;
  while (phase_ == Phase::kStreaming && reader_ != nullptr && outstanding_bytes_ < window_bytes_ &&
         port_.queued_bytes() < kMaxQueuedBytes) {
    const absl::StatusOr<bool> found = reader_->Next(&record_);
    if (!found.ok()) {
      port_.Problem(found.status());
      GiveUp(found.status());
      return;
    }
    if (!*found) {
      caught_up_ = true;
      return;
    }
    SendRecord(record_, now);
  }
}

void Sender::SendRecord(const wal::Record& record, absl::Time now) {
  const absl::StatusOr<frame::FrameView> parsed = frame::ParseFrame(record.payload);
  if (!parsed.ok()) {
    port_.Problem(parsed.status());
    GiveUp(parsed.status());
    return;
  }
  delivery::Frame frame = {
      .lsn = record.lsn, .segment = record.segment, .seal_time = parsed->seal_time};
  definitions_.clear();
  definitions_.reserve(parsed->ranges.size());  // views into its elements stay valid
  bool samples = false;
  for (const frame::Range& range : parsed->ranges) {
    Slot& slot = slots_[static_cast<size_t>(range.slot)];
    slot.last = std::max(slot.last, record.lsn);
    if (record.lsn > slot.has) {
      frame.ranges.push_back(
          {.slot = range.slot, .previous_lsn = range.previous_lsn, .subframe = range.subframe});
      slot.sent = record.lsn;
      samples = true;
      continue;
    }
    absl::StatusOr<std::string> definitions = frame::DefinitionsOnly(range.subframe);
    if (!definitions.ok()) {
      port_.Problem(definitions.status());
      GiveUp(definitions.status());
      return;
    }
    if (definitions->empty()) continue;
    definitions_.push_back(*std::move(definitions));
    frame.ranges.push_back({.slot = range.slot,
                            .previous_lsn = range.previous_lsn,
                            .subframe = definitions_.back(),
                            .definitions_only = true});
  }
  cursor_ = record.lsn;
  known_lsn_ = std::max(known_lsn_, cursor_);
  ++(samples ? counts_.frames : counts_.definition_frames);
  counts_.bytes += static_cast<int64_t>(record.payload.size());
  if (samples) {
    const int64_t cost = FrameCost(frame);
    if (outstanding_bytes_ == 0) last_progress_ = now;
    outstanding_bytes_ += cost;
    in_flight_.push_back({.lsn = record.lsn, .cost = cost});
  }
  port_.Send(frame);
}

void Sender::SendHeartbeat(absl::Time now) {
  next_heartbeat_ = now + options_.heartbeat_interval;
  if (options_.mutant == Mutant::kHeartbeatResetsProgress) last_progress_ = now;
  // `now` was read before the log was: what was acknowledged before it was
  // durable by then, and has been sent if the log had nothing more.
  port_.Send(delivery::Heartbeat{.time = caught_up_ ? now : absl::InfinitePast()});
}

void Sender::GiveUp(const absl::Status& why) {
  reader_.reset();
  // Back-off also after problems that a new connection will not solve.
  if (phase_ == Phase::kStreaming) phase_ = Phase::kGreeting;
  port_.Disconnect(why);
}

}  // namespace weir::collector
