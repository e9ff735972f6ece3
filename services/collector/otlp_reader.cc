#include "services/collector/otlp_reader.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/escaping.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "services/collector/convert.h"

namespace weir::collector {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace metrics = opentelemetry::proto::metrics::v1;

constexpr uint32_t kNoRecordedValue = 1;
// The receiver of OpenTelemetry collectors that scrapes Prometheus targets.
constexpr std::string_view kScrapingScope = "prometheusreceiver";
// What an SDK calls the one attribute of all it sums up past its own limit.
constexpr std::string_view kClientOverflow = "otel.metric.overflow";
// No more labels are looked at; far beyond what is admitted.
constexpr int kMaxLabelsRead = 1024;
// No more bytes of a point's attributes are parsed: small things take many times their
// length.
constexpr size_t kMaxAttributeBytes = 2 << 20;

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

size_t BytesOf(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  return bytes;
}

// Times beyond 2262 do not fit and are far in the future.
int64_t ToUnixNanos(uint64_t time) {
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return static_cast<int64_t>(std::min(time, kLargest));
}

// Counts beyond 2^63 become negative, which validation names.
template <typename Counts>
std::vector<int64_t> ToCounts(const Counts& counts) {
  std::vector<int64_t> out(static_cast<size_t>(counts.size()));
  std::transform(counts.begin(), counts.end(), out.begin(),
                 [](uint64_t count) { return static_cast<int64_t>(count); });
  return out;
}

// As Prometheus writes a quantile: 0.5, 0.99.
std::string QuantileText(double quantile) {
  std::string text;
  AppendNumber(quantile, &text);
  return text;
}

}  // namespace

OtlpReader::OtlpReader(const Limits& limits, SeriesTable& series, SeriesCache& cache,
                       absl::Time now)
    : limits_(limits),
      series_table_(series),
      cache_(cache),
      batches_(limits, now),
      builder_(batches_.builder()) {}

absl::Status OtlpReader::Read(const Request& request) {
  for (const ResourceMetrics& resource : request.resource_metrics()) {
    for (const ScopeMetrics& scope : resource.scope_metrics()) {
      TakeScope(resource, scope);
      for (const Metric& metric : scope.metrics()) {
        ReadMetric(metric);
        if (!status_.ok()) return status_;
      }
    }
  }
  return absl::OkStatus();
}

void OtlpReader::TakeScope(const ResourceMetrics& resource, const ScopeMetrics& scope) {
  scope_labels_.clear();
  scope_error_.reset();
  certain_start_ = scope.scope().name().find(kScrapingScope) == std::string::npos;
  const auto& scope_attributes = scope.scope().attributes();
  const auto& resource_attributes = resource.resource().attributes();
  if (scope_attributes.size() + resource_attributes.size() > kMaxLabelsRead) {
    scope_error_ = {
        Reject::kTooManyLabels,
        StrCat("scope and resource have ", scope_attributes.size() + resource_attributes.size(),
               " attributes; at most ", limits_.max_labels, " are allowed")};
    return;
  }
  AddLabels(scope_attributes, &scope_labels_);
  for (const auto& [name, value] : {std::pair("otel.scope.name", &scope.scope().name()),
                                    {"otel.scope.version", &scope.scope().version()}}) {
    const bool taken = std::any_of(
        scope_attributes.begin(), scope_attributes.end(),
        [&, key = name](const common::KeyValue& attribute) { return attribute.key() == key; });
    if (!value->empty() && !taken) scope_labels_.push_back({name, *value});
  }
  AddLabels(resource_attributes, &scope_labels_);
  // Found out once, not for each point again.
  scope_key_.clear();
  AppendLengthPrefixed(kDefaultTenant, &scope_key_);
  int64_t bytes = 0;
  for (const Label& label : scope_labels_) {
    AppendLengthPrefixed(label.name, &scope_key_);
    AppendLengthPrefixed(label.value, &scope_key_);
    bytes += static_cast<int64_t>(label.name.size() + label.value.size());
  }
  if (bytes > limits_.max_series_bytes) {
    scope_error_ = {Reject::kTooManyLabels,
                    StrCat("the attributes of scope and resource take ", bytes, " bytes; at most ",
                           limits_.max_series_bytes, " are allowed")};
    scope_labels_.clear();
  }
}

