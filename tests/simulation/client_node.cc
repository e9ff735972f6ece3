#include "tests/simulation/client_node.h"

#include <algorithm>
#include <utility>

namespace weir::simulation {
namespace {

using collector::AckLevel;

constexpr absl::Duration kReplyTimeout = absl::Seconds(3);
constexpr absl::Duration kWatchInterval = absl::Milliseconds(500);
constexpr size_t kMaxOutstanding = 20;
constexpr int64_t kNano = 1'000'000'000;

frame::SessionId DrawSessionId(Environment& env) {
  return {.high = env.random(), .low = env.random() | 1};
}

AckLevel DrawLevel(Environment& env) {
  return env.random.OneIn(4) ? AckLevel::kCommitted : AckLevel::kDurable;
}

}  // namespace

Client::Client(Environment& env, Network& network, std::function<Endpoint*()> resolve,
               std::string name)
    : env_(env), name_(std::move(name)), network_(network), resolve_(std::move(resolve)) {}

void Client::Start() {
  last_reply_ = env_.now();
  env_.queue.After(env_.Between(absl::ZeroDuration(), absl::Milliseconds(300)), *this,
                   {.kind = kConnect});
  env_.queue.After(env_.Between(absl::ZeroDuration(), env_.profile.mean_batch_interval), *this,
                   {.kind = kMake});
  env_.queue.After(kWatchInterval, *this, {.kind = kWatch});
}

void Client::BreakLink() {
  if (link_ != 0) network_.Break(link_);
}

ClientBatchPtr Client::MakeBatch() {
  auto batch = std::make_shared<ClientBatch>();
  batch->id = env_.random();
  const uint64_t count = env_.random.Between(1, 5);
  for (uint64_t i = 0; i < count; ++i) {
    batch->samples.push_back({.series = static_cast<int>(env_.random.Below(
                                  static_cast<uint64_t>(env_.oracle.series_count()))),
                              .event_unix_nano = DrawEventTime(),
                              .value = static_cast<int64_t>(env_.random.Below(uint64_t{1} << 60))});
  }
  return batch;
}

// Mostly just now, sometimes late by seconds or minutes, at times by days.
int64_t Client::DrawEventTime() {
  const int64_t now = absl::ToUnixNanos(env_.now());
  if (!env_.Percent(env_.profile.late_percent)) {
    return now - static_cast<int64_t>(env_.random.Below(2 * kNano));
  }
  const auto& spans = env_.oracle.spans();
  if (env_.random.OneIn(5)) {
    const EventSpan& span = spans[env_.random.Between(1, spans.size() - 1)];
    const auto length = static_cast<uint64_t>(span.end_seconds - span.start_seconds);
    return (span.start_seconds + static_cast<int64_t>(env_.random.Below(length))) * kNano;
  }
  const uint64_t late_seconds = env_.random.OneIn(3) ? 250 : 25;
  return now - static_cast<int64_t>(env_.random.Below(late_seconds * kNano));
}

void Client::OnEvent(const Event& event) {
  switch (static_cast<Kind>(event.kind)) {
    case kMake:
      if (env_.healed) return;
      OnMade(MakeBatch());
      SendMore();
      env_.queue.After(env_.Between(absl::ZeroDuration(), 2 * env_.profile.mean_batch_interval),
                       *this, event);
      return;
    case kConnect:
      if (link_ == 0) link_ = network_.Open(*this, resolve_());
      return;
    case kWatch:
      // A link on which nothing comes back is given up.
      if (connected_ && waiting() && env_.now() - last_reply_ > kReplyTimeout) {
        last_reply_ = env_.now();
        BreakLink();
      }
      env_.queue.After(kWatchInterval, *this, event);
      return;
    case kSend:
      SendMore();
      return;
  }
}

void Client::SendRequest(ClientRequest request) { network_.Send(link_, *this, std::move(request)); }

void Client::SendLater(absl::Duration delay) { env_.queue.After(delay, *this, {.kind = kSend}); }

void Client::OnLinkOpened(LinkId) {
  connected_ = true;
  last_reply_ = env_.now();
  OnConnected();
}

void Client::OnLinkMessage(LinkId link, const Message& message) {
  if (link != link_) return;
  last_reply_ = env_.now();
  OnReply(std::get<ClientReply>(message));
}

void Client::OnLinkClosed(LinkId link) {
  if (link != link_) return;
  link_ = 0;
  connected_ = false;
  OnBroken();
  env_.queue.After(env_.Between(absl::Milliseconds(20), absl::Milliseconds(500)), *this,
                   {.kind = kConnect});
}

// --- Sessions ----------------------------------------------------------------

SessionClient::SessionClient(Environment& env, Network& network, std::function<Endpoint*()> resolve,
                             int number)
    : Client(env, network, std::move(resolve), StrCat("session ", number)),
      id_(DrawSessionId(env)),
      level_(DrawLevel(env)),
      pipeline_(env.random.Between(1, 8)) {}

std::string SessionClient::Describe() const {
  return StrCat(name_, ": acked ", acked_, ", next ", next_, ", made ", made(),
                connected() ? ", connected" : "", open_ ? ", open" : "");
}

void SessionClient::OnMade(ClientBatchPtr batch) {
  if (outstanding_.size() < kMaxOutstanding) outstanding_.push_back(std::move(batch));
}

void SessionClient::OnConnected() {
  SendRequest({.kind = ClientRequest::Kind::kOpen,
               .session = frame::SessionMark{.id = id_, .sequence = acked_}});
}

void SessionClient::OnBroken() {
  open_ = false;
  not_before_ = absl::InfinitePast();
}

void SessionClient::OnReply(const ClientReply& reply) {
  switch (reply.kind) {
    case ClientReply::Kind::kOpened:
      open_ = true;
      if (reply.number < acked_ || reply.number > made()) {
        env_.Break(StrCat(name_, " is opened at batch ", reply.number, " of ", made()));
        return;
      }
      // What was taken may not be durable yet: sending it again brings the ack.
      // Or the next one does, as its ack speaks for all before it.
      next_ = acked_ + 1;
      if (env_.random.OneIn(2) && reply.number < std::min(made(), acked_ + pipeline_)) {
        next_ = reply.number + 1;
      }
      break;
    case ClientReply::Kind::kAcked:
      if (reply.number > made()) {
        env_.Break(StrCat(name_, " is acked beyond what it made"));
        return;
      }
      while (acked_ < reply.number) {
        ++acked_;
        env_.counts.acked_samples += static_cast<int64_t>(outstanding_.front()->samples.size());
        env_.oracle.Expect(outstanding_.front());
        outstanding_.pop_front();
      }
      next_ = std::max(next_, acked_ + 1);
      break;
    case ClientReply::Kind::kRewind:
      next_ = std::max(std::min(next_, reply.number), acked_ + 1);
      if (reply.delay > absl::ZeroDuration()) {
        not_before_ = env_.now() + reply.delay;
        SendLater(reply.delay);
      }
      break;
    case ClientReply::Kind::kSessionUnknown:
      env_.Break(StrCat(name_, " is not known any more, though acked up to ", acked_));
      return;
    case ClientReply::Kind::kRefused:
      break;
  }
  SendMore();
}

void SessionClient::SendMore() {
  if (!open_ || env_.now() < not_before_) return;
  while (next_ <= made() && next_ <= acked_ + pipeline_) {
    SendRequest({.kind = ClientRequest::Kind::kBatch,
                 .session = frame::SessionMark{.id = id_, .sequence = next_},
                 .number = next_,
                 .level = level_,
                 .batch = outstanding_[next_ - acked_ - 1]});
    ++next_;
  }
}

// --- Pushes ------------------------------------------------------------------

PushClient::PushClient(Environment& env, Network& network, std::function<Endpoint*()> resolve,
                       int number, bool keyed)
    : Client(env, network, std::move(resolve), StrCat("push ", number)),
      keyed_(keyed),
      level_(DrawLevel(env)) {}

std::string PushClient::Describe() const {
  return StrCat(name_, batch_ != nullptr ? ": waits for push " : ": idle after push ", number_,
                connected() ? ", connected" : "");
}

void PushClient::OnMade(ClientBatchPtr batch) {
  if (batch_ != nullptr) return;  // one at a time
  batch_ = std::move(batch);
  key_ = DrawSessionId(env_);
  ++number_;
}

void PushClient::SendMore() {
  if (batch_ == nullptr || !connected()) return;
  if (sent_ == number_ && (!keyed_ || env_.now() < send_again_)) return;
  ClientRequest request = {.number = number_, .level = level_, .batch = batch_};
  if (keyed_) {
    request.session =
        frame::SessionMark{.id = key_, .sequence = 1, .lifetime = frame::Lifetime::kKey};
    SendAgainAfter(absl::Seconds(2));
  }
  sent_ = number_;
  SendRequest(std::move(request));
}

void PushClient::SendAgainAfter(absl::Duration delay) {
  send_again_ = env_.now() + delay;
  SendLater(delay);
}

void PushClient::OnBroken() {
  if (!keyed_ && sent_ == number_) batch_ = nullptr;
  send_again_ = env_.now();
}

void PushClient::OnReply(const ClientReply& reply) {
  if (batch_ == nullptr || reply.number != number_) return;
  if (reply.kind == ClientReply::Kind::kAcked) {
    env_.counts.acked_samples += static_cast<int64_t>(batch_->samples.size());
    env_.oracle.Expect(batch_);
    batch_ = nullptr;
  } else if (reply.kind == ClientReply::Kind::kRefused) {
    if (keyed_) {
      SendAgainAfter(absl::Milliseconds(50));
    } else {
      batch_ = nullptr;
    }
  }
}

}  // namespace weir::simulation
