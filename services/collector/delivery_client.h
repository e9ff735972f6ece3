// The sender on a real network: one gRPC stream to the aggregator, one thread.
//
// Thread safety: Durable, Trimmed and the accessors are thread-safe; Start and
// Stop belong to the owner.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/delivery/wire.h"
#include "common/rpc/stream_client.h"
#include "services/collector/events.h"
#include "services/collector/sender.h"

namespace weir::collector {

struct DeliveryOptions {
  std::string target;  // "127.0.0.1:7102" or "unix:/path"
  SenderOptions sender;
};

class DeliveryClient final : private rpc::StreamClient::Handler, private SenderPort {
 public:
  // `committed` is called on the delivery thread. All references outlive this.
  DeliveryClient(DeliveryOptions options, const wal::Wal& log, std::vector<uint64_t> slot_last,
                 std::vector<uint64_t> trimmed_slot_last, Clock& clock, Events& events,
                 std::function<void(uint64_t lsn)> committed);
  ~DeliveryClient() override;

  void Start();
  void Stop();

  // From the log thread.
  void Durable(std::vector<uint64_t> slot_last);
  void Trimmed(std::vector<uint64_t> trimmed_slot_last);

  bool streaming() const { return streaming_.load(std::memory_order_relaxed); }
  uint64_t committed_lsn() const { return committed_lsn_.load(std::memory_order_relaxed); }
  SenderCounts counts() const;

 private:
  void Tick();
  void Publish();

  // rpc::StreamClient::Handler
  void OnConnected() override;
  void OnMessage(grpc::ByteBuffer& message) override;
  void OnClosed(const absl::Status& status) override;

  // SenderPort
  void Connect() override;
  void Send(const delivery::FromCollector& message) override;
  int64_t queued_bytes() const override { return client_.queued_bytes(); }
  void Disconnect(const absl::Status& why) override;
  void Committed(uint64_t lsn) override;
  void Problem(const absl::Status& what) override;

  const DeliveryOptions options_;
  Clock& clock_;
  Events& events_;
  const std::function<void(uint64_t)> committed_;
  std::atomic<bool> streaming_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> committed_lsn_{0};

  // Owned by the delivery thread.
  Sender sender_;
  delivery::Decoder decoder_;
  absl::Status closing_because_;  // why we end the connection ourselves

  mutable Mutex mu_;
  std::vector<uint64_t> slot_last_ ABSL_GUARDED_BY(mu_);
  bool durable_posted_ ABSL_GUARDED_BY(mu_) = false;
  SenderCounts counts_ ABSL_GUARDED_BY(mu_);

  rpc::StreamClient client_;  // last: its thread ends before the rest
};

}  // namespace weir::collector