template <typename Data>
bool OtlpReader::TemporalityOf(const Metric& metric, const Data& data, Temporality* temporality) {
  switch (data.aggregation_temporality()) {
    case metrics::AGGREGATION_TEMPORALITY_DELTA:
      *temporality = Temporality::kDelta;
      return true;
    case metrics::AGGREGATION_TEMPORALITY_CUMULATIVE:
      *temporality = Temporality::kCumulative;
      return true;
    default:
      builder_.Reject(
          Reject::kMetricUnsupported,
          StrCat("metric '", absl::CHexEscape(metric.name().substr(0, 64)),
                 "' has aggregation temporality ", static_cast<int>(data.aggregation_temporality()),
                 "; allowed are DELTA and CUMULATIVE"),
          data.data_points_size());
      return false;
  }
}

void OtlpReader::ReadMetric(const Metric& metric) {
  metric_number_ = 0;
  Temporality temporality = Temporality::kNone;
  switch (metric.data_case()) {
    case Metric::kGauge:
      for (const auto& point : metric.gauge().data_points()) {
        ReadNumber(metric, Kind::kGauge, Temporality::kNone, point);
      }
      return;
    case Metric::kSum: {
      if (!TemporalityOf(metric, metric.sum(), &temporality)) return;
      const Kind kind = metric.sum().is_monotonic() ? Kind::kCounter : Kind::kUpDownCounter;
      for (const auto& point : metric.sum().data_points()) {
        ReadNumber(metric, kind, temporality, point);
      }
      return;
    }
    case Metric::kHistogram:
      if (!TemporalityOf(metric, metric.histogram(), &temporality)) return;
      for (const auto& point : metric.histogram().data_points()) {
        ReadHistogram(metric, temporality, point);
      }
      return;
    case Metric::kExponentialHistogram:
      if (!TemporalityOf(metric, metric.exponential_histogram(), &temporality)) return;
      for (const auto& point : metric.exponential_histogram().data_points()) {
        ReadHistogram(metric, temporality, point);
      }
      return;
    case Metric::kSummary:
      for (const auto& point : metric.summary().data_points()) ReadSummary(metric, point);
      return;
    case Metric::DATA_NOT_SET:
      // Of a type not known here there may be any number of points.
      builder_.Reject(Reject::kMetricUnsupported,
                      StrCat("metric '", absl::CHexEscape(metric.name().substr(0, 64)),
                             "' has no data, or data of a type this version does not know"));
      return;
  }
}

void OtlpReader::TakeLabels(const RawAttributes& attributes) {
  labels_error_ = scope_error_;
  labels_.clear();
  client_overflow_ = false;
  if (labels_error_.has_value()) return;
  const size_t bytes = BytesOf(attributes);
  if (attributes.size() > kMaxLabelsRead || bytes > kMaxAttributeBytes) {
    labels_error_ = {
        Reject::kTooManyLabels,
        StrCat("a point has ", attributes.size(), " attributes of ", bytes, " bytes; at most ",
               limits_.max_labels, " labels of ", limits_.max_series_bytes, " bytes are allowed")};
    return;
  }
  common::KeyValue attribute;
  for (const std::string& raw : attributes) {
    if (!attribute.ParseFromString(raw)) {
      status_ = rpc::Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
                           "a point has an attribute that is not a valid "
                           "opentelemetry.proto.common.v1.KeyValue");
      return;
    }
    client_overflow_ |= attribute.key() == kClientOverflow;
    labels_.push_back({attribute.key(), LabelValue(attribute.value())});
  }
  const auto own = static_cast<std::ptrdiff_t>(labels_.size());
  for (const Label& label : scope_labels_) {
    const bool taken = std::any_of(labels_.begin(), labels_.begin() + own,
                                   [&](const Label& other) { return other.name == label.name; });
    if (!taken) labels_.push_back(label);
  }
}

