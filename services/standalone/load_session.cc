#include "services/standalone/load_session.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace weir::standalone {

LoadSession::LoadSession(LoadSessionOptions options) : options_(std::move(options)) {
  WEIR_CHECK(options_.id.size() == 16 && options_.pipeline >= 1);
}

v1::OpenSession LoadSession::OnConnected() {
  v1::OpenSession open;
  open.set_session_id(options_.id);
  open.set_last_acked_sequence(acked_);
  open.set_ack_level(options_.ack_level);
  return open;
}

absl::Status LoadSession::OnOpened(const v1::SessionOpened& opened) {
  if (opened.last_sequence() < acked_ || opened.last_sequence() > made_sequence()) {
    return absl::InternalError(absl::StrCat("session opened at batch ", opened.last_sequence(),
                                            ", but batches ", acked_, " to ", made_sequence(),
                                            " were possible"));
  }
  open_ = true;
  // What was taken in may still be on its way to the disk. Sent again, it is not
  // counted again, and is acknowledged as soon as it is as safe as we asked.
  next_ = acked_ + 1;
  undefined_from_ = 1;
  return absl::OkStatus();
}

absl::Status LoadSession::OnAcked(const v1::BatchesAcked& acked_message,
                                  const std::function<void(const OutstandingBatch&)>& acked) {
  if (acked_message.sequence() > made_sequence()) {
    return absl::InternalError(absl::StrCat("batch ", acked_message.sequence(),
                                            " acknowledged, but only ", made_sequence(),
                                            " were sent"));
  }
  while (acked_ < acked_message.sequence()) {
    acked(outstanding_.front());
    outstanding_.pop_front();
    ++acked_;
  }
  next_ = std::max(next_, acked_ + 1);
  return absl::OkStatus();
}

absl::Status LoadSession::OnRewind(const v1::Rewind& rewind, absl::Time now) {
  if (rewind.next_sequence() < 1 || rewind.next_sequence() > made_sequence() + 1) {
    return absl::InternalError(absl::StrCat("rewound to batch ", rewind.next_sequence(),
                                            ", but the last one made is ", made_sequence()));
  }
  ++rewind_count_;
  // Rewinds never lead forward: each of a pipeline's batches may have caused one,
  // and what is sent twice is counted once. Nor behind an acknowledgement.
  next_ = std::max(std::min(next_, rewind.next_sequence()), acked_ + 1);
  undefined_from_ = std::min(undefined_from_, next_);
  if (rewind.has_retry_delay()) {
    not_before_ = now + absl::Seconds(rewind.retry_delay().seconds()) +
                  absl::Nanoseconds(rewind.retry_delay().nanos());
  }
  return absl::OkStatus();
}

void LoadSession::OnBroken() {
  open_ = false;
  not_before_ = absl::InfinitePast();
}

absl::Time LoadSession::NextDue(absl::Time now) const {
  if (options_.interval == absl::ZeroDuration()) return now;
  return options_.start + options_.interval * made_sequence();
}

bool LoadSession::MayMake(absl::Time now) const {
  return !finished_ && options_.sample_count(made_sequence() + 1) > 0 &&
         NextDue(now) < options_.end;
}

bool LoadSession::done(absl::Time now) const { return outstanding_.empty() && !MayMake(now); }

int64_t LoadSession::TakeUndefinedFrom() {
  return std::exchange(undefined_from_, std::numeric_limits<int64_t>::max());
}

LoadSession::Step LoadSession::Next(absl::Time now) {
  if (!open_) return {};
  if (now < not_before_) return {.wait_until = not_before_};
  const bool first = next_ > made_sequence();
  if (first) {
    if (outstanding_count() >= options_.pipeline || !MayMake(now)) return {};
    const absl::Time due = NextDue(now);
    if (now < due) return {.wait_until = due};
    outstanding_.push_back(
        {.due = due, .made = now, .sample_count = options_.sample_count(made_sequence() + 1)});
  }
  const int64_t sequence = next_++;
  return {.sequence = sequence, .first = first, .made = outstanding_[sequence - acked_ - 1].made};
}

}  // namespace weir::standalone
