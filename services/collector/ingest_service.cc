#include "services/collector/ingest_service.h"

#include <deque>

#include "common/base/bytes.h"
#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/convert.h"
#include "services/collector/log_writer.h"
#include "services/collector/unary_call.h"

namespace weir::collector {
namespace {

// What one message of StreamBatches may have: a frame must hold it whole.
constexpr int64_t kMaxStreamMessageBytes = 1 << 20;
constexpr uint32_t kMaxStreamRef = 1 << 20;
constexpr size_t kMaxKeyBytes = 128;
constexpr int64_t kMaxPushBytes = 4 << 20;
constexpr int64_t kMaxParsedPushBytes = 64 << 20;

// A key is a session of one batch.
frame::SessionMark MarkOfKey(std::string_view tenant, std::string_view key) {
  std::string named = "push";
  AppendLengthPrefixed(tenant, &named);
  named.append(key);
  return {.id = frame::SessionId::FromBytes(Sha256(named).substr(0, 16)),
          .sequence = 1,
          .lifetime = frame::Lifetime::kKey};
}

// Empty samples of two bytes each would take fifty times as much in memory: what a
// request will take is found out before it is parsed.
absl::Status ParsePush(const grpc::ByteBuffer& buffer, v1::PushRequest* request) {
  std::string bytes;
  if (const absl::Status read = rpc::ReadPlain(buffer, &bytes, kMaxPushBytes); !read.ok()) {
    return read;
  }
  if (rpc::ParsedSize(*v1::PushRequest::descriptor(), bytes, kMaxParsedPushBytes) >=
      kMaxParsedPushBytes) {
    return rpc::Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE,
                      StrCat("the samples would take more than ", kMaxParsedPushBytes,
                             " bytes in memory; send fewer at once"),
                      {{"limit_bytes", StrCat(kMaxParsedPushBytes)}});
  }
  return rpc::ParsePlain(bytes, request);
}

void AddSample(const Intake& intake, const v1::Sample& sample, absl::Time now, Series* series,
               BatchBuilder* builder) {
  ToSeries(sample.name(), sample.kind(), sample.labels(), series);
  if (const auto error = AdmitSeries(intake.limits, series); error.has_value()) {
    builder->Reject(error->reason, error->message);
    return;
  }
  if (sample.number_case() == v1::Sample::NUMBER_NOT_SET) {
    builder->Reject(Reject::kValueMissing, StrCat("a sample of '", sample.name(),
                                                  "' has neither value nor integer_value"));
    return;
  }
  int64_t event_unix_nano = absl::ToUnixNanos(now);
  if (sample.has_event_time()) {
    // Anything far outside what is admitted saturates and is rejected as such.
    event_unix_nano = absl::ToUnixNanos(absl::FromUnixSeconds(sample.event_time().seconds()) +
                                        absl::Nanoseconds(sample.event_time().nanos()));
  }
  const SeriesHandle handle = intake.series.Intern(*series);
  if (sample.number_case() == v1::Sample::kIntegerValue) {
    builder->AddInteger(handle, event_unix_nano, sample.integer_value());
  } else {
    builder->AddFloat(handle, event_unix_nano, sample.value());
  }
}

// One StreamBatches stream.
class BatchStream final : public rpc::StreamHandler {
 public:
  BatchStream(const Intake& intake, std::shared_ptr<rpc::ServerStream> stream)
      : intake_(intake),
        stream_(std::move(stream)),
        acks_(std::make_shared<Acks>(stream_)),
        accepted_(intake.events.AcceptedBy("stream")) {
    connection_ = intake_.router.Register(acks_);
  }

  bool OnMessage(grpc::ByteBuffer& message) override {
    if (const absl::Status status = rpc::Parse(message, &request_, kMaxStreamMessageBytes);
        !status.ok()) {
      return End(status);
    }
    if (intake_.stopping.load(std::memory_order_relaxed)) return End(ShuttingDown());
    switch (request_.message_case()) {
      case v1::StreamBatchesRequest::kOpenSession:
        return OnOpen(request_.open_session());
      case v1::StreamBatchesRequest::kBatch:
        return OnBatch(request_.batch());
      case v1::StreamBatchesRequest::MESSAGE_NOT_SET:
        break;
    }
    return End(rpc::Error(absl::StatusCode::kInvalidArgument, v1::STREAM_PROTOCOL,
                          "a message is either open_session or batch"));
  }