std::optional<SeriesHandle> OtlpReader::TakeSeries(const Metric& metric, Kind kind,
                                                   const RawAttributes& attributes) {
  // What is too long is rejected, and not remembered.
  const bool cached = !scope_error_.has_value() &&
                      static_cast<int64_t>(metric.name().size()) <= limits_.max_name_bytes &&
                      static_cast<int64_t>(BytesOf(attributes)) <= 2 * limits_.max_series_bytes;
  if (cached) {
    // All points of a metric are of one kind.
    if (metric_number_ == 0) {
      metric_key_.clear();
      AppendFixed(static_cast<uint8_t>(kind), &metric_key_);
      AppendLengthPrefixed(metric.name(), &metric_key_);
      metric_key_ += scope_key_;
      metric_number_ = cache_.NumberOf(metric_key_);
    }
    key_.clear();
    AppendFixed(metric_number_, &key_);
    for (const std::string& attribute : attributes) AppendLengthPrefixed(attribute, &key_);
    if (const auto found = cache_.Find(key_); found.has_value()) {
      client_overflow_count_ += found->client_overflow ? 1 : 0;
      return found->series;
    }
  }
  TakeLabels(attributes);
  const auto series = InternSeries(metric.name(), kind);
  if (!series.has_value()) return std::nullopt;
  if (cached) cache_.Insert(key_, {.series = *series, .client_overflow = client_overflow_});
  client_overflow_count_ += client_overflow_ ? 1 : 0;
  return series;
}

std::optional<SeriesHandle> OtlpReader::InternSeries(std::string_view name, Kind kind,
                                                     const Label* more) {
  if (!status_.ok()) return std::nullopt;
  if (labels_error_.has_value()) {
    builder_.Reject(labels_error_->reason, labels_error_->message);
    return std::nullopt;
  }
  series_ = {.tenant = std::string(kDefaultTenant),
             .name = std::string(name),
             .kind = kind,
             .labels = labels_};
  if (more != nullptr) series_.labels.push_back(*more);
  if (const auto error = AdmitSeries(limits_, &series_); error.has_value()) {
    builder_.Reject(error->reason, error->message);
    return std::nullopt;
  }
  return series_table_.Intern(series_);
}

void OtlpReader::ReadNumber(const Metric& metric, Kind kind, Temporality temporality,
                            const NumberDataPoint& point) {
  if ((point.flags() & kNoRecordedValue) != 0) return;
  if (point.value_case() == NumberDataPoint::VALUE_NOT_SET) {
    builder_.Reject(Reject::kValueMissing, StrCat("a point of '", metric.name(), "' has no value"));
    return batches_.CountSample(0);
  }
  const bool integer = point.value_case() == NumberDataPoint::kAsInt;
  const auto series = TakeSeries(metric, kind, point.attributes());
  if (temporality == Temporality::kCumulative) {
    return AddTotal(series, point.start_time_unix_nano(), point.time_unix_nano(),
                    integer ? PointValue(point.as_int()) : PointValue(point.as_double()));
  }
  if (series.has_value()) {
    const int64_t time = ToUnixNanos(point.time_unix_nano());
    const bool added = integer ? builder_.AddInteger(*series, time, point.as_int())
                               : builder_.AddFloat(*series, time, point.as_double());
    if (added && temporality == Temporality::kDelta) {
      NoteIncrease(*series, point.start_time_unix_nano(), point.time_unix_nano());
    }
  }
  batches_.CountSample(0);
}

void OtlpReader::NoteIncrease(const SeriesHandle& series, uint64_t start, uint64_t end) {
  if (start == 0 || start >= end || series.overflow) return;
  increases_.push_back({.series = series.number,
                        .start_unix_nano = ToUnixNanos(start),
                        .end_unix_nano = ToUnixNanos(end)});
}

