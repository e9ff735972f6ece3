#include "services/aggregator/delivery_service.h"

#include <utility>

#include "common/base/check.h"
#include "common/rpc/error.h"

namespace weir::aggregator {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
// Catching up derives in steps of some 40 MB.
constexpr int64_t kDeriveRowsPerJob = 200'000;

// What a collector is told when its stream is refused.
absl::Status WithReason(const absl::Status& why) {
  const std::string message(why.message());
  if (absl::IsFailedPrecondition(why)) {
    return rpc::Error(why.code(), v1::SLOT_COUNT_MISMATCH, message);
  }
  if (absl::IsInvalidArgument(why) || absl::IsDataLoss(why)) {
    return rpc::Error(why.code(), v1::UNDECODABLE, message);
  }
  return rpc::Error(why.code(), v1::STREAM_PROTOCOL, message);
}

}  // namespace

// One collector's stream. Everything happens on the loop.
class DeliveryService::Stream final : public rpc::StreamHandler {
 public:
  Stream(DeliveryService& service, std::shared_ptr<rpc::ServerStream> stream)
      : service_(service), connection_(++service.last_connection_) {
    service_.streams_[connection_] = std::move(stream);
  }

  bool OnMessage(grpc::ByteBuffer& message) override {
    // While draining nothing more is folded; the collector still has it.
    if (service_.stopping_.load(std::memory_order_relaxed)) return false;
    const absl::Time now = service_.clock_.Now();
    const absl::StatusOr<delivery::FromCollector> decoded = decoder_.DecodeRequest(message);
    if (!decoded.ok()) {
      service_.events_.StreamRefused(decoded.status());
      service_.Perform({CloseConnection{.connection = connection_, .why = decoded.status()}});
      return true;
    }
    Core& core = service_.core_;
    if (const auto* frame = std::get_if<delivery::Frame>(&*decoded)) {
      service_.Perform(core.OnFrame(connection_, *frame, now));
      if (core.full()) {
        const auto found = service_.streams_.find(connection_);
        if (found != service_.streams_.end()) {
          service_.paused_.push_back(found->second);
          return false;
        }
      }
    } else if (const auto* heartbeat = std::get_if<delivery::Heartbeat>(&*decoded)) {
      service_.Perform(core.OnHeartbeat(connection_, *heartbeat, now));
    } else {
      const auto& hello = std::get<delivery::Hello>(*decoded);
      service_.events_.CollectorConnected(hello.collector, hello.wal_id.ToHex());
      service_.Perform(core.OnHello(connection_, hello, now));
    }
    return true;
  }

  void OnReadsDone() override {
    if (const auto found = service_.streams_.find(connection_); found != service_.streams_.end()) {
      found->second->Finish(grpc::Status::OK);
    }
  }

  void OnClose() override {
    service_.streams_.erase(connection_);
    service_.Perform(service_.core_.OnClosed(connection_, service_.clock_.Now()));
  }

 private:
  DeliveryService& service_;
  const ConnectionId connection_;
  delivery::Decoder decoder_;
};

DeliveryService::DeliveryService(CoreOptions options, std::string tenant, store::Store& store,
                                 Clock& clock, Events& events, std::function<void()> fenced)
    : options_(std::move(options)),
      tenant_(std::move(tenant)),
      store_(store),
      clock_(clock),
      events_(events),
      fenced_(std::move(fenced)),
      core_(options_),
      jobs_(1) {}

DeliveryService::~DeliveryService() { Stop(); }

void DeliveryService::Register(rpc::Server& server) {
  server.AddService(this, std::string(peer::v1::DeliveryService::service_full_name()));
  // One loop: the core has one thread.
  loop_ = &server.AddRawStream(
      {.threads = 1}, [this](auto... arguments) { RequestDeliver(arguments...); },
      [this](std::shared_ptr<rpc::ServerStream> stream) -> std::unique_ptr<rpc::StreamHandler> {
        return std::make_unique<Stream>(*this, std::move(stream));
      });
}

void DeliveryService::Start() {
  store_thread_ = std::thread([this] { RunJobs(); });
  loop_->Post([this] {
    Perform(core_.Start(clock_.Now()));
    Tick();
  });
}

void DeliveryService::Tick() {
  Perform(core_.OnTick(clock_.Now()));
  Publish();
  loop_->PostAt(clock_.Now() + kTickInterval, [this] { Tick(); });
}

void DeliveryService::Publish() {
  claimed_.store(core_.claimed(), std::memory_order_relaxed);
  series_count_.store(static_cast<int64_t>(core_.series().size()), std::memory_order_relaxed);
  MutexLock lock(&mu_);
  counts_ = core_.counts();
  if (draining_ && core_.drained()) {
    drained_ = true;
    drained_changed_.NotifyAll();
  }
}

void DeliveryService::Perform(Actions actions) {
  for (Action& action : actions) {
    if (auto* send = std::get_if<SendTo>(&action)) {
      const auto found = streams_.find(send->connection);
      // A collector that does not read its acks is of no use on this stream.
      if (found != streams_.end() && !found->second->Write(delivery::Encode(send->message))) {
        found->second->Cancel();
      }
    } else if (auto* close = std::get_if<CloseConnection>(&action)) {
      const auto found = streams_.find(close->connection);
      if (found == streams_.end()) continue;
      events_.StreamRefused(close->why);
      found->second->Finish(rpc::ToGrpc(WithReason(close->why)));
    } else if (auto* run = std::get_if<RunStoreJob>(&action)) {
      // Refused only once the queue is closed, when nobody waits for the result.
      jobs_.TryPush(std::move(run->job));
    } else {
      events_.Fenced(std::get<Fenced>(action).detail);
      fenced_();
    }
  }
}

void DeliveryService::RunJobs() {
  const JobContext context = {.store = store_,
                              .tiers = options_.tiers,
                              .slot_count = options_.slot_count,
                              .tenant = tenant_,
                              .derive_rows_per_job = kDeriveRowsPerJob};
  while (std::optional<Job> job = jobs_.Pop()) {
    const absl::Time start = clock_.Now();
    auto result = std::make_shared<JobResult>(RunJob(context, *job));
    result->store_time = clock_.Now() - start;
    events_.JobDone(*job, *result);
    job.reset();  // the core may reuse the delta as soon as it hears
    loop_->Post([this, result] {
      Perform(core_.OnJobDone(std::move(*result), clock_.Now()));
      ResumePaused();
      Publish();
    });
  }
}

void DeliveryService::ResumePaused() {
  if (core_.full() || stopping_.load(std::memory_order_relaxed)) return;
  for (const auto& stream : std::exchange(paused_, {})) stream->ResumeReads();
}

bool DeliveryService::Drain(absl::Time deadline) {
  stopping_ = true;
  {
    MutexLock lock(&mu_);
    draining_ = true;
  }
  if (loop_ == nullptr || !loop_->Post([this] {
        Perform(core_.Drain(clock_.Now()));
        Publish();
      })) {
    return false;
  }
  MutexLock lock(&mu_);
  while (!drained_) {
    if (!clock_.WaitUntil(&mu_, &drained_changed_, deadline)) break;
  }
  return drained_;
}

void DeliveryService::Stop() {
  jobs_.Close();
  if (store_thread_.joinable()) store_thread_.join();
}

CoreCounts DeliveryService::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

}  // namespace weir::aggregator
