// The values of messages.h as bytes of weir.peer.v1.DeliverRequest and
// DeliverResponse.
//
// Thread safety: a Decoder is thread-compatible, one per stream; functions are
// pure.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>

#include "absl/status/statusor.h"
#include "common/delivery/messages.h"

namespace weir::delivery {

grpc::ByteBuffer Encode(const FromCollector& message);
grpc::ByteBuffer Encode(const FromAggregator& message);

// Decodes messages, reusing its buffers; a frame's views live until the next
// call.
class Decoder {
 public:
  Decoder();
  ~Decoder();

  // Errors: InvalidArgument, naming what does not fit (no message, an id that is
  // not 16 bytes, ranges that do not ascend, negative numbers).
  absl::StatusOr<FromCollector> DecodeRequest(const grpc::ByteBuffer& bytes);
  absl::StatusOr<FromAggregator> DecodeResponse(const grpc::ByteBuffer& bytes);

 private:
  struct Messages;
  const std::unique_ptr<Messages> messages_;
};

}  // namespace weir::delivery
