#include "common/client/wire.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "common/base/status_macros.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir::client {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// What a time lies after another; wraps as the collector's sum does.
int64_t Minus(int64_t time, int64_t before) {
  return static_cast<int64_t>(static_cast<uint64_t>(time) - static_cast<uint64_t>(before));
}

void Define(uint32_t ref, const Series& series, v1::SeriesDefinition* definition) {
  definition->set_ref(ref);
  definition->set_name(series.name);
  definition->set_kind(static_cast<v1::Kind>(series.kind));
  for (const Label& label : series.labels)
    (*definition->mutable_labels())[label.name] = label.value;
}

}  // namespace

const char kStreamBatchesMethod[] = "/weir.v1.IngestService/StreamBatches";

grpc::ByteBuffer EncodeOpenSession(const SessionClient& session, AckWhen ack_when) {
  v1::StreamBatchesRequest request;
  v1::OpenSession& open = *request.mutable_open_session();
  open.set_session_id(session.session_id().ToBytes());
  open.set_last_acked_sequence(session.acked_sequence());
  open.set_ack_level(ack_when == AckWhen::kCommitted ? v1::ACK_LEVEL_COMMITTED
                                                     : v1::ACK_LEVEL_DURABLE);
  return rpc::ToBuffer(request);
}

struct BatchEncoder::Message {
  v1::StreamBatchesRequest request;
};

BatchEncoder::BatchEncoder(std::function<Series(uint32_t)> series)
    : series_(std::move(series)), message_(std::make_unique<Message>()) {}
BatchEncoder::~BatchEncoder() = default;

void BatchEncoder::UndefineFrom(int64_t sequence) {
  if (sequence == std::numeric_limits<int64_t>::max()) return;
  for (int64_t& defined : defined_at_) {
    if (defined >= sequence) defined = 0;
  }
}

grpc::ByteBuffer BatchEncoder::Encode(int64_t sequence,
                                      const std::vector<BufferedSample>& samples) {
  v1::Batch& batch = *message_->request.mutable_batch();
  batch.Clear();
  batch.set_sequence(sequence);
  const int64_t base = samples.empty() ? 0 : samples.front().event_unix_nano;
  batch.set_base_time_unix_nano(base);
  int64_t last_float = base, last_integer = base;
  for (const BufferedSample& sample : samples) {
    if (sample.series >= defined_at_.size()) defined_at_.resize(sample.series + 1);
    if (defined_at_[sample.series] == 0) {
      defined_at_[sample.series] = sequence;
      Define(sample.series, series_(sample.series), batch.add_series());
    }
    if (sample.integer) {
      v1::IntegerColumns& columns = *batch.mutable_integers();
      columns.add_refs(sample.series);
      columns.add_time_deltas(
          Minus(sample.event_unix_nano, std::exchange(last_integer, sample.event_unix_nano)));
      columns.add_values(static_cast<int64_t>(sample.bits));
    } else {
      v1::FloatColumns& columns = *batch.mutable_floats();
      columns.add_refs(sample.series);
      columns.add_time_deltas(
          Minus(sample.event_unix_nano, std::exchange(last_float, sample.event_unix_nano)));
      columns.add_values(std::bit_cast<double>(sample.bits));
    }
  }
  return rpc::ToBuffer(message_->request);
}

struct Decoder::Message {
  v1::StreamBatchesResponse response;
};

Decoder::Decoder() : message_(std::make_unique<Message>()) {}
Decoder::~Decoder() = default;

absl::StatusOr<std::variant<SessionOpened, BatchesAcked, Rewind>> Decoder::Decode(
    const grpc::ByteBuffer& bytes) {
  v1::StreamBatchesResponse& response = message_->response;
  WEIR_RETURN_IF_ERROR(rpc::Parse(bytes, &response));
  switch (response.message_case()) {
    case v1::StreamBatchesResponse::kSessionOpened:
      return SessionOpened{.last_sequence = response.session_opened().last_sequence(),
                           .max_message_bytes = response.session_opened().max_message_bytes()};
    case v1::StreamBatchesResponse::kBatchesAcked: {
      BatchesAcked acked{.sequence = response.batches_acked().sequence(), .rejections = {}};
      for (const v1::BatchRejections& batch : response.batches_acked().rejections()) {
        for (const v1::Rejection& rejection : batch.rejections()) {
          const std::string& name = v1::ErrorReason_Name(rejection.reason());
          // A later version may have reasons that this one cannot name.
          acked.rejections.push_back(
              {.reason = name.empty() ? std::to_string(rejection.reason()) : name,
               .count = rejection.count()});
        }
      }
      return acked;
    }
    case v1::StreamBatchesResponse::kRewind: {
      const v1::Rewind& rewind = response.rewind();
      Rewind decoded{.next_sequence = rewind.next_sequence(), .retry_delay = std::nullopt};
      if (rewind.has_retry_delay()) decoded.retry_delay = ToDuration(rewind.retry_delay());
      return decoded;
    }
    case v1::StreamBatchesResponse::MESSAGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("the collector sent a message that this version does not know");
}

StreamEnd EndOf(const absl::Status& status) {
  StreamEnd end;
  end.retry_delay = rpc::RetryDelayOf(status);
  const auto reason = rpc::ReasonOf(status);
  if (reason == v1::SESSION_UNKNOWN) {
    end.cause = StreamEnd::kSessionUnknown;
  } else if (reason == v1::MESSAGE_TOO_LARGE ||
             status.code() == absl::StatusCode::kInvalidArgument) {
    end.cause = StreamEnd::kRefused;
  }
  return end;
}

}  // namespace weir::client
