#include "common/delivery/wire.h"

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "weir/peer/v1/delivery_service.pb.h"

namespace weir::delivery {
namespace {

absl::Status Invalid(std::string_view what) {
  return absl::InvalidArgumentError(StrCat("delivery message: ", what));
}

template <typename Position>
void EncodePositions(const std::vector<SlotPosition>& from, Position* to) {
  to->Reserve(static_cast<int>(from.size()));
  for (const SlotPosition& position : from) {
    auto* out = to->Add();
    out->set_slot(position.slot);
    out->set_epoch(position.epoch);
    out->set_committed_lsn(static_cast<int64_t>(position.committed_lsn));
    out->set_applied_lsn(static_cast<int64_t>(position.applied_lsn));
  }
}

template <typename Position>
absl::StatusOr<std::vector<SlotPosition>> DecodePositions(const Position& from) {
  std::vector<SlotPosition> to;
  to.reserve(static_cast<size_t>(from.size()));
  for (const auto& position : from) {
    if (position.slot() < 0 || position.epoch() < 0 || position.committed_lsn() < 0 ||
        position.applied_lsn() < position.committed_lsn()) {
      return Invalid("a slot position that cannot be");
    }
    to.push_back({.slot = position.slot(),
                  .epoch = position.epoch(),
                  .committed_lsn = static_cast<uint64_t>(position.committed_lsn()),
                  .applied_lsn = static_cast<uint64_t>(position.applied_lsn())});
  }
  return to;
}

}  // namespace

struct Decoder::Messages {
  peer::v1::DeliverRequest request;
  peer::v1::DeliverResponse response;
};

Decoder::Decoder() : messages_(std::make_unique<Messages>()) {}
Decoder::~Decoder() = default;

grpc::ByteBuffer Encode(const FromCollector& message) {
  peer::v1::DeliverRequest request;
  if (const auto* hello = std::get_if<Hello>(&message)) {
    auto* out = request.mutable_hello();
    out->set_wal_id(hello->wal_id.ToBytes());
    out->set_slot_count(hello->slot_count);
    out->set_durable_lsn(static_cast<int64_t>(hello->durable_lsn));
    out->set_trim_lsn(static_cast<int64_t>(hello->trim_lsn));
    out->set_collector(hello->collector);
  } else if (const auto* frame = std::get_if<Frame>(&message)) {
    auto* out = request.mutable_frame();
    out->set_lsn(static_cast<int64_t>(frame->lsn));
    out->set_segment(static_cast<int64_t>(frame->segment));
    out->set_seal_time_unix_nano(absl::ToUnixNanos(frame->seal_time));
    out->mutable_ranges()->Reserve(static_cast<int>(frame->ranges.size()));
    for (const SlotRange& range : frame->ranges) {
      auto* slot = out->add_ranges();
      slot->set_slot(range.slot);
      slot->set_previous_lsn(static_cast<int64_t>(range.previous_lsn));
      slot->set_subframe(range.subframe.data(), range.subframe.size());
      slot->set_definitions_only(range.definitions_only);
    }
  } else {
    const auto& heartbeat = std::get<Heartbeat>(message);
    auto* out = request.mutable_heartbeat();
    if (heartbeat.time != absl::InfinitePast()) {
      const int64_t nanos = absl::ToUnixNanos(heartbeat.time);
      out->mutable_time()->set_seconds(nanos / 1'000'000'000);
      out->mutable_time()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    }
  }
  return rpc::ToBuffer(request);
}

grpc::ByteBuffer Encode(const FromAggregator& message) {
  peer::v1::DeliverResponse response;
  if (const auto* resume = std::get_if<Resume>(&message)) {
    response.mutable_resume()->set_window_bytes(resume->window_bytes);
    EncodePositions(resume->slots, response.mutable_resume()->mutable_slots());
  } else {
    EncodePositions(std::get<Ack>(message).slots, response.mutable_ack()->mutable_slots());
  }
  return rpc::ToBuffer(response);
}

absl::StatusOr<FromCollector> Decoder::DecodeRequest(const grpc::ByteBuffer& bytes) {
  peer::v1::DeliverRequest& request = messages_->request;
  WEIR_RETURN_IF_ERROR(rpc::Parse(bytes, &request));
  switch (request.message_case()) {
    case peer::v1::DeliverRequest::kHello: {
      const auto& hello = request.hello();
      if (hello.wal_id().size() != 16) return Invalid("a log id is 16 bytes");
      if (hello.slot_count() < 1 || hello.durable_lsn() < 0 || hello.trim_lsn() < 0) {
        return Invalid("a greeting with a negative number");
      }
      return Hello{.wal_id = WalId::FromBytes(hello.wal_id()),
                   .slot_count = hello.slot_count(),
                   .durable_lsn = static_cast<uint64_t>(hello.durable_lsn()),
                   .trim_lsn = static_cast<uint64_t>(hello.trim_lsn()),
                   .collector = hello.collector()};
    }
    case peer::v1::DeliverRequest::kFrame: {
      const auto& from = request.frame();
      if (from.lsn() < 1 || from.segment() < 0) return Invalid("a frame without an lsn");
      Frame frame = {.lsn = static_cast<uint64_t>(from.lsn()),
                     .segment = static_cast<uint64_t>(from.segment()),
                     .seal_time = absl::FromUnixNanos(from.seal_time_unix_nano())};
      frame.ranges.reserve(static_cast<size_t>(from.ranges_size()));
      int before = -1;
      for (const auto& range : from.ranges()) {
        if (range.slot() <= before) return Invalid("slots that do not ascend");
        before = range.slot();
        if (range.previous_lsn() < 0 || range.previous_lsn() >= from.lsn()) {
          return Invalid("a previous lsn that is not before the frame's");
        }
        frame.ranges.push_back({.slot = range.slot(),
                                .previous_lsn = static_cast<uint64_t>(range.previous_lsn()),
                                .subframe = range.subframe(),
                                .definitions_only = range.definitions_only()});
      }
      return frame;
    }
    case peer::v1::DeliverRequest::kHeartbeat: {
      Heartbeat heartbeat;
      if (request.heartbeat().has_time()) {
        const auto& time = request.heartbeat().time();
        heartbeat.time = absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
      }
      return heartbeat;
    }
    case peer::v1::DeliverRequest::MESSAGE_NOT_SET:
      break;
  }
  return Invalid("of no known kind");
}

absl::StatusOr<FromAggregator> Decoder::DecodeResponse(const grpc::ByteBuffer& bytes) {
  peer::v1::DeliverResponse& response = messages_->response;
  WEIR_RETURN_IF_ERROR(rpc::Parse(bytes, &response));
  if (response.has_resume()) {
    absl::StatusOr<std::vector<SlotPosition>> slots = DecodePositions(response.resume().slots());
    if (!slots.ok()) return slots.status();
    if (response.resume().window_bytes() < 1) return Invalid("a window without room");
    return Resume{.slots = *std::move(slots), .window_bytes = response.resume().window_bytes()};
  }
  if (response.has_ack()) {
    absl::StatusOr<std::vector<SlotPosition>> slots = DecodePositions(response.ack().slots());
    if (!slots.ok()) return slots.status();
    return Ack{.slots = *std::move(slots)};
  }
  return Invalid("of no known kind");
}

}  // namespace weir::delivery
