// What a recorder and a collector say to each other as bytes of
// weir.v1.StreamBatchesRequest and StreamBatchesResponse.
//
// Thread safety: a BatchEncoder and a Decoder are thread-compatible; functions
// are pure.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/client/recorder.h"
#include "common/client/recorder_core.h"

namespace weir::client {

// "/weir.v1.IngestService/StreamBatches".
extern const char kStreamBatchesMethod[];

grpc::ByteBuffer EncodeOpenSession(const SessionClient& session, AckWhen ack_when);

// Writes batches of one stream: each series is defined by the first that uses it.
class BatchEncoder {
 public:
  // `series` gives the name, kind and labels of a number.
  explicit BatchEncoder(std::function<Series(uint32_t)> series);
  ~BatchEncoder();

  // Definitions made by batches from `sequence` on do not count; what
  // SessionClient::TakeUndefinedFrom returns.
  void UndefineFrom(int64_t sequence);

  grpc::ByteBuffer Encode(int64_t sequence, const std::vector<BufferedSample>& samples);

 private:
  struct Message;

  const std::function<Series(uint32_t)> series_;
  const std::unique_ptr<Message> message_;  // reused
  std::vector<int64_t> defined_at_;         // by series: the batch that did, 0 for none
};

class Decoder {
 public:
  Decoder();
  ~Decoder();

  // Errors: InvalidArgument when it is no message, or one of a later version.
  absl::StatusOr<std::variant<SessionOpened, BatchesAcked, Rewind>> Decode(
      const grpc::ByteBuffer& bytes);

 private:
  struct Message;
  const std::unique_ptr<Message> message_;  // reused
};

// What the end of a stream means for its session.
StreamEnd EndOf(const absl::Status& status);

}  // namespace weir::client
