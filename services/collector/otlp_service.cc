#include "services/collector/otlp_service.h"

#include <google/protobuf/arena.h>

#include <algorithm>
#include <charconv>

#include "absl/strings/escaping.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "services/collector/convert.h"
#include "services/collector/log_writer.h"
#include "services/collector/unary_call.h"

namespace weir::collector {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace metrics = opentelemetry::proto::metrics::v1;

constexpr uint32_t kNoRecordedValue = 1;

void AppendJson(const common::AnyValue& value, std::string* out);

void AppendQuoted(std::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      StrAppend(out, "\\u00", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void AppendNumber(double value, std::string* out) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  out->append(buffer, result.ptr);
}

void AppendJson(const common::AnyValue& value, std::string* out) {
  switch (value.value_case()) {
    case common::AnyValue::kStringValue:
      return AppendQuoted(value.string_value(), out);
    case common::AnyValue::kBoolValue:
      return StrAppend(out, value.bool_value() ? "true" : "false");
    case common::AnyValue::kIntValue:
      return StrAppend(out, value.int_value());
    case common::AnyValue::kDoubleValue:
      return AppendNumber(value.double_value(), out);
    case common::AnyValue::kBytesValue:
      return AppendQuoted(absl::Base64Escape(value.bytes_value()), out);
    case common::AnyValue::kArrayValue: {
      char separator = '[';
      for (const common::AnyValue& element : value.array_value().values()) {
        out->push_back(separator);
        AppendJson(element, out);
        separator = ',';
      }
      StrAppend(out, separator == '[' ? "[]" : "]");
      return;
    }
    case common::AnyValue::kKvlistValue: {
      char separator = '{';
      for (const common::KeyValue& entry : value.kvlist_value().values()) {
        out->push_back(separator);
        AppendQuoted(entry.key(), out);
        out->push_back(':');
        AppendJson(entry.value(), out);
        separator = ',';
      }
      StrAppend(out, separator == '{' ? "{}" : "}");
      return;
    }
    case common::AnyValue::VALUE_NOT_SET:
      return StrAppend(out, "null");
  }
}

// A label's value: text as it is, anything else as JSON.
std::string LabelValue(const common::AnyValue& value) {
  switch (value.value_case()) {
    case common::AnyValue::kStringValue:
      return value.string_value();
    case common::AnyValue::kBytesValue:
      return absl::Base64Escape(value.bytes_value());
    case common::AnyValue::VALUE_NOT_SET:
      return "";
    default:
      break;
  }
  std::string json;
  AppendJson(value, &json);
  return json;
}

// Appends attributes whose names are not among the labels yet.
template <typename Attributes>
void AddLabels(const Attributes& attributes, std::vector<Label>* labels) {
  const size_t before = labels->size();
  for (const common::KeyValue& attribute : attributes) {
    const auto end = labels->begin() + static_cast<std::ptrdiff_t>(before);
    const bool taken = std::any_of(
        labels->begin(), end, [&](const Label& label) { return label.name == attribute.key(); });
    if (!taken) labels->push_back({attribute.key(), LabelValue(attribute.value())});
  }
}

// Turns one request into batches.
class Reader {
 public:
  explicit Reader(const Intake& intake) : intake_(intake) {
    builder_.Start(intake.limits, intake.clock.Now());
  }

  void Read(const otlp::ExportMetricsServiceRequest& request) {
    for (const metrics::ResourceMetrics& resource : request.resource_metrics()) {
      for (const metrics::ScopeMetrics& scope : resource.scope_metrics()) {
        for (const metrics::Metric& metric : scope.metrics()) {
          ReadMetric(resource, scope, metric);
        }
      }
    }
  }

  // Everything admitted, in batches that each fit a frame.
  std::vector<AdmittedBatch> Take() {
    if (builder_.sample_count() > 0) batches_.push_back(builder_.Build());
    return std::move(batches_);
  }
  const Rejections& rejections() const { return builder_.rejections(); }

 private:
  void ReadMetric(const metrics::ResourceMetrics& resource, const metrics::ScopeMetrics& scope,
                  const metrics::Metric& metric) {
    switch (metric.data_case()) {
      case metrics::Metric::kGauge:
        return ReadNumbers(resource, scope, metric, Kind::kGauge, metric.gauge().data_points());
      case metrics::Metric::kSum:
        if (metric.sum().aggregation_temporality() != metrics::AGGREGATION_TEMPORALITY_DELTA) {
          return Unsupported(metric, "sums with delta temporality are taken, this one has another",
                             metric.sum().data_points_size());
        }
        return ReadNumbers(resource, scope, metric,
                           metric.sum().is_monotonic() ? Kind::kCounter : Kind::kUpDownCounter,
                           metric.sum().data_points());
      case metrics::Metric::kHistogram:
        return Unsupported(metric, "histograms are not taken yet",
                           metric.histogram().data_points_size());
      case metrics::Metric::kExponentialHistogram:
        return Unsupported(metric, "exponential histograms are not taken yet",
                           metric.exponential_histogram().data_points_size());
      case metrics::Metric::kSummary:
        return Unsupported(metric, "summaries are not taken yet",
                           metric.summary().data_points_size());
      case metrics::Metric::DATA_NOT_SET:
        return Unsupported(metric, "a metric without data or of a type not known", 0);
    }
  }

  void Unsupported(const metrics::Metric& metric, std::string_view what, int points) {
    builder_.Reject(Reject::kMetricUnsupported,
                    StrCat("metric '", absl::CHexEscape(metric.name().substr(0, 64)), "': ", what),
                    points);
  }

  template <typename Points>
  void ReadNumbers(const metrics::ResourceMetrics& resource, const metrics::ScopeMetrics& scope,
                   const metrics::Metric& metric, Kind kind, const Points& points) {
    for (const metrics::NumberDataPoint& point : points) {
      series_ = {.tenant = std::string(kDefaultTenant), .name = metric.name(), .kind = kind};
      AddLabels(point.attributes(), &series_.labels);
      AddLabels(resource.resource().attributes(), &series_.labels);
      if (!scope.scope().name().empty()) {
        common::KeyValue name[1];
        name[0].set_key("otel.scope.name");
        name[0].mutable_value()->set_string_value(scope.scope().name());
        AddLabels(name, &series_.labels);
      }
      ReadPoint(point);
    }
  }

  void ReadPoint(const metrics::NumberDataPoint& point) {
    if (const auto error = AdmitSeries(intake_.limits, &series_); error.has_value()) {
      builder_.Reject(error->reason, error->message);
      return;
    }
    // A staleness marker says that there is no value; nothing is missing then.
    if ((point.flags() & kNoRecordedValue) != 0) return;
    if (point.value_case() == metrics::NumberDataPoint::VALUE_NOT_SET) {
      builder_.Reject(Reject::kValueMissing,
                      StrCat("a point of '", series_.name, "' has no value"));
      return;
    }
    // Times beyond 2262 do not fit and are far in the future.
    const int64_t time = point.time_unix_nano() > static_cast<uint64_t>(INT64_MAX)
                             ? INT64_MAX
                             : static_cast<int64_t>(point.time_unix_nano());
    const SeriesHandle handle = intake_.series.Intern(series_);
    if (point.value_case() == metrics::NumberDataPoint::kAsInt) {
      builder_.AddInteger(handle, time, point.as_int());
    } else {
      builder_.AddFloat(handle, time, point.as_double());
    }
    if (builder_.sample_count() == kMaxBatchSamples) batches_.push_back(builder_.Build());
  }

  const Intake& intake_;
  BatchBuilder builder_;
  std::vector<AdmittedBatch> batches_;
  Series series_;  // reused
};

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

void OtlpMetricsService::Register(rpc::Server& server) {
  server.AddService(this, std::string(otlp::MetricsService::service_full_name()));
}

grpc::ServerUnaryReactor* OtlpMetricsService::Export(grpc::CallbackServerContext*,
                                                     const grpc::ByteBuffer* bytes,
                                                     grpc::ByteBuffer* response_bytes) {
  const std::shared_ptr<UnaryCall> call = UnaryCall::Create(intake_.router, response_bytes);
  if (intake_.stopping.load(std::memory_order_relaxed)) {
    call->Fail(ShuttingDown());
    return call.get();
  }
  google::protobuf::Arena arena;
  auto* request = google::protobuf::Arena::CreateMessage<otlp::ExportMetricsServiceRequest>(&arena);
  if (const absl::Status status = rpc::Parse(*bytes, request); !status.ok()) {
    call->Fail(status);
    return call.get();
  }
  Reader reader(intake_);
  reader.Read(*request);
  std::vector<AdmittedBatch> batches = reader.Take();
  intake_.events.Rejected("otlp", reader.rejections());
  otlp::ExportMetricsServiceResponse response;
  SetPartialSuccess(reader.rejections(), &response);
  if (batches.empty()) {
    call->Answer(response);
    return call.get();
  }
  // Taken as a whole or not at all, and acknowledged when the last is durable:
  // those before it then are, too.
  const uint64_t connection = call->AwaitAck(response);
  std::vector<Submission> submissions;
  int64_t samples = 0;
  for (AdmittedBatch& batch : batches) {
    samples += batch.sample_count();
    submissions.push_back({.batch = std::move(batch)});
  }
  submissions.back().waiter = {.connection = connection, .sequence = 1};
  const Submitted submitted = intake_.pipeline.SubmitAll(std::move(submissions));
  if (submitted.result == SubmitResult::kQueued) {
    accepted_.Increment(samples);
  } else {
    intake_.events.Refused("otlp", submitted.result);
    call->Fail(RefusalStatus(submitted.result));
  }
  return call.get();
}

}  // namespace weir::collector