  void OnReadsDone() override { acks_->HalfClose(); }

  void OnClose() override {
    intake_.router.Unregister(connection_);
    acks_->Close();
  }

 private:
  // What the client is still to be told; shared with the threads that tell.
  class Acks final : public AckSink {
   public:
    explicit Acks(std::shared_ptr<rpc::ServerStream> stream) : stream_(std::move(stream)) {}

    void Expect(uint64_t sequence, const Rejections& rejections) {
      MutexLock lock(&mu_);
      expected_ = std::max(expected_, sequence);
      if (rejections.count() > 0) rejections_.emplace_back(sequence, rejections);
    }

    // Batches from `next_sequence` on were not taken and will come again. Returns
    // false when that leads below what was acknowledged: the session expired
    // under an idle stream, and its numbers would be counted anew.
    bool Forget(uint64_t next_sequence) {
      MutexLock lock(&mu_);
      if (next_sequence <= acked_) return false;
      expected_ = std::min(expected_, next_sequence - 1);
      while (!rejections_.empty() && rejections_.back().first >= next_sequence) {
        rejections_.pop_back();
      }
      return true;
    }

    void OnAcked(uint64_t sequence) override {
      v1::StreamBatchesResponse response;
      auto* acked = response.mutable_batches_acked();
      bool done = false;
      std::shared_ptr<rpc::ServerStream> stream;
      {
        MutexLock lock(&mu_);
        if (stream_ == nullptr) return;
        stream = stream_;
        acked_ = std::max(acked_, sequence);
        acked->set_sequence(static_cast<int64_t>(acked_));
        while (!rejections_.empty() && rejections_.front().first <= sequence) {
          auto* rejections = acked->add_rejections();
          rejections->set_sequence(static_cast<int64_t>(rejections_.front().first));
          ToProto(rejections_.front().second, rejections->mutable_rejections());
          rejections_.pop_front();
        }
        done = half_closed_ && acked_ >= expected_;
      }
      // A client that does not read its acks cannot be told, so it must go.
      if (!stream->Write(rpc::ToBuffer(response))) stream->Cancel();
      if (done) stream->Finish(grpc::Status::OK);
    }

    // The client has sent its last batch: the stream ends with the last ack.
    void HalfClose() {
      std::shared_ptr<rpc::ServerStream> stream;
      {
        MutexLock lock(&mu_);
        half_closed_ = true;
        if (acked_ >= expected_) stream = stream_;
      }
      if (stream != nullptr) stream->Finish(grpc::Status::OK);
    }

    void Close() {
      MutexLock lock(&mu_);
      stream_.reset();
    }

   private:
    Mutex mu_;
    std::shared_ptr<rpc::ServerStream> stream_ ABSL_GUARDED_BY(mu_);
    std::deque<std::pair<uint64_t, Rejections>> rejections_ ABSL_GUARDED_BY(mu_);
    uint64_t expected_ ABSL_GUARDED_BY(mu_) = 0;
    uint64_t acked_ ABSL_GUARDED_BY(mu_) = 0;
    bool half_closed_ ABSL_GUARDED_BY(mu_) = false;
  };

  bool End(const absl::Status& status) {
    stream_->Finish(rpc::ToGrpc(status));
    return true;
  }

