#include "services/collector/otlp_intake.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/convert.h"
#include "services/collector/otlp_reader.h"

namespace weir::collector {
namespace {

// A JSON text is about as long as what it becomes.
constexpr int64_t kBytesPerJsonByte = 2;

// What OTLP calls partial success: the count and, in words, each reason once.
void SetPartialSuccess(const Rejections& rejections, otlp::ExportMetricsServiceResponse* response) {
  if (rejections.list().empty()) return;
  auto* partial = response->mutable_partial_success();
  partial->set_rejected_data_points(rejections.count());
  partial->set_error_message(InWords(rejections));
}

}  // namespace

OtlpIntake::OtlpIntake(const Intake& intake)
    : intake_(intake, "otlp"),
      overlapping_(intake.events.metrics().AddCounter(
          "weir_otlp_overlapping_increases_total",
          "Increases that began before the end of one of their series that was taken already: two "
          "clients share a series, or something was sent twice.")),
      client_overflow_(intake.events.metrics().AddCounter(
          "weir_otlp_client_overflow_points_total",
          "Points in which a client sums up attribute sets past its own limit.")) {}

void OtlpIntake::Take(std::string_view bytes, PendingAnswer& answer) {
  const int64_t parsed_bytes =
      rpc::ParsedSize(*OtlpReader::Request::descriptor(), bytes,
                      /*enough=*/intake_.intake().parse_budget.bytes() + 1);
  TakeParsed(
      bytes, parsed_bytes,
      [&](OtlpReader::Request* request) { return rpc::ParsePlain(bytes, request); }, answer);
}

void OtlpIntake::TakeJson(std::string_view json, PendingAnswer& answer) {
  TakeParsed(
      json, kBytesPerJsonByte * static_cast<int64_t>(json.size()),
      [&](OtlpReader::Request* request) {
        google::protobuf::util::JsonParseOptions options;
        options.ignore_unknown_fields = true;
        otlp::ExportMetricsServiceRequest message;
        const auto status = google::protobuf::util::JsonStringToMessage(
            google::protobuf::StringPiece(json.data(), json.size()), &message, options);
        if (!status.ok()) {
          return rpc::Error(
              absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
              StrCat("the body is not an ExportMetricsServiceRequest in OTLP's JSON: ",
                     std::string(status.message().substr(0, 256))));
        }
        return rpc::ParsePlain(message.SerializeAsString(), request);
      },
      answer);
}

void OtlpIntake::TakeParsed(std::string_view bytes, int64_t parsed_bytes,
                            absl::FunctionRef<absl::Status(OtlpReader::Request*)> parse,
                            PendingAnswer& answer) {
  ContentIntake::Content content = {.kind = "otlp.metrics", .bytes = bytes};
  std::vector<DeltaOverlaps::Increase> increases;
  int64_t client_overflow = 0;
  {
    const auto share = intake_.Admit(parsed_bytes);
    if (!share.ok()) return answer.Fail(share.status());
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<OtlpReader::Request>(&arena);
    if (const absl::Status parsed = parse(request); !parsed.ok()) return answer.Fail(parsed);
    const Intake& intake = intake_.intake();
    OtlpReader reader(intake.limits, intake.series, cache_, intake.clock.Now());
    if (const absl::Status read = reader.Read(*request); !read.ok()) return answer.Fail(read);
    content.batches = reader.TakeBatches();
    content.rejections = reader.rejections();
    increases = reader.increases();
    client_overflow = reader.client_overflow_count();
  }
  otlp::ExportMetricsServiceResponse response;
  SetPartialSuccess(content.rejections, &response);
  if (intake_.Submit<google::protobuf::MessageLite>(std::move(content), response, answer)) {
    overlapping_.Increment(overlaps_.Note(increases));
    client_overflow_.Increment(client_overflow);
  }
}

}  // namespace weir::collector
