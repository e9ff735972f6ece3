// A client's side of one StreamBatches session, without I/O: which batch to send
// next and when, through acknowledgements, rewinds and broken connections.
//
//   closed --OnConnected--> opening --OnOpened--> open --OnBroken--> closed
//
// Invariants: acked <= sent <= made, in sequence numbers; every batch made is
// acknowledged once, or still outstanding.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir::standalone {

// What is kept of a batch until it is acknowledged.
struct OutstandingBatch {
  absl::Time due;   // when it should have been sent: latency counts from here
  absl::Time made;  // what its event times are counted from
  int64_t sample_count = 0;
};

struct LoadSessionOptions {
  std::string id;  // 16 random bytes
  v1::AckLevel ack_level = v1::ACK_LEVEL_DURABLE;
  // The most batches made and not acknowledged. At least 1.
  int64_t pipeline = 1;
  // Open loop: the first batch is due at `start`, each next one `interval`
  // later. Zero is a closed loop: a batch is due when there is room for it.
  absl::Time start;
  absl::Duration interval;
  // No batch is made that would be due at or after this time.
  absl::Time end = absl::InfiniteFuture();
  // Samples in a batch; 0 ends the load.
  std::function<int64_t(int64_t sequence)> sample_count;
};

class LoadSession {
 public:
  // What to do next: send the batch `sequence`, made at `made`; or, when
  // `sequence` is 0, nothing before `wait_until`.
  struct Step {
    int64_t sequence = 0;
    bool first = false;  // the batch was not sent before
    absl::Time made;
    absl::Time wait_until = absl::InfiniteFuture();
  };

  explicit LoadSession(LoadSessionOptions options);

  // A stream is connected: returns the message to write first.
  v1::OpenSession OnConnected();

  // The three answers. `acked` gets each batch that is acknowledged, once.
  // Errors: Internal when the answer fits no batch of this session.
  absl::Status OnOpened(const v1::SessionOpened& opened);
  absl::Status OnAcked(const v1::BatchesAcked& acked_message,
                       const std::function<void(const OutstandingBatch&)>& acked);
  absl::Status OnRewind(const v1::Rewind& rewind, absl::Time now);

  // The stream is over.
  void OnBroken();

  // Takes the next step; a step with a sequence counts as sent.
  Step Next(absl::Time now);

  bool open() const { return open_; }

  // Makes no more batches.
  void Finish() { finished_ = true; }
  // Everything made is acknowledged, and nothing more will be made.
  bool done(absl::Time now) const;

  // Series defined by batches from this sequence on must be defined again,
  // because the stream or those batches were not taken; INT64_MAX when none
  // must. Asking resets it.
  int64_t TakeUndefinedFrom();

  int64_t outstanding_count() const { return static_cast<int64_t>(outstanding_.size()); }
  int64_t rewind_count() const { return rewind_count_; }

 private:
  int64_t made_sequence() const { return acked_ + static_cast<int64_t>(outstanding_.size()); }
  absl::Time NextDue(absl::Time now) const;
  bool MayMake(absl::Time now) const;

  const LoadSessionOptions options_;
  bool open_ = false;
  bool finished_ = false;
  int64_t acked_ = 0;
  int64_t next_ = 1;                          // the next sequence to send on this stream
  std::deque<OutstandingBatch> outstanding_;  // acked_ + 1 and on
  absl::Time not_before_ = absl::InfinitePast();
  int64_t undefined_from_ = 1;
  int64_t rewind_count_ = 0;
};

}  // namespace weir::standalone