  bool OnOpen(const v1::OpenSession& open) {
    if (open_) {
      return End(rpc::Error(absl::StatusCode::kInvalidArgument, v1::STREAM_PROTOCOL,
                            "open_session came twice on one stream"));
    }
    if (open.session_id().size() != 16) {
      return End(rpc::InvalidField(
          "open_session.session_id",
          StrCat("16 random bytes are required, got ", open.session_id().size())));
    }
    if (open.last_acked_sequence() < 0) {
      return End(rpc::InvalidField("open_session.last_acked_sequence", "0 or more is required"));
    }
    session_ = frame::SessionId::FromBytes(open.session_id());
    level_ = ToAckLevel(open.ack_level());
    const std::optional<uint64_t> last = intake_.pipeline.LastSequence(session_);
    if (open.last_acked_sequence() > static_cast<int64_t>(last.value_or(0))) {
      return End(rpc::Error(absl::StatusCode::kFailedPrecondition, v1::SESSION_UNKNOWN,
                            StrCat("the session was acknowledged up to ",
                                   open.last_acked_sequence(), ", but this collector remembers ",
                                   last.has_value() ? StrCat(*last) : "nothing of it",
                                   "; retries would not be recognised: open a new session")));
    }
    open_ = true;
    v1::StreamBatchesResponse response;
    auto* opened = response.mutable_session_opened();
    opened->set_last_sequence(static_cast<int64_t>(last.value_or(0)));
    opened->set_max_message_bytes(kMaxStreamMessageBytes);
    stream_->Write(rpc::ToBuffer(response));
    return true;
  }

  bool OnBatch(const v1::Batch& batch) {
    if (!open_) {
      return End(rpc::Error(absl::StatusCode::kInvalidArgument, v1::STREAM_PROTOCOL,
                            "the first message must be open_session"));
    }
    if (batch.sequence() < 1) {
      return End(rpc::InvalidField("batch.sequence", "batches are numbered from 1"));
    }
    const int64_t samples = int64_t{batch.floats().refs_size()} + batch.integers().refs_size();
    if (samples > kMaxBatchSamples) {
      return End(rpc::InvalidField("batch", StrCat("has ", samples, " samples; at most ",
                                                   kMaxBatchSamples, " are allowed")));
    }
    for (const v1::SeriesDefinition& definition : batch.series()) {
      if (definition.ref() >= kMaxStreamRef) {
        return End(rpc::InvalidField(
            "batch.series.ref",
            StrCat(definition.ref(), "; allowed are 0 to ", kMaxStreamRef - 1, ", dense")));
      }
      Define(definition);
    }
    const auto sequence = static_cast<uint64_t>(batch.sequence());
    // What was under way behind a refused batch comes again: one answer for all.
    if (awaited_.has_value() && sequence > *awaited_) return true;
    awaited_.reset();
    builder_.Start(intake_.limits, intake_.clock.Now(), static_cast<size_t>(samples));
    AddColumns<double>(batch, batch.floats(), "floats");
    AddColumns<int64_t>(batch, batch.integers(), "integers");

    Submission submission = {
        .waiter = {.connection = connection_, .sequence = sequence, .level = level_},
        .session = frame::SessionMark{.id = session_, .sequence = sequence},
        .batch = builder_.Build()};
    const int64_t accepted = submission.batch.sample_count();
    // Before Submit: the ack may overtake its return.
    acks_->Expect(sequence, builder_.rejections());
    const Submitted submitted = intake_.pipeline.Submit(std::move(submission));
    switch (submitted.result) {
      case SubmitResult::kQueued:
        accepted_.Increment(accepted);
        intake_.events.Rejected("stream", builder_.rejections());
        return true;
      case SubmitResult::kDuplicate:
        intake_.events.Duplicate("stream");
        return true;
      case SubmitResult::kTooManySessions:
        intake_.events.Refused("stream", submitted.result);
        return End(RefusalStatus(submitted.result));
      case SubmitResult::kRewind:
      case SubmitResult::kOverloaded:
      case SubmitResult::kLogFull:
        break;
    }
    intake_.events.Refused("stream", submitted.result);
    if (!acks_->Forget(submitted.next_sequence)) {
      return End(rpc::Error(absl::StatusCode::kFailedPrecondition, v1::SESSION_UNKNOWN,
                            "the session was idle for too long and is forgotten; open a new one"));
    }
    awaited_ = submitted.next_sequence;
    v1::StreamBatchesResponse response;
    auto* rewind = response.mutable_rewind();
    rewind->set_next_sequence(static_cast<int64_t>(submitted.next_sequence));
    if (submitted.result != SubmitResult::kRewind) {
      rewind->set_reason(RefusalReason(submitted.result));
      rewind->mutable_retry_delay()->set_nanos(
          static_cast<int32_t>(absl::ToInt64Nanoseconds(RefusalDelay())));
    }
    if (!stream_->Write(rpc::ToBuffer(response))) stream_->Cancel();
    return true;
  }

