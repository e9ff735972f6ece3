// Unary methods that take their request as the client sent it.
//
// Our servers leave inflating to whoever reads a message (see rpc::Parse), so a
// method generated for typed messages would be handed gzip's bytes as protobuf's.
// Services are therefore generated WithRawCallbackMethod_..., and answer with
//
//   reactor->Finish(RawUnary<v1::GetSloRequest, v1::GetSloResponse>(
//       *bytes, out, [this](const v1::GetSloRequest& request, v1::GetSloResponse* response) {
//         return Answer(request, response);
//       }));
//
// Thread safety: pure functions.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"

namespace weir::rpc {

// The largest request, inflated, of a method that asks and does not bring data.
// Parsed, a message can be some fifty times its bytes; this keeps that small.
inline constexpr int64_t kMaxRequestBytes = int64_t{1} << 20;

// Parses `bytes`, inflated if need be, calls `answer(const Request&, Response*)`,
// which returns an absl::Status, and puts the response into `*out`, which is left
// alone unless the status is OK.
// Errors: InvalidArgument (UNDECODABLE); ResourceExhausted (MESSAGE_TOO_LARGE);
// and those of `answer`.
template <typename Request, typename Response, typename Answer>
grpc::Status RawUnary(const grpc::ByteBuffer& bytes, grpc::ByteBuffer* out, Answer&& answer,
                      int64_t max_request_bytes = kMaxRequestBytes) {
  Request request;
  absl::Status status = Parse(bytes, &request, max_request_bytes);
  if (!status.ok()) return ToGrpc(status);
  Response response;
  status = std::forward<Answer>(answer)(std::as_const(request), &response);
  if (!status.ok()) return ToGrpc(status);
  *out = ToBuffer(response);
  return grpc::Status::OK;
}

}  // namespace weir::rpc
