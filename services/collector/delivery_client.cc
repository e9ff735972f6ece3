#include "services/collector/delivery_client.h"

#include <utility>

namespace weir::collector {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(50);

}  // namespace

DeliveryClient::DeliveryClient(DeliveryOptions options, const wal::Wal& log,
                               std::vector<uint64_t> slot_last,
                               std::vector<uint64_t> trimmed_slot_last, Clock& clock,
                               Events& events, std::function<void(uint64_t lsn)> committed)
    : options_(std::move(options)),
      clock_(clock),
      events_(events),
      committed_(std::move(committed)),
      sender_(options_.sender, log, std::move(slot_last), std::move(trimmed_slot_last), *this),
      client_({.target = options_.target, .method = "/weir.peer.v1.DeliveryService/Deliver"}, *this,
              clock) {}

DeliveryClient::~DeliveryClient() { Stop(); }

void DeliveryClient::Start() {
  client_.Post([this] { Tick(); });
}

void DeliveryClient::Stop() {
  stopping_ = true;
  client_.Stop();
}

void DeliveryClient::Tick() {
  if (stopping_) return;
  sender_.OnTick(clock_.Now());
  Publish();
  client_.PostAt(clock_.Now() + kTickInterval, [this] { Tick(); });
}

void DeliveryClient::Publish() {
  streaming_.store(sender_.streaming(), std::memory_order_relaxed);
  MutexLock lock(&mu_);
  counts_ = sender_.counts();
}

SenderCounts DeliveryClient::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

void DeliveryClient::Durable(std::vector<uint64_t> slot_last) {
  {
    MutexLock lock(&mu_);
    slot_last_ = std::move(slot_last);
    // One notice on its way is enough: it takes the latest.
    if (std::exchange(durable_posted_, true)) return;
  }
  client_.Post([this] {
    std::vector<uint64_t> latest;
    {
      MutexLock lock(&mu_);
      durable_posted_ = false;
      latest = slot_last_;
    }
    sender_.OnDurable(latest, clock_.Now());
  });
}

void DeliveryClient::Trimmed(std::vector<uint64_t> trimmed_slot_last) {
  client_.Post([this, trimmed = std::move(trimmed_slot_last)] { sender_.OnTrimmed(trimmed); });
}

void DeliveryClient::OnConnected() {
  events_.DeliveryConnected(options_.target);
  sender_.OnConnected(clock_.Now());
}

void DeliveryClient::OnMessage(grpc::ByteBuffer& message) {
  const absl::StatusOr<delivery::FromAggregator> decoded = decoder_.DecodeResponse(message);
  if (!decoded.ok()) {
    events_.DeliveryProblem(decoded.status());
    client_.Cancel();
    return;
  }
  sender_.OnMessage(*decoded, clock_.Now());
}

void DeliveryClient::OnClosed(const absl::Status& status) {
  const absl::Status why = closing_because_.ok() ? status : closing_because_;
  closing_because_ = absl::OkStatus();
  if (!stopping_) events_.DeliveryClosed(options_.target, why);
  sender_.OnClosed(status, clock_.Now());
}

void DeliveryClient::Connect() {
  if (!client_.Connect()) sender_.OnClosed(absl::UnavailableError("stopping"), clock_.Now());
}

void DeliveryClient::Send(const delivery::FromCollector& message) {
  // The sender looks at queued_bytes(), so this fails only on a connection that
  // has ended.
  if (!client_.Write(delivery::Encode(message))) client_.Cancel();
}

void DeliveryClient::Disconnect(const absl::Status& why) {
  closing_because_ = why;
  client_.Cancel();
}

void DeliveryClient::Committed(uint64_t lsn) {
  committed_lsn_.store(lsn, std::memory_order_relaxed);
  committed_(lsn);
}

void DeliveryClient::Problem(const absl::Status& what) { events_.DeliveryProblem(what); }

}  // namespace weir::collector
