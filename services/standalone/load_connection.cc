#include "services/standalone/load_connection.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/status_macros.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"

namespace weir::standalone {
namespace {

constexpr absl::Duration kMinReconnectDelay = absl::Milliseconds(50);
constexpr absl::Duration kMaxReconnectDelay = absl::Seconds(1);

// More than this waiting for gRPC means that the connection is slower than the
// load; batches then wait unmade, with their due times.
constexpr int64_t kMaxQueuedBytes = int64_t{8} << 20;

// Whether the same session may be tried again after a stream ended so.
bool Retryable(const absl::Status& status) {
  if (rpc::ReasonOf(status) == v1::MESSAGE_TOO_LARGE) return false;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return false;
    default:
      return true;
  }
}

LoadSessionOptions SessionOptions(const LoadOptions& options, const BatchMaker& batches, int number,
                                  std::string session_id, absl::Time start) {
  LoadSessionOptions session;
  session.id = std::move(session_id);
  session.ack_level = options.ack_level;
  session.pipeline = options.PipelineDepth();
  session.start = start;
  session.end = start + options.duration;
  if (options.rate > 0) {
    // Connections take turns, so that the load is even.
    const absl::Duration step = absl::Seconds(options.batch_size / options.rate);
    session.interval = step * options.connections;
    session.start = start + step * number;
  }
  session.sample_count = [&batches](int64_t sequence) { return batches.SampleCount(sequence); };
  return session;
}

}  // namespace

LoadConnection::LoadConnection(const LoadOptions& options, int number, std::string session_id,
                               absl::Time start, Clock& clock, Mutex& progress_mu,
                               CondVar& progress)
    : options_(options),
      end_(start + options.duration),
      clock_(clock),
      progress_mu_(progress_mu),
      progress_(progress),
      batches_(options, number),
      session_(SessionOptions(options, batches_, number, std::move(session_id), start)),
      defined_at_(batches_.series_count()),
      reconnect_delay_(kMinReconnectDelay),
      client_(std::make_unique<rpc::StreamClient>(
          rpc::StreamClientOptions{.target = options.target,
                                   .method = "/weir.v1.IngestService/StreamBatches"},
          static_cast<rpc::StreamClient::Handler&>(*this), clock)) {}

LoadConnection::~LoadConnection() { Stop(); }

void LoadConnection::Start() {
  client_->Post([this] {
    client_->Connect();
    // At the end there may be nothing outstanding whose answer would be the
    // occasion to see that the load is done.
    if (end_ < absl::InfiniteFuture()) client_->PostAt(end_, [this] { Pump(); });
  });
}

void LoadConnection::Finish() {
  client_->Post([this] {
    session_.Finish();
    Pump();
  });
}

void LoadConnection::Stop() { client_->Stop(); }

bool LoadConnection::done() const {
  MutexLock lock(&mu_);
  return done_;
}

int64_t LoadConnection::acked_batches() const {
  MutexLock lock(&mu_);
  return earlier_.acked_batches + recent_.acked_batches;
}

bool LoadConnection::waiting() const {
  MutexLock lock(&mu_);
  return outstanding_batches_ > 0 || !open_;
}

absl::Status LoadConnection::error() const {
  MutexLock lock(&mu_);
  return error_;
}

absl::Status LoadConnection::last_disconnect() const {
  MutexLock lock(&mu_);
  return last_disconnect_;
}

void LoadConnection::AddCounts(LoadCounts* total, LoadCounts* interval) {
  MutexLock lock(&mu_);
  interval->Merge(recent_);
  earlier_.Merge(recent_);
  recent_ = LoadCounts();
  total->Merge(earlier_);
  total->outstanding_batches += outstanding_batches_;
  total->outstanding_samples += outstanding_samples_;
}

void LoadConnection::OnConnected() {
  request_.Clear();
  *request_.mutable_open_session() = session_.OnConnected();
  client_->Write(rpc::ToBuffer(request_));
}

void LoadConnection::OnMessage(grpc::ByteBuffer& message) {
  absl::Status status = rpc::Parse(message, &response_);
  if (status.ok()) status = React(response_);
  if (!status.ok()) {
    Fail(std::move(status));
    return;
  }
  Pump();
}

