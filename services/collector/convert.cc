#include "services/collector/convert.h"

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::collector {
namespace {

static_assert(static_cast<int>(Reject::kNameInvalid) == v1::NAME_INVALID);
static_assert(static_cast<int>(Reject::kLabelInvalid) == v1::LABEL_INVALID);
static_assert(static_cast<int>(Reject::kTooManyLabels) == v1::TOO_MANY_LABELS);
static_assert(static_cast<int>(Reject::kKindInvalid) == v1::KIND_INVALID);
static_assert(static_cast<int>(Reject::kValueMissing) == v1::VALUE_MISSING);
static_assert(static_cast<int>(Reject::kValueNotFinite) == v1::VALUE_NOT_FINITE);
static_assert(static_cast<int>(Reject::kValueNegative) == v1::VALUE_NEGATIVE);
static_assert(static_cast<int>(Reject::kTimeTooOld) == v1::TIME_TOO_OLD);
static_assert(static_cast<int>(Reject::kTimeInFuture) == v1::TIME_IN_FUTURE);
static_assert(static_cast<int>(Reject::kSeriesUndefined) == v1::SERIES_UNDEFINED);
static_assert(static_cast<int>(Reject::kMetricUnsupported) == v1::METRIC_UNSUPPORTED);
static_assert(static_cast<int>(Reject::kColumnsUneven) == v1::COLUMNS_UNEVEN);
static_assert(static_cast<int>(Reject::kHistogramInvalid) == v1::HISTOGRAM_INVALID);
static_assert(static_cast<int>(Reject::kSeriesLimit) == v1::SERIES_LIMIT);
static_assert(static_cast<int>(Reject::kValueOutOfRange) == v1::VALUE_OUT_OF_RANGE);
static_assert(static_cast<int>(Kind::kGauge) == v1::KIND_GAUGE);
static_assert(static_cast<int>(Kind::kCounter) == v1::KIND_COUNTER);
static_assert(static_cast<int>(Kind::kUpDownCounter) == v1::KIND_UP_DOWN_COUNTER);
static_assert(static_cast<int>(Kind::kDistribution) == v1::KIND_DISTRIBUTION);

}  // namespace

void ToSeries(const std::string& name, v1::Kind kind,
              const google::protobuf::Map<std::string, std::string>& labels, Series* series) {
  series->tenant = kDefaultTenant;
  series->name = name;
  // A kind beyond ours must not become one of ours when it is narrowed.
  series->kind = kind >= 0 && kind <= kMaxKind ? static_cast<Kind>(kind) : Kind{};
  series->labels.clear();
  series->labels.reserve(labels.size());
  for (const auto& [label, value] : labels) series->labels.push_back({label, value});
}

void ToProto(const Rejections& rejections, google::protobuf::RepeatedPtrField<v1::Rejection>* out) {
  for (const Rejected& rejected : rejections.list()) {
    v1::Rejection* rejection = out->Add();
    rejection->set_reason(static_cast<v1::ErrorReason>(rejected.reason));
    rejection->set_count(rejected.count);
    rejection->set_message(rejected.message);
  }
}

std::string InWords(const Rejections& rejections) {
  std::string words;
  for (const Rejected& rejected : rejections.list()) {
    StrAppend(&words, words.empty() ? "" : "; ", rejected.count, " x ",
              v1::ErrorReason_Name(static_cast<v1::ErrorReason>(rejected.reason)), ": ",
              rejected.message);
  }
  return words;
}

AckLevel ToAckLevel(v1::AckLevel level) {
  return level == v1::ACK_LEVEL_COMMITTED ? AckLevel::kCommitted : AckLevel::kDurable;
}

v1::ErrorReason RefusalReason(SubmitResult result) {
  switch (result) {
    case SubmitResult::kLogFull:
      return v1::LOG_FULL;
    case SubmitResult::kTooManySessions:
      return v1::TOO_MANY_SESSIONS;
    default:
      return v1::OVERLOADED;
  }
}

absl::Duration RefusalDelay() { return absl::Milliseconds(200); }

absl::Status ShuttingDown() {
  return rpc::WithRetryDelay(rpc::Error(absl::StatusCode::kUnavailable, v1::SHUTTING_DOWN,
                                        "the collector is stopping; send the same again"),
                             absl::Seconds(1));
}

absl::Status RefusalStatus(SubmitResult result) {
  switch (result) {
    case SubmitResult::kLogFull:
      return rpc::WithRetryDelay(
          rpc::Error(absl::StatusCode::kUnavailable, v1::LOG_FULL,
                     "the log has reached its disk quota because the store has not taken what it "
                     "holds; see weir_wal_bytes and the aggregator"),
          absl::Seconds(1));
    case SubmitResult::kTooManySessions:
      return rpc::Error(absl::StatusCode::kResourceExhausted, v1::TOO_MANY_SESSIONS,
                        "this collector remembers as many sessions and idempotency keys as it "
                        "may; reuse sessions, or leave the key out",
                        {{"limit", "max_sessions"}});
    case SubmitResult::kOverloaded:
      return rpc::WithRetryDelay(
          rpc::Error(absl::StatusCode::kUnavailable, v1::OVERLOADED,
                     "the queue before the log is full; send the same again"),
          RefusalDelay());
    case SubmitResult::kQueued:
    case SubmitResult::kDuplicate:
    case SubmitResult::kRewind:
      break;
  }
  WEIR_CHECK_MSG(false, "not a refusal");
  return absl::OkStatus();
}

}  // namespace weir::collector
