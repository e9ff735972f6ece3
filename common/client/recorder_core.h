// The sender's half of a recorder, without I/O: samples in the order they were
// drained, cut into batches, kept until each is acknowledged or given up.
//
//   Add ──> pending ──(full, or cut)──> batches in flight ──OnAcked──> resolved
//                                            └─ session lost, refused ──> resolved, dropped
//
// Batches are numbered as late as possible, when the session can take one: they
// are full when the collector is slow, and only what was really sent is in doubt
// when it forgets the session.
//
// Invariants: samples are resolved in the order they were added; each is sent
// under one sequence of one session only.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/client/sample_buffer.h"
#include "common/client/session_client.h"

namespace weir::client {

// What the collector says.
struct SessionOpened {
  int64_t last_sequence = 0;
  int64_t max_message_bytes = 0;
};
struct Rejection {
  std::string reason;  // the name of an ErrorReason
  int64_t count = 0;
};
struct BatchesAcked {
  int64_t sequence = 0;
  std::vector<Rejection> rejections;  // of the batches acknowledged here
};
struct Rewind {
  int64_t next_sequence = 0;
  std::optional<absl::Duration> retry_delay;
};

struct RecorderCoreOptions {
  int64_t max_batch_samples = 1000;
  // A batch with the definitions of all its series, as protobuf.
  int64_t max_batch_bytes = 512 << 10;
  // What the definition of a series takes.
  std::function<int64_t(uint32_t series)> definition_bytes;
  SessionClientOptions session;
};

class RecorderCore {
 public:
  using Action = SessionClient::Action;

  explicit RecorderCore(RecorderCoreOptions options);

  void Add(absl::Span<const BufferedSample> samples);
  // What was added so far is sent without waiting for full batches.
  void Cut() { cut_through_ = added_; }

  void OnConnected(absl::Time now) { session_.OnConnected(now); }
  void OnOpened(const SessionOpened& opened, absl::Time now);
  void OnAcked(const BatchesAcked& acked, absl::Time now);
  void OnRewind(const Rewind& rewind, absl::Time now);
  void OnClosed(const StreamEnd& end, absl::Time now);
  void OnNonsense() { session_.OnNonsense(); }

  // The next thing to do: kWait, kConnect, kOpen, kSend or kCancel.
  Action Next(absl::Time now);

  // The samples of a batch outstanding: what a kSend is about.
  const std::vector<BufferedSample>& batch(int64_t sequence) const {
    return batches_[static_cast<size_t>(sequence - session_.acked_sequence() - 1)];
  }

  const SessionClient& session() const { return session_; }
  int64_t TakeUndefinedFrom() { return session_.TakeUndefinedFrom(); }

  // Samples so far. Whatever was added before added_count() was n is resolved
  // when resolved_count() >= n.
  int64_t added_count() const { return added_; }
  int64_t resolved_count() const { return resolved_; }
  // Of those resolved: counted by the collector; rejected by it, by reason;
  // perhaps counted; not counted.
  int64_t acked_count() const { return acked_; }
  const std::map<std::string, int64_t>& rejected() const { return rejected_; }
  int64_t lost_count() const { return lost_; }
  int64_t refused_count() const { return refused_; }
  int64_t disconnect_count() const { return disconnects_; }

 private:
  bool Ready() const;
  std::vector<BufferedSample> TakeBatch();
  void GiveUp();

  const RecorderCoreOptions options_;
  SessionClient session_;
  int64_t max_batch_bytes_;

  std::deque<BufferedSample> pending_;
  std::deque<std::vector<BufferedSample>> batches_;  // acked + 1 and on
  std::vector<int64_t> counted_in_;                  // by series: the batch whose bytes hold it
  int64_t cut_number_ = 0;

  int64_t added_ = 0;
  int64_t cut_through_ = 0;
  int64_t resolved_ = 0;
  int64_t acked_ = 0;
  std::map<std::string, int64_t> rejected_;
  int64_t lost_ = 0;
  int64_t refused_ = 0;
  int64_t disconnects_ = 0;
};

}  // namespace weir::client