absl::Status LoadConnection::React(const v1::StreamBatchesResponse& response) {
  switch (response.message_case()) {
    case v1::StreamBatchesResponse::kSessionOpened:
      reconnect_delay_ = kMinReconnectDelay;
      return session_.OnOpened(response.session_opened());
    case v1::StreamBatchesResponse::kBatchesAcked:
      return CountAcked(response.batches_acked());
    case v1::StreamBatchesResponse::kRewind: {
      MutexLock lock(&mu_);
      ++recent_.rewinds;
      return session_.OnRewind(response.rewind(), clock_.Now());
    }
    case v1::StreamBatchesResponse::MESSAGE_NOT_SET:
      break;
  }
  return absl::InternalError("the collector sent a message that this version does not know");
}

absl::Status LoadConnection::CountAcked(const v1::BatchesAcked& acked) {
  const absl::Time now = clock_.Now();
  int64_t samples = 0;
  latencies_.clear();
  WEIR_RETURN_IF_ERROR(session_.OnAcked(acked, [&](const OutstandingBatch& batch) {
    samples += batch.sample_count;
    latencies_.push_back(absl::ToDoubleSeconds(now - batch.due));
  }));
  MutexLock lock(&mu_);
  for (const double latency : latencies_) recent_.ack_latency.Add(latency);
  recent_.acked_batches += static_cast<int64_t>(latencies_.size());
  recent_.acked_samples += samples;
  recent_.last_ack_time = now;
  outstanding_batches_ -= static_cast<int64_t>(latencies_.size());
  outstanding_samples_ -= samples;
  for (const v1::BatchRejections& batch : acked.rejections()) {
    for (const v1::Rejection& rejection : batch.rejections()) {
      recent_.rejected_samples += rejection.count();
      recent_.rejected_by_reason[v1::ErrorReason_Name(rejection.reason())] += rejection.count();
    }
  }
  return absl::OkStatus();
}

void LoadConnection::Pump() {
  if (failed_) return;
  absl::Time now = clock_.Now();
  absl::Time wait_until = absl::InfiniteFuture();
  int64_t sent = 0, made = 0, made_samples = 0;
  while (true) {
    if (client_->queued_bytes() > kMaxQueuedBytes) {
      wait_until = now + absl::Milliseconds(1);
      break;
    }
    const LoadSession::Step step = session_.Next(now);
    if (step.sequence == 0) {
      wait_until = step.wait_until;
      break;
    }
    Undefine(session_.TakeUndefinedFrom());
    batches_.Make(step.sequence, step.made, &defined_at_, &request_);
    client_->Write(rpc::ToBuffer(request_));
    ++sent;
    if (step.first) {
      ++made;
      made_samples += batches_.SampleCount(step.sequence);
      now = clock_.Now();
    }
  }
  if (wait_until < timer_) {
    timer_ = wait_until;
    client_->PostAt(wait_until, [this, wait_until] {
      if (timer_ == wait_until) timer_ = absl::InfiniteFuture();
      Pump();
    });
  }
  const bool done = session_.done(now);
  bool newly_done = false;
  {
    MutexLock lock(&mu_);
    recent_.sent_batches += sent;
    outstanding_batches_ += made;
    outstanding_samples_ += made_samples;
    newly_done = done && !done_;
    done_ = done;
    open_ = session_.open();
  }
  if (newly_done) NotifyProgress();
}

void LoadConnection::Undefine(int64_t from_sequence) {
  if (from_sequence == std::numeric_limits<int64_t>::max()) return;
  for (int64_t& sequence : defined_at_) {
    if (sequence >= from_sequence) sequence = 0;
  }
}

void LoadConnection::OnClosed(const absl::Status& status) {
  session_.OnBroken();
  if (failed_) return;
  if (!Retryable(status)) {
    Fail(status);
    return;
  }
  {
    MutexLock lock(&mu_);
    ++recent_.disconnects;
    open_ = false;
    last_disconnect_ = status;
  }
  const absl::Duration delay = rpc::RetryDelayOf(status).value_or(reconnect_delay_);
  reconnect_delay_ = std::min(reconnect_delay_ * 2, kMaxReconnectDelay);
  client_->PostAt(clock_.Now() + delay, [this] { client_->Connect(); });
}

void LoadConnection::Fail(absl::Status why) {
  failed_ = true;
  {
    MutexLock lock(&mu_);
    if (error_.ok()) error_ = std::move(why);
  }
  client_->Cancel();
  NotifyProgress();
}

void LoadConnection::NotifyProgress() {
  MutexLock lock(&progress_mu_);
  progress_.NotifyAll();
}

}  // namespace weir::standalone
