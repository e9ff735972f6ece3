#include "common/client/session_client.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/check.h"

namespace weir::client {
namespace {

// Nobody is asked to wait longer than this. Whoever seems to be has been
// overtaken by a step of the wall clock.
constexpr absl::Duration kMaxWait = absl::Minutes(1);

}  // namespace

SessionClient::SessionClient(SessionClientOptions options)
    : options_(std::move(options)),
      random_(options_.seed),
      reconnect_delay_(options_.min_reconnect_delay) {
  WEIR_CHECK(options_.draw_id != nullptr && options_.max_in_flight_batches >= 1);
  StartSession();
}

void SessionClient::StartSession() {
  id_ = options_.draw_id();
  ++session_count_;
  acked_ = made_ = 0;
  next_ = 1;
  sent_ = 0;
  acked_time_ = absl::InfiniteFuture();
  not_before_ = absl::InfinitePast();
  undefined_from_ = 1;
  lost_ = false;
  culprit_ = suspects_until_ = 0;
}

void SessionClient::OnConnected(absl::Time) {
  if (state_ == State::kConnecting) state_ = State::kConnected;
}

void SessionClient::OnOpened(int64_t last_sequence, absl::Time) {
  if (state_ == State::kCancelling || state_ == State::kCancelled) return;
  if (state_ != State::kOpening || last_sequence < acked_ || last_sequence > made_) {
    Lose();
    return;
  }
  state_ = State::kOpen;
  // What was taken in may still be on its way to the disk. Sent again, it is not
  // counted again, and is acknowledged as soon as it is as safe as was asked.
  next_ = acked_ + 1;
  sent_ = acked_;
  undefined_from_ = 1;
  not_before_ = absl::InfinitePast();
  if (outstanding_count() == 0) reconnect_delay_ = options_.min_reconnect_delay;
}

int64_t SessionClient::OnAcked(int64_t sequence, absl::Time now) {
  if (state_ == State::kCancelling || state_ == State::kCancelled) return 0;
  if (state_ != State::kOpen || sequence > made_) {
    Lose();
    return 0;
  }
  acked_time_ = now;
  if (sequence <= acked_) return 0;
  const int64_t count = sequence - acked_;
  acked_ = sequence;
  next_ = std::max(next_, acked_ + 1);
  reconnect_delay_ = options_.min_reconnect_delay;
  return count;
}

void SessionClient::OnRewind(int64_t next_sequence, std::optional<absl::Duration> delay,
                             absl::Time now) {
  if (state_ == State::kCancelling || state_ == State::kCancelled) return;
  // Behind an acknowledgement leads only a collector that has forgotten it.
  if (state_ != State::kOpen || next_sequence <= acked_ || next_sequence > made_ + 1) {
    Lose();
    return;
  }
  ++rewind_count_;
  // Rewinds never lead forward: each of the batches in flight may have caused
  // one, and what is sent twice is counted once.
  next_ = std::min(next_, next_sequence);
  undefined_from_ = std::min(undefined_from_, next_);
  if (delay.has_value()) not_before_ = now + std::clamp(*delay, absl::ZeroDuration(), kMaxWait);
}

void SessionClient::OnClosed(const StreamEnd& end, absl::Time now) {
  const State state = std::exchange(state_, State::kIdle);
  if (std::exchange(renewing_, false)) {
    connect_at_ = now;
    return;
  }
  if (state == State::kOpening || state == State::kOpen) {
    if (end.cause == StreamEnd::kSessionUnknown) lost_ = true;
  }
  if (state == State::kOpen && end.cause == StreamEnd::kRefused) {
    if (sent_ == acked_ + 1) culprit_ = sent_;
    if (sent_ > acked_ + 1) suspects_until_ = made_;
  }
  const absl::Duration drawn = DrawDelay();
  connect_at_ = now + std::clamp(end.retry_delay.value_or(drawn), absl::ZeroDuration(), kMaxWait);
}

void SessionClient::Lose() {
  lost_ = true;
  if (state_ != State::kIdle && state_ != State::kCancelled) state_ = State::kCancelling;
}

absl::Duration SessionClient::DrawDelay() {
  const absl::Duration delay = reconnect_delay_ * (0.5 + 0.5 * random_.Fraction());
  reconnect_delay_ = std::min(reconnect_delay_ * 2, options_.max_reconnect_delay);
  return delay;
}

bool SessionClient::Stale(absl::Time now) const {
  return outstanding_count() == 0 && acked_ > 0 && now - acked_time_ > options_.max_idle;
}

bool SessionClient::Due(absl::Time* when, absl::Time now) {
  if (*when - now > kMaxWait) *when = now;
  return now >= *when;
}

int64_t SessionClient::TakeUndefinedFrom() {
  return std::exchange(undefined_from_, std::numeric_limits<int64_t>::max());
}

SessionClient::Action SessionClient::Next(absl::Time now, bool ready) {
  if (lost_) {
    const bool outstanding = outstanding_count() > 0;
    StartSession();
    if (outstanding) return {.kind = Action::kGiveUp};
  }
  if (culprit_ > 0) return {.kind = Action::kEmpty, .sequence = std::exchange(culprit_, 0)};
  switch (state_) {
    case State::kIdle:
      if (!Due(&connect_at_, now)) return {.until = connect_at_};
      state_ = State::kConnecting;
      return {.kind = Action::kConnect};
    case State::kConnected:
      if (Stale(now)) StartSession();
      state_ = State::kOpening;
      open_by_ = now + options_.open_timeout;
      return {.kind = Action::kOpen};
    case State::kOpening:
      if (!Due(&open_by_, now)) return {.until = open_by_};
      state_ = State::kCancelled;
      return {.kind = Action::kCancel};
    case State::kOpen:
      return NextBatch(now, ready);
    case State::kCancelling:
      state_ = State::kCancelled;
      return {.kind = Action::kCancel};
    case State::kConnecting:
    case State::kCancelled:
      break;
  }
  return {};
}

SessionClient::Action SessionClient::NextBatch(absl::Time now, bool ready) {
  if (!Due(&not_before_, now)) return {.until = not_before_};
  const bool first = next_ > made_;
  if (first && !ready) return {};
  const int64_t in_flight = next_ - 1 - acked_;
  const bool one_by_one = acked_ == 0 || acked_ < suspects_until_;
  if (in_flight >= (one_by_one ? 1 : options_.max_in_flight_batches)) return {};
  if (first) {
    if (Stale(now)) {
      renewing_ = true;
      state_ = State::kCancelled;
      return {.kind = Action::kCancel};
    }
    ++made_;
  }
  sent_ = std::max(sent_, next_);
  return {.kind = Action::kSend, .sequence = next_++, .first = first};
}

}  // namespace weir::client
