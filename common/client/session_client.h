// A client's side of StreamBatches sessions, without I/O: when to connect, which
// batch to send next, and what to do when an answer is lost, late or no.
//
//   idle ──kConnect──> connecting ──OnConnected, kOpen──> opening ──OnOpened──> open
//    ^                     │                                 │                   │
//    └─────────────────────┴───────────OnClosed──────────────┴───────────────────┘
//
// After every input the owner takes actions from Next until one says to wait.
// Batches are numbered when they are first sent and belong to the owner, who keeps
// each until it is acknowledged or given up, or can make it again.
//
//   Broken connection   back-off, the same session, everything unacknowledged again
//   Rewind              back to the batch asked for, after the delay asked for
//   Session unknown     kGiveUp: what was sent and not acknowledged may have been
//                       counted, so it is never sent again; then a new session
//   An answer that fits nothing sent: as if the session were unknown
//   A refusal for good  its culprit is found by sending one batch at a time, and
//                       replaced by an empty one (kEmpty), since the sequence has
//                       no gaps; a refusal before any batch is retried for ever
//   A new session       begins with an empty batch, and nothing is sent behind it
//                       before it is acknowledged. Otherwise a collector that took
//                       the first batches, forgot them (its log is gone, or the
//                       address leads to another) and never got an acknowledgement
//                       through would take them again as those of a new session
//   A session idle for max_idle, with nothing outstanding, is renewed before it is
//                       used, so that it never expires with a batch under way
//
// Invariants: acked <= sent <= made; every batch made is acknowledged, given up,
// or outstanding.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/time/time.h"
#include "common/base/id128.h"
#include "common/base/random.h"

namespace weir::client {

struct ClientSessionTag {};
using SessionId = Id128<ClientSessionTag>;

struct SessionClientOptions {
  // Batches sent and not acknowledged. At least 1.
  int64_t max_in_flight_batches = 8;
  // Doubles from one to the other until something is acknowledged; each delay is
  // drawn from the upper half of itself. At most a minute.
  absl::Duration min_reconnect_delay = absl::Milliseconds(50);
  absl::Duration max_reconnect_delay = absl::Seconds(5);
  // How long a server may take to answer OpenSession.
  absl::Duration open_timeout = absl::Seconds(10);
  // Well below the 24 hours for which collectors remember.
  absl::Duration max_idle = absl::Hours(1);
  // Draws from the system's randomness: ids are never to meet.
  std::function<SessionId()> draw_id;
  // Decides the jitter.
  uint64_t seed = 0;
};

// How a connection, or the attempt, ended.
struct StreamEnd {
  enum Cause {
    kBroken,          // may be better next time
    kRefused,         // the server will not take what was sent
    kSessionUnknown,  // or the session's past
  };
  Cause cause = kBroken;
  // What the server asked to wait.
  std::optional<absl::Duration> retry_delay;
};

class SessionClient {
 public:
  struct Action {
    enum Kind {
      kWait,     // nothing before `until` or the next input
      kConnect,  // connect; OnConnected or OnClosed follows
      kOpen,     // write OpenSession with session_id() and acked_sequence()
      kSend,     // write batch `sequence`; `first` says to make it now, number 1 empty
      kCancel,   // end the connection; OnClosed follows
      kGiveUp,   // forget all outstanding batches; the next one is number 1
      kEmpty,    // replace batch `sequence` by one without samples
    };
    Kind kind = kWait;
    int64_t sequence = 0;
    bool first = false;
    absl::Time until = absl::InfiniteFuture();
  };

  // REQUIRES: draw_id is set; max_in_flight_batches >= 1.
  explicit SessionClient(SessionClientOptions options);

  void OnConnected(absl::Time now);
  void OnOpened(int64_t last_sequence, absl::Time now);
  // Returns how many batches, the oldest outstanding, this acknowledges.
  int64_t OnAcked(int64_t sequence, absl::Time now);
  void OnRewind(int64_t next_sequence, std::optional<absl::Duration> delay, absl::Time now);
  // The connection, or the attempt, is over.
  void OnClosed(const StreamEnd& end, absl::Time now);
  // The server sent what makes no sense.
  void OnNonsense() { Lose(); }

  // Takes the next action; it counts as done. `ready` says that the owner has
  // another batch to make.
  Action Next(absl::Time now, bool ready);

  // Series defined by batches from this sequence on must be defined again, as the
  // stream is new or those batches were not taken; INT64_MAX when none must.
  // Asking resets it.
  int64_t TakeUndefinedFrom();

  const SessionId& session_id() const { return id_; }
  int64_t acked_sequence() const { return acked_; }
  int64_t outstanding_count() const { return made_ - acked_; }
  bool open() const { return state_ == State::kOpen; }

  int64_t session_count() const { return session_count_; }
  int64_t rewind_count() const { return rewind_count_; }

 private:
  enum class State { kIdle, kConnecting, kConnected, kOpening, kOpen, kCancelling, kCancelled };

  void StartSession();
  // The session cannot go on.
  void Lose();
  // Whether the session might have been forgotten, and nothing speaks against
  // another.
  bool Stale(absl::Time now) const;
  // Whether `*when` has come; it has, too, when it is absurdly far away.
  static bool Due(absl::Time* when, absl::Time now);
  absl::Duration DrawDelay();
  Action NextBatch(absl::Time now, bool ready);

  const SessionClientOptions options_;
  Random random_;

  State state_ = State::kIdle;
  absl::Time connect_at_ = absl::InfinitePast();
  absl::Duration reconnect_delay_;
  absl::Time open_by_;

  SessionId id_;
  int64_t acked_ = 0;
  int64_t made_ = 0;
  int64_t next_ = 1;  // the next to send on this stream
  int64_t sent_ = 0;  // the highest sent on this stream; a rewind does not recall it
  absl::Time acked_time_ = absl::InfiniteFuture();
  absl::Time not_before_ = absl::InfinitePast();
  int64_t undefined_from_ = 1;

  bool lost_ = false;
  bool renewing_ = false;       // cancelled for no fault of the server
  int64_t culprit_ = 0;         // a batch to empty; 0 for none
  int64_t suspects_until_ = 0;  // batches up to here are sent one at a time

  int64_t session_count_ = 0;
  int64_t rewind_count_ = 0;
};

}  // namespace weir::client
