// Errors as they cross the wire: an absl::Status whose payloads are the
// google.rpc details, so that the reason, the fields and the delay survive both
// ways, in `grpc-status-details-bin`.
//
// Thread safety: pure functions.
#pragma once

#include <grpcpp/support/status.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weir/v1/error_reason.pb.h"

namespace weir::rpc {

// The domain of every reason of ours.
inline constexpr std::string_view kErrorDomain = "weir.dev";

using ErrorMetadata = std::vector<std::pair<std::string, std::string>>;

// Returns a status that carries one google.rpc.ErrorInfo. `metadata` holds the
// keys that error_reason.proto names for `reason`.
// REQUIRES: `code` is not kOk, `reason` is not ERROR_REASON_UNSPECIFIED.
absl::Status Error(absl::StatusCode code, v1::ErrorReason reason, std::string_view message,
                   ErrorMetadata metadata = {});

// The commonest of them: INVALID_ARGUMENT, INVALID_FIELD, metadata `field`, and
// a BadRequest that says what is allowed. The message is "field: description".
absl::Status InvalidField(std::string_view field, std::string_view description);

// Adds (or replaces) a google.rpc.RetryInfo: OTLP clients retry only with one.
// An OK status is returned as it is.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

// Adds one field violation to the google.rpc.BadRequest, which is created when
// there is none. An OK status is returned as it is.
absl::Status WithFieldViolation(absl::Status status, std::string_view field,
                                std::string_view description);

// The reason, when there is an ErrorInfo of our domain with one we know.
std::optional<v1::ErrorReason> ReasonOf(const absl::Status& status);

// The delay of the RetryInfo, when there is one.
std::optional<absl::Duration> RetryDelayOf(const absl::Status& status);

// To the wire. A status without a reason gets the one that fits its code:
// Unavailable and Aborted STORE_UNAVAILABLE, InvalidArgument and OutOfRange
// INVALID_FIELD, ResourceExhausted OVERLOADED; Cancelled, DeadlineExceeded and
// Unimplemented get none, they are the caller's own doing; whatever remains is
// INTERNAL_BUG. The message is cut at 1 KiB and all details at 4 KiB: they
// travel in one header, and peers refuse headers of more than 8 KiB. What is not
// UTF-8 in the message becomes "?".
grpc::Status ToGrpc(const absl::Status& status);

// From the wire. Details that cannot be parsed are dropped, the code and the
// message kept.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace weir::rpc