void OtlpReader::AddTotal(const std::optional<SeriesHandle>& series, uint64_t start, uint64_t time,
                          PointValue value) {
  if (series.has_value()) {
    builder_.AddPoint(*series, ToUnixNanos(time),
                      {.cumulative = true,
                       .start_unix_nano = ToUnixNanos(start),
                       .certain_start = certain_start_,
                       .value = std::move(value)});
  }
  batches_.CountSample(32);
}

void OtlpReader::ReadHistogram(const Metric& metric, Temporality temporality,
                               const HistogramDataPoint& point) {
  if ((point.flags() & kNoRecordedValue) != 0) return;
  ExplicitBuckets buckets;
  buckets.bounds.assign(point.explicit_bounds().begin(), point.explicit_bounds().end());
  buckets.counts = ToCounts(point.bucket_counts());
  AddHistogram(metric, temporality, point, std::move(buckets));
}

void OtlpReader::ReadHistogram(const Metric& metric, Temporality temporality,
                               const ExponentialHistogramDataPoint& point) {
  if ((point.flags() & kNoRecordedValue) != 0) return;
  AddHistogram(
      metric, temporality, point,
      ExponentialBuckets{.scale = point.scale(),
                         .zero_count = static_cast<int64_t>(point.zero_count()),
                         .zero_threshold = point.zero_threshold(),
                         .positive = {.offset = point.positive().offset(),
                                      .counts = ToCounts(point.positive().bucket_counts())},
                         .negative = {.offset = point.negative().offset(),
                                      .counts = ToCounts(point.negative().bucket_counts())}});
}

template <typename DataPoint, typename Buckets>
void OtlpReader::AddHistogram(const Metric& metric, Temporality temporality, const DataPoint& point,
                              Buckets buckets) {
  Histogram histogram = {.count = static_cast<int64_t>(point.count()),
                         .buckets = std::move(buckets)};
  if (point.has_sum()) histogram.sum = point.sum();
  // The extremes of an empty histogram mean nothing.
  if (point.has_min() && point.count() > 0) histogram.min = point.min();
  if (point.has_max() && point.count() > 0) histogram.max = point.max();
  if (auto series = TakeSeries(metric, Kind::kDistribution, point.attributes());
      series.has_value()) {
    const bool cumulative = temporality == Temporality::kCumulative;
    const Point taken = {
        .cumulative = cumulative,
        .start_unix_nano = cumulative ? ToUnixNanos(point.start_time_unix_nano()) : 0,
        .certain_start = cumulative && certain_start_,
        .value = std::move(histogram)};
    if (!builder_.ScalesExactly(*series, taken)) {
      // It may have been known without its labels.
      TakeLabels(point.attributes());
      WEIR_CHECK(InternSeries(metric.name(), Kind::kDistribution).has_value());
      series = series_table_.InternUnaliased(series_);
    }
    const bool added = builder_.AddPoint(*series, ToUnixNanos(point.time_unix_nano()), taken);
    if (added && !cumulative) {
      NoteIncrease(*series, point.start_time_unix_nano(), point.time_unix_nano());
    }
  }
  batches_.CountSample(point.ByteSizeLong());
}

void OtlpReader::ReadSummary(const Metric& metric, const SummaryDataPoint& point) {
  if ((point.flags() & kNoRecordedValue) != 0) return;
  TakeLabels(point.attributes());
  client_overflow_count_ += client_overflow_ ? 1 : 0;
  AddTotal(InternSeries(metric.name() + "_count", Kind::kCounter), point.start_time_unix_nano(),
           point.time_unix_nano(), static_cast<int64_t>(point.count()));
  AddTotal(InternSeries(metric.name() + "_sum", Kind::kCounter), point.start_time_unix_nano(),
           point.time_unix_nano(), point.sum());
  for (const auto& quantile : point.quantile_values()) {
    const Label label = {"quantile", QuantileText(quantile.quantile())};
    if (const auto series = InternSeries(metric.name(), Kind::kGauge, &label); series.has_value()) {
      builder_.AddFloat(*series, ToUnixNanos(point.time_unix_nano()), quantile.value());
    }
    batches_.CountSample(0);
  }
}

}  // namespace weir::collector
