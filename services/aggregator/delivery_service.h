// weir.peer.v1.DeliveryService and the thread that owns the core: streams bring
// frames in, the store thread runs one job at a time, the clock ticks, and all
// of it meets on one event loop, so the core needs no lock.
//
// Thread safety: Start and the accessors are thread-safe; Stop and Drain belong
// to the owner.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/delivery/wire.h"
#include "common/rpc/server.h"
#include "services/aggregator/core.h"
#include "services/aggregator/events.h"
#include "weir/peer/v1/delivery_service.grpc.pb.h"

namespace weir::aggregator {

class DeliveryService final
    : public peer::v1::DeliveryService::WithRawMethod_Deliver<peer::v1::DeliveryService::Service> {
 public:
  // `fenced` is called once, when another aggregator has taken over. All
  // references outlive this.
  DeliveryService(CoreOptions options, std::string tenant, store::Store& store, Clock& clock,
                  Events& events, std::function<void()> fenced);
  ~DeliveryService();

  // Adds this service to `server`, which outlives it.
  void Register(rpc::Server& server);

  // Claims the slots and begins to tick. After the server has started.
  void Start();

  // Commits everything received, until `deadline` at the latest. Returns whether
  // all of it was.
  bool Drain(absl::Time deadline);

  // Joins the store thread. After the server was shut down.
  void Stop();

  bool claimed() const { return claimed_.load(std::memory_order_relaxed); }
  CoreCounts counts() const;
  // How many series there are. Asks the loop, so not on it.
  // Errors: Unavailable while the slots are not claimed, when the service is
  // stopping, or when the loop does not answer in time.
  absl::StatusOr<SeriesUsage> Usage(const UsageQuery& query) const;
  int64_t series_count() const { return series_count_.load(std::memory_order_relaxed); }

 private:
  class Stream;
  // A collector's stream, and what it said of itself.
  struct Peer {
    std::shared_ptr<rpc::ServerStream> stream;
    int greeting_count = 0;
    int slot_count = 0;
  };

  void Perform(Actions actions);
  absl::Status WithReason(const absl::Status& why, const Peer& peer) const;
  void Tick();
  void RunJobs();
  void Publish();
  void ResumePaused();

  const CoreOptions options_;
  const std::string tenant_;
  store::Store& store_;
  Clock& clock_;
  Events& events_;
  const std::function<void()> fenced_;
  rpc::EventLoop* loop_ = nullptr;

  // Owned by the loop.
  Core core_;
  ConnectionId last_connection_ = 0;
  int64_t overflowed_count_ = 0;  // of those series, reported
  absl::flat_hash_map<ConnectionId, Peer> peers_;
  std::vector<std::shared_ptr<rpc::ServerStream>> paused_;  // while the core is full

  // Jobs for the store thread; at most one at a time, by the core's promise.
  BoundedQueue<Job> jobs_;
  std::thread store_thread_;
  std::atomic<bool> stopping_{false};

  std::atomic<bool> claimed_{false};
  std::atomic<int64_t> series_count_{0};
  mutable Mutex mu_;
  CondVar drained_changed_;
  CoreCounts counts_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool drained_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir::aggregator
