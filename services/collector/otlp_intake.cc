#include "services/collector/otlp_intake.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/convert.h"
#include "services/collector/otlp_reader.h"

namespace weir::collector {
namespace {

// Requests of an SDK have some 100 KiB, and take about four times as much.
constexpr int64_t kParseBudgetBytes = int64_t{128} << 20;
// A JSON text is about as long as what it becomes.
constexpr int64_t kBytesPerJsonByte = 2;

frame::SessionId IdOfContent(std::string_view tenant, std::string_view bytes) {
  std::string named = "otlp.metrics";
  AppendLengthPrefixed(tenant, &named);
  named.append(Sha256(bytes));
  return frame::SessionId::FromBytes(Sha256(named).substr(0, 16));
}

// What OTLP calls partial success: the count and, in words, each reason once.
void SetPartialSuccess(const Rejections& rejections, otlp::ExportMetricsServiceResponse* response) {
  if (rejections.list().empty()) return;
  auto* partial = response->mutable_partial_success();
  partial->set_rejected_data_points(rejections.count());
  for (const Rejected& rejected : rejections.list()) {
    StrAppend(partial->mutable_error_message(), partial->error_message().empty() ? "" : "; ",
              rejected.count, " x ",
              v1::ErrorReason_Name(static_cast<v1::ErrorReason>(rejected.reason)), ": ",
              rejected.message);
  }
}

}  // namespace

absl::StatusOr<ParseBudget::Share> ParseBudget::Take(int64_t bytes) {
  if (bytes > bytes_) {
    return rpc::Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE,
                      StrCat("the message would take ", bytes, " bytes in memory; at most ", bytes_,
                             " are allowed: send it in parts"),
                      {{"limit_bytes", StrCat(bytes_)}});
  }
  if (left_.fetch_sub(bytes) < bytes) {
    left_ += bytes;
    return RefusalStatus(SubmitResult::kOverloaded);
  }
  return Share(this, bytes);
}

OtlpIntake::OtlpIntake(const Intake& intake)
    : intake_(intake),
      accepted_(intake.events.AcceptedBy("otlp")),
      overlapping_(intake.events.metrics().AddCounter(
          "weir_otlp_overlapping_increases_total",
          "Increases that began before the end of one of their series that was taken already: two "
          "clients share a series, or something was sent twice.")),
      client_overflow_(intake.events.metrics().AddCounter(
          "weir_otlp_client_overflow_points_total",
          "Points in which a client sums up attribute sets past its own limit.")),
      budget_(kParseBudgetBytes) {}

void OtlpIntake::Take(std::string_view bytes, PendingAnswer& answer) {
  const int64_t parsed_bytes =
      rpc::ParsedSize(*Request::descriptor(), bytes, /*enough=*/kParseBudgetBytes + 1);
  TakeParsed(
      bytes, parsed_bytes, [&](Request* request) { return rpc::ParsePlain(bytes, request); },
      answer);
}

void OtlpIntake::TakeJson(std::string_view json, PendingAnswer& answer) {
  TakeParsed(
      json, kBytesPerJsonByte * static_cast<int64_t>(json.size()),
      [&](Request* request) {
        google::protobuf::util::JsonParseOptions options;
        options.ignore_unknown_fields = true;
        const auto status = google::protobuf::util::JsonStringToMessage(
            google::protobuf::StringPiece(json.data(), json.size()), request, options);
        return status.ok() ? absl::OkStatus()
                           : rpc::Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
                                        StrCat("the body is not an ExportMetricsServiceRequest in "
                                               "OTLP's JSON: ",
                                               std::string(status.message().substr(0, 256))));
      },
      answer);
}

void OtlpIntake::TakeParsed(std::string_view bytes, int64_t parsed_bytes,
                            absl::FunctionRef<absl::Status(Request*)> parse,
                            PendingAnswer& answer) {
  if (intake_.stopping.load(std::memory_order_relaxed)) return answer.Fail(ShuttingDown());
  std::vector<AdmittedBatch> batches;
  otlp::ExportMetricsServiceResponse response;
  Rejections rejections;
  std::vector<DeltaOverlaps::Increase> increases;
  int64_t client_overflow = 0;
  {
    const auto share = budget_.Take(parsed_bytes);
    if (!share.ok()) return answer.Fail(share.status());
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
    if (const absl::Status parsed = parse(request); !parsed.ok()) return answer.Fail(parsed);
    OtlpReader reader(intake_.limits, intake_.series, intake_.clock.Now());
    reader.Read(*request);
    batches = reader.TakeBatches();
    rejections = reader.rejections();
    increases = reader.increases();
    client_overflow = reader.client_overflow_count();
  }
  SetPartialSuccess(rejections, &response);
  int64_t samples = 0;
  for (const AdmittedBatch& batch : batches) samples += batch.sample_count();
  if (samples == 0) {
    intake_.events.Rejected("otlp", rejections);
    return answer.Answer(response);
  }
  const uint64_t connection = answer.AwaitAck(response);
  const Submitted submitted =
      intake_.pipeline.SubmitAll({.connection = connection, .sequence = 1},
                                 IdOfContent(kDefaultTenant, bytes), std::move(batches));
  switch (submitted.result) {
    case SubmitResult::kQueued:
      accepted_.Increment(samples);
      overlapping_.Increment(overlaps_.Note(increases));
      client_overflow_.Increment(client_overflow);
      intake_.events.Rejected("otlp", rejections);
      return;
    case SubmitResult::kDuplicate:
      intake_.events.Duplicate("otlp");
      return;
    default:
      intake_.events.Refused("otlp", submitted.result);
      return answer.Fail(RefusalStatus(submitted.result));
  }
}

}  // namespace weir::collector
