// Delivers one log to one aggregator: the collector's back half, without I/O.
//
// Reads durable frames from the log, sends them in order within a window of
// unacknowledged bytes, and learns from acks what is committed. After a broken
// connection, or a gap the aggregator reports, it goes back to the beginning of
// the segment that holds the first frame the aggregator lacks: frames it has
// are sent again without their samples, because later ones refer to the series
// they define.
//
//   idle --OnTick--> connecting --OnConnected--> greeting --Resume--> streaming
//     ^                  |                          |                    |
//     └---- OnClosed ----┴--------------------------┴--------------------┘
//
// Invariants:
//   I1  Nothing with an lsn above the log's durable lsn is sent.
//   Acks only ever tell of what is committed; a position that falls back means
//   that the store came back older, and what it lost is sent again.
//   A stream that makes no progress while it owes some is torn down; heartbeats
//   are not progress. What was sent on an earlier stream is owed on this one.
//
// Thread safety: thread-compatible; owned by the delivery thread. Reads the log
// beside its writer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutant.h"
#include "common/delivery/messages.h"
#include "common/frame/frame.h"
#include "common/wal/wal.h"

namespace weir::collector {

// What the sender does to the world. The production binding is a gRPC stream,
// the simulation's a lossy network.
class SenderPort {
 public:
  virtual ~SenderPort() = default;
  // OnConnected or OnClosed follows.
  virtual void Connect() = 0;
  // The message's views live during the call.
  virtual void Send(const delivery::FromCollector& message) = 0;
  // Bytes given to Send and not on their way yet: the sender waits while they
  // are many, since definitions are not counted against the window.
  virtual int64_t queued_bytes() const { return 0; }
  // Ends the connection; OnClosed follows.
  virtual void Disconnect(const absl::Status& why) = 0;
  // Everything up to `lsn` is committed to the store.
  virtual void Committed(uint64_t lsn) = 0;
  // Something an operator must know; the sender goes on trying.
  virtual void Problem(const absl::Status& what) = 0;
};

struct SenderOptions {
  int slot_count = 16;
  std::string collector;  // for people
  absl::Duration heartbeat_interval = absl::Milliseconds(500);
  // Frames sent and no ack for this long: the connection is given up.
  absl::Duration stall_timeout = absl::Seconds(15);
  absl::Duration greeting_timeout = absl::Seconds(10);
  absl::Duration min_reconnect_delay = absl::Milliseconds(100);
  absl::Duration max_reconnect_delay = absl::Seconds(2);
  Mutant mutant = Mutant::kNone;
};

// Counts since the start, for metrics and tests.
struct SenderCounts {
  int64_t connections = 0;
  int64_t frames = 0;
  int64_t bytes = 0;
  int64_t definition_frames = 0;  // sent without samples, after a resume
  int64_t rewinds = 0;            // gaps reported while streaming
  int64_t stalls = 0;
  int64_t rollbacks = 0;  // positions that fell back
};

class Sender {
 public:
  // `slot_last`: the last lsn of each slot in the log, as recovered;
  // `trimmed_slot_last`: the same at or below the trim point.
  Sender(SenderOptions options, const wal::Wal& log, std::vector<uint64_t> slot_last,
         std::vector<uint64_t> trimmed_slot_last, SenderPort& port);

  void OnTick(absl::Time now);
  void OnConnected(absl::Time now);
  void OnClosed(const absl::Status& why, absl::Time now);
  void OnMessage(const delivery::FromAggregator& message, absl::Time now);
  // More is durable; the last lsn of each slot.
  void OnDurable(const std::vector<uint64_t>& slot_last, absl::Time now);
  void OnTrimmed(const std::vector<uint64_t>& trimmed_slot_last);

  // Everything at or below it is committed to the store; 0 until the aggregator
  // has told.
  uint64_t committed_lsn() const { return committed_lsn_; }
  bool streaming() const { return phase_ == Phase::kStreaming; }
  const SenderCounts& counts() const { return counts_; }

 private:
  enum class Phase { kIdle, kConnecting, kGreeting, kStreaming };

  struct Slot {
    int64_t epoch = 0;
    uint64_t committed = 0;
    uint64_t has = 0;      // the aggregator had applied at the last resume
    uint64_t last = 0;     // in the log
    uint64_t trimmed = 0;  // at or below the trim point
    uint64_t sent = 0;     // on this connection
  };
  struct InFlight {
    uint64_t lsn = 0;
    int64_t cost = 0;
  };

  void NoticeClock(absl::Time now);
  void OnResume(const delivery::Resume& resume, absl::Time now);
  bool TakePosition(const delivery::SlotPosition& position);
  void UpdateCommitted();
  bool Owed() const;
  void Pump(absl::Time now);
  void SendRecord(const wal::Record& record, absl::Time now);
  void SendHeartbeat(absl::Time now);
  void Restart(absl::Time now);
  void GiveUp(const absl::Status& why);

  const SenderOptions options_;
  const wal::Wal& log_;
  SenderPort& port_;

  Phase phase_ = Phase::kIdle;
  std::vector<Slot> slots_;
  std::unique_ptr<wal::WalReader> reader_;
  wal::Record record_;
  std::vector<std::string> definitions_;
  uint64_t cursor_ = 0;  // the last lsn sent on this connection
  // The slots' `last` covers every frame up to it. The log may be durable further
  // already: what is not known here is not committed either.
  uint64_t known_lsn_ = 0;
  int64_t window_bytes_ = 0;
  int64_t outstanding_bytes_ = 0;
  std::vector<InFlight> in_flight_;
  size_t in_flight_head_ = 0;
  uint64_t committed_lsn_ = 0;
  bool positions_known_ = false;
  bool rolled_back_ = false;
  bool caught_up_ = false;  // the log had nothing more when it was last read
  absl::Time last_now_ = absl::InfinitePast();
  absl::Time phase_since_ = absl::InfinitePast();
  absl::Time last_progress_ = absl::InfinitePast();
  absl::Time next_heartbeat_ = absl::InfinitePast();
  absl::Time next_connect_ = absl::InfinitePast();
  absl::Duration reconnect_delay_;
  SenderCounts counts_;
};

}  // namespace weir::collector
