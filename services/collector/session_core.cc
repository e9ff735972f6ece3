#include "services/collector/session_core.h"

#include <algorithm>

namespace weir::collector {
namespace {

// A queued batch counts the bytes it holds and what surrounds them.
int64_t CostOf(const AdmittedBatch& batch) { return 256 + batch.memory_bytes(); }

}  // namespace

SessionCore::SessionCore(SessionLimits limits, Mutant mutant) : limits_(limits), mutant_(mutant) {}

void SessionCore::Restore(const SessionTable& sessions) {
  for (const auto& [id, entry] : sessions) {
    sessions_[id] = {.accepted = entry.sequence,
                     .durable = entry.sequence,
                     .lifetime = entry.lifetime,
                     .last_time = entry.last_time};
  }
}

std::optional<uint64_t> SessionCore::LastSequence(const frame::SessionId& id) const {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return std::nullopt;
  return found->second.durable;
}

Submitted SessionCore::Submit(Submission submission) {
  const int64_t cost = CostOf(submission.batch);
  Session* session = nullptr;
  if (submission.session.has_value() && mutant_ != Mutant::kNoSessionDedupe) {
    const frame::SessionMark& mark = *submission.session;
    const auto found = sessions_.find(mark.id);
    const uint64_t accepted = found == sessions_.end() ? 0 : found->second.accepted;
    if (mark.sequence <= accepted) {
      QueueRepeat(submission.waiter);
      return {.result = SubmitResult::kDuplicate, .next_sequence = accepted + 1};
    }
    if (mark.sequence != accepted + 1) {
      return {.result = SubmitResult::kRewind, .next_sequence = accepted + 1};
    }
    if (found != sessions_.end()) session = &found->second;
  }
  const uint64_t next = submission.session.has_value() ? submission.session->sequence : 0;
  if (const auto refusal = Refusal(cost); refusal.has_value()) {
    return {.result = *refusal, .next_sequence = next};
  }
  if (submission.session.has_value() && mutant_ != Mutant::kNoSessionDedupe) {
    if (session == nullptr) {
      if (session_count() >= limits_.max_sessions) {
        return {.result = SubmitResult::kTooManySessions, .next_sequence = next};
      }
      session = &sessions_[submission.session->id];
      session->lifetime = submission.session->lifetime;
    }
    session->accepted = submission.session->sequence;
  }
  queued_bytes_ += cost;
  queue_.push_back(std::move(submission));
  return {.result = SubmitResult::kQueued, .next_sequence = next + 1};
}

Submitted SessionCore::SubmitAll(const Waiter& waiter, std::optional<frame::SessionId> content,
                                 std::vector<AdmittedBatch> batches) {
  size_t known = 0;
  if (mutant_ == Mutant::kNoSessionDedupe) content.reset();
  if (content.has_value()) {
    const auto found = sessions_.find(*content);
    if (found != sessions_.end()) {
      known = std::min<uint64_t>(found->second.accepted, batches.size());
    } else if (session_count() >= limits_.max_sessions) {
      content.reset();
    }
  }
  if (known == batches.size()) {
    QueueRepeat(waiter);
    return {.result = SubmitResult::kDuplicate};
  }
  int64_t cost = 0;
  for (size_t i = known; i < batches.size(); ++i) cost += CostOf(batches[i]);
  if (const auto refusal = Refusal(cost); refusal.has_value()) return {.result = *refusal};
  queued_bytes_ += cost;
  for (size_t i = known; i < batches.size(); ++i) {
    Submission submission = {.batch = std::move(batches[i])};
    if (i + 1 == batches.size()) submission.waiter = waiter;
    if (content.has_value()) {
      submission.session = {
          .id = *content, .sequence = i + 1, .lifetime = frame::Lifetime::kContent};
    }
    queue_.push_back(std::move(submission));
  }
  if (content.has_value()) {
    Session& session = sessions_[*content];
    session.accepted = batches.size();
    session.lifetime = frame::Lifetime::kContent;
  }
  return {};
}

std::optional<SubmitResult> SessionCore::Refusal(int64_t cost) const {
  if (log_full_) return SubmitResult::kLogFull;
  // An empty queue takes anything: what is larger than the limit would never fit.
  if (queue_.empty()) return std::nullopt;
  if (queued_bytes_ + cost > limits_.max_queued_bytes ||
      static_cast<int64_t>(queue_.size()) >= limits_.max_queued_batches) {
    return SubmitResult::kOverloaded;
  }
  return std::nullopt;
}

// An entry without samples, behind everything queued: when its turn comes, the
// batch it repeats is as safe as the waiter wants it to be. Repeats that follow
// each other on one connection share an entry, as their acks would.
void SessionCore::QueueRepeat(const Waiter& waiter) {
  if (!queue_.empty()) {
    Submission& last = queue_.back();
    const bool repeat = !last.session.has_value() && last.batch.sample_count() == 0;
    if (repeat && last.waiter.connection == waiter.connection &&
        last.waiter.level == waiter.level) {
      last.waiter.sequence = std::max(last.waiter.sequence, waiter.sequence);
      return;
    }
  }
  queue_.push_back({.waiter = waiter});
  queued_bytes_ += CostOf({});
}

Group SessionCore::Take(int64_t max_bytes) {
  Group group;
  absl::flat_hash_map<frame::SessionId, size_t> marks;  // where in group.sessions
  int64_t bytes = 0;
  while (!queue_.empty()) {
    Submission& next = queue_.front();
    const int64_t cost = CostOf(next.batch);
    if (!group.empty() && bytes + cost > max_bytes) break;
    bytes += cost;
    group.waiters.push_back(next.waiter);
    if (next.session.has_value()) {
      // One mark per session and frame: the highest.
      const auto [mark, added] = marks.try_emplace(next.session->id, group.sessions.size());
      if (added) {
        group.sessions.push_back(*next.session);
      } else {
        uint64_t& sequence = group.sessions[mark->second].sequence;
        sequence = std::max(sequence, next.session->sequence);
      }
    }
    if (next.batch.sample_count() > 0) group.batches.push_back(std::move(next.batch));
    queued_bytes_ -= cost;
    queue_.pop_front();
  }
  return group;
}

std::vector<Waiter> SessionCore::OnDurable(Group group, uint64_t lsn, absl::Time seal_time) {
  for (const frame::SessionMark& mark : group.sessions) {
    Session& session = sessions_[mark.id];
    session.durable = std::max(session.durable, mark.sequence);
    session.accepted = std::max(session.accepted, mark.sequence);
    session.lifetime = mark.lifetime;
    session.last_time = seal_time;
  }
  std::vector<Waiter> told;
  told.reserve(group.waiters.size());
  for (const Waiter& waiter : group.waiters) {
    if (waiter.level == AckLevel::kCommitted) {
      commit_waiters_.emplace_back(lsn, waiter);
    } else {
      told.push_back(waiter);
    }
  }
  return told;
}

std::vector<Waiter> SessionCore::OnCommitted(uint64_t lsn) {
  std::vector<Waiter> told;
  while (!commit_waiters_.empty() && commit_waiters_.front().first <= lsn) {
    told.push_back(commit_waiters_.front().second);
    commit_waiters_.pop_front();
  }
  return told;
}

void SessionCore::Expire(absl::Time now) {
  absl::erase_if(sessions_, [&](const auto& item) {
    const Session& session = item.second;
    return session.accepted == session.durable &&
           limits_.lifetimes.Expired({.lifetime = session.lifetime, .last_time = session.last_time},
                                     now);
  });
}

SessionTable SessionCore::VolatileSessions() const {
  SessionTable table;
  for (const auto& [id, session] : sessions_) {
    table[id] = {
        .sequence = session.accepted, .lifetime = session.lifetime, .last_time = session.last_time};
  }
  return table;
}

}  // namespace weir::collector
