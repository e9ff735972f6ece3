#include "services/alerting/outbox.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "common/base/check.h"
#include "common/base/sha256.h"
#include "common/base/strings.h"

namespace weir::alerting {
namespace {

constexpr size_t kMaxErrorBytes = 512;

bool Open(const Notification& row) {
  return row.status == NotificationStatus::kWaiting || row.status == NotificationStatus::kRepeating;
}

bool Repeats(const Receiver& receiver) { return receiver.resend_interval > absl::ZeroDuration(); }

void Finish(NotificationStatus status, Notification* row) {
  row->status = status;
  row->due = absl::InfiniteFuture();
  // A dead letter keeps what it would have said.
  if (status == NotificationStatus::kDone) row->payload.clear();
}

void Bury(std::string_view error, Notification* row) {
  row->error = std::string(error.substr(0, kMaxErrorBytes));
  Finish(NotificationStatus::kDead, row);
}

// The wait before attempt `failure_count` + 1.
absl::Duration Backoff(const Receiver& receiver, int64_t failure_count, double jitter) {
  const absl::Duration cap = Repeats(receiver)
                                 ? std::min(receiver.max_backoff, receiver.resend_interval)
                                 : receiver.max_backoff;
  const double doublings = std::ldexp(1.0, static_cast<int>(std::min<int64_t>(failure_count, 62)));
  const absl::Duration wait = std::min(cap, receiver.min_backoff * (doublings / 2));
  return wait * (0.5 + 0.5 * std::clamp(jitter, 0.0, 1.0));
}

void OnReceived(const Receiver& receiver, absl::Time now, Notification* row) {
  if (!row->received_at) row->received_at = now;
  ++row->received_count;
  row->failure_count = 0;
  row->error.clear();
  const absl::Time next = now + receiver.resend_interval;
  const bool over = row->kind == NoticeKind::kResolved &&
                    next > *row->received_at + receiver.resolved_resend_duration;
  if (!Repeats(receiver) || over) return Finish(NotificationStatus::kDone, row);
  row->status = NotificationStatus::kRepeating;
  row->due = next;
}

// `latest`: there is nothing newer to tell this receiver of this alert.
void OnFailed(const Receiver& receiver, const Outcome& outcome, bool latest, absl::Time now,
              double jitter, Notification* row) {
  ++row->failure_count;
  row->error = outcome.error.substr(0, kMaxErrorBytes);
  const bool refused = outcome.delivery == Delivery::kRefused;
  const bool still_true = Repeats(receiver) && latest && row->kind != NoticeKind::kResolved;
  if (row->status == NotificationStatus::kWaiting && !still_true) {
    if (refused) return Bury(outcome.error, row);
    if (now - row->created >= receiver.max_age) {
      return Bury(StrCat("too old; last: ", outcome.error), row);
    }
  }
  // What was refused may be accepted again (a proxy being changed), but there is
  // no hurry.
  absl::Duration wait =
      refused ? receiver.resend_interval : Backoff(receiver, row->failure_count, jitter);
  wait = std::max(wait, std::min(outcome.retry_after, receiver.max_retry_after));
  row->due = now + wait;
  if (row->status == NotificationStatus::kRepeating && row->kind == NoticeKind::kResolved &&
      row->due > *row->received_at + receiver.resolved_resend_duration) {
    Finish(NotificationStatus::kDone, row);
  }
}

}  // namespace

std::string_view NoticeKindName(NoticeKind kind) {
  switch (kind) {
    case NoticeKind::kFiring:
      return "firing";
    case NoticeKind::kAcknowledged:
      return "acknowledged";
    case NoticeKind::kResolved:
      return "resolved";
  }
  return "unknown";
}

std::optional<NoticeKind> NoticeKindOf(const Transition& transition) {
  switch (transition.to) {
    case AlertState::kFiring:
      return NoticeKind::kFiring;
    case AlertState::kAcknowledged:
      return NoticeKind::kAcknowledged;
    case AlertState::kResolved:
      return NoticeKind::kResolved;
    case AlertState::kInactive:
    case AlertState::kPending:
      break;
  }
  return std::nullopt;
}

std::string NotificationKey(const AlertId& alert_id, int64_t incarnation, NoticeKind kind,
                            std::string_view receiver) {
  const std::string bytes = StrCat("weir notification 1\n", alert_id.ToHex(), "/", incarnation, "/",
                                   NoticeKindName(kind), "/", receiver);
  return absl::BytesToHexString(Sha256(bytes).substr(0, 16));
}

Outbox::Outbox(const std::vector<Receiver>& receivers)
    : receivers_([&receivers] {
        std::map<std::string, Receiver> by_name;
        for (const Receiver& receiver : receivers) {
          WEIR_CHECK_OK(receiver.Validate());
          WEIR_CHECK(by_name.emplace(receiver.name, receiver).second);
        }
        return by_name;
      }()) {}

const Receiver& Outbox::ReceiverOf(const std::string& name) const {
  const auto found = receivers_.find(name);
  WEIR_CHECK_MSG(found != receivers_.end(), name);
  return found->second;
}

Outbox::Plan Outbox::Load(std::vector<Notification> rows) {
  WEIR_CHECK(queues_.empty());
  Plan loaded;
  Plan orphans;
  for (Notification& row : rows) {
    if (!Open(row)) continue;
    if (receivers_.contains(row.receiver)) {
      loaded.rows.push_back(std::move(row));
    } else if (row.status == NotificationStatus::kWaiting) {
      Bury("the receiver is no longer configured", &row);
      orphans.rows.push_back(std::move(row));
    } else {
      Finish(NotificationStatus::kDone, &row);
      orphans.rows.push_back(std::move(row));
    }
  }
  Apply(loaded);
  return orphans;
}

Outbox::Plan Outbox::Add(const std::vector<Addition>& additions, absl::Time now) const {
  Plan plan;
  for (const Addition& addition : additions) AddOne(addition, now, &plan.rows);
  return plan;
}

void Outbox::AddOne(const Addition& addition, absl::Time now,
                    std::vector<Notification>* rows) const {
  const Receiver& receiver = ReceiverOf(addition.receiver);
  Notification added = {.key = NotificationKey(addition.alert_id, addition.incarnation,
                                               addition.kind, addition.receiver),
                        .alert_id = addition.alert_id,
                        .incarnation = addition.incarnation,
                        .kind = addition.kind,
                        .receiver = addition.receiver,
                        .payload = addition.payload,
                        .created = now,
                        .due = now};
  const auto found = queues_.find(QueueOf(added));
  if (found != queues_.end()) {
    const std::map<Order, Notification>& queue = found->second.rows;
    if (!queue.empty() && queue.rbegin()->first >= OrderOf(added)) return;
    // Waiting ones are sent first; one that repeats has been heard, and gives way.
    size_t waiting_count = 0;
    for (const auto& [order, row] : queue) {
      if (row.status == NotificationStatus::kWaiting) ++waiting_count;
    }
    for (const auto& [order, row] : queue) {
      if (row.status == NotificationStatus::kRepeating) {
        rows->push_back(row);
        Finish(NotificationStatus::kDone, &rows->back());
      } else if (waiting_count >= static_cast<size_t>(receiver.max_waiting_count)) {
        rows->push_back(row);
        Bury(StrCat("too many wait; last: ", row.error), &rows->back());
        --waiting_count;
      }
    }
  }
  rows->push_back(std::move(added));
}

std::vector<Notification> Outbox::Due(absl::Time now, size_t limit) {
  std::vector<Notification> due;
  while (due.size() < limit && !ready_.empty() && ready_.begin()->first <= now) {
    const QueueKey key = ready_.begin()->second;
    Queue& queue = queues_.at(key);
    Unready(key, queue);
    const Notification& head = queue.rows.begin()->second;
    queue.sending = head.key;
    sending_.emplace(head.key, key);
    due.push_back(head);
  }
  return due;
}

absl::Time Outbox::NextDue() const {
  return ready_.empty() ? absl::InfiniteFuture() : ready_.begin()->first;
}

Outbox::Plan Outbox::OnResult(const std::string& key, const Outcome& outcome, absl::Time now,
                              double jitter) const {
  Plan plan;
  const auto sending = sending_.find(key);
  if (sending == sending_.end()) return plan;
  plan.answered_key = key;
  const std::map<Order, Notification>& rows = queues_.at(sending->second).rows;
  for (const auto& [order, row] : rows) {
    // Not there: it was overtaken, or is a dead letter, while it was being sent.
    if (row.key != key) continue;
    Notification answered = row;
    const Receiver& receiver = ReceiverOf(row.receiver);
    const bool latest = order == rows.rbegin()->first;
    if (outcome.delivery == Delivery::kReceived) {
      OnReceived(receiver, now, &answered);
      // There is more to say already.
      if (!latest) Finish(NotificationStatus::kDone, &answered);
    } else {
      OnFailed(receiver, outcome, latest, now, jitter, &answered);
    }
    plan.rows.push_back(std::move(answered));
  }
  return plan;
}

void Outbox::Apply(const Plan& plan) {
  if (plan.answered_key) {
    const auto sending = sending_.find(*plan.answered_key);
    if (sending != sending_.end()) {
      const QueueKey key = sending->second;
      sending_.erase(sending);
      Queue& queue = queues_.at(key);
      queue.sending.clear();
      if (queue.rows.empty()) {
        queues_.erase(key);
      } else {
        Ready(key, queue);
      }
    }
  }
  for (const Notification& row : plan.rows) {
    const QueueKey key = QueueOf(row);
    Queue& queue = queues_[key];
    Unready(key, queue);
    open_count_ -= queue.rows.erase(OrderOf(row));
    if (Open(row)) {
      queue.rows.emplace(OrderOf(row), row);
      ++open_count_;
    }
    if (queue.rows.empty() && queue.sending.empty()) {
      queues_.erase(key);
    } else {
      Ready(key, queue);
    }
  }
}

void Outbox::Unready(const QueueKey& key, const Queue& queue) {
  if (!queue.rows.empty()) ready_.erase({queue.rows.begin()->second.due, key});
}

void Outbox::Ready(const QueueKey& key, const Queue& queue) {
  if (queue.rows.empty() || !queue.sending.empty()) return;
  ready_.insert({queue.rows.begin()->second.due, key});
}

}  // namespace weir::alerting