  void Define(const v1::SeriesDefinition& definition) {
    const uint32_t ref = definition.ref();
    if (ref >= series_.size()) series_.resize(ref + 1);
    ToSeries(definition.name(), definition.kind(), definition.labels(), &scratch_);
    if (auto error = AdmitSeries(intake_.limits, &scratch_); error.has_value()) {
      // Its samples are rejected as they come, with this reason.
      series_[ref] = {};
      by_rule_.erase(ref);
      not_admitted_.insert_or_assign(ref, *std::move(error));
      return;
    }
    const SeriesHandle handle = intake_.series.Intern(scratch_);
    not_admitted_.erase(ref);
    if (handle.rule == 0) {
      series_[ref] = handle;
      return;
    }
    // Columns with such a series are added sample by sample.
    series_[ref] = {};
    by_rule_.insert_or_assign(ref, handle);
  }

  // The series of a sample, or null after rejecting the sample.
  const SeriesHandle* Find(uint32_t ref) {
    if (ref < series_.size() && series_[ref].number != kNoSeries) return &series_[ref];
    if (const auto found = by_rule_.find(ref); found != by_rule_.end()) return &found->second;
    if (const auto why = not_admitted_.find(ref); why != not_admitted_.end()) {
      builder_.Reject(why->second.reason, why->second.message);
    } else {
      builder_.Reject(Reject::kSeriesUndefined,
                      StrCat("series ", ref, " was not defined on this stream"));
    }
    return nullptr;
  }

  template <typename Columns>
  bool Even(const Columns& columns, std::string_view name) {
    if (columns.refs_size() == columns.values_size() &&
        columns.refs_size() == columns.time_deltas_size()) {
      return true;
    }
    const int most =
        std::max({columns.refs_size(), columns.values_size(), columns.time_deltas_size()});
    builder_.Reject(
        Reject::kColumnsUneven,
        StrCat(name, " has ", columns.refs_size(), " refs, ", columns.time_deltas_size(),
               " time_deltas and ", columns.values_size(), " values; they must be as many"),
        most);
    return false;
  }

  template <typename Value, typename Columns>
  void AddColumns(const v1::Batch& batch, const Columns& columns, std::string_view name) {
    if (!Even(columns, name)) return;
    if (builder_.TryAddColumns<Value>(series_, columns.refs(), batch.base_time_unix_nano(),
                                      columns.time_deltas(), columns.values())) {
      return;
    }
    auto time = static_cast<uint64_t>(batch.base_time_unix_nano());
    for (int i = 0; i < columns.refs_size(); ++i) {
      time += static_cast<uint64_t>(columns.time_deltas(i));
      const SeriesHandle* handle = Find(columns.refs(i));
      if (handle == nullptr) continue;
      if constexpr (std::is_same_v<Value, double>) {
        builder_.AddFloat(*handle, static_cast<int64_t>(time), columns.values(i));
      } else {
        builder_.AddInteger(*handle, static_cast<int64_t>(time), columns.values(i));
      }
    }
  }

