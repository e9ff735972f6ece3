// Which notification is sent when: a queue per (alert, receiver).
//
//   Transition ──Add──> row ──Due──> send ──OnResult──> row, done or dead
//
// The outbox decides; a store keeps its rows and a sender sends. Rows are written
// in the same transaction as the alert's state, so a transition and the promise
// to tell of it are one. Decisions come as a Plan, which changes nothing:
//
//   Plan plan = outbox.Add(...);   // or OnResult
//   commit plan.rows, with whatever else belongs to them;
//   outbox.Apply(plan);            // and only now the rest of the outbox sees it
//
// Promises, which outbox_test.cc plays with crashes and lost answers:
//   In a queue, order is that of the transitions; none is sent before those
//   before it were received or are dead, and none after one behind it was sent.
//   Each is sent at least once, or is a dead letter.
//   Every send of one carries the same key.
//   Once an alert's last transition is received, sends end: at once, or after
//   resolved_resend_duration for a receiver that is told repeatedly.
//
// A receiver with a resend_interval is told of a firing alert until the alert has
// something else to say, and what still is so is never a dead letter: old or
// refused, it is tried again every interval at least, for it is what the receiver
// should know. Once overtaken, it is judged like any other.
//
// Thread safety: thread-compatible. One plan at a time: it is applied or given
// up before the next is made.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/alerting/alert.h"
#include "services/alerting/receiver.h"

namespace weir::alerting {

// In the order in which an episode goes through them. Stored; never reuse one.
enum class NoticeKind : uint8_t { kFiring = 1, kAcknowledged = 2, kResolved = 3 };
// "firing", "acknowledged", "resolved".
std::string_view NoticeKindName(NoticeKind kind);
// What a transition tells of; absent for those nobody is told of (pending, inactive).
std::optional<NoticeKind> NoticeKindOf(const Transition& transition);

enum class NotificationStatus : uint8_t {
  kWaiting = 1,    // not received yet
  kRepeating = 2,  // received, and sent again while it lasts
  kDone = 3,
  kDead = 4,  // a dead letter: nobody will send it again
};

// One notification to one receiver; a row of the store, keyed by `key`.
struct Notification {
  // 32 hexadecimal digits, the same for every send; what receivers recognise
  // repeats by.
  std::string key;
  AlertId alert_id;
  int64_t incarnation = 0;
  NoticeKind kind = NoticeKind::kFiring;
  std::string receiver;
  // What is sent, for receivers that get the same bytes each time. Empty for
  // Alertmanager, whose end time moves with every send.
  std::string payload;

  NotificationStatus status = NotificationStatus::kWaiting;
  absl::Time created;
  absl::Time due;                         // not sent before
  std::optional<absl::Time> received_at;  // first
  int64_t received_count = 0;
  int64_t failure_count = 0;  // since it was last received
  std::string error;          // of the last attempt, at most 512 bytes
  friend bool operator==(const Notification&, const Notification&) = default;
};

// The stable key of (episode, transition, receiver).
std::string NotificationKey(const AlertId& alert_id, int64_t incarnation, NoticeKind kind,
                            std::string_view receiver);

// Something to tell one receiver.
struct Addition {
  AlertId alert_id;
  int64_t incarnation = 0;
  NoticeKind kind = NoticeKind::kFiring;
  std::string receiver;
  std::string payload;
};

class Outbox {
 public:
  // REQUIRES: every receiver is valid; names are unique.
  explicit Outbox(const std::vector<Receiver>& receivers);

  struct Plan {
    std::vector<Notification> rows;  // to insert or replace, by key
    // Whose send is over.
    std::optional<std::string> answered_key;
  };

  // Takes the rows a store holds, done and dead ones or not, in any order. The
  // plan makes dead letters of what waits for receivers that are no more.
  // REQUIRES: the outbox is empty.
  Plan Load(std::vector<Notification> rows);

  // An addition that is in the outbox already, or is older than what is, changes
  // nothing. So a receiver that is new is told of what fires already by adding
  // that to it at every start; a dead letter's row is then replaced.
  // Additions of unknown receivers are a bug of the caller's. REQUIRES: at most
  // one addition per alert and receiver.
  Plan Add(const std::vector<Addition>& additions, absl::Time now) const;

  // What to send now, at most `limit`, the longest due first. None of it comes
  // again before its result is applied.
  std::vector<Notification> Due(absl::Time now, size_t limit);
  // When Due will have something next; infinite future when it will not.
  absl::Time NextDue() const;

  // `jitter`, in [0, 1), spreads the retries of many alerts.
  // A result for what was not sent changes nothing.
  Plan OnResult(const std::string& key, const Outcome& outcome, absl::Time now,
                double jitter) const;

  void Apply(const Plan& plan);

  // Rows that wait or repeat.
  size_t size() const { return open_count_; }

 private:
  struct QueueKey {
    AlertId alert_id;
    std::string receiver;
    friend auto operator<=>(const QueueKey&, const QueueKey&) = default;
  };
  using Order = std::pair<int64_t, NoticeKind>;  // incarnation, then kind
  struct Queue {
    std::map<Order, Notification> rows;  // open ones; never empty for long
    std::string sending;                 // key of the send under way, if any
  };

  static QueueKey QueueOf(const Notification& row) { return {row.alert_id, row.receiver}; }
  static Order OrderOf(const Notification& row) { return {row.incarnation, row.kind}; }
  const Receiver& ReceiverOf(const std::string& name) const;
  void AddOne(const Addition& addition, absl::Time now, std::vector<Notification>* rows) const;
  // Removes the queue's head from, or puts it into, ready_.
  void Unready(const QueueKey& key, const Queue& queue);
  void Ready(const QueueKey& key, const Queue& queue);

  const std::map<std::string, Receiver> receivers_;
  std::map<QueueKey, Queue> queues_;
  // (due, queue) of each queue's first row, but of queues with a send under way.
  std::set<std::pair<absl::Time, QueueKey>> ready_;
  std::map<std::string, QueueKey> sending_;  // by key of the notification
  size_t open_count_ = 0;
};

}  // namespace weir::alerting
