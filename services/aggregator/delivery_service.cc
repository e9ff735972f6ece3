#include "services/aggregator/delivery_service.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::aggregator {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
// Catching up derives in steps of some 40 MB.
constexpr int64_t kDeriveRowsPerJob = 200'000;
// The loop answers in milliseconds unless it is swamped.
constexpr absl::Duration kUsageTimeout = absl::Seconds(5);

}  // namespace

// One collector's stream. Everything happens on the loop.
class DeliveryService::Stream final : public rpc::StreamHandler {
 public:
  Stream(DeliveryService& service, std::shared_ptr<rpc::ServerStream> stream)
      : service_(service), connection_(++service.last_connection_) {
    service_.peers_[connection_].stream = std::move(stream);
  }

  bool OnMessage(grpc::ByteBuffer& message) override {
    // While draining nothing more is folded; the collector still has it.
    if (service_.stopping_.load(std::memory_order_relaxed)) return false;
    const absl::Time now = service_.clock_.Now();
    const absl::StatusOr<delivery::FromCollector> decoded = decoder_.DecodeRequest(message);
    if (!decoded.ok()) {
      service_.Perform({CloseConnection{.connection = connection_, .why = decoded.status()}});
      return true;
    }
    Core& core = service_.core_;
    if (const auto* frame = std::get_if<delivery::Frame>(&*decoded)) {
      service_.Perform(core.OnFrame(connection_, *frame, now));
      if (core.full()) {
        const auto found = service_.peers_.find(connection_);
        if (found != service_.peers_.end()) {
          service_.paused_.push_back(found->second.stream);
          return false;
        }
      }
    } else if (const auto* heartbeat = std::get_if<delivery::Heartbeat>(&*decoded)) {
      service_.Perform(core.OnHeartbeat(connection_, *heartbeat, now));
    } else {
      const auto& hello = std::get<delivery::Hello>(*decoded);
      if (const auto found = service_.peers_.find(connection_); found != service_.peers_.end()) {
        ++found->second.greeting_count;
        found->second.slot_count = hello.slot_count;
      }
      service_.events_.CollectorConnected(hello.collector, hello.wal_id.ToHex());
      service_.Perform(core.OnHello(connection_, hello, now));
    }
    return true;
  }

  void OnReadsDone() override {
    if (const auto found = service_.peers_.find(connection_); found != service_.peers_.end()) {
      found->second.stream->Finish(grpc::Status::OK);
    }
  }

  void OnClose() override {
    service_.peers_.erase(connection_);
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
  const SeriesIndex& series = core_.series();
  if (const int64_t more = series.overflowed_count() - overflowed_count_; more > 0) {
    events_.SeriesOverflowed(series.last_overflowed_metric(), more);
  }
  overflowed_count_ = series.overflowed_count();
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
      const auto found = peers_.find(send->connection);
      // A collector that does not read its acks is of no use on this stream.
      if (found != peers_.end() && !found->second.stream->Write(delivery::Encode(send->message))) {
        found->second.stream->Cancel();
      }
    } else if (auto* close = std::get_if<CloseConnection>(&action)) {
      const auto found = peers_.find(close->connection);
      if (found == peers_.end()) continue;
      events_.StreamRefused(close->why);
      found->second.stream->Finish(rpc::ToGrpc(WithReason(close->why, found->second)));
    } else if (auto* run = std::get_if<RunStoreJob>(&action)) {
      // Refused only once the queue is closed, when nobody waits for the result.
      jobs_.TryPush(std::move(run->job));
    } else {
      events_.Fenced(std::get<Fenced>(action).detail);
      fenced_();
    }
  }
}

// What a collector is told when its stream is refused: the core's and the decoder's
// words, with code, reason and metadata as error_reason.proto has them.
absl::Status DeliveryService::WithReason(const absl::Status& why, const Peer& peer) const {
  // What came before the core has its reason.
  if (rpc::ReasonOf(why).has_value()) return why;
  const std::string message(why.message());
  switch (why.code()) {
    case absl::StatusCode::kFailedPrecondition:
      return rpc::Error(
          why.code(), v1::SLOT_COUNT_MISMATCH, message,
          {{"ours", StrCat(options_.slot_count)}, {"theirs", StrCat(peer.slot_count)}});
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDataLoss:
      return rpc::Error(absl::StatusCode::kInvalidArgument,
                        peer.greeting_count > 1 ? v1::STREAM_PROTOCOL : v1::UNDECODABLE, message);
    default:
      // The same collector has opened a newer stream: its own doing, and no error of
      // either side, so there is no reason to give.
      return absl::CancelledError(message);
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

absl::StatusOr<SeriesUsage> DeliveryService::Usage(const UsageQuery& query) const {
  if (!claimed()) return absl::UnavailableError("the slots are not claimed yet");
  // Shared: whoever gives up first leaves it to the other.
  struct Answer {
    Mutex mu;
    CondVar changed;
    std::optional<SeriesUsage> usage ABSL_GUARDED_BY(mu);
  };
  auto answer = std::make_shared<Answer>();
  const bool posted = loop_->Post([this, answer, query] {
    SeriesUsage usage = core_.series().Usage(query);
    MutexLock lock(&answer->mu);
    answer->usage = std::move(usage);
    answer->changed.NotifyAll();
  });
  if (!posted) return absl::UnavailableError("the service is stopping");
  const absl::Time deadline = clock_.Now() + kUsageTimeout;
  MutexLock lock(&answer->mu);
  while (!answer->usage.has_value()) {
    if (!clock_.WaitUntil(&answer->mu, &answer->changed, deadline)) {
      return absl::UnavailableError("the index of series is busy");
    }
  }
  return *std::move(answer->usage);
}

CoreCounts DeliveryService::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

}  // namespace weir::aggregator
