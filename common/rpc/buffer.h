// Messages to and from the byte buffers that raw streams carry, without
// flattening them: protobuf reads and writes gRPC's slices in place.
//
// Thread safety: pure functions.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace weir::rpc {

// What a message may inflate to when nobody says otherwise; also the default of
// ServerOptions::max_receive_bytes.
inline constexpr int64_t kMaxMessageBytes = int64_t{64} << 20;

// REQUIRES: `message` is smaller than 2 GiB.
grpc::ByteBuffer ToBuffer(const google::protobuf::MessageLite& message);

// The plain bytes of `buffer`, inflated if need be, in `*out`.
// Errors: InvalidArgument (UNDECODABLE) for damaged gzip; ResourceExhausted
// (MESSAGE_TOO_LARGE).
absl::Status ReadPlain(const grpc::ByteBuffer& buffer, std::string* out,
                       int64_t max_bytes = kMaxMessageBytes);

// Parses plain bytes into `*message`.
// Errors: InvalidArgument (UNDECODABLE).
absl::Status ParsePlain(std::string_view bytes, google::protobuf::MessageLite* message);

// Parses `buffer` into `*message`, which is cleared first and keeps its memory:
// reuse it. Recursion is limited by protobuf (100 levels).
//
// A gzip-compressed buffer is inflated, to `max_bytes` at most: gRPC 1.51
// inflates without a bound, so the server switches its decompression off and
// whoever takes raw buffers gets what the client sent. The two gzip magic bytes
// cannot begin a protobuf message (1f is wire type 7), so looking at them
// decides.
// Errors, which leave `*message` unspecified: InvalidArgument (UNDECODABLE) unless
// the bytes are one whole message; ResourceExhausted (MESSAGE_TOO_LARGE).
absl::Status Parse(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                   int64_t max_bytes = kMaxMessageBytes);

}  // namespace weir::rpc