  const Intake intake_;
  const std::shared_ptr<rpc::ServerStream> stream_;
  const std::shared_ptr<Acks> acks_;
  telemetry::Counter& accepted_;
  uint64_t connection_ = 0;
  bool open_ = false;
  frame::SessionId session_;
  AckLevel level_ = AckLevel::kDurable;
  std::optional<uint64_t> awaited_;  // the batch a rewind asked for
  // By ref; without a number when not admitted, or in `by_rule_`.
  std::vector<SeriesHandle> series_;
  absl::flat_hash_map<uint32_t, SeriesHandle> by_rule_;      // those with a rule
  absl::flat_hash_map<uint32_t, SeriesError> not_admitted_;  // by ref: why
  Series scratch_;
  BatchBuilder builder_;
  v1::StreamBatchesRequest request_;  // reused
};

}  // namespace

void IngestService::Register(rpc::Server& server) {
  server.AddService(this, std::string(v1::IngestService::service_full_name()));
  server.AddRawStream(
      {}, [this](auto... arguments) { RequestStreamBatches(arguments...); },
      [this](std::shared_ptr<rpc::ServerStream> stream) -> std::unique_ptr<rpc::StreamHandler> {
        return std::make_unique<BatchStream>(intake_, std::move(stream));
      });
}

grpc::ServerUnaryReactor* IngestService::Push(grpc::CallbackServerContext*,
                                              const grpc::ByteBuffer* bytes,
                                              grpc::ByteBuffer* response_bytes) {
  const std::shared_ptr<UnaryCall> call = UnaryCall::Create(intake_.router, response_bytes);
  if (intake_.stopping.load(std::memory_order_relaxed)) {
    call->Fail(ShuttingDown());
    return call.get();
  }
  v1::PushRequest request;
  if (const absl::Status status = ParsePush(*bytes, &request); !status.ok()) {
    call->Fail(status);
    return call.get();
  }
  if (request.idempotency_key().size() > kMaxKeyBytes) {
    call->Fail(rpc::InvalidField(
        "idempotency_key", StrCat("has ", request.idempotency_key().size(), " bytes; at most ",
                                  kMaxKeyBytes, " are allowed")));
    return call.get();
  }
  if (request.samples_size() > kMaxBatchSamples) {
    call->Fail(
        rpc::InvalidField("samples", StrCat("has ", request.samples_size(), " elements; at most ",
                                            kMaxBatchSamples, " are allowed")));
    return call.get();
  }
  const absl::Time now = intake_.clock.Now();
  BatchBuilder builder;
  builder.Start(intake_.limits, now);
  Series series;
  for (const v1::Sample& sample : request.samples()) {
    AddSample(intake_, sample, now, &series, &builder);
  }
  v1::PushResponse response;
  response.set_accepted_count(builder.sample_count());
  response.set_rejected_count(builder.rejections().count());
  ToProto(builder.rejections(), response.mutable_rejections());

  std::optional<frame::SessionMark> mark;
  if (!request.idempotency_key().empty()) {
    mark = MarkOfKey(kDefaultTenant, request.idempotency_key());
    // Known keys stay known, so this cannot become wrong before Submit decides;
    // of two first uses at the same instant one may read `duplicate` as false.
    response.set_duplicate(intake_.pipeline.LastSequence(mark->id).has_value());
  }
  if (builder.sample_count() == 0 && !mark.has_value()) {
    intake_.events.Rejected("push", builder.rejections());
    call->Answer(response);
    return call.get();
  }
  const uint64_t connection = call->AwaitAck(response);
  const Submitted submitted =
      intake_.pipeline.Submit({.waiter = {.connection = connection,
                                          .sequence = 1,
                                          .level = ToAckLevel(request.ack_level())},
                               .session = mark,
                               .batch = builder.Build()});
  switch (submitted.result) {
    case SubmitResult::kQueued:
      accepted_.Increment(response.accepted_count());
      intake_.events.Rejected("push", builder.rejections());
      break;
    case SubmitResult::kDuplicate:
      intake_.events.Duplicate("push");
      break;
    case SubmitResult::kRewind:  // a key's only sequence is 1
    case SubmitResult::kOverloaded:
    case SubmitResult::kLogFull:
    case SubmitResult::kTooManySessions:
      intake_.events.Refused("push", submitted.result);
      call->Fail(RefusalStatus(submitted.result));
      break;
  }
  return call.get();
}

}  // namespace weir::collector
