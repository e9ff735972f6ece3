// Between the wire's messages and the collector's values.
//
// Thread safety: pure functions.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <string>

#include "absl/status/status.h"
#include "common/model/series.h"
#include "services/collector/admission.h"
#include "services/collector/session_core.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir::collector {

// The tenant of requests without a credential.
inline constexpr std::string_view kDefaultTenant = "default";

// Fills `*series` (reused) from a request's fields; not admitted yet.
void ToSeries(const std::string& name, v1::Kind kind,
              const google::protobuf::Map<std::string, std::string>& labels, Series* series);

void ToProto(const Rejections& rejections, google::protobuf::RepeatedPtrField<v1::Rejection>* out);

// In one line: "2 x NAME_INVALID: the first of them; 1 x ...".
std::string InWords(const Rejections& rejections);

AckLevel ToAckLevel(v1::AckLevel level);

// The collector is stopping: the same may be sent again, here or elsewhere.
absl::Status ShuttingDown();

// Why a batch was refused, with the delay after which it may be tried again.
// REQUIRES: `result` is a refusal.
absl::Status RefusalStatus(SubmitResult result);
// The reason and delay alone, for a Rewind.
v1::ErrorReason RefusalReason(SubmitResult result);
absl::Duration RefusalDelay();

}  // namespace weir::collector
